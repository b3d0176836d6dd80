import itertools

import pytest

from ns2_diffusers.training.batches import EndlessBatches

# Batches of each epoch: their number may change from one to the next.
EPOCHS = [[[0, 1], [2], [3]], [[3, 2], [1, 0]], [[0], [1], [2], [3]]]
ROW = [(epoch % 3, batch) for epoch in range(9) for batch in EPOCHS[epoch % 3]]


class Sampler:
    def set_epoch(self, epoch):
        self.epoch = epoch % 3

    def __iter__(self):
        return iter(EPOCHS[self.epoch])


class Collator(Sampler):
    def __call__(self, rows):
        return self.epoch, rows


def batches(**where):
    return EndlessBatches(range(4), Sampler(), Collator(), **where)


def take(rows, count):
    return list(itertools.islice(rows, count))


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_processes_share_one_row(processes):
    shares = [take(batches(process_index=index, num_processes=processes), 4) for index in range(processes)]
    assert [batch for turn in zip(*shares, strict=True) for batch in turn] == ROW[: 4 * processes]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("before", range(7))
def test_going_on_from_anywhere(processes, before):
    first = batches(num_processes=processes)
    take(first, before)
    where = {"epoch": first.epoch, "position": first.position, "num_processes": processes}
    for index in range(processes):
        start = processes * before + index
        assert take(batches(process_index=index, **where), 5) == ROW[start : start + 5 * processes : processes]


def test_nothing_is_loaded_in_vain():
    loaded = []

    class Dataset:
        def __getitem__(self, index):
            loaded.append(index)
            return index

    assert take(EndlessBatches(Dataset(), Sampler(), Collator(), epoch=2, position=3), 1) == [(2, [3])]
    assert loaded == [3]


def test_workers_know_the_epoch():
    assert take(batches(num_workers=1), 6) == ROW[:6]
