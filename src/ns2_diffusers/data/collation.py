"""Makes padded batches with prompts from rows of a prepared dataset."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..audio.pitch import interpolate_unvoiced
from ..masks import lengths_mask, pad
from .alignment_prior import alignment_priors

PROMPT_SOURCES = ("other", "same", "mixed")


class PromptCollator:
    """Pads a batch and gives every item a prompt (NaturalSpeech 2, section 3.3).

    The prompt is a piece of another utterance of the speaker, or at most half of the same utterance, which `loss_mask`
    then excludes from the target. The random draws of an utterance depend only on the seed, the epoch and its id, and
    not on the order of the batches or the number of workers and processes.

    Args:
        dataset: the prepared dataset of the prompts.
        tokenizer: converts phonemes to ids.
        min_prompt_frames, max_prompt_frames: range of the random length of the prompt.
        seed: seed of all random draws.
        prompt_source: "other", "same" (the paper), or "mixed", which uses either with equal probability. A speaker
            with only one utterance always gets a piece of it.

    Raises:
        ValueError: the `prompt_source` is unknown.
    """

    def __init__(
        self,
        dataset: Any,
        tokenizer: Any,
        min_prompt_frames: int,
        max_prompt_frames: int,
        seed: int = 0,
        prompt_source: str = "other",
    ):
        if prompt_source not in PROMPT_SOURCES:
            raise ValueError(f"prompt_source is {prompt_source!r}; it must be one of {', '.join(PROMPT_SOURCES)}.")
        # As Arrow data the codes are one buffer; as Python lists they would be ten thousand objects per utterance.
        self.codes, self.tokenizer = dataset.select_columns("codes").with_format("arrow"), tokenizer
        self.prompt_frames = (min_prompt_frames, max_prompt_frames)
        self.seed, self.prompt_source = seed, prompt_source
        # In shared memory, so that the loader's workers see changes too.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self.of_speaker = defaultdict(list)
        for index, speaker in enumerate(dataset["speaker"]):
            self.of_speaker[speaker].append(index)
        self.index_of = {id_: index for index, id_ in enumerate(dataset["id"])}

    @classmethod
    def from_pipeline(
        cls,
        pipe: Any,
        dataset: Any,
        min_prompt_seconds: float = 1.0,
        max_prompt_seconds: float = 5.0,
        seed: int = 0,
        prompt_source: str = "other",
    ) -> PromptCollator:
        """A collator with a pipeline's tokenizer and the frame rate of its codec; prompt lengths are in seconds.

        Raises:
            ValueError: the minimum length is not positive, or above the maximum; or the `prompt_source` is unknown.
        """
        if not 0 < min_prompt_seconds <= max_prompt_seconds:
            raise ValueError(
                f"prompts of {min_prompt_seconds} to {max_prompt_seconds} s are wanted: the least length must be "
                "positive, and not above the greatest."
            )
        rate = pipe.codec.frame_rate
        least, most = (max(1, round(seconds * rate)) for seconds in (min_prompt_seconds, max_prompt_seconds))
        return cls(dataset, pipe.tokenizer, least, most, seed, prompt_source)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which selects the random prompts."""
        self.epoch.fill_(epoch)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Make a batch from rows, as Python lists or in the dataset's numpy format.

        Returns: `input_ids`, `attention_mask` (bool), `durations` (B, N); `codes` (B, Q, T), `frame_mask` (bool),
        `loss_mask` (`frame_mask` without the prompt, if it is a part of the target), `f0` (Hz, 0 where unvoiced),
        `pitch` (F0 without gaps) (B, T); `sung` (B,) bool; `prompt_codes` (B, Q, Tp), `prompt_mask`; `seed`, int64,
        for the random draws of the training step. If the dataset is not aligned, `alignment_prior` (B, T, N) replaces
        `durations`.
        """
        text = self.tokenizer([row["phonemes"] for row in rows], is_phonemes=True, padding=True, return_tensors="pt")
        codes, frame_mask = _pad_codes([np.stack(row["codes"]) for row in rows])
        prompts, cuts = zip(*(self._prompt(row, len(row["codes"][0])) for row in rows), strict=True)
        prompt_codes, prompt_mask = _pad_codes(prompts)
        loss_mask = frame_mask.clone()
        for item, cut in enumerate(cuts):
            loss_mask[item, cut] = False
        f0 = [torch.tensor(row["f0"], dtype=torch.float32) for row in rows]
        batch = {
            "input_ids": text["input_ids"],
            "attention_mask": text["attention_mask"].bool(),
            "codes": codes,
            "frame_mask": frame_mask,
            "loss_mask": loss_mask,
            "f0": pad(f0),
            "pitch": pad([interpolate_unvoiced(item) for item in f0]),
            # Older datasets lack the column.
            "sung": torch.tensor([bool(row.get("sung", False)) for row in rows]),
            "prompt_codes": prompt_codes,
            "prompt_mask": prompt_mask,
            "seed": torch.tensor(self._batch_seed([row["id"] for row in rows])),
        }
        if all(len(row["durations"]) for row in rows):
            return batch | {"durations": pad([torch.as_tensor(row["durations"], dtype=torch.int64) for row in rows])}
        return batch | {"alignment_prior": alignment_priors(batch["attention_mask"].sum(1).tolist(), f0)}

    def _prompt(self, row: dict[str, Any], num_frames: int) -> tuple[np.ndarray, slice]:
        """Codes (Q, Tp), and the frames of the target that they are (none if they are from another utterance)."""
        draw = random.Random(f"{self.seed} {int(self.epoch)} {row['id']}")
        own = self.index_of[row["id"]]
        family = self.of_speaker[row["speaker"]]
        same = self.prompt_source == "same" or (self.prompt_source == "mixed" and draw.random() < 0.5)
        if same or len(family) == 1:
            cut = self._cut(draw, num_frames, max(1, num_frames // 2))
            return np.stack(row["codes"])[:, cut], cut
        # One of the other utterances; the last one replaces the utterance itself.
        other = family[draw.randrange(len(family) - 1)]
        codes = self._codes(family[-1] if other == own else other)
        return codes[:, self._cut(draw, codes.shape[1], codes.shape[1])], slice(0)

    def _cut(self, draw: random.Random, num_frames: int, most: int) -> slice:
        length = min(draw.randint(*self.prompt_frames), most)
        start = draw.randint(0, num_frames - length)
        return slice(start, start + length)

    def _codes(self, index: int) -> np.ndarray:
        column = self.codes[index]["codes"].combine_chunks()
        return column.flatten().flatten().to_numpy().reshape(len(column[0]), -1)

    def _batch_seed(self, ids: Sequence[str]) -> int:
        names = "\n".join([str(self.seed), str(int(self.epoch)), *ids])
        return int.from_bytes(hashlib.sha256(names.encode()).digest()[:8], "little") >> 1


class FrameBudgetSampler(torch.utils.data.Sampler):
    """Batches of utterances of similar length with at most `max_frames` frames, including padding.

    The batches of an epoch depend only on the seed and the epoch. So processes that take turns share one sequence of
    batches (`training.batches.EndlessBatches`).

    Args:
        n_frames: number of frames of every utterance.
        max_frames: maximum number of frames of a batch; a longer utterance is a batch of its own.
        seed: seed of the batches and their order.
    """

    def __init__(self, n_frames: Sequence[int], max_frames: int, seed: int = 0):
        self.n_frames, self.max_frames = np.asarray(n_frames), max_frames
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which selects the random batches of the next pass."""
        self.epoch = epoch
        self.__dict__.pop("batches", None)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    @cached_property
    def batches(self) -> list[list[int]]:
        """Batches of this epoch, in order."""
        draw = np.random.default_rng([self.seed, self.epoch])
        # Random noise of 10% on the lengths mixes neighbours, so that batches differ between epochs.
        order = np.argsort(self.n_frames * draw.uniform(0.9, 1.1, len(self.n_frames)), kind="stable")
        batches: list[list[int]] = []
        batch: list[int] = []
        longest = 0
        for index in order.tolist():
            longest = max(longest, self.n_frames[index])
            if batch and longest * (len(batch) + 1) > self.max_frames:
                batches.append(batch)
                batch, longest = [], self.n_frames[index]
            batch.append(index)
        batches.append(batch)
        draw.shuffle(batches)
        return batches


def _pad_codes(items: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (Q, T) each → (B, Q, longest) int64, and their mask (B, longest)."""
    codes = pad([torch.from_numpy(item.T.astype(np.int64)) for item in items])
    return codes.transpose(1, 2).contiguous(), lengths_mask([item.shape[1] for item in items])
