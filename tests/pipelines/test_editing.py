"""Words of a recording are replaced, inserted and removed; the rest does not change."""

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler

from ns2_diffusers import NaturalSpeech2DDIMScheduler, NaturalSpeech2DDPMScheduler, NaturalSpeech2EulerScheduler
from ns2_diffusers.pipelines.alignment import AlignedSpeech
from ns2_diffusers.pipelines.editing import (
    Edit,
    KnownLatents,
    NewPiece,
    continue_pitch,
    find_edits,
    group_edits,
    lay_out,
    splice,
)
from ns2_diffusers.text.words import WordSymbols

TEXT = "Please hold the line while we try again."
CHANGES = {
    "replaced": TEXT.replace("line", "letter"),
    "inserted": TEXT.replace("line", "long line"),
    "removed": TEXT.replace(" the line", ""),
    "at the start": TEXT.replace("Please", "Kindly"),
    "at the end": TEXT.replace("again", "later"),
    "continued": TEXT + " Or leave a message.",
    "twice": TEXT.replace("hold", "keep").replace("again", "later"),
}


@pytest.fixture(scope="module")
def recording():
    """Five seconds of noise at 22,050 Hz, which no codec reproduces."""
    random = np.random.default_rng(0)
    return (22050, (0.1 * random.normal(size=5 * 22050)).astype(np.float32))


@pytest.fixture
def edit(tiny_pipeline, recording):
    def edit(new_text, text=TEXT, **options):
        generator = torch.Generator().manual_seed(0)
        return tiny_pipeline.edit(recording, text, new_text, num_inference_steps=2, generator=generator, **options)

    return edit


@pytest.mark.parametrize("change", CHANGES)
def test_samples_outside_the_regions_are_the_recordings(edit, recording, change):
    output = edit(CHANGES[change])
    samples = recording[1]
    assert output.sampling_rate == 22050 and output.audio.dtype == np.float32
    assert len(output.regions) == (2 if change == "twice" else 1)
    kept = np.ones(len(output.audio), bool)
    for start, end in output.regions:
        assert 0 <= start < end <= len(output.audio)
        kept[start:end] = False
    first, last = output.regions[0][0], output.regions[-1][1]
    assert np.array_equal(output.audio[:first], samples[:first])
    tail = len(output.audio) - last
    assert tail == 0 or np.array_equal(output.audio[last:], samples[-tail:])
    if change == "twice":
        between = output.audio[output.regions[0][1] : output.regions[1][0]]
        windows = np.lib.stride_tricks.sliding_window_view(samples, len(between))
        assert (windows[:, :8] == between[:8]).all(1).any()
    assert kept.sum() > 22050


def test_the_same_generator_makes_the_same_edit(edit):
    one, other = edit(CHANGES["replaced"]), edit(CHANGES["replaced"])
    assert np.array_equal(one.audio, other.audio) and one.regions == other.regions


@pytest.mark.parametrize(
    "scheduler",
    [
        NaturalSpeech2DDPMScheduler,
        NaturalSpeech2EulerScheduler,
        DPMSolverMultistepScheduler,
        EulerDiscreteScheduler,
    ],
)
def test_other_samplers(tiny_pipeline, edit, scheduler):
    tiny_pipeline.scheduler = scheduler.from_config(tiny_pipeline.scheduler.config)
    assert np.isfinite(edit(CHANGES["replaced"]).audio).all()


def test_known_latents_are_there_at_every_step(tiny_pipeline, edit, monkeypatch):
    seen = []
    denoise = tiny_pipeline.denoise

    def watched(*args, after_step=None, **options):
        result = denoise(*args, after_step=after_step, **options)
        seen.append((after_step, result))
        return result

    monkeypatch.setattr(tiny_pipeline, "denoise", watched)
    edit(CHANGES["replaced"])
    keep, result = next(each for each in seen if each[0] is not None)
    assert 0.3 < keep.mask.float().mean() < 1
    assert torch.equal(result[..., keep.mask], keep.known[..., keep.mask])
    assert not torch.allclose(result[..., ~keep.mask], keep.known[..., ~keep.mask], atol=0.1)


