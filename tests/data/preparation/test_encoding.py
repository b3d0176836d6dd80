"""Codes of batches."""

import numpy as np
import pytest
import soundfile
import torch

from ns2_diffusers.data.latent_statistics import LatentSums
from ns2_diffusers.data.preparation.encoding import encode_utterances, sum_row_latents
from tests.data.preparation.test_rows import RATE, preparer, row

pytest.importorskip("datasets", reason="the train extra is not installed")
pytest.importorskip("pyworld", reason="the train extra is not installed")


def prepared(clips, **limits):
    make = preparer(**limits)
    return [make[("shard", row(str(clip), id=clip.stem))][1] for clip in clips]


def test_silence_is_not_the_last_vowels(tmp_path, tiny_codec, clips):
    """Half a second of silence that belongs to the last vowel is moved to the end symbol."""
    speech, _ = soundfile.read(clips[0])
    soundfile.write(tmp_path / "a.wav", np.concatenate([speech, np.zeros(RATE // 2)]), RATE)
    seconds = np.array([0.1, 0.2, len(speech) / RATE + 0.1, 0.1])
    given = row(str(tmp_path / "a.wav"), phonemes="hi", durations=seconds / 0.01)
    _, utterance = preparer(durations_hop_seconds=0.01)[("", given)]
    (encoded,), _ = encode_utterances(tiny_codec, [utterance], 60.0)
    voice = np.flatnonzero(encoded.f0)[-1] + 1
    assert sum(encoded.durations) == encoded.n_frames
    assert sum(encoded.durations[:3]) == voice <= len(speech) / RATE * 50 + 1
    assert encoded.durations[3] >= 24


def test_batches_encode_like_single_recordings(tiny_codec, clips):
    utterances = prepared(clips[:6])
    together, failed = encode_utterances(tiny_codec, utterances, batch_seconds=9)
    assert not failed and [item.id for item in together] == [clip.stem for clip in clips[:6]]
    for utterance, item in zip(utterances, together, strict=True):
        latents = tiny_codec.encode(torch.from_numpy(utterance.waveform)[None, None])
        _, codes = tiny_codec.quantize(latents)
        assert item.codes.dtype == np.int16 and np.array_equal(item.codes, codes[0].numpy())
        assert item.n_frames == codes.shape[2] == len(item.f0)
        assert len(item.durations) == 0


def test_batches_keep_to_the_budget(tiny_codec, clips, monkeypatch):
    encode, sizes = tiny_codec.encode, []
    monkeypatch.setattr(tiny_codec, "encode", lambda x, mask: sizes.append(x.shape) or encode(x, mask))
    encode_utterances(tiny_codec, prepared(clips[:6]), batch_seconds=8)
    assert sum(shape[0] for shape in sizes) == 6 and max(shape[0] for shape in sizes) > 1
    assert all(shape[0] * shape[2] <= 8 * RATE for shape in sizes)


def test_what_the_codec_cannot_take_is_reported_and_its_batch_goes_on(tiny_codec, clips, monkeypatch):
    utterances = prepared(clips[:3])
    wanted, _ = encode_utterances(tiny_codec, utterances, batch_seconds=60)
    encode, odd = tiny_codec.encode, len(utterances[1].waveform)

    def fails(waveform, mask):
        if odd in mask.sum(1):
            raise RuntimeError("padding size should be less than the input")
        return encode(waveform, mask)

    monkeypatch.setattr(tiny_codec, "encode", fails)
    done, failed = encode_utterances(tiny_codec, utterances, batch_seconds=60)
    assert [item.id for item in done] == [clips[0].stem, clips[2].stem]
    assert failed[0].id == clips[1].stem and "padding size" in failed[0].detail
    assert np.array_equal(done[1].codes, wanted[2].codes)


def test_a_broken_device_is_not_the_recordings_fault(tiny_codec, clips, monkeypatch):
    def fails(waveform, mask):
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(tiny_codec, "encode", fails)
    with pytest.raises(RuntimeError, match="CUDA error"):
        encode_utterances(tiny_codec, prepared(clips[:2]), batch_seconds=60)


def test_latent_statistics_are_those_of_all_frames(tiny_codec, clips):
    rows, _ = encode_utterances(tiny_codec, prepared(clips[:4]), batch_seconds=60)
    parts = [sum_row_latents(tiny_codec, rows[:1]), sum_row_latents(tiny_codec, rows[1:])]
    mean, std = LatentSums.total(parts).mean_and_std()
    codes = np.concatenate([item.codes for item in rows], axis=1)
    vectors = sum(tiny_codec.codebooks[level, codes[level].astype(int)].double() for level in range(len(codes)))
    np.testing.assert_allclose(mean, vectors.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(std, vectors.std(0, correction=0), rtol=1e-5)
