"""Intelligibility of coded speech: STOI."""

from __future__ import annotations

from ..audio.loading import AudioInput, load_audio


def stoi(audio: AudioInput, reference: AudioInput, sampling_rate: int | None = None) -> float:
    """Short-time objective intelligibility (Taal et al., 2011) of `audio` relative to the clean speech.

    Args:
        audio, reference: anything that `load_audio` takes, in step with each other: the longer one is cut.
        sampling_rate: Hz of both, where they are bare arrays.

    Returns: up to 1; 0.93 and more is clear.

    Raises:
        ImportError: `pystoi` is not installed.
    """
    try:
        from pystoi import stoi as measure
    except ImportError as error:
        raise ImportError('STOI needs pystoi: pip install "ns2-diffusers[eval]".') from error
    reference, rate = load_audio(reference, sampling_rate)
    audio, _ = load_audio(audio, sampling_rate, rate)
    length = min(len(audio), len(reference))
    return float(measure(reference[:length].numpy(), audio[:length].numpy(), rate))