@pytest.mark.parametrize(
    ("scheduler", "timesteps"),
    [
        (NaturalSpeech2EulerScheduler(), [999.0, 749.0, 499.0, 249.0, None]),
        (NaturalSpeech2DDIMScheduler(), [999.0, 749.0, 499.0, 249.0, None]),
    ],
)
def test_known_latents_have_the_noise_of_the_next_step(scheduler, timesteps):
    """Steps of the Euler scheduler begin before the timesteps at which their slopes are."""
    scheduler.set_timesteps(4)
    known, mask = torch.ones(1, 2, 5000), torch.arange(5000) < 4000
    keep = KnownLatents(known, mask, [torch.Generator().manual_seed(0)])
    made = [keep.at_start(torch.zeros_like(known), scheduler)]
    made += [keep(scheduler, step, torch.zeros_like(known)) for step in range(4)]
    for latents, timestep in zip(made, timesteps, strict=True):
        alpha, sigma = (1.0, 0.0) if timestep is None else scheduler.alpha_sigma(timestep)
        assert not latents[..., ~mask].any()
        assert latents[..., mask].mean().item() == pytest.approx(float(alpha), abs=0.03)
        assert latents[..., mask].std().item() == pytest.approx(float(sigma), abs=0.03)


@pytest.mark.parametrize(
    ("new_text", "message"),
    [
        (TEXT, "nothing to edit"),
        (TEXT.replace("line", "LINE"), "nothing to edit"),
        ("Other words.", "no word in common"),
    ],
)
def test_texts_that_are_no_edit(edit, new_text, message):
    with pytest.raises(ValueError, match=message):
        edit(new_text)


def test_a_recording_that_is_too_long(tiny_pipeline, recording):
    tiny_pipeline.register_to_config(max_utterance_seconds=4.0)
    with pytest.raises(ValueError, match="the recording last 5 s, and at most 4 s"):
        tiny_pipeline.edit(recording, TEXT, CHANGES["replaced"])


def test_edits_of_words():
    assert find_edits("abcd", "abxd") == [Edit(2, 3, 2, 3)]
    assert find_edits("abcd", "xabcdy") == [Edit(0, 0, 0, 1), Edit(4, 4, 5, 6)]


@pytest.fixture
def speech():
    """Five words of two symbols, ten frames each, with a space of two frames between them."""
    words = [WordSymbols(f"w{index}", 1 + 3 * index, 3 + 3 * index) for index in range(5)]
    durations = np.array([5, *[5, 5, 2] * 5, 5])
    ids = np.arange(len(durations)) + 100
    latents = torch.arange(float(durations.sum()))[None]
    return AlignedSpeech(torch.zeros(1), latents, ids, durations, words)


def test_a_window_by_hand(speech):
    """Word 2 (frames 29 to 39) becomes a word of three symbols."""
    new_words = [WordSymbols("n", 1, 3), WordSymbols("n", 4, 6), WordSymbols("n", 7, 10), *speech.words[3:]]
    new_ids = np.concatenate([speech.input_ids[:7], [7, 8, 9, 2], speech.input_ids[10:]])
    moved = [WordSymbols("n", word.first + 1, word.last + 1) for word in speech.words[3:]]
    window = lay_out([Edit(2, 3, 2, 3)], speech, new_ids, new_words[:3] + moved, 13, 1)
    # One word of context on both sides, between a start and an end symbol.
    assert window.input_ids.tolist() == [100, 104, 105, 106, 7, 8, 9, 2, 110, 111, 116]
    assert window.gaps == [(3, 8, 27, 41)]
    durations = window.durations_with(np.array([3, 4, 4, 1, 4, 4, 4, 0, 4, 4, 3]))
    # The recording has 20 frames where 16 were predicted.
    assert durations.tolist() == [0, 5, 5, 1, 5, 5, 5, 0, 5, 5, 0]
    sources, mask, spans = window.sources(durations, speech.latents.shape[1])
    assert spans == [((9, 27), (26, 42))]
    assert sources.tolist() == [*range(17, 27), *[-1] * 16, *range(41, 51)]
    assert sources[mask.numpy()].tolist() == [*range(17, 26), *range(42, 51)]


