"""Finds recordings without transcripts, and cuts random crops from them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from ..audio.loading import seconds_in_header
from ..audio.pitch import estimate_f0
from ..audio.voice_filters import analyze_voice
from .augmentation import degrade

AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif"}


def find_recordings(place: str | Path) -> list[Path]:
    """Paths of all audio files below a folder, or from the column `file` of a list, relative to the list.

    Args:
        place: a folder, a CSV file with a header, or a JSON Lines file (`.jsonl`) with one object per line.

    Raises:
        ValueError: there is no audio, or no such column.
    """
    path = Path(place)
    if path.is_file():
        with open(path, newline="", encoding="utf-8") as handle:
            if path.suffix == ".jsonl":
                rows = [json.loads(line) for line in handle if line.strip()]
            else:
                rows = list(csv.DictReader(handle))
        bad = next((row for row in rows if "file" not in row), None)
        if bad is not None:
            raise ValueError(f"{path} has a row with the columns {list(bad)}: every row needs one named `file`.")
        files = [path.parent / row["file"] for row in rows]
    else:
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise ValueError(f"no audio in {place}: wanted files with {', '.join(sorted(AUDIO_SUFFIXES))}.")
    return files


def read_span(
    file: str | Path,
    sampling_rate: int,
    channels: int = 1,
    start: float = 0.0,
    seconds: float | None = None,
    speed: float = 1.0,
) -> np.ndarray:
    """A part of a recording, (channels, samples) float32 at `sampling_rate`; shorter if the recording ends.

    Args:
        start: start in seconds.
        seconds: duration of the result; None reads to the end.
        speed: playback speed; 1.1 is 10 % faster and higher.
    """
    with soundfile.SoundFile(file) as audio:
        rate = audio.samplerate
        audio.seek(min(int(start * rate), audio.frames))
        frames = -1 if seconds is None else math.ceil(speed * seconds * rate)
        samples = audio.read(frames, dtype="float32", always_2d=True)
    if samples.shape[1] != channels:
        samples = samples.mean(axis=1, keepdims=True).repeat(channels, axis=1)
    if speed * rate != sampling_rate:
        samples = soxr.resample(samples, speed * rate, sampling_rate)
    return samples.T if seconds is None else samples.T[:, : round(seconds * sampling_rate)]


class RandomCrops(torch.utils.data.Dataset):
    """Endless random crops of recordings; item i is the same in every run with the same seed.

    An item has `waveform` (channels, samples), zero-padded if a recording is too short, and `sample_mask` (samples,).
    Recordings are drawn in proportion to their duration, so that every second of audio has the same weight.

    Args:
        files: the recordings. Unreadable ones are left out, see `unreadable`.
        sampling_rate: Hz of the crops.
        channels: number of channels of the crops.
        seconds: duration of a crop.
        seed: seed of all random draws.
        speed_perturbation: 0.1 plays crops up to 10 % faster or slower, which gives additional voices.
        f0_hop_length: samples per frame of `f0` (T,) in Hz, 0 where unvoiced. If given, items have `f0`.
        degraded_share: share of crops with noise and reverberation (see `augmentation.degrade`). If given, items have
            `input` (channels, samples), which is degraded in these crops and equals `waveform` in the others. All
            other entries are clean.
        filters: settings `fine_hop_length` and `n_fft` of `analyze_voice`. If given, items have its `log_envelope`,
            float32. Needs `f0_hop_length`.

    Attributes:
        files, durations: the readable recordings, and the duration of each in seconds.
        unreadable: paths of recordings that were left out.

    Raises:
        ValueError: no recording can be read.
    """

    def __init__(
        self,
        files: Sequence[str | Path],
        sampling_rate: int,
        channels: int,
        seconds: float,
        seed: int = 0,
        speed_perturbation: float = 0.0,
        f0_hop_length: int | None = None,
        degraded_share: float = 0.0,
        filters: Mapping[str, int] | None = None,
    ):
        self.f0_hop_length, self.degraded_share, self.filters = f0_hop_length, degraded_share, filters
        self.sampling_rate, self.channels, self.seconds = sampling_rate, channels, seconds
        self.seed, self.speed_perturbation = seed, speed_perturbation
        durations = {file: seconds_in_header(file) for file in files}
        self.files = [file for file in files if durations[file] > 0]
        self.unreadable = [file for file in files if not durations[file] > 0]
        if not self.files:
            raise ValueError(f"none of the {len(files)} recordings can be read, {self.unreadable[0]} among them.")
        self.durations = np.array([durations[file] for file in self.files])

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, item: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng([self.seed, item])
        index = random.choice(len(self.files), p=self.durations / self.durations.sum())
        speed = 1 + random.uniform(-1, 1) * self.speed_perturbation
        start = random.uniform(0, max(0.0, self.durations[index] - speed * self.seconds))
        # A random gain keeps the model from learning the recording level.
        gain = np.float32(random.uniform(0.5, 1.0))
        audio = read_span(self.files[index], self.sampling_rate, self.channels, start, self.seconds, speed)
        length = round(self.seconds * self.sampling_rate)
        waveform = np.zeros((self.channels, length), dtype=np.float32)
        waveform[:, : audio.shape[1]] = gain * audio
        crop = {"waveform": torch.from_numpy(waveform), "sample_mask": torch.arange(length) < audio.shape[1]}
        if self.filters:
            hops = self.f0_hop_length or 0, self.filters["fine_hop_length"]
            found = analyze_voice(waveform.mean(axis=0), self.sampling_rate, *hops, self.filters["n_fft"])
            crop["f0"] = torch.from_numpy(found.f0.astype(np.float32))
            crop["log_envelope"] = torch.from_numpy(found.log_envelope.astype(np.float32))
        elif self.f0_hop_length:
            # F0 is estimated on the crop only; on whole recordings it would take longer than the rest of a step.
            crop["f0"] = estimate_f0(crop["waveform"].mean(dim=0), self.sampling_rate, self.f0_hop_length)
        if self.degraded_share:
            crop["input"] = crop["waveform"]
            # The silence after the end of a recording stays silent, as `sample_mask` marks it.
            if random.uniform() < self.degraded_share:
                degraded = waveform.copy()
                degraded[:, : audio.shape[1]] = degrade(waveform[:, : audio.shape[1]], self.sampling_rate, random)
                crop["input"] = torch.from_numpy(degraded)
        return crop


class RandomCodeCrops(torch.utils.data.Dataset):
    """Endless random crops of a prepared dataset: `codes` (Q, T), padded with zeros, and `frame_mask` (T,).

    Args:
        dataset: rows with `codes` and `n_frames`.
        frames: T.
        seed: see `RandomCrops`.
    """

    def __init__(self, dataset, frames: int, seed: int = 0):
        self.dataset, self.frames, self.seed = dataset, frames, seed
        self.lengths = np.array(dataset["n_frames"])

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, item: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng([self.seed, item])
        index = int(random.choice(len(self.lengths), p=self.lengths / self.lengths.sum()))
        start = random.integers(0, max(0, self.lengths[index] - self.frames) + 1)
        cut = np.asarray(self.dataset[index]["codes"], dtype=np.int64)[:, start : start + self.frames]
        codes = np.zeros((len(cut), self.frames), dtype=np.int64)
        codes[:, : cut.shape[1]] = cut
        return {"codes": torch.from_numpy(codes), "frame_mask": torch.arange(self.frames) < cut.shape[1]}
