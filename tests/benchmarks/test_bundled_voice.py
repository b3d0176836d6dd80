"""The score table of an untrained pipeline, with stand-in evaluators whose numbers are known."""

import json
import math

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from ns2_diffusers import NaturalSpeech2Pipeline

common = pytest.importorskip("common", reason="the train and eval extras are not installed")
bundled_voice = pytest.importorskip("bundled_voice", reason="the train and eval extras are not installed")


class Words:
    def word_error_rate(self, texts, heard):
        return sum(text != reading for text, reading in zip(texts, heard, strict=True)) / len(texts)


class Speaker:
    """A stand-in evaluator that gives each voice a unit vector of its own."""

    axes = {}

    def embed(self, audio, rate=None):
        return np.eye(8, dtype=np.float32)[self.axes.setdefault(str(audio), len(self.axes))]

    @staticmethod
    def similarity(a, b):
        return float(a @ b)


class StubEvaluators(bundled_voice.Evaluators):
    """Stand-ins: speech has a cosine of 0.6 to the first voice and 0.8 to the second, and is transcribed as "yes"."""

    def __init__(self, hop_length):
        self.words, self.speakers, self.hop_length = Words(), {"cosine": Speaker()}, hop_length

    def listen(self, audio, rate):
        f0 = np.linspace(100, 200, math.ceil(len(audio) / self.hop_length))
        scored = {"heard": "Yes.", "distilmos": 3.0, "f0_range": 12.0}
        return scored | {"vectors": {"cosine": 0.6 * np.eye(8)[0] + 0.8 * np.eye(8)[1]}}, f0


@pytest.fixture
def run(tiny_pipeline_dir, clips, tmp_path, monkeypatch):
    prompts = tmp_path / "prompts" / "kind"
    prompts.mkdir(parents=True)
    for name, clip in zip(("anna.one", "ben"), clips, strict=False):
        (prompts / f"{name}.flac").write_bytes(clip.read_bytes())
    monkeypatch.setattr(bundled_voice, "Evaluators", StubEvaluators)
    monkeypatch.setattr(Speaker, "axes", {})
    monkeypatch.setattr(bundled_voice, "HERE", tmp_path)
    (tmp_path / "sentences.txt").write_text("Yes.\nNo.\nYes.\n", encoding="utf-8")

    def run(*options):
        options += ("--model", str(tiny_pipeline_dir), "--prompts", str(prompts.parent), "--num_threads", "1")
        options += ("--output_dir", str(tmp_path / "scores"), "--references", str(tmp_path / "none"))
        return bundled_voice.main(bundled_voice.parse_args(list(options)))

    return run


def test_adapters_are_added(run, tmp_path, tiny_pipeline_dir):
    """LoRA by path or by name; the adapters bring their scheduler, which supports only its own numbers of steps."""
    width = load_file(tiny_pipeline_dir / "denoiser" / "diffusion_pytorch_model.safetensors")["proj_in.weight"].shape
    tensors = {"A": torch.ones(1, width[1]), "B": torch.ones(width[0], 1)}
    layers = {f"proj_in.lora_{name}.weight": tensor for name, tensor in tensors.items()}
    folder = tiny_pipeline_dir / "few"
    NaturalSpeech2Pipeline.save_lora_weights(folder, denoiser_lora_layers=layers, student_steps=[2])
    options = ["--schedulers", "own", "--num_recordings", "0", "--steps"]
    results = run(*options, "2", "--lora", "few")
    assert [cell["scheduler"] for cell in results["cells"]] == ["few"]
    with pytest.raises(ValueError, match=r"distilled for \[2\]"):
        run(*options, "3", "--lora", str(tiny_pipeline_dir / "few"))


def test_cells_by_hand(run, tmp_path):
    results = run("--steps", "1", "2", "--schedulers", "ddim", "euler")
    cells = {(cell["scheduler"], cell["steps"]): cell for cell in results["cells"]}
    assert list(cells) == [("ddim", 1), ("ddim", 2), ("euler", 1), ("euler", 2)]
    cell = cells["ddim", 2]
    assert [each["prompt"] for each in cell["details"]] == ["anna.one", "ben", "anna.one"]
    assert {each["utterances"] for each in cells.values()} == {3}
    assert cell["word_error_rate"] == pytest.approx(1 / 3)
    assert cell["cosine"] == pytest.approx((0.6 + 0.8 + 0.6) / 3)
    assert cell["cosine_to_others"] == pytest.approx((0.8 + 0.6 + 0.8) / 3)
    assert (cell["distilmos"], cell["f0_range"]) == (3, 12)
    assert -1 <= cell["f0_correlation"] <= 1 and cell["real_time_factor"] > 0
    written = json.loads((tmp_path / "scores" / "results.json").read_text(encoding="utf-8"))
    assert [each["heard"] for each in written["cells"][0]["details"]] == ["Yes."] * 3
    table = (tmp_path / "scores" / "table.md").read_text(encoding="utf-8").splitlines()
    assert len(table) == 2 + 2 + 4 and len({line.count("|") for line in table}) == 1
    assert "| kind | ddim | 2 | 33.3% | 0.667 | 0.733 |  |  | 3.00 |" in table[5]


