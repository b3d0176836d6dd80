"""`convert-voice`, `enhance` and `edit`."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ns2_diffusers.commands import recordings

STEPS = ("--steps", "2", "--seed", "3")


def read(name):
    samples, rate = soundfile.read(name, dtype="float32")
    assert rate == 16000
    return samples


@pytest.fixture
def source(clips):
    soundfile.write("source.wav", *soundfile.read(clips[0]), subtype="FLOAT")
    return "source.wav"


def generator():
    return torch.Generator().manual_seed(3)


def test_converted_as_by_the_pipeline(run, tiny_pipeline, clips, transcripts, source):
    text = transcripts[clips[0].name]
    status, printed = run("convert-voice", source, "--voice", str(clips[1]), "-o", "out.wav", "--text", text, *STEPS)
    assert status == 0 and "s of audio: out.wav" in printed.out
    options = {"voice": clips[1], "num_inference_steps": 2, "generator": generator()}
    expected = tiny_pipeline.convert(source, text, **options).audios[0]
    # The ends are faded.
    np.testing.assert_allclose(read("out.wav")[100:-100], expected[100:-100], atol=2e-4)


def test_a_long_recording_in_pieces(run, monkeypatch, tiny_pipeline, clips, source):
    monkeypatch.setattr(recordings, "PIECE_SECONDS", 1.0)
    samples = np.concatenate([read(source), np.zeros(32000, np.float32), read(source)])
    soundfile.write("long.wav", samples, 16000)
    assert run("convert-voice", "long.wav", "--voice", "emma", "--keep-f0", "-o", "out.flac", *STEPS)[0] == 0
    converted = read("out.flac")
    assert len(converted) == len(samples)
    middle = len(samples) // 2
    assert not converted[middle - 4000 : middle + 4000].any() and np.abs(converted).max() > 0.01


def test_enhanced_as_by_the_pipeline(run, tiny_pipeline, clips, source):
    status, printed = run("enhance", source, "--voice", str(clips[1]), "-o", "out.wav", "-q", *STEPS)
    assert status == 0 and printed.out == ""
    assert printed.err.count("note: without its text a recording is hardly enhanced") == 1
    expected = tiny_pipeline.enhance(source, voice=clips[1], num_inference_steps=2).audios[0]
    np.testing.assert_allclose(read("out.wav")[100:-100], expected[100:-100], atol=2e-4)


def test_edited_as_by_the_pipeline(run, tiny_pipeline, clips, transcripts, source):
    text = transcripts[clips[0].name]
    new = text.rstrip(".!?") + " again."
    status, printed = run("edit", source, "--text", text, "--new-text", new, "-o", "out.wav", *STEPS)
    assert status == 0 and "are new: out.wav" in printed.out
    expected = tiny_pipeline.edit(source, text, new, num_inference_steps=2, generator=generator())
    np.testing.assert_allclose(read("out.wav"), expected.audio / max(1, np.abs(expected.audio).max()), atol=2e-4)


def test_enhanced_with_a_text_needs_no_note(run, clips, transcripts, source):
    text = transcripts[clips[0].name]
    status, printed = run("enhance", source, "--text", text, "-o", "out.wav", *STEPS)
    assert status == 0 and "note: without its text" not in printed.err


@pytest.mark.parametrize("command", ["convert-voice", "enhance", "edit"])
def test_a_text_that_fits_badly_is_noted(run, monkeypatch, clips, transcripts, source, command):
    text = transcripts[clips[0].name]
    args = {"convert-voice": ["--voice", "emma"], "enhance": [], "edit": ["--new-text", text.rstrip(".") + " now."]}
    args = (command, source, "--text", text, *args[command], "-o", "out.wav", *STEPS)
    for least, count in ((2.0, 1), (-1.0, 0)):
        monkeypatch.setattr("ns2_diffusers.pipelines.alignment.LEAST_FIT", least)
        monkeypatch.setattr("ns2_diffusers.pipelines.alignment.CLEAR", -np.inf)
        status, printed = run(*args)
        assert status == 0 and printed.err.count("note: the text fits the recording badly") == count


def test_texts_are_read_as_the_options_say(run, tiny_pipeline, clips, source, transcripts):
    text = transcripts[clips[0].name] + " 日 👍"
    args = ("convert-voice", source, "--voice", "emma", "--text", text, "-o", "out.wav", *STEPS)
    status, printed = run(*args)
    assert status == 2 and "--unknown drop" in printed.err and "Tokenizer" not in printed.err
    status, printed = run(*args, "--unknown", "drop")
    assert status == 0 and "note: Dropped '日'" in printed.err and "--emoji name reads them" in printed.err


def test_transcribed(run, monkeypatch, source, clips, transcripts):
    class Reader:
        model = None

        def read(self, audio):
            return transcripts[clips[0].name]

    monkeypatch.setattr("ns2_diffusers.evaluation.words.WordReader", Reader)
    assert run("convert-voice", source, "--voice", "emma", "--transcribe", "-o", "out.wav", *STEPS)[0] == 0
    said = read("out.wav")
    text = transcripts[clips[0].name]
    assert run("convert-voice", source, "--voice", "emma", "--text", text, "-o", "given.wav", *STEPS)[0] == 0
    np.testing.assert_allclose(said, read("given.wav"), atol=1e-4)


def test_strength(run, tiny_pipeline, clips, transcripts, source):
    text = transcripts[clips[0].name]
    args = ("convert-voice", source, "--voice", str(clips[1]), "--text", text, "--steps", "8", "--seed", "3")
    assert run(*args, "--strength", "0.25", "-o", "out.wav")[0] == 0
    options = {"voice": clips[1], "num_inference_steps": 8, "generator": generator()}
    expected = tiny_pipeline.convert(source, text, strength=0.25, **options).audios[0]
    np.testing.assert_allclose(read("out.wav")[100:-100], expected[100:-100], atol=2e-4)
    status, printed = run(*args, "--strength", "0", "-o", "out.flac")
    assert status == 2 and "strength is 0.0; wanted a number above 0, to 1" in printed.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["convert-voice", "a.wav", "-o", "b.wav"], "--voice is missing"),
        (["convert-voice", "a.wav", "--voice", "emma", "-o", "b.txt"], "must end in one of"),
        (["convert-voice", "a.wav", "--voice", "emma", "-o", "b.wav"], "there is no audio file 'a.wav'"),
        (["convert-voice", "a.wav", "--voice", "emma", "-o", "b.wav", "--method", "ode"], "there is no audio file"),
        (
            ["edit", "a.wav", "--text", "One.", "--new-text", "One two.", "-o", "b.wav"],
            "there is no audio file 'a.wav'",
        ),
        (["edit", "a.wav", "--text", "One.", "-o", "b.wav"], "--new-text"),
        (
            ["edit", "source.wav", "--text", "One.", "--new-text", "One.", "-o", "b.wav"],
            "--text and --new-text are equal",
        ),
        (["edit", "source.wav", "--text", "One.", "--new-text", " ", "-o", "b.wav"], "--new-text is empty"),
        (
            ["edit", "source.wav", "--text", "One.", "--new-text", "Two.", "--steps", "0", "-o", "b.wav"],
            "--steps is 0",
        ),
        (["convert-voice", "source.wav", "--voice", "nobody", "-o", "b.wav"], "emma, george"),
        (["convert-voice", "source.wav", "--voice", "0.5 * emma + 0.5 * nobody", "-o", "b.wav"], "emma, george"),
        (["convert-voice", "source.wav", "--voice", "0 * emma", "-o", "b.wav"], "the weight of a voice is 0.0"),
        (["convert-voice", "source.wav", "--voice", "no.safetensors", "-o", "b.wav"], "no voice file"),
        (
            ["convert-voice", "source.wav", "--voice", "emma", "--text", "a", "--strength", "0", "-o", "b.wav"],
            "--strength is 0.0",
        ),
        (
            ["convert-voice", "source.wav", "--voice", "emma", "--strength", "0.5", "-o", "b.wav"],
            "strength is for method 'resynthesis'",
        ),
        (
            ["convert-voice", "source.wav", "--voice", "emma", "--method", "ode", "-o", "b.wav"],
            "needs the text of the recording",
        ),
        (["convert-voice", "source.wav", "--voice", "emma", "--text", " ", "-o", "b.wav"], "--text is empty"),
        (["convert-voice", "source.wav", "--voice", "emma", "--matching", "2", "-o", "b.wav"], "--matching is 2.0"),
        (["enhance", "source.wav", "--loudness", "9", "-o", "b.wav"], "--loudness is 9.0; wanted LUFS from -60 to -5"),
        (["enhance", "source.wav", "--voice", "nobody", "-o", "b.wav"], "emma, george"),
        (["enhance", "source.wav", "--lexicon", "no.tsv", "-o", "b.wav"], "no lexicon file 'no.tsv'"),
        (["enhance", "a.wav", "-o", "b.wav", "--runtime", "onnx"], "with torch alone"),
    ],
)
def test_errors_come_before_the_model_is_loaded(run, args, message, source, monkeypatch):
    monkeypatch.setattr("ns2_diffusers.cli.load_pipeline", None)
    status, printed = run(*args)
    assert status == 2 and message in printed.err and printed.err.count("\n") == 1
    assert not Path("b.wav").exists()


def test_an_output_that_is_read(run, source):
    status, printed = run("convert-voice", source, "--voice", "emma", "-o", source)
    assert status == 2 and "is a file that is read" in printed.err


def test_a_text_for_what_is_too_long(run, tiny_pipeline_dir, tiny_pipeline, source):
    tiny_pipeline.register_to_config(max_utterance_seconds=1.0)
    tiny_pipeline.save_pretrained(tiny_pipeline_dir)
    status, printed = run("convert-voice", source, "--voice", "emma", "--text", "One two.", "-o", "out.wav", *STEPS)
    assert status == 2 and ("give --transcribe" in printed.err or "is this what is said" in printed.err)
    assert not Path("out.wav").exists()
