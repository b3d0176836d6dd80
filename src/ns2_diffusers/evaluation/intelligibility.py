"""Intelligibility of coded speech: STOI."""

from __future__ import annotations

from ..audio.loading import AudioInput, load_audio


def stoi(audio: AudioInput, reference: AudioInput, sampling_rate: int | None = None) -> float:
    """Short-time objective intelligibility (Taal et al., 2011) of `audio` relative to the clean speech.

    Args:
        audio, reference: any input of `load_audio`, aligned in time; the longer one is cut.
        sampling_rate: Hz of both; only for bare arrays.

    Returns: at most 1; from 0.93 on speech is clear.

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
