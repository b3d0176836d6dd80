"""Recordings that were encoded before are recognised by their content, as long as the codec is the same."""

import threading

import numpy as np
import pytest
import soundfile
import torch

from ns2_diffusers.pipelines.recordings import Recent, content_key


@pytest.fixture
def encoded(tiny_pipeline, monkeypatch):
    """The recordings that were encoded rather than found in the cache."""
    calls, encode = [], tiny_pipeline._encode_recording

    def watch(audio, sampling_rate):
        calls.append(audio)
        return encode(audio, sampling_rate)

    monkeypatch.setattr(tiny_pipeline, "_encode_recording", watch)
    return calls


def test_a_recording_is_encoded_once(tiny_pipeline, encoded, clips, tmp_path):
    first = tiny_pipeline.encode_voice(clips[0])
    (tmp_path / "same.flac").write_bytes(clips[0].read_bytes())
    again = tiny_pipeline.encode_voice(str(tmp_path / "same.flac"))
    assert len(encoded) == 1 and torch.equal(first.latents, again.latents)
    again.latents.zero_()  # a copy
    assert torch.equal(tiny_pipeline.encode_voice(clips[0]).latents, first.latents)
    samples, rate = soundfile.read(clips[0], dtype="float32")
    voices = [
        tiny_pipeline.encode_voice(*given)
        for given in ((samples, rate), ((rate, samples),), (torch.from_numpy(samples), rate))
    ]
    assert len(encoded) == 2 and all(torch.equal(each.latents, voices[0].latents) for each in voices)


def test_other_content_limits_and_weights_are_encoded_anew(tiny_pipeline, encoded, clips, tmp_path):
    path = tmp_path / "voice.flac"
    path.write_bytes(clips[0].read_bytes())
    first = tiny_pipeline.encode_voice(path).latents
    path.write_bytes(clips[1].read_bytes())
    assert not torch.equal(tiny_pipeline.encode_voice(path).latents, first) and len(encoded) == 2
    tiny_pipeline.register_to_config(max_voice_seconds=1.0, max_prompt_seconds=1.0)
    assert tiny_pipeline.encode_voice(path).latents.shape[1] < first.shape[1] and len(encoded) == 3
    with torch.no_grad():
        next(tiny_pipeline.codec.parameters()).mul_(1.5)
    tiny_pipeline.encode_voice(path)
    tiny_pipeline.codec.double()
    tiny_pipeline.encode_voice(path)
    tiny_pipeline.codec.float()
    assert len(encoded) == 5


def test_what_cannot_be_told_apart_is_encoded(tiny_pipeline, encoded, clips):
    samples, rate = soundfile.read(clips[0], dtype="float32")
    for _ in range(2):
        tiny_pipeline.encode_voice({"array": samples, "sampling_rate": rate})
    assert len(encoded) == 2
    assert content_key("no such file", None) is None and content_key(np.array(["a"]), 1) is None
    assert content_key(samples, 8000) != content_key(samples, 16000) != content_key(samples.astype(float), 16000)


def test_only_recent_results_are_kept():
    recent, made = Recent(2), []

    def get(key):
        return recent.get(key, lambda: made.append(key) or key)

    for key in (1, 2, 1, 3, 1, 2):
        assert get(key) == key
    assert made == [1, 2, 3, 2]


def test_threads_share_recent_results():
    recent, wrong = Recent(3), []

    def ask():
        for number in range(2000):
            key = number % 7
            if recent.get(key, lambda key=key: key + 1) != key + 1:
                wrong.append(key)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_voice_of_a_whole_batch_is_heard_once(tiny_pipeline, clips, monkeypatch):
    voices = [tiny_pipeline.encode_voice(clip) for clip in clips[:2]]
    batches, forward = [], tiny_pipeline.prompt_encoder.forward

    def watch(latents, *args, **options):
        batches.append(len(latents))
        return forward(latents, *args, **options)

    monkeypatch.setattr(tiny_pipeline.prompt_encoder, "forward", watch)
    with torch.no_grad():
        alone, _ = tiny_pipeline.encode_prompt(voices[:1])
        together, mask = tiny_pipeline.encode_prompt([voices[0]] * 3)
        tiny_pipeline.encode_prompt(voices)
    assert batches == [1, 1, 2] and mask is None
    assert together.shape == (3, *alone.shape[1:]) and torch.equal(together[2], alone[0])
