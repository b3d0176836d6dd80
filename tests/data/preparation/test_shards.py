"""The list of finished shards."""

import itertools

import pytest

from ns2_diffusers import NaturalSpeech2Tokenizer
from ns2_diffusers.data.preparation.shards import Preparation, ShardEnd
from ns2_diffusers.data.sources import Row, Source

pytest.importorskip("datasets", reason="the train extra is not installed")


def source(*lengths):
    return Source(
        lambda part: iter([Row(f"{part}.{n}", "s", "Hi.", "a.wav") for n in range(lengths[part])]), "it", len(lengths)
    )


def pending(preparation, rows, shard_size, *process):
    """Ids by shard, and whether the shard is the last one of its part."""
    items = itertools.groupby(preparation.pending(rows, shard_size, *process), key=lambda item: item[0])
    shards = {name: [item for _, item in group] for name, group in items}
    assert all(isinstance(items[-1], ShardEnd) for items in shards.values())
    return {name: ([item.id for item in items[:-1]], items[-1].last) for name, items in shards.items()}


def test_rows_are_cut_into_shards(tmp_path):
    preparation = Preparation(tmp_path / "set", {})
    preparation.begin()
    assert pending(preparation, source(5, 0, 2), 2) == {
        "00000-00000": (["0.0", "0.1"], False),
        "00000-00001": (["0.2", "0.3"], False),
        "00000-00002": (["0.4"], True),
        "00001-00000": ([], True),
        "00002-00000": (["2.0", "2.1"], True),
    }


@pytest.mark.parametrize("lengths", [(7,), (3, 2), (1, 5, 0, 2)])
@pytest.mark.parametrize("num_processes", [2, 3])
def test_processes_share_out_the_same_shards(tmp_path, lengths, num_processes):
    preparation = Preparation(tmp_path / "set", {})
    preparation.begin()
    alone = pending(preparation, source(*lengths), 2)
    shares = [pending(preparation, source(*lengths), 2, index, num_processes) for index in range(num_processes)]
    assert {name: shard for share in shares for name, shard in share.items()} == alone
    assert sum(map(len, shares)) == len(alone)


def test_whole_shards_are_not_made_again_and_whole_parts_not_read(tmp_path):
    preparation = Preparation(tmp_path / "set", {})
    preparation.begin()
    preparation.write("00000-00001", ShardEnd(False), [], [], None)
    preparation.write("00001-00000", ShardEnd(True), [], [], None)
    read = []
    rows = source(5, 2)
    watched = Source(lambda part: read.append(part) or rows.read(part), "it", 2)
    assert sorted(pending(preparation, watched, 2)) == ["00000-00000", "00000-00002"]
    assert read == [0]


def test_a_dataset_with_missing_shards_is_not_finished(tmp_path, tiny_codec):
    preparation = Preparation(tmp_path / "set", {})
    preparation.begin()
    preparation.write("00000-00001", ShardEnd(True), [], [], None)
    with pytest.raises(RuntimeError, match="shards are missing"):
        preparation.finish(source(4), tiny_codec, NaturalSpeech2Tokenizer(), False)


def test_two_preparations_are_not_mixed(tmp_path):
    Preparation(tmp_path / "set", {"trim_db": None, "backend": "english"}).begin()
    Preparation(tmp_path / "set", {"trim_db": None, "backend": "english"}).begin()
    with pytest.raises(ValueError, match="trim_db None → 40"):
        Preparation(tmp_path / "set", {"trim_db": 40, "backend": "english"}).begin()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="something else"):
        Preparation(tmp_path, {}).begin()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
