"""Endless batches that can be resumed at any point, for any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch


class EndlessBatches:
    """Batches of this process, over endless epochs.

    The batches of all epochs form one sequence, of which process p of P takes every P-th from the p-th on. So an
    epoch need not divide by the processes, P processes see in a step what one sees in P micro-batches, and going on
    in the middle of an epoch loads nothing of what was before.

    Args:
        dataset: what `batch_sampler` indexes.
        batch_sampler: a list of batches for each epoch, the same on all processes; has `set_epoch`.
        collator: makes a batch of rows; None is torch's. Its `set_epoch` is called if it has one.
        process_index, num_processes: p and P.
        num_workers: processes that load.
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
        """The epoch, and the position in it, counted in batches of all processes; any process's state serves all."""
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
            # Workers start with the epoch, so they know which it is.
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
    """Items of an endless dataset in order, `batch_size` at a time; `epoch_length` batches are called an epoch."""

    def __init__(self, batch_size: int, epoch_length: int = 10_000):
        self.batch_size, self.epoch_length, self.epoch = batch_size, epoch_length, 0

    def set_epoch(self, epoch: int) -> None:
        """Continue with the batches of this epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[range]:
        first = self.epoch * self.epoch_length
        for batch in range(first, first + self.epoch_length):
            yield range(batch * self.batch_size, (batch + 1) * self.batch_size)
