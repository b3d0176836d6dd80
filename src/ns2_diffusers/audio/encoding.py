"""Encodes waveforms to an audio format piece by piece, while they are generated."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable

import numpy as np
import soundfile
import soxr

# Format and coding of libsndfile; None is encoded in this module.
FORMATS = {
    "wav": None,
    "pcm": None,
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
    "ogg": ("OGG", "VORBIS"),
}
MEDIA_TYPES = {
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "ogg": "audio/ogg",
}
# Sampling rates in Hz that a format supports. Other audio is resampled to `COMMON_RATE`, which all of them support.
RATES = {
    "opus": (8000, 12000, 16000, 24000, 48000),
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
}
COMMON_RATE = 24000
# The largest length that a WAV header can hold, for a length that is unknown yet.
UNKNOWN_LENGTH = 0xFFFFFFFF


class AudioEncoder:
    """Encodes mono audio to bytes, piece by piece.

        encoder = AudioEncoder("mp3", 24000)
        data = encoder.encode(first) + encoder.encode(second) + encoder.finish()

    The bytes can be sent before the length is known: the headers of WAV, FLAC and MP3 then do not contain it.
    `encode_whole` writes headers with the length. Samples beyond [-1, 1] are clipped.

    Args:
        kind: one of `FORMATS`; `pcm` is 16-bit little-endian samples without a header.
        sampling_rate: Hz of the audio.
        output_rate: Hz of the output; if None, that of the audio, or `COMMON_RATE` if the format does not support it.

    Raises:
        ValueError: the format is unknown, or does not support the rate.
    """

    def __init__(self, kind: str, sampling_rate: int, output_rate: int | None = None):
        if kind not in FORMATS:
            raise ValueError(f"the audio format {kind!r} is unknown; wanted one of {', '.join(FORMATS)}.")
        rates = RATES.get(kind)
        if output_rate is None:
            output_rate = sampling_rate if rates is None or sampling_rate in rates else COMMON_RATE
        elif rates is not None and output_rate not in rates:
            raise ValueError(f"{kind} cannot have {output_rate} Hz; it can have {', '.join(map(str, rates))} Hz.")
        self.kind, self.sampling_rate = kind, output_rate
        self._resampler = None
        if output_rate != sampling_rate:
            self._resampler = soxr.ResampleStream(sampling_rate, output_rate, 1, dtype="float32")
        self._sink = _Sink()
        self._file = None
        if (coding := FORMATS[kind]) is not None:
            # Without a header, readers estimate the length of MP3 from its bit rate, which is therefore constant.
            rate = {"bitrate_mode": "CONSTANT", "compression_level": 0.5} if kind == "mp3" else {}
            self._file = soundfile.SoundFile(self._sink, "w", output_rate, 1, coding[1], format=coding[0], **rate)
        elif kind == "wav":
            self._sink.write(wav_header(output_rate))

    def encode(self, samples: np.ndarray) -> bytes:
        """Encode samples (n,) floating; some formats keep a part for the next call."""
        return self._add(np.asarray(samples, np.float32), last=False)

    def finish(self) -> bytes:
        """Encode the rest. No more samples can follow."""
        data = self._add(np.zeros(0, np.float32), last=True)
        if self._file is not None:
            self._file.close()
        return data + self._sink.take()

    def close(self) -> None:
        """End without encoding the rest."""
        if self._file is not None:
            self._file.close()

    def _add(self, samples: np.ndarray, last: bool) -> bytes:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=last)
        samples = np.clip(samples, -1.0, 1.0)
        if self._file is None:
            self._sink.write((samples * 32767).round().astype("<i2").tobytes())
        else:
            # libsndfile's Ogg encoder overflows the stack and crashes on minutes of audio at once.
            for start in range(0, len(samples), self.sampling_rate):
                self._file.write(samples[start : start + self.sampling_rate])
        return self._sink.take()


def encode_whole(pieces: Iterable[np.ndarray], kind: str, sampling_rate: int, output_rate: int | None = None) -> bytes:
    """Encode audio to one file with its length in the header; the arguments are those of `AudioEncoder`."""
    encoder = AudioEncoder(kind, sampling_rate, output_rate)
    if FORMATS[kind] is None:
        data = b"".join([*(encoder.encode(piece) for piece in pieces), encoder.finish()])
        return wav_header(encoder.sampling_rate, len(data) - 44) + data[44:] if kind == "wav" else data
    encoder.close()
    whole, (format, subtype) = io.BytesIO(), FORMATS[kind] or ("", "")
    resampled = AudioEncoder("pcm", sampling_rate, encoder.sampling_rate)
    with soundfile.SoundFile(whole, "w", encoder.sampling_rate, 1, format=format, subtype=subtype) as file:
        for piece in pieces:
            file.write(np.frombuffer(resampled.encode(piece), "<i2"))
        file.write(np.frombuffer(resampled.finish(), "<i2"))
    return whole.getvalue()


def wav_header(sampling_rate: int, data_bytes: int | None = None) -> bytes:
    """The 44-byte header of mono 16-bit WAV; None stands for an unknown length."""
    length = UNKNOWN_LENGTH if data_bytes is None else data_bytes
    riff = UNKNOWN_LENGTH if data_bytes is None else data_bytes + 36
    layout = struct.pack("<IHHIIHH", 16, 1, 1, sampling_rate, 2 * sampling_rate, 2, 16)
    return b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + layout + b"data" + struct.pack("<I", length)


class _Sink:
    """A file for libsndfile whose bytes are read while it is written. Later changes to them are lost."""

    def __init__(self):
        self.pending, self.sent, self.position = bytearray(), 0, 0

    def write(self, data) -> int:
        data = bytes(data)
        start = self.position - self.sent
        kept = data[max(0, -start) :]
        start = max(start, 0)
        self.pending[start : start + len(kept)] = kept
        self.position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset + (0, self.position, self.sent + len(self.pending))[whence]
        return self.position

    def tell(self) -> int:
        return self.position

    def read(self, size: int = -1) -> bytes:
        return b""

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        data = bytes(self.pending)
        self.sent += len(data)
        self.pending.clear()
        return data
