"""Rows of a prepared dataset to padded batches with prompts."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from ..audio.pitch import interpolate_unvoiced


class PromptCollator:
    """Pads a batch and gives every item a prompt: a piece of another utterance of its speaker.

    A speaker with one utterance only is prompted by that utterance itself.

    Args:
        dataset: the prepared dataset the prompts come from.
        tokenizer: phonemes to ids.
        min_prompt_frames, max_prompt_frames: between which the prompt's length is drawn.
        seed: of the random choice of prompts.
    """

    def __init__(self, dataset: Any, tokenizer: Any, min_prompt_frames: int, max_prompt_frames: int, seed: int = 0):
        self.dataset, self.tokenizer = dataset, tokenizer
        self.prompt_frames = (min_prompt_frames, max_prompt_frames)
        self.random = random.Random(seed)
        self.of_speaker = defaultdict(list)
        for index, speaker in enumerate(dataset["speaker"]):
            self.of_speaker[speaker].append(index)
        self.index_of = {id_: index for index, id_ in enumerate(dataset["id"])}

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Make a batch.

        Returns: `input_ids`, `attention_mask` (bool), `durations` (B, N); `codes` (B, Q, T), `frame_mask` (bool),
        `f0` (Hz, 0 unvoiced), `pitch` (the same without gaps) (B, T); `prompt_codes` (B, Q, Tp), `prompt_mask`.
        """
        text = self.tokenizer([row["phonemes"] for row in rows], is_phonemes=True, padding=True, return_tensors="pt")
        codes, frame_mask = _pad_codes([np.asarray(row["codes"]) for row in rows])
        prompt_codes, prompt_mask = _pad_codes([self._prompt(row) for row in rows])
        f0 = [torch.tensor(row["f0"]) for row in rows]
        return {
            "input_ids": text["input_ids"],
            "attention_mask": text["attention_mask"].bool(),
            "durations": _pad([torch.tensor(row["durations"]) for row in rows]),
            "codes": codes,
            "frame_mask": frame_mask,
            "f0": _pad(f0),
            "pitch": _pad([interpolate_unvoiced(item) for item in f0]),
            "prompt_codes": prompt_codes,
            "prompt_mask": prompt_mask,
        }

    def _prompt(self, row: dict[str, Any]) -> np.ndarray:
        own = self.index_of[row["id"]]
        others = [index for index in self.of_speaker[row["speaker"]] if index != own] or [own]
        codes = np.asarray(self.dataset[self.random.choice(others)]["codes"])
        length = min(self.random.randint(*self.prompt_frames), codes.shape[1])
        start = self.random.randint(0, codes.shape[1] - length)
        return codes[:, start : start + length]


class FrameBudgetSampler(torch.utils.data.Sampler):
    """Batches of utterances of like length that together hold at most `max_frames` frames, padding included.

    Args:
        n_frames: frames of every utterance.
        max_frames: of a batch; an utterance that is longer by itself makes a batch alone.
        seed: batches are drawn anew, differently, every epoch.
    """

    def __init__(self, n_frames: Sequence[int], max_frames: int, seed: int = 0):
        self.n_frames, self.max_frames = list(n_frames), max_frames
        self.random = random.Random(seed)

    def __iter__(self) -> Iterator[list[int]]:
        # Noise of a tenth mixes neighbours, so that the same utterances do not always meet.
        order = sorted(range(len(self.n_frames)), key=lambda i: self.n_frames[i] * self.random.uniform(0.9, 1.1))
        batches, batch, longest = [], [], 0
        for index in order:
            longest = max(longest, self.n_frames[index])
            if batch and longest * (len(batch) + 1) > self.max_frames:
                batches.append(batch)
                batch, longest = [], self.n_frames[index]
            batch.append(index)
        batches.append(batch)
        self.random.shuffle(batches)
        return iter(batches)


def _pad(items: list[torch.Tensor]) -> torch.Tensor:
    return pad_sequence(items, batch_first=True)


def _pad_codes(items: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    codes = _pad([torch.from_numpy(np.ascontiguousarray(item.T)) for item in items]).transpose(1, 2)
    lengths = torch.tensor([item.shape[1] for item in items])
    return codes, torch.arange(codes.shape[2]) < lengths[:, None]
