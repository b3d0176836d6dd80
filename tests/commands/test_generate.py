"""Options of `generate` beyond one short file: captions, casts, pipes, lists and books."""

import io
import json
import shutil
import socket
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ns2_diffusers import NaturalSpeech2Pipeline
from ns2_diffusers.commands.books import UnfinishedSpeech
from ns2_diffusers.commands.lists import Item, read_chapters, read_lines

from .. import memory

TEXT = "The line is busy. Please hold."
BOOK = " ".join(f"This is sentence number {number} of the book." for number in range(20))


def expected(pipe, text=TEXT, **options):
    return pipe(text, generator=torch.Generator().manual_seed(3), **{"num_inference_steps": 2} | options)


def spoken(path):
    return soundfile.read(path, dtype="float32")[0]


def same(path, audio):
    audio = audio / max(1, np.abs(audio).max())
    np.testing.assert_allclose(spoken(path), audio, atol=2 / 2**15)


# Options for one file


def test_captions_are_written_beside_the_audio(run, tiny_pipeline):
    assert run("generate", TEXT, "-o", "out.flac", "--srt", "--vtt", "--json")[0] == 0
    words = expected(tiny_pipeline).words[0]
    times = json.loads(Path("out.json").read_text())
    assert [word["word"] for word in times["words"]] == TEXT.split()
    np.testing.assert_allclose([word["start"] for word in times["words"]], [word.start for word in words], atol=1e-4)
    assert times["duration"] == pytest.approx(len(spoken("out.flac")) / 16000, abs=1e-4)
    assert Path("out.srt").read_text().count("-->") == Path("out.vtt").read_text().count("-->") == 2


def test_a_cast(run, tiny_pipeline, clips):
    script = "Anna: The line is busy.\nBob: Please hold."
    cast = ["--cast", f"Anna={clips[0]}", "--cast", "Bob=george"]
    assert run("generate", script, *cast, "--gap", "1", "-o", "out.wav")[0] == 0
    same(
        "out.wav", expected(tiny_pipeline, script, voice={"Anna": clips[0], "Bob": "george"}, turn_pause=1.0).audios[0]
    )


def test_a_lexicon(run, tiny_pipeline):
    Path("names.tsv").write_text("# names\nKubernetes\t/kˌubəɹnˈɛtɪs/\nBartosz\tbar tosh\n", encoding="utf-8")
    assert run("generate", "Ask Kubernetes and Bartosz.", "--lexicon", "names.tsv", "-o", "out.wav")[0] == 0
    respelled = tiny_pipeline.tokenizer.phonemize("bar tosh")
    marked = f"Ask [Kubernetes](/kˌubəɹnˈɛtɪs/) and [Bartosz](/{respelled}/)."
    same("out.wav", expected(tiny_pipeline, marked).audios[0])


@pytest.mark.parametrize(
    "content, message",
    [
        ("word", "line 1 of"),
        ("a\t/b/\n\tc", "line 2 of"),
        ("a\t//", "line 1 of"),
        ("two words\t/tu/", "has 2 words"),
        ("a\t/日/", "line 1 of 'names.tsv': '日'"),
        ("a\t日", "line 1 of 'names.tsv': '日'"),
    ],
)
def test_a_lexicon_that_is_wrong(run, content, message):
    Path("names.tsv").write_text(content, encoding="utf-8")
    status, printed = run("generate", TEXT, "--lexicon", "names.tsv", "-o", "out.wav")
    assert status == 2 and message in printed.err and not Path("out.wav").exists()


def test_what_cannot_be_read_is_dropped_by_choice(run, tiny_pipeline):
    text = "The line is busy. 日本語日本語。 Please hold."
    assert run("generate", text, "-o", "out.wav")[0] == 2
    status, printed = run("generate", text, "-o", "out.wav", "--unknown", "drop")
    assert status == 0 and "note: Dropped '日'" in printed.err
    words = expected(tiny_pipeline, "The line is busy. Please hold.").audios[0]
    assert len(spoken("out.wav")) >= len(words)


