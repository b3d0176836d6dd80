"""Batches without end, from any point on, for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


class EndlessBatches:
    """This process' batches of epoch after epoch.

    The batches of all epochs are one long row, of which process p of P takes every P-th from the p-th on. So an epoch
    need not divide by the processes, P processes see in a step what one sees in P micro-batches, and going on in
    the middle of an epoch loads nothing of what was before.

    Args:
        dataset: what `batch_sampler` indexes.
        batch_sampler: a list of batches for each epoch, the same on all processes; has `set_epoch`.
        collator: makes a batch of rows; has `set_epoch`.
        process_index, num_processes: p and P.
        num_workers: processes that load.
        epoch, position: where in which epoch the row goes on, counted in batches of all processes.

    Attributes:
        epoch, position: after what was handed out, on process 0; to be saved for going on.
    """

    def __init__(
        self,
        dataset: Any,
        batch_sampler: Any,
        collator: Any,
        process_index: int = 0,
        num_processes: int = 1,
        num_workers: int = 0,
        epoch: int = 0,
        position: int = 0,
    ):
        self.dataset, self.batch_sampler, self.collator = dataset, batch_sampler, collator
        self.num_processes, self.num_workers = num_processes, num_workers
        self.epoch, self.position = epoch, position + process_index

    def __iter__(self) -> Iterator[Any]:
        while True:
            self.batch_sampler.set_epoch(self.epoch)
            self.collator.set_epoch(self.epoch)
            batches = list(self.batch_sampler)
            # Workers start with the epoch, so they know which it is.
            loader = torch.utils.data.DataLoader(
                self.dataset,
                batch_sampler=batches[self.position :: self.num_processes],
                collate_fn=self.collator,
                num_workers=self.num_workers,
                pin_memory=torch.cuda.is_available(),
            )
            for batch in loader:
                self.position += self.num_processes
                yield batch
            self.position -= len(batches)
            self.epoch += 1
