"""The command line with real speech and a saved pipeline."""

import argparse
import copy
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import diffusers
import numpy as np
import pytest
import soundfile
import torch

from ns2_diffusers import NaturalSpeech2Pipeline, Voice, named_voices
from ns2_diffusers.cli import MODEL_VARIABLE, SCHEDULERS, TRACEBACK_VARIABLE, main, make_parser
from ns2_diffusers.commands.generate import write_audio
from ns2_diffusers.pipelines import bundled

TEXT = "Hello there."


# argparse quotes choices in errors up to Python 3.12.7.
QUOTE = str if sys.version_info >= (3, 12, 8) else repr
# A step of 16-bit samples, and the rounding of floating point.
STEP = 1.01 / 2**15


@pytest.fixture(autouse=True)
def restore_diffusers_settings():
    verbosity = diffusers.utils.logging.get_verbosity()
    yield
    diffusers.utils.logging.set_verbosity(verbosity)
    diffusers.utils.logging.enable_progress_bar()


@pytest.fixture
def run(tiny_pipeline_dir, clips, tmp_path, monkeypatch, capsys):
    """Run a command with a configured model; `generate` speaks with a real prompt, in two steps."""
    monkeypatch.setenv(MODEL_VARIABLE, str(tiny_pipeline_dir))
    monkeypatch.chdir(tmp_path)

    def run(command, *args):
        defaults = {"generate": ["--steps", "2", "--seed", "3"], "voice": []}
        if command == "generate" and "--voice" not in args and "--prompt" not in args:
            args += ("--prompt", str(clips[0]))
        if "-o" not in args:
            args += ("-o", "out.wav" if command == "generate" else "out.safetensors")
        status = main([command, *defaults[command], *args])
        return status, capsys.readouterr()

    return run


def spoken(path="out.wav"):
    return soundfile.read(path, dtype="float32")[0]


def expected(tiny_pipeline, clips, text=TEXT, **options):
    options = {"num_inference_steps": 2, **options}
    generator = torch.Generator().manual_seed(3)
    return tiny_pipeline(text, clips[0], generator=generator, **options).audios[0]


def test_writes_what_the_pipeline_says(run, tiny_pipeline, clips):
    status, printed = run("generate", TEXT)
    assert status == 0
    wanted = expected(tiny_pipeline, clips)
    np.testing.assert_allclose(spoken(), wanted, atol=STEP)
    assert soundfile.info("out.wav").samplerate == 16000
    assert f"{len(wanted) / 16000:.2f} s of audio" in printed.out
    assert "real-time factor" in printed.out and "s with loading: out.wav" in printed.out
    assert not list(Path().glob(".*"))


def test_options_reach_the_pipeline(run, tiny_pipeline, clips):
    options = [
        "--steps",
        "3",
        "--speed",
        "0.5",
        "--pitch-shift",
        "-2",
        "--guidance",
        "2",
        "--temperature",
        "1",
    ]
    assert run("generate", TEXT, *options)[0] == 0
    wanted = expected(
        tiny_pipeline,
        clips,
        num_inference_steps=3,
        speaking_rate=0.5,
        pitch_shift=-2.0,
        guidance_scale=2.0,
        temperature=1.0,
    )
    np.testing.assert_allclose(spoken(), wanted, atol=STEP)


def save_student(pipe, folder, value=0.1):
    weight = pipe.denoiser.proj_out.weight
    layers = {
        "proj_out.lora_A.weight": torch.ones(1, *weight.shape[1:]),
        "proj_out.lora_B.weight": torch.full((len(weight), 1), value),
    }
    pipe.save_lora_weights(folder, denoiser_lora_layers=layers, student_steps=[2])


def test_lora_weights_by_name_and_by_path(run, tiny_pipeline, tiny_pipeline_dir, clips):
    pytest.importorskip("peft", reason="peft is not installed")
    folder = tiny_pipeline_dir / "few_steps"
    save_student(tiny_pipeline, folder)
    tiny_pipeline.load_lora_weights(folder)
    wanted = expected(tiny_pipeline, clips)
    for lora in ("few_steps", str(folder)):
        assert run("generate", TEXT, "--lora", lora)[0] == 0
        np.testing.assert_allclose(spoken(), wanted, atol=STEP)
    status, printed = run("generate", TEXT, "--lora", "few_steps", "--steps", "3")
    assert status == 2 and "distilled for [2]" in printed.err
    status, printed = run("generate", TEXT, "--lora", "nowhere")
    assert status == 2 and "no file or directory 'nowhere'" in printed.err