def test_a_table_is_filled_in_several_runs(run, tmp_path, tiny_pipeline_dir, monkeypatch):
    """Rows that exist are kept; those of fewer sentences are measured again; those of other weights are an error."""
    scored, score = [], bundled_voice.score
    monkeypatch.setattr(bundled_voice, "score", lambda spoken, *by: scored.append(len(spoken)) or score(spoken, *by))
    run("--steps", "1", "--schedulers", "euler")
    first = run("--resume", "--steps", "1", "--schedulers", "ddim", "--num_sentences", "2")
    table = (tmp_path / "scores" / "table.md").read_text(encoding="utf-8")
    assert run("--resume", "--steps", "1", "--schedulers", "euler", "ddim", "--num_sentences", "2") == first
    assert (tmp_path / "scores" / "table.md").read_text(encoding="utf-8") == table and scored == [3, 2]
    cells = run("--resume", "--steps", "1", "2", "--schedulers", "ddim")["cells"]
    found = [(cell["scheduler"], cell["steps"], cell["utterances"]) for cell in cells]
    assert found == [("euler", 1, 3), ("ddim", 1, 3), ("ddim", 2, 3)] and scored == [3, 2, 3, 3]
    weights = tiny_pipeline_dir / "denoiser" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(ValueError, match="was measured with {'weights'"):
        run("--resume", "--steps", "1", "--schedulers", "ddim")
    with pytest.raises(ValueError, match="'temperature': 0.5"):
        run("--resume", "--temperature", "0.5", "--schedulers", "ddim")


def test_examples_are_kept(run, tmp_path):
    run("--steps", "1", "--schedulers", "own", "--num_examples", "2")
    folder = tmp_path / "scores" / "examples"
    assert sorted(path.name for path in folder.iterdir()) == [
        "kind-01-anna.one.ogg",
        "kind-01-anna.one.webp",
        "kind-02-ben.ogg",
        "kind-02-ben.webp",
        "kind.md",
    ]
    assert soundfile.info(folder / "kind-02-ben.ogg").duration > 0.1
    assert "| ben | No. | Yes. | [listen](kind-02-ben.ogg)" in (folder / "kind.md").read_text(encoding="utf-8")


def test_the_level_of_recordings(tmp_path, tiny_codec, clips):
    """The first recording is the prompt; the others are compared with the prompts of their own and of other voices."""
    rows = [{"id": f"ben_{number}", "text": "Yes.", "speaker": "ben"} for number in range(3)]
    (tmp_path / "audio").mkdir()
    for row in rows:
        (tmp_path / "audio" / f"{row['id']}.ogg").write_bytes(clips[0].read_bytes())
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    voices = [{"speaker": name, "vectors": {"cosine": np.eye(8)[index]}} for index, name in enumerate(("anna", "ben"))]
    args = bundled_voice.parse_args(["--references", str(tmp_path)])
    for codec in (None, tiny_codec):
        level = bundled_voice.recordings_level("kokoro", voices, StubEvaluators(320), args, codec)
        assert level["utterances"] == 2 and level["word_error_rate"] == 0
        assert level["cosine"] == pytest.approx(0.8) and level["cosine_to_others"] == pytest.approx(0.6)
    # An untrained codec keeps little of the speech.
    assert 0 < level["stoi"] < 0.7 and level["real_time_factor"] > 0


def test_recordings_of_real_people_are_of_a_folder(tmp_path, clips):
    """The recordings of the repository, and those of another folder whose texts have commas and quotes."""
    ours = bundled_voice.read_clips(bundled_voice.parse_args([]).clips)
    assert len(ours) == 20 and all(path.exists() for path, _, _ in ours)
    assert ours[0][1:] == ("At the sound of the tone, the time will be exactly.", "allison")
    (tmp_path / "metadata.csv").write_text('file,text\na.flac,"Yes, ""no""."\n', encoding="utf-8")
    assert bundled_voice.read_clips(tmp_path) == [(tmp_path / "a.flac", 'Yes, "no".', "allison")]
    (tmp_path / "a.flac").write_bytes(clips[0].read_bytes())
    voices = [
        {"speaker": name, "vectors": {"cosine": np.eye(8)[index]}} for index, name in enumerate(("allison", "b"))
    ]
    args = bundled_voice.parse_args(["--clips", str(tmp_path)])
    assert bundled_voice.recordings_level("real", voices, StubEvaluators(320), args)["utterances"] == 1


def test_what_is_no_speech_is_like_nobody():
    class Deaf:
        def embed(self, audio, rate):
            raise ValueError("no speech was found")

    nobody = common.embed_or_nobody(Deaf(), np.zeros(16000), 16000)
    assert bundled_voice.SpeakerEvaluator.similarity(nobody, np.eye(256, dtype=np.float32)[0]) == 0


def test_no_prompts_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="there are no prompts"):
        bundled_voice.read_prompts(tmp_path, StubEvaluators(320))


def test_the_prompts_that_ship():
    prompts = {path.stem for path in (bundled_voice.HERE / "prompts" / "kokoro").glob("*.ogg")}
    assert prompts == {"af_bella", "am_michael", "bf_emma", "bm_george", "am_puck"}
    every = list((bundled_voice.HERE / "prompts").glob("*/*.ogg"))
    assert len(every) == 9 and sum(path.stat().st_size for path in every) < 1e6
    assert all(5 < soundfile.info(path).duration < 10 for path in every)