def test_emoji_are_read_by_choice(run, tiny_pipeline):
    status, printed = run("generate", "Hello there 👍", "-o", "out.wav")
    assert status == 0 and "note: Skipped '👍' (THUMBS UP SIGN)" in printed.err
    assert "--emoji name reads them." in printed.err and 'emoji="name"' not in printed.err
    same("out.wav", expected(tiny_pipeline, "Hello there").audios[0])
    assert run("generate", "Hello there 👍", "-o", "out.wav", "--emoji", "name")[0] == 0
    same("out.wav", expected(tiny_pipeline, "Hello there thumbs up").audios[0])
    status, printed = run("generate", "Hello there 👍", "-o", "no.wav", "--emoji", "error")
    assert status == 2 and "drop such characters with --unknown drop." in printed.err


def test_a_pause_that_is_not_read_is_noted(run):
    status, printed = run("generate", "Hold on. [pause half] Now go.", "-o", "out.wav")
    assert (
        status == 0
        and printed.err.count("note: [pause half]: not a pause, so it is read as text; write [pause 0.5s]") == 1
    )


def test_a_cast_and_a_script_that_do_not_fit_are_noted_by_name(run, tiny_pipeline):
    script = "Anna: The line is busy.\nCleo: Please hold.\nBob: I will."
    cast = ["--cast", "Anna=emma", "--cast", "Dora=bella", "--cast", "Bob=0.7 * emma + 0.3 * george"]
    status, printed = run("generate", script, *cast, "-o", "out.wav")
    assert status == 0
    assert "note: Dora of --cast: no line of the text begins with the name.\n" in printed.err
    assert (
        printed.err.count("note: Cleo: not a speaker, so the name is read aloud; the speakers are Anna, Bob.\n") == 1
    )
    voices = {"Anna": "emma", "Bob": "0.7 * emma + 0.3 * george"}
    same("out.wav", expected(tiny_pipeline, script, voice=voices).audios[0])


@pytest.mark.parametrize(
    "args, message",
    [
        (["Hello.", "--voice", "nobody"], "emma, george"),
        (["Hello.", "--prompt", "no.wav"], "no audio file 'no.wav'"),
        (["Anna: Hello.", "--cast", "Anna=nobody"], "emma, george"),
        (["Anna: Hello.", "--cast", "Bob=emma"], "Bob has no line in the script"),
        (["Hello.", "--pitch-range", "5"], "--pitch-range is 5.0; wanted numbers between 0 (monotone) and 4"),
        (["Hello.", "--energy", "nan"], "--energy is nan"),
        (["Hello.", "--guidance", "-1"], "--guidance is -1.0"),
        (["Hello.", "--matching", "2"], "--matching is 2.0"),
        (["Hello.", "--lexicon", "no.tsv"], "no lexicon file 'no.tsv'"),
        ([" "], "text 0 is empty"),
        (["One. [pause 99s] Two."], "longer than 10 s"),
        (["<speak><audio/></speak>"], "<audio>"),
        (["Hello.", "--lora", "./no"], "./no"),
    ],
)
@pytest.mark.parametrize("output", ["out.wav", "-"])
def test_errors_come_before_the_model_is_loaded(run, monkeypatch, args, message, output):
    monkeypatch.setattr(NaturalSpeech2Pipeline, "from_pretrained", None)
    status, printed = run("generate", *args, "-o", output)
    assert status == 2 and message in printed.err and printed.err.count("\n") == 1
    assert not list(Path().iterdir())