def test_lora_weights_of_the_user_go_first(run, tiny_pipeline, tiny_pipeline_dir, clips, tmp_path, monkeypatch):
    pytest.importorskip("peft", reason="peft is not installed")
    save_student(tiny_pipeline, tiny_pipeline_dir / "few_steps", 0.1)
    home = tmp_path / "home" / "deep"
    save_student(tiny_pipeline, home / "few_steps", 0.3)
    tiny_pipeline.load_lora_weights(home / "few_steps")
    wanted = expected(tiny_pipeline, clips)
    monkeypatch.chdir(home)
    assert run("generate", TEXT, "--lora", "few_steps")[0] == 0
    np.testing.assert_allclose(spoken(), wanted, atol=STEP)
    # A path outside the model's directory is not found through it.
    status, printed = run("generate", TEXT, "--lora", "../pipeline/few_steps")
    assert status == 2 and "no file or directory '../pipeline/few_steps'" in printed.err


@pytest.fixture
def on_the_hub(tiny_pipeline, tiny_pipeline_dir, tmp_path, monkeypatch):
    """A cache of the hub with two commits of me/voice: `NEWEST` is the tiny pipeline, `OLDER` has another denoiser."""
    cache = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(cache))
    snapshots = cache / "models--me--voice" / "snapshots"
    shutil.copytree(tiny_pipeline_dir, snapshots / NEWEST)
    older = copy.deepcopy(tiny_pipeline)
    with torch.no_grad():
        older.denoiser.proj_out.weight.neg_()
    older.save_pretrained(snapshots / OLDER)
    path = snapshots / OLDER / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lexicon": {"yes": "nˈoʊ"}}))
    (cache / "models--me--voice" / "refs").mkdir()
    (cache / "models--me--voice" / "refs" / "main").write_text(NEWEST)
    return older


NEWEST, OLDER = "1" * 40, "0" * 40


def test_a_revision_of_a_model_on_the_hub(run, tiny_pipeline, on_the_hub, clips, caplog):
    hub = ("generate", TEXT, "--model", "me/voice")
    assert run(*hub)[0] == 0
    np.testing.assert_allclose(spoken(), expected(tiny_pipeline, clips), atol=STEP)
    assert f"me/voice is at commit {NEWEST} now" in caplog.text
    caplog.clear()
    for revision in (OLDER, NEWEST):
        assert run(*hub, "--revision", revision)[0] == 0 and not caplog.records
        pipe = on_the_hub if revision == OLDER else tiny_pipeline
        np.testing.assert_allclose(spoken(), expected(pipe, clips), atol=STEP)
    assert np.abs(expected(on_the_hub, clips) - expected(tiny_pipeline, clips)).max() > 0.01
    status, printed = run(*hub, "--revision", "2" * 40)
    assert status == 2 and "me/voice" in printed.err


def test_phonemes_of_a_revision(on_the_hub, capsys):
    for revision, phonemes in ((OLDER, "nˈoʊ"), (NEWEST, "jˈɛs")):
        assert main(["phonemes", "Yes.", "--model", "me/voice", "--revision", revision]) == 0
        assert phonemes in capsys.readouterr().out