def test_the_pitch_of_an_edit_by_hand():
    """New frames have the predicted contour at the height of the recording."""
    predicted = np.array([100, 100, 100, 120, 90, 100, 100], np.float32)
    recorded = np.array([50, 202, 200, 190, 60, 200, 204], np.float32)
    pitch = continue_pitch(predicted, recorded, np.array([1, 2, 3, -1, -1, 5, 6]))
    np.testing.assert_allclose(pitch, [202, 200, 190, 240, 180, 200, 204], rtol=1e-6)
    assert pitch.dtype == np.float32
    assert np.array_equal(continue_pitch(predicted, recorded, np.full(7, -1)), predicted)


def test_an_edit_is_spoken_with_the_pitch_of_the_recording(tiny_pipeline, edit, recording, monkeypatch):
    seen, encode = [], tiny_pipeline.encode_text

    def watched(*args, **options):
        seen.append(encode(*args, **options))
        return seen[-1]

    def continued(predicted, own, sources):
        np.testing.assert_allclose(predicted, seen[-1].pitch[0].numpy())
        np.testing.assert_allclose(own, expected, rtol=1e-4)
        return continue_pitch(predicted, own, sources)

    monkeypatch.setattr(tiny_pipeline, "encode_text", watched)
    monkeypatch.setattr("ns2_diffusers.pipelines.editing.continue_pitch", continued)
    with torch.no_grad():
        latents = tiny_pipeline.encode_speech(recording)[1]
        expected = tiny_pipeline.codec.predict_f0(latents[None])[0].numpy()
    edit(CHANGES["replaced"])
    pitch = seen[-1].pitch[0].numpy()
    assert pitch.shape == seen[-2].pitch[0].shape and not np.allclose(pitch, seen[-2].pitch[0].numpy(), rtol=0.01)
    assert np.isin(pitch.round(3), expected.round(3)).mean() > 0.3


def test_an_edit_with_a_codec_that_predicts_no_f0(tiny_pipeline, edit, monkeypatch):
    monkeypatch.setattr(tiny_pipeline.codec, "predict_f0", lambda latents: None)
    monkeypatch.setattr("ns2_diffusers.pipelines.editing.continue_pitch", None)
    assert np.isfinite(edit(CHANGES["replaced"]).audio).all()


def test_edits_far_apart_are_made_apart(speech):
    edits = [Edit(0, 1, 0, 1), Edit(4, 5, 4, 5)]
    assert group_edits(edits, speech, 100) == [edits]
    assert group_edits(edits, speech, 20) == [edits[:1], edits[1:]]


def test_splicing():
    original = torch.ones(8000)
    pieces = [NewPiece(torch.full((1600,), -1.0), 5, 8), NewPiece(torch.full((640,), 2.0), 23, 25)]
    output = splice(original, 16000, pieces, 16000, 320)
    # 960 samples become 1600, and the last 640 are replaced by 640 others.
    assert output.regions == [(1600, 3200), (8000, 8640)]
    audio = output.audio
    assert len(audio) == 8640
    assert (audio[:1600] == 1).all() and (audio[1920:2880] == -1).all() and audio[1600] > 0.9
    assert audio[3199] > 0.9 and (audio[3200:8000] == 1).all()
    # The end of the recording has no cross-fade.
    assert audio[-1] == 2.0