@pytest.mark.parametrize("suffix", [".opus", ".m4a"])
def test_other_formats(run, tiny_pipeline, suffix):
    if suffix == ".m4a" and not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    assert run("generate", TEXT, "-o", f"out{suffix}")[0] == 0
    audio = expected(tiny_pipeline).audios[0]
    if suffix == ".opus":
        assert abs(len(spoken("out.opus")) - len(audio)) < 1600
    else:
        command = ["ffmpeg", "-v", "error", "-i", "out.m4a", "-f", "f32le", "-"]
        decoded = subprocess.run(command, capture_output=True, check=True).stdout
        assert abs(len(decoded) // 4 - len(audio)) < 3200


def test_m4a_without_ffmpeg(run, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    status, printed = run("generate", TEXT, "-o", "out.m4a")
    assert status == 2 and "ffmpeg" in printed.err and ".opus" in printed.err


@pytest.mark.parametrize(
    "args, message",
    [
        (["--format", "pcm", "-o", "a.wav"], "--format is for"),
        (["-o", "-", "--format", "m4a"], "cannot be written to a pipe"),
        (["-o", "-", "--srt"], "--srt is written beside"),
        (["--cast", "Anna=emma", "--voice", "emma", "-o", "a.wav"], "leave --voice"),
        (["--cast", "Anna", "-o", "a.wav"], "NAME=VOICE"),
        (["--cast", "Anna=emma", "-o", "a.wav"], "Anna has no line"),
        (["--chapters", "-o", "a.wav"], "--output-dir"),
        (["--output-dir", "d"], "needs --file"),
        (["--output-dir", "d", "--file", "x", "-o", "a.wav"], "leave --output out"),
        (["--gap", "-1", "--cast", "The=emma", "-o", "a.wav"], "--gap is -1.0; wanted seconds, 0 to 10"),
    ],
)
def test_options_that_do_not_go_together(run, args, message):
    status, printed = run("generate", "The: line is busy.", *args) if "d" not in args else run("generate", *args)
    assert status == 2 and message in printed.err and not list(Path().iterdir())


# Pipes and loudspeakers


@pytest.mark.parametrize("kind", ["wav", "pcm"])
def test_to_a_pipe(run, tiny_pipeline, monkeypatch, kind):
    pipe = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr("sys.stdout", pipe)
    status, printed = run("generate", TEXT, "-o", "-", "--format", kind)
    assert status == 0 and "real-time factor" in printed.err
    samples = np.frombuffer(pipe.buffer.getvalue()[44 if kind == "wav" else 0 :], "<i2") / 32767
    np.testing.assert_allclose(samples, expected(tiny_pipeline).audios[0].clip(-1, 1), atol=2 / 2**15)


def test_a_listener_that_goes_is_no_error(run, tiny_pipeline_dir):
    command = [sys.executable, "-m", "ns2_diffusers", "generate", BOOK, "-o", "-", "--steps", "1"]
    process = subprocess.Popen(
        [*command, "--model", str(tiny_pipeline_dir)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.read(100)[:4] == b"RIFF"
    process.stdout.close()
    assert process.wait(60) == 0 and process.stderr.read() == b""


def test_playing(run, tiny_pipeline, monkeypatch):
    played = []

    class Output:
        def __init__(self, samplerate, channels, dtype):
            assert (samplerate, channels, dtype) == (16000, 1, "float32")

        def __enter__(self):
            return self

        def __exit__(self, *error):
            played.append(None)

        def write(self, samples):
            played.append(samples[:, 0])

    fake = types.SimpleNamespace(OutputStream=Output, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    assert run("generate", TEXT, "--play")[0] == 0
    audio = expected(tiny_pipeline).audios[0]
    np.testing.assert_allclose(np.concatenate(played[:-1]), audio.clip(-1, 1), atol=1e-5)
    assert played[-1] is None and not list(Path().iterdir())
    assert run("generate", TEXT, "--play", "-o", "out.wav", "--json")[0] == 0
    same("out.wav", audio)
    assert len(json.loads(Path("out.json").read_text())["words"]) == 6


def test_playing_without_the_library(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    status, printed = run("generate", TEXT, "--play")
    assert status == 2 and "ns2-diffusers[play]" in printed.err


# Many texts


def test_lines_and_rows():
    assert read_lines(Path("a.txt"), "One.\n\n Two. \n") == [Item("0001", "One."), Item("0003", "Two.")]
    table = 'id,text,voice\na,"One, two.",emma\n,Three.,\nc,,\n'
    assert read_lines(Path("a.csv"), table) == [Item("a", "One, two.", "emma"), Item("0002", "Three.")]
    for bad, message in (
        ("id,words\na,b\n", "wanted text"),
        ("id,text\n../a,b\n", "not a valid file name"),
        ("id,text\na,b\nA,c\n", "there already"),
        ('id,text\na,"b\n', "is not CSV"),
        ("text\n", "has no texts"),
    ):
        with pytest.raises(ValueError, match=message):
            read_lines(Path("a.csv"), bad)


def test_a_list_is_not_made_again(run, tiny_pipeline):
    Path("list.csv").write_text("id,text,voice\nfirst,The line is busy.,\nsecond,Please hold.,george\n")
    assert run("generate", "--file", "list.csv", "--output-dir", "out", "--format", "flac", "--json")[0] == 0
    same("out/first.flac", expected(tiny_pipeline, "The line is busy.").audios[0])
    same("out/second.flac", expected(tiny_pipeline, "Please hold.", voice="george").audios[0])
    assert json.loads(Path("out/second.json").read_text())["words"][1]["word"] == "hold."
    Path("out/first.flac").write_bytes(b"mine")
    Path("out/second.flac").unlink()
    status, printed = run("generate", "--file", "list.csv", "--output-dir", "out", "--format", "flac")
    assert status == 0 and "1 of 2 are there already" in printed.out
    assert Path("out/first.flac").read_bytes() == b"mine" and len(spoken("out/second.flac")) > 1000


def test_one_bad_line_does_not_hold_up_the_others(run, tiny_pipeline):
    Path("list.txt").write_text("The line is busy.\n日本\nPlease hold.\n", encoding="utf-8")
    status, printed = run("generate", "--file", "list.txt", "--output-dir", "out")
    assert status == 2 and "1 of 3 texts could not be spoken: 0002" in printed.err and "'日'" in printed.err
    assert sorted(path.name for path in Path("out").iterdir()) == ["0001.wav", "0003.wav"]
    same("out/0003.wav", expected(tiny_pipeline, "Please hold.").audios[0])


def test_a_voice_that_cannot_be_loaded_does_not_hold_up_the_others(run, tiny_pipeline):
    Path("list.csv").write_text("id,text,voice\na,One.,nobody\nb,The line is busy.,\nc,Two.,absent.wav\n")
    status, printed = run("generate", "--file", "list.csv", "--output-dir", "out")
    assert status == 2 and "2 of 3 texts could not be spoken: a, c" in printed.err
    assert "note: a was left out:" in printed.err and "'nobody'" in printed.err and "absent.wav" in printed.err
    assert [path.name for path in Path("out").iterdir()] == ["b.wav"]
    same("out/b.wav", expected(tiny_pipeline, "The line is busy.").audios[0])


# Books


def test_chapters():
    book = "Preface here.\n\n# The First: Day\nText.\n\nChapter II\nMore.\n## A/B\nEnd."
    assert [(item.id, item.text.split("\n")[0]) for item in read_chapters(book)] == [
        ("01", "Preface here."),
        ("02-the-first-day", "# The First: Day"),
        ("03-chapter-ii", "Chapter II"),
        ("04-a-b", "## A/B"),
    ]


def test_a_book_is_the_whole_text(run, tiny_pipeline):
    assert run("generate", BOOK, "-o", "book.wav", "--srt")[0] == 0
    output = expected(tiny_pipeline, BOOK, max_batch_size=1)
    same("book.wav", output.audios[0])
    assert sorted(path.name for path in Path().iterdir()) == ["book.srt", "book.wav"]
    last = Path("book.srt").read_text().strip().split("\n\n")[-1]
    assert last.endswith("of the book.") and last.split("\n")[1].endswith(_clock(output.words[0][-1].end))


def _clock(seconds):
    return f"00:{int(seconds // 60):02}:{seconds % 60:06.3f}".replace(".", ",")


@pytest.mark.parametrize("torn", [False, True])
def test_a_killed_book_goes_on_where_it_was(run, tiny_pipeline, monkeypatch, torn):
    whole = expected(tiny_pipeline, BOOK, max_batch_size=1)
    speak, made = NaturalSpeech2Pipeline.speak, []

    def killed_at_nine(pipe, utterances, *rest):
        if len(made) == 9:
            raise KeyboardInterrupt
        made.extend(utterances)
        return speak(pipe, utterances, *rest)

    monkeypatch.setattr(NaturalSpeech2Pipeline, "speak", killed_at_nine)
    assert run("generate", BOOK, "-o", "book.wav", "--json")[0] == 130
    assert sorted(path.name for path in Path().iterdir()) == ["book.unfinished.jsonl", "book.unfinished.wav"]
    heard = spoken("book.unfinished.wav")  # a player can read it
    np.testing.assert_allclose(heard, whole.audios[0][: len(heard)], atol=1e-4)
    if torn:  # as if it was killed during a write
        with open("book.unfinished.wav", "ab") as audio, open("book.unfinished.jsonl", "ab") as log:
            audio.write(b"\1" * 4001)
            log.write(b'{"samples": 12')
    made.clear()
    monkeypatch.setattr(NaturalSpeech2Pipeline, "speak", lambda p, u, *r: made.extend(u) or speak(p, u, *r))
    status, printed = run("generate", BOOK, "-o", "book.wav", "--json")
    assert status == 0 and "9 of 20 sentences are there already" in printed.err
    assert len(made) == 11
    same("book.wav", whole.audios[0])
    words = json.loads(Path("book.json").read_text())["words"]
    np.testing.assert_allclose([w["end"] for w in words], [w.end for w in whole.words[0]], atol=1e-3)
    assert sorted(path.name for path in Path().iterdir()) == ["book.json", "book.wav"]


def test_an_unfinished_book_of_another_text_is_begun_anew(tmp_path):
    path = tmp_path / "book.wav"
    first = UnfinishedSpeech(path, {"text": "a"}, 16000)
    first.open(seed=5)
    first.add(np.zeros(160, np.float32), [])
    first.close()
    same_again = UnfinishedSpeech(path, {"text": "a"}, 16000)
    assert same_again.find() and (same_again.seed, same_again.sentences, same_again.samples) == (5, 1, 160)
    other = UnfinishedSpeech(path, {"text": "b"}, 16000)
    assert not other.find() and other.sentences == 0
    other.open(seed=6)
    other.close()
    assert not UnfinishedSpeech(path, {"text": "a"}, 16000).find()
    other.log_path.write_bytes(b"garbage")
    assert not UnfinishedSpeech(path, {"text": "b"}, 16000).find()


@pytest.mark.parametrize("change", [["--speed", "1.5"], ["--no-limiter"], ["--voice", "george"], ["--seed", "4"]])
def test_a_killed_book_that_is_asked_otherwise_is_begun_anew(run, monkeypatch, change):
    speak, made = NaturalSpeech2Pipeline.speak, []

    def killed_at_two(pipe, utterances, *rest):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.extend(utterances)
        return speak(pipe, utterances, *rest)

    monkeypatch.setattr(NaturalSpeech2Pipeline, "speak", killed_at_two)
    assert run("generate", BOOK, "-o", "book.wav")[0] == 130
    made.clear()
    status, printed = run("generate", BOOK, "-o", "book.wav", *change)
    assert status == 130 and len(made) == 2 and "are there already" not in printed.err


def test_a_book_in_chapters(run, tiny_pipeline):
    chapters = [f"# Day {number}\n\n{BOOK}" for number in (1, 2)]
    Path("book.md").write_text("\n\n".join(chapters))
    assert run("generate", "--file", "book.md", "--output-dir", "out", "--chapters", "--steps", "1")[0] == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["01-day-1.wav", "02-day-2.wav"]
    wanted = expected(tiny_pipeline, chapters[0], num_inference_steps=1, max_batch_size=1)
    same("out/01-day-1.wav", wanted.audios[0])


MEASURE = """
import sys
from ns2_diffusers.cli import main
status = main(["generate", "--file", sys.argv[1], "-o", "-", "--steps", "1", "-q", "--model", sys.argv[2]])
print(status, peak_megabytes(), file=sys.stderr)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(tiny_pipeline_dir, tmp_path):
    """A text of 200 kB through a pipe takes the memory of 5 kB and some bytes for each symbol."""
    peaks = []
    for kilobytes in (5, 200):
        text = tmp_path / "text.txt"
        text.write_text((BOOK + "\n") * (kilobytes * 1000 // len(BOOK)))
        command = [sys.executable, "-c", memory.DEFINITIONS + MEASURE, text, tiny_pipeline_dir]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        heard = 0
        while data := process.stdout.read(1 << 20):
            heard += len(data)
        status, peak = process.stderr.read().split()[-2:]
        assert status == b"0" and heard > kilobytes * 100
        peaks.append(float(peak))
    assert peaks[1] < 1.1 * peaks[0]


# Other commands


def test_phonemes(run):
    status, printed = run("phonemes", "I paid $5. [pause 1s] Ask Xyqwert.")
    assert status == 0
    assert printed.out.split("\n\n")[0].splitlines() == [
        "# I paid $5.",
        "/ˌI pˈAd fˈIv dˈɑləɹz./",
        "I\tˌI\tlexicon",
        "paid\tpˈAd\tlexicon",
        "five\tfˈIv\tlexicon\tmoney",
        "dollars\tdˈɑləɹz\tlexicon\tmoney",
    ]
    status, printed = run("phonemes", "Ask Xyqwert. Xyqwert knows.", "--guesses")
    word, phonemes = printed.out.strip().split("\t")
    assert word == "Xyqwert" and phonemes.startswith("/z")
    # The output is a lexicon.
    Path("names.tsv").write_text(printed.out, encoding="utf-8")
    status, printed = run("phonemes", "Ask Xyqwert.", "--guesses", "--lexicon", "names.tsv")
    assert (status, printed.out) == (0, "")


def test_phonemes_of_what_cannot_be_read(run):
    status, printed = run("phonemes", "Ask 日本.")
    assert status == 2 and "'日'" in printed.err


def test_completion(run):
    pytest.importorskip("shtab")
    for shell in ("bash", "zsh"):
        status, printed = run("completion", shell)
        assert status == 0 and "--output-dir" in printed.out
    if shutil.which("bash"):
        printed = run("completion", "bash")[1].out
        assert subprocess.run(["bash", "-n"], input=printed, text=True).returncode == 0


def test_serve_is_for_this_machine_unless_there_is_a_key(run, monkeypatch):
    pytest.importorskip("fastapi")
    monkeypatch.delenv("NS2_DIFFUSERS_API_KEY", raising=False)
    for host in ("0.0.0.0", "::", "example.org", "192.168.0.1"):
        status, printed = run("serve", "--host", host)
        assert status == 2 and "NS2_DIFFUSERS_API_KEY" in printed.err
    status, printed = run("serve", "--voices", "nowhere")
    assert status == 2 and "no folder 'nowhere'" in printed.err
    status, printed = run("serve", "--max-requests", "0")
    assert status == 2 and "--max-requests is 0" in printed.err


def test_serve_checks_its_address_before_the_model_is_loaded(run, monkeypatch):
    monkeypatch.setattr("ns2_diffusers.cli.load_pipeline", None)
    status, printed = run("serve", "--port", "70000")
    assert status == 2 and "--port is 70000; wanted a number from 1 to 65535" in printed.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, printed = run("serve", "--port", str(port))
    assert status == 2 and f"cannot listen on '127.0.0.1', port {port} (" in printed.err


def test_serve_starts(run, monkeypatch):
    uvicorn = pytest.importorskip("uvicorn")
    started = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: started.append((app, options)))
    monkeypatch.setenv("NS2_DIFFUSERS_API_KEY", "secret")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert run("serve", "--host", "0.0.0.0", "--port", str(port), "--max-requests", "5")[0] == 0
    ((app, options),) = started
    settings = app.state.server.settings
    app.state.server.engine.stop()
    assert (options["host"], options["port"]) == ("0.0.0.0", port)
    assert (settings.api_key, settings.is_local, settings.max_requests) == ("secret", False, 5)


def test_devices(run, monkeypatch):
    from ns2_diffusers.cli import best_device

    assert run("generate", TEXT, "--device", "cpu", "-o", "out.wav")[0] == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert best_device() == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert best_device() == "cuda"