def test_a_revision_of_lora_weights_on_the_hub(run, tiny_pipeline, on_the_hub, clips, tmp_path, caplog):
    pytest.importorskip("peft", reason="peft is not installed")
    adapters = tmp_path / "cache" / "models--me--few"
    for revision, value in ((NEWEST, 0.1), (OLDER, 0.3)):
        save_student(tiny_pipeline, adapters / "snapshots" / revision, value)
    (adapters / "refs").mkdir()
    (adapters / "refs" / "main").write_text(NEWEST)
    made = {}
    for options in ((), (NEWEST,), (OLDER,)):
        caplog.clear()
        revision = ("--lora-revision", *options) if options else ()
        assert run("generate", TEXT, "--lora", "me/few", *revision)[0] == 0
        assert bool(options) != (f"me/few is at commit {NEWEST} now" in caplog.text)
        made[options] = spoken()
    for revision in (NEWEST, OLDER):
        pipe = copy.deepcopy(tiny_pipeline)
        pipe.load_lora_weights(adapters / "snapshots" / revision)
        np.testing.assert_allclose(made[(revision,)], expected(pipe, clips), atol=STEP)
    np.testing.assert_array_equal(made[()], made[(NEWEST,)])
    assert np.abs(made[(NEWEST,)] - made[(OLDER,)]).max() > 0.001


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lora-revision", "0" * 40], "there is no --lora"),
        (["--lora", ".", "--lora-revision", "0" * 40], "'.' is here and not on the hub"),
        (["--lora", "./nowhere"], "no file or directory './nowhere'"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "serve", "export"])
