"""Endless batches that can be resumed at any point, for any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch


class EndlessBatches:
    """Batches of this process, over endless epochs.

    The batches of all epochs form one sequence, from which process p of P takes every P-th batch, starting at the
    p-th. So the number of batches in an epoch need not be a multiple of P, P processes see in one step what one
    process sees in P micro-batches, and a resumed run does not load the batches before its position.

    Args:
        dataset: the dataset that `batch_sampler` indexes.
        batch_sampler: list of batches for each epoch, the same on all processes; has `set_epoch`.
        collator: makes a batch from rows; torch's default if None. Its `set_epoch` is called if it has one.
        process_index, num_processes: p and P.
        num_workers: number of processes that load data.
    """

    def __init__(
        self,
        dataset: Any,
        batch_sampler: Any,
        collator: Callable | None = None,
        process_index: int = 0,
        num_processes: int = 1,
        num_workers: int = 0,
    ):
        self.dataset, self.batch_sampler, self.collator = dataset, batch_sampler, collator
        self.process_index, self.num_processes, self.num_workers = process_index, num_processes, num_workers
        self.epoch = self.position = 0

    def state_dict(self) -> dict[str, int]:
        """The epoch, and the position in it in batches of all processes; the same on all processes."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from this state at the next `iter`."""
        self.epoch, self.position = state["epoch"], state["position"]

    def __iter__(self) -> Iterator[Any]:
        while True:
            for part in (self.batch_sampler, self.collator):
                set_epoch = getattr(part, "set_epoch", None)
                if set_epoch is not None:
                    set_epoch(self.epoch)
            batches = list(self.batch_sampler)
            # Workers start in every epoch with a copy of the collator, so they have its epoch.
            loader = torch.utils.data.DataLoader(
                self.dataset,
                batch_sampler=batches[self.position + self.process_index :: self.num_processes],
                collate_fn=self.collator,
                num_workers=self.num_workers,
                pin_memory=torch.cuda.is_available(),
            )
            for batch in loader:
                self.position += self.num_processes
                yield batch
            self.position -= len(batches)
            self.epoch += 1


class ConsecutiveBatches:
    """Items of an endless dataset in order, in batches of `batch_size`; `epoch_length` batches form an epoch."""

    def __init__(self, batch_size: int, epoch_length: int = 10_000):
        self.batch_size, self.epoch_length, self.epoch = batch_size, epoch_length, 0

    def set_epoch(self, epoch: int) -> None:
        """Continue with the batches of this epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[range]:
        first = self.epoch * self.epoch_length
        for batch in range(first, first + self.epoch_length):
            yield range(batch * self.batch_size, (batch + 1) * self.batch_size)
