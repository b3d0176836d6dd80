"""The times of phonemes in a recording: by synthesis, by an aligner, and within word times."""

import warnings

import numpy as np
import pytest
import torch

from ns2_diffusers import PhonemeAligner
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.audio.prompts import LEVEL_DB, speech_level
from ns2_diffusers.pipelines import alignment
from ns2_diffusers.pipelines.alignment import fit_of, pieces_of_text
from ns2_diffusers.text.words import WordSymbols

TEXT = "Please hold the line."
FRAME = 0.02


@pytest.fixture
def spoken(tiny_pipeline, clips):
    """Speech of the tiny pipeline, and its voice."""
    voice = tiny_pipeline.encode_voice(clips[0])
    generator = torch.Generator().manual_seed(0)
    output = tiny_pipeline(TEXT, voice=voice, durations=None, generator=generator)
    return output, voice


def test_durations_of_a_recording(tiny_pipeline, clips, transcripts):
    speech = tiny_pipeline.align(clips[0], transcripts[clips[0].name], num_inference_steps=1)
    assert speech.durations.sum() == speech.latents.shape[1]
    assert len(speech.durations) == len(speech.input_ids) and (speech.durations >= 0).all()
    assert len(speech.waveform) <= 320 * speech.latents.shape[1]
    words = tiny_pipeline.tokenizer.read(transcripts[clips[0].name])[1]
    assert [word.text for word in speech.words] == [word.text for word in words]
    # Each phoneme with a duration in the speech has a frame.
    assert (speech.durations > 0).mean() > 0.8


def test_speech_that_differs_in_noise_alone_is_aligned(tiny_pipeline, spoken, monkeypatch):
    """Phonemes of the pipeline's own speech are found at their positions."""
    output, voice = spoken
    options = {"output_type": "latent", "generator": torch.Generator().manual_seed(0)}
    latents = tiny_pipeline(TEXT, voice=voice, durations=output.durations[0], **options).audios[0]
    waveform = torch.from_numpy(output.audios[0])
    monkeypatch.setattr(tiny_pipeline, "encode_speech", lambda *_: (waveform, latents, 1.0))
    speech = tiny_pipeline.align("speech.wav", TEXT, voice=voice)
    wanted, found = np.cumsum(output.durations[0]), np.cumsum(speech.durations)
    assert wanted[-1] == found[-1] and np.abs(wanted - found).mean() < 2


def test_the_fit_of_an_alignment_by_hand():
    """0 for the mean of all scores, 1 for that of the best."""
    scores = np.array([[0.0, -2.0], [-2.0, 0.0], [-4.0, 0.0]])
    assert fit_of(scores, np.array([1, 2])) == 1
    # The mean of all is -4/3, that of the best 0, and the second frame of the first state has -2.
    assert fit_of(scores, np.array([2, 1])) == pytest.approx((-2 / 3 + 4 / 3) / (4 / 3))
    assert fit_of(np.zeros((2, 1)), np.array([2])) == 0


def test_a_text_that_is_not_said_fits_less_and_causes_a_warning(tiny_pipeline, spoken, monkeypatch):
    output, voice = spoken
    options = {"output_type": "latent", "generator": torch.Generator().manual_seed(0)}
    latents = tiny_pipeline(TEXT, voice=voice, durations=output.durations[0], **options).audios[0]
    waveform = torch.from_numpy(output.audios[0])
    monkeypatch.setattr(tiny_pipeline, "encode_speech", lambda *_: (waveform, latents, 1.0))
    monkeypatch.setattr(alignment, "CLEAR", -np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right = tiny_pipeline.align("speech.wav", TEXT, voice=voice).fit
        assert right > alignment.LEAST_FIT
        with pytest.raises(UserWarning, match=r"the text fits the recording badly \(.*check that it is what is said"):
            tiny_pipeline.align("speech.wav", "You are number one.", voice=voice)
        monkeypatch.setattr(alignment, "CLEAR", 0.0)  # as if noise covered the speech
        assert tiny_pipeline.align("speech.wav", "You are number one.", voice=voice).fit < alignment.LEAST_FIT


def test_an_aligner(tiny_pipeline, clips, transcripts):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "attention_channels": 8}
    aligner = PhonemeAligner(len(tiny_pipeline.tokenizer), tiny_pipeline.codec.latent_channels, **sizes).eval()
    speech = tiny_pipeline.align(clips[0], transcripts[clips[0].name], aligner=aligner)
    expected = aligner.align(speech.latents[None], torch.from_numpy(speech.input_ids)[None])[0]
    assert speech.durations.tolist() == expected.tolist() and np.isnan(speech.fit)


def test_word_times_bound_the_words(tiny_pipeline, clips, transcripts):
    text = transcripts[clips[0].name]
    speech = tiny_pipeline.align(clips[0], text, num_inference_steps=1)

    def times(speech):
        ends = np.cumsum([0, *speech.durations]) * FRAME
        return np.array([(ends[word.first], ends[word.last]) for word in speech.words])

    own = times(speech)
    bounded = tiny_pipeline.align(clips[0], text, word_times=own.tolist(), num_inference_steps=1)
    assert bounded.durations.tolist() == speech.durations.tolist()
    later = tiny_pipeline.align(clips[0], text, word_times=(own + 0.3).tolist(), num_inference_steps=1)
    assert (times(later)[:-1, 0] - own[:-1, 0]).mean() > 0.1
    with pytest.raises(ValueError, match=f"has 1 pairs and the text {len(own)} words"):
        tiny_pipeline.align(clips[0], text, word_times=own[:1].tolist())


def test_more_phonemes_than_frames(tiny_pipeline, clips):
    with pytest.raises(ValueError, match="is this what is said in it"):
        tiny_pipeline.align((16000, np.random.default_rng(0).normal(size=9600) * 0.1), "Hold the line. " * 8)


def test_pieces_begin_with_words():
    words = [WordSymbols("w", first, first + 3) for first in range(1, 41, 4)]
    pieces = pieces_of_text(np.arange(42), words, 12)
    assert pieces == [(0, 13), (13, 25), (25, 37), (37, 42)]
    assert pieces_of_text(np.arange(5), words[:1], 12) == [(0, 5)]


def test_recordings_are_encoded_at_the_level_of_the_training_data(tiny_pipeline, clips):
    loud, quiet = (load_audio(clips[0])[0] * scale for scale in (0.5, 0.05))
    one, other = (tiny_pipeline.encode_speech((16000, each)) for each in (loud, quiet))
    np.testing.assert_allclose(one[0], other[0], atol=1e-5)
    torch.testing.assert_close(one[1], other[1], rtol=1e-3, atol=1e-3)
    assert other[2] == pytest.approx(10 * one[2], rel=1e-3)
    assert speech_level(one[0].numpy(), 16000) == pytest.approx(LEVEL_DB, abs=0.1)
