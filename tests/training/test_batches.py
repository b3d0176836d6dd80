import itertools

import pytest

from ns2_diffusers.training.batches import ConsecutiveBatches, EndlessBatches

# Batches of each epoch; their number may differ between epochs.
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


def batches(state=None, **where):
    made = EndlessBatches(range(4), Sampler(), Collator(), **where)
    if state:
        made.load_state_dict(state)
    return made


def take(rows, count):
    return list(itertools.islice(rows, count))


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_processes_share_one_row(processes):
    shares = [take(batches(process_index=index, num_processes=processes), 4) for index in range(processes)]
    assert [batch for turn in zip(*shares, strict=True) for batch in turn] == ROW[: 4 * processes]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("before", range(7))
def test_going_on_from_anywhere(processes, before):
    for saving in range(processes):
        first = batches(process_index=saving, num_processes=processes)
        take(first, before)
        for index in range(processes):
            start = processes * before + index
            resumed = batches(first.state_dict(), process_index=index, num_processes=processes)
            assert take(resumed, 5) == ROW[start : start + 5 * processes : processes]


def test_nothing_is_loaded_in_vain():
    loaded = []

    class Dataset:
        def __getitem__(self, index):
            loaded.append(index)
            return index

    rows = EndlessBatches(Dataset(), Sampler(), Collator())
    rows.load_state_dict({"epoch": 2, "position": 3})
    assert take(rows, 1) == [(2, [3])]
    assert loaded == [3]


def test_crops_are_consecutive_items_without_end():
    """Two processes together get the items of one, with or without epochs; a resumed run continues at its position."""

    class Crops:
        def __getitem__(self, index):
            return index

    def make(index=0, processes=1):
        return EndlessBatches(
            Crops(), ConsecutiveBatches(3, epoch_length=5), process_index=index, num_processes=processes
        )

    items = [batch.tolist() for batch in take(make(), 12)]
    assert items == [[3 * number, 3 * number + 1, 3 * number + 2] for number in range(12)]
    shares = [take(make(index, 2), 6) for index in range(2)]
    assert [batch.tolist() for turn in zip(*shares, strict=True) for batch in turn] == items
    first, resumed = make(), make()
    take(first, 7)
    resumed.load_state_dict(first.state_dict())
    assert [batch.tolist() for batch in take(resumed, 5)] == items[7:]


def test_workers_know_the_epoch():
    assert take(batches(num_workers=1), 6) == ROW[:6]