def test_lora_weights_are_looked_for_before_the_model_is_loaded(
    run, capsys, tmp_path, monkeypatch, command, options, message
):
    monkeypatch.setattr(NaturalSpeech2Pipeline, "from_pretrained", None)
    words = {"generate": [TEXT], "export": ["onnx", "-o", str(tmp_path / "graphs")]}
    assert main([command, *words.get(command, []), *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["generate", "phonemes", "voices", "serve", "export"])
@pytest.mark.parametrize("model", [True, False])
def test_a_local_model_has_no_revisions(run, tiny_pipeline_dir, capsys, tmp_path, command, model):
    options = ["--revision", NEWEST, *(["--model", str(tiny_pipeline_dir)] if model else [])]
    words = {"generate": [TEXT], "phonemes": [TEXT], "voices": ["--samples", str(tmp_path)], "export": ["onnx"]}
    if command == "export":
        options += ["-o", str(tmp_path / "graphs")]
    assert main([command, *words.get(command, []), *options]) == 2
    assert f"revision is '{NEWEST}', and '{tiny_pipeline_dir}' is here" in capsys.readouterr().err


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers(run, tiny_pipeline, clips, name):
    assert run("generate", TEXT, "--scheduler", name)[0] == 0
    home = diffusers if hasattr(diffusers, SCHEDULERS[name]) else sys.modules["ns2_diffusers"]
    tiny_pipeline.scheduler = getattr(home, SCHEDULERS[name]).from_config(tiny_pipeline.scheduler.config)
    np.testing.assert_allclose(spoken(), expected(tiny_pipeline, clips), atol=STEP)


def test_without_a_seed_it_sounds_different_each_time(run, clips):
    for name in ("one.wav", "two.wav"):
        assert main(["generate", TEXT, "--prompt", str(clips[0]), "--steps", "2", "-o", name]) == 0
    one, two = spoken("one.wav"), spoken("two.wav")
    assert not np.allclose(one, two, atol=1e-3)


@pytest.mark.parametrize("text", [(), ("-",)], ids=["piped", "dash"])
def test_reads_standard_input(run, tiny_pipeline, clips, monkeypatch, text):
    monkeypatch.setattr("sys.stdin", io.StringIO(TEXT))
    assert run("generate", *text)[0] == 0
    np.testing.assert_allclose(spoken(), expected(tiny_pipeline, clips), atol=STEP)


def test_reads_a_file_of_several_sentences(run, tiny_pipeline, clips):
    text = "The café is open. Please come in and sit down!"
    Path("text.txt").write_text(text, encoding="utf-8")
    assert run("generate", "--file", "text.txt")[0] == 0
    np.testing.assert_allclose(spoken(), expected(tiny_pipeline, clips, text), atol=STEP)


def test_phonemes(run, tiny_pipeline, clips):
    phonemes = tiny_pipeline.tokenizer.phonemize(TEXT)
    assert run("generate", "--phonemes", phonemes)[0] == 0
    np.testing.assert_allclose(spoken(), expected(tiny_pipeline, clips), atol=STEP)


def test_a_voice_speaks_like_its_recording(run, tiny_pipeline, clips):
    status, printed = run("voice", str(clips[0]), "-o", "v.safetensors")
    assert status == 0
    latents = Voice.load("v.safetensors").latents
    assert torch.equal(latents, tiny_pipeline.encode_voice(clips[0]).latents)
    assert f"{latents.shape[1] / 50:.2f} s of voice" in printed.out
    assert run("generate", TEXT, "--voice", "v.safetensors")[0] == 0
    np.testing.assert_allclose(spoken(), expected(tiny_pipeline, clips), atol=STEP)


@pytest.mark.parametrize("suffix, kind", [("flac", "FLAC"), ("ogg", "OGG"), ("mp3", "MP3"), ("WAV", "WAV")])
def test_formats(run, tiny_pipeline, clips, suffix, kind):
    assert run("generate", TEXT, "-o", f"out.{suffix}")[0] == 0
    info = soundfile.info(f"out.{suffix}")
    assert info.format == kind or (kind == "MP3" and info.format == "MPEG")
    wanted = expected(tiny_pipeline, clips)
    # Lossy formats keep loud sound; MP3 pads to whole blocks.
    got = spoken(f"out.{suffix}")[: len(wanted)]
    assert np.corrcoef(got, wanted[: len(got)])[0, 1] > 0.7


@pytest.mark.parametrize("dtype", ["bfloat16", "auto"])
def test_half_precision_says_the_same_to_its_digits(run, tiny_pipeline, clips, monkeypatch, dtype):
    monkeypatch.setattr("ns2_diffusers.fastest_dtype", lambda device: torch.bfloat16)
    assert run("generate", TEXT, "--dtype", dtype)[0] == 0
    tiny_pipeline.to(torch.bfloat16)
    np.testing.assert_allclose(spoken(), expected(tiny_pipeline, clips), atol=STEP)


def test_quiet_says_nothing(run):
    status, printed = run("generate", TEXT, "-q")
    assert (status, printed.out, printed.err) == (0, "", "")


def test_what_would_clip_is_scaled_down_and_reported(run, tiny_pipeline, clips, tiny_pipeline_dir):
    with torch.no_grad():
        # The first outputs of the head are log-magnitudes, so 5 more makes the sound 148 times as loud.
        tiny_pipeline.codec.head.out.bias[: 1280 // 2 + 1] += 5
    tiny_pipeline.save_pretrained(tiny_pipeline_dir)
    status, printed = run("generate", TEXT, "-o", "out.flac", "--no-limiter")
    wanted = expected(tiny_pipeline, clips, limiter=False)
    peak = np.abs(wanted).max()
    assert status == 0 and peak > 1
    assert f"peaked at {peak:.2f}" in printed.err
    np.testing.assert_allclose(spoken("out.flac"), wanted / peak, atol=1 / 2**14)


def test_nan_is_an_error_and_leaves_no_file(run, tiny_pipeline, tiny_pipeline_dir):
    torch.nn.init.constant_(tiny_pipeline.denoiser.proj_out.bias, float("nan"))
    tiny_pipeline.save_pretrained(tiny_pipeline_dir)
    status, printed = run("generate", TEXT)
    assert status == 2 and "NaN" in printed.err
    assert not Path("out.wav").exists()


def test_minutes_of_ogg(tmp_path):
    """libsndfile crashes if it gets all samples at once."""
    audio = np.sin(np.arange(16000 * 400) / 10).astype(np.float32) / 2
    write_audio(audio, 16000, tmp_path / "long.ogg")
    got = spoken(tmp_path / "long.ogg")
    assert len(got) == len(audio)
    np.testing.assert_allclose(got[-16000:], audio[-16000:], atol=0.05)


def test_several_channels(tmp_path):
    audio = np.stack([np.linspace(-0.5, 0.5, 40_000), np.linspace(0.5, 0, 40_000)])
    write_audio(audio, 16000, tmp_path / "stereo.wav")
    np.testing.assert_allclose(spoken(tmp_path / "stereo.wav").T, audio, atol=STEP)


def test_what_a_format_cannot_hold_is_an_error(tmp_path):
    with pytest.raises(OSError, match="at 96000 Hz could not be written"):
        write_audio(np.zeros(100), 96000, tmp_path / "out.mp3")
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_there_survives_an_error(run):
    Path("out.wav").write_text("precious")
    assert run("generate", TEXT, "--steps", "0")[0] == 2
    assert Path("out.wav").read_text() == "precious"


ERRORS = {
    "no command": ([], "command"),
    "no output": (["voice", "CLIP"], "--output"),
    "two voices": (
        ["generate", TEXT, "--prompt", "CLIP", "--voice", "v", "-o", "out.wav"],
        "not allowed with",
    ),
    "scheduler": (["GENERATE", TEXT, "--scheduler", "magic"], ", ".join(map(QUOTE, SCHEDULERS))),
    "not a number": (["GENERATE", TEXT, "--steps", "many"], "--steps"),
    "no steps": (["GENERATE", TEXT, "--steps", "0"], "--steps is 0; wanted a whole number of at least 1"),
    "speed": (["GENERATE", TEXT, "--speed", "0"], "--speed is 0.0; wanted numbers between 0.1 and 4"),
    "temperature": (["GENERATE", TEXT, "--temperature", "-1"], "--temperature is -1.0; wanted a number above 0"),
    "suffix": (["generate", TEXT, "--prompt", "CLIP", "-o", "out.txt"], ".wav, .flac, .ogg, .opus, .mp3, .m4a"),
    "output directory": (["generate", TEXT, "--prompt", "CLIP", "-o", "no/out.wav"], "no folder 'no'"),
    "output is a folder": (["generate", TEXT, "--prompt", "CLIP", "-o", "folder.wav"], "'folder.wav' is a folder"),
    "output has a NUL": (["generate", TEXT, "--prompt", "CLIP", "-o", "a\0.wav"], "NUL character"),
    "output has a long name": (["generate", TEXT, "--prompt", "CLIP", "-o", "a" * 300 + ".wav"], "name is too long"),
    "output is the prompt": (["generate", TEXT, "--prompt", "mine.wav", "-o", "./mine.wav"], "is a file that is read"),
    "output is the voice": (["generate", TEXT, "--voice", "mine.wav", "-o", "mine.wav"], "is a file that is read"),
    "output links to the prompt": (
        ["generate", TEXT, "--prompt", "mine.wav", "-o", "link.wav"],
        "a file that is read",
    ),
    "output is the text": (["generate", "--file", "mine.wav", "-o", "mine.wav"], "is a file that is read"),
    "seed": (["GENERATE", TEXT, "--seed", "-1"], "wanted a whole number from 0 to 2**64 - 1"),
    "large seed": (["GENERATE", TEXT, "--seed", str(2**64)], "wanted a whole number from 0 to 2**64 - 1"),
    "long option": (["GENERATE", TEXT, "--seed", "9" * 5000], "invalid seed value: '999"),
    "empty model": (["GENERATE", TEXT, "--model", ""], "no file or directory ''"),
    "empty device": (["GENERATE", TEXT, "--device", ""], "the device '' cannot be used"),
    "device without numbers": (["GENERATE", TEXT, "--device", "meta"], "the device 'meta' cannot be used"),
    "device of torch's developers": (["GENERATE", TEXT, "--device", "fpga"], "the device 'fpga' cannot be used"),
    "empty text": (["GENERATE", ""], "text 0 is empty"),
    "text twice": (["GENERATE", TEXT, "--file", "text.txt"], "not both"),
    "no such text": (["GENERATE", "--file", "no.txt"], "no.txt"),
    "binary text": (["GENERATE", "--file", "CLIP"], "not a UTF-8 text file"),
    "unreadable text": (["GENERATE", "日本"], "'日'"),
    "no such prompt": (["GENERATE", TEXT, "--prompt", "no.wav"], "no audio file 'no.wav'"),
    "prompt is no audio": (["GENERATE", TEXT, "--prompt", __file__], "cannot be read as audio"),
    "no such voice": (
        ["generate", TEXT, "--voice", "no.safetensors", "-o", "out.wav"],
        "no voice file 'no.safetensors'",
    ),
    "no such name": (["generate", TEXT, "--voice", "nobody", "-o", "out.wav"], "emma, george"),
    "no such model": (["GENERATE", TEXT, "--model", "./no/such/model"], "no file or directory './no/such/model'"),
    "unknown repository": (["GENERATE", TEXT, "--model", "nobody/nothing"], "nobody/nothing"),
    "no pipeline": (["GENERATE", TEXT, "--model", "."], "model_index.json"),
    "device": (["GENERATE", TEXT, "--device", "abacus"], "'abacus' cannot be used"),
    "dtype": (["GENERATE", TEXT, "--dtype", "int3"], "float32"),
    "voice suffix": (["voice", "CLIP", "-o", "v.wav"], ".safetensors"),
    "voice of nothing": (["voice", "no.wav", "-o", "v.safetensors"], "neither a file nor"),
}


@pytest.mark.parametrize("args, message", ERRORS.values(), ids=ERRORS)
def test_errors_are_one_line(run, clips, capsys, args, message):
    if args[:1] == ["GENERATE"]:
        args = ["generate", *args[1:], "-o", "out.wav"] + ([] if "--prompt" in args else ["--prompt", "CLIP"])
    Path("folder.wav").mkdir()
    Path("mine.wav").write_bytes(clips[0].read_bytes())
    Path("link.wav").symlink_to("mine.wav")
    before = set(Path().iterdir())
    status = main([str(clips[0]) if arg == "CLIP" else arg for arg in args])
    printed = capsys.readouterr()
    assert status == 2 and printed.out == ""
    assert message in printed.err
    assert printed.err.startswith("ns2-diffusers: error: ") and printed.err.count("\n") == 1
    assert len(printed.err) < 1100
    assert set(Path().iterdir()) == before
    assert Path("mine.wav").read_bytes() == clips[0].read_bytes()


def test_any_error_is_one_line(run, monkeypatch, capsys):
    """Libraries raise errors of their own classes, some without a message."""

    class LibraryError(Exception):
        pass

    for error, line in (
        (LibraryError("two\nlines"), "LibraryError: two lines (NS2_DIFFUSERS_TRACEBACK=1 shows where)"),
        (RecursionError(), "RecursionError:  (NS2_DIFFUSERS_TRACEBACK=1 shows where)"),
        (MemoryError(), "MemoryError:  (NS2_DIFFUSERS_TRACEBACK=1 shows where)"),
        (ValueError(), "ValueError:  (NS2_DIFFUSERS_TRACEBACK=1 shows where)"),
        (ValueError("what is wrong"), "what is wrong"),
    ):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr("ns2_diffusers.cli.load_pipeline", fail)
        status, printed = run("generate", TEXT)
        assert (status, printed.err) == (2, f"ns2-diffusers: error: {line}\n")
        with monkeypatch.context() as context, pytest.raises(type(error)):
            context.setenv(TRACEBACK_VARIABLE, "1")
            run("generate", TEXT)
        capsys.readouterr()


def test_a_closed_standard_input_and_output(run, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    status, printed = run("generate")
    assert status == 2 and "there is no text" in printed.err
    monkeypatch.setattr("sys.stdout", None)
    assert run("generate", TEXT)[0] == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_standard_output_is_one_line():
    with open("/dev/full", "w") as full:
        done = command("voices", stdout=full, stderr=subprocess.PIPE, text=True)
        _, errors = done.communicate(timeout=60)
    assert (done.returncode, errors.count("\n")) == (2, 1) and "No space left" in errors


def command(*args, **options):
    return subprocess.Popen([sys.executable, "-m", "ns2_diffusers.cli", *args], **options)


@pytest.mark.skipif(os.name != "posix", reason="sends a signal of POSIX")
@pytest.mark.parametrize("seconds", [0.0, 1.5, 3.0])
def test_interrupted_at_any_moment(tiny_pipeline_dir, tmp_path, seconds):
    """Ctrl-C before and during imports and during speech: status 130, no traceback, no incomplete output."""
    (tmp_path / "empty").mkdir()
    text = "This is a sentence of eight plain words. " * 400
    options = ["--model", str(tiny_pipeline_dir), "--steps", "50", "-o", "out.wav"]
    # The program prints when its interrupt handler is ready, after the start of the interpreter.
    code = (
        "import signal, sys; from ns2_diffusers import cli; end = cli.end_on_interrupt\n"
        "def begin(): end(); print('begun', flush=True)\n"
        "cli.end_on_interrupt = begin; sys.exit(cli.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "generate", text, *options],
        cwd=tmp_path / "empty",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Background jobs of a shell ignore Ctrl-C, and so do their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "begun\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors and "Error" not in errors
    # The same command resumes from these two files after the first sentence.
    left = {path.name for path in (tmp_path / "empty").iterdir()}
    assert left <= {"out.unfinished.wav", "out.unfinished.jsonl"}


def test_a_voice_by_name_a_recording_and_the_default(run, tiny_pipeline):
    """A name, its recording and the default voice give the same speech."""
    emma = str(named_voices()["emma"])
    for number, words in enumerate([["--voice", "emma"], ["--voice", emma], ["--prompt", emma], []]):
        assert main(["generate", TEXT, "--steps", "2", "--seed", "3", *words, "-o", f"{number}.wav"]) == 0
    first, *others = (Path(f"{number}.wav").read_bytes() for number in range(4))
    assert others == [first] * 3


def test_voices_are_listed_and_sampled(run, capsys):
    assert main(["voices"]) == 0
    assert capsys.readouterr().out.split() == list(named_voices())
    assert main(["voices", "--samples", "samples", "--text", "Yes.", "-q"]) == 0
    assert {path.stem for path in Path("samples").iterdir()} == set(named_voices())


def test_the_bundled_voice_speaks_where_no_model_is_named(run, tiny_pipeline, tiny_pipeline_dir, clips, monkeypatch):
    monkeypatch.delenv(MODEL_VARIABLE)
    monkeypatch.setattr(bundled, "FOLDER", tiny_pipeline_dir)
    assert run("generate", TEXT)[0] == 0
    np.testing.assert_allclose(spoken(), expected(tiny_pipeline, clips), atol=STEP)


def test_a_model_is_asked_for_where_no_voice_is_bundled(run, monkeypatch, tmp_path):
    monkeypatch.delenv(MODEL_VARIABLE)
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "empty")
    status, printed = run("generate", TEXT)
    assert status == 2 and "--model" in printed.err and MODEL_VARIABLE in printed.err


def test_a_terminal_is_not_waited_for(run, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", terminal)
    status, printed = run("generate")
    assert status == 2 and "there is no text" in printed.err


def test_a_voice_of_another_codec_is_refused(run, tiny_pipeline, clips):
    Voice(tiny_pipeline.encode_voice(clips[0]).latents, "0" * 16).save("other.safetensors")
    status, printed = run("generate", TEXT, "--voice", "other.safetensors")
    assert status == 2 and "0" * 16 in printed.err and tiny_pipeline.codec.fingerprint in printed.err


def test_as_a_program(run, clips, tiny_pipeline_dir):
    """A process of its own with the text on standard input; standard error stays empty except for real faults."""
    command = [sys.executable, "-m", "ns2_diffusers.cli", "generate", "--steps", "2", "--model"]
    done = subprocess.run(
        [*command, tiny_pipeline_dir, "--prompt", clips[0], "-o", "out.wav"],
        input=TEXT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "real-time factor" in done.stdout
    assert len(spoken()) > 8000


def test_help_and_errors_need_no_torch():
    """These commands answer at once: not even torch is imported."""
    code = (
        "import sys; from ns2_diffusers.cli import main; status = main(['generate', '--steps', 'x']);"
        "sys.exit(status if 'torch' not in sys.modules else 1)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 2


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "generate" in printed and "voice" in printed and "import" in printed


def parsers_of(parser):
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers_of(command)


def test_every_option_has_help_and_its_default():
    for parser in parsers_of(make_parser()):
        for action in parser._actions:
            if not isinstance(action, argparse._SubParsersAction):
                assert action.help, (parser.prog, action.dest)
            if action.option_strings and action.default not in (None, False, argparse.SUPPRESS):
                shown = parser._get_formatter()._expand_help(action)
                assert f"({action.default})" in shown, (parser.prog, shown)


def test_the_saved_pipeline_is_the_one_compared_with(tiny_pipeline, tiny_pipeline_dir, clips):
    """The comparisons above require that these two are equal."""
    loaded = NaturalSpeech2Pipeline.from_pretrained(tiny_pipeline_dir)
    # The alignment of the weights in memory differs, and some kernels round accordingly.
    np.testing.assert_allclose(expected(loaded, clips), expected(tiny_pipeline, clips), atol=1e-6)
