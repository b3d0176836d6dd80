import json
from dataclasses import replace

import pytest
import torch

from ns2_diffusers import NaturalSpeech2Tokenizer, load_codec
from ns2_diffusers.data.prepared_dataset import (
    PreparedRow,
    load_prepared_dataset,
    load_prepared_datasets,
    read_card,
    shards,
    update_durations,
    write_prepared_dataset,
)

pytest.importorskip("datasets", reason="the train extra is not installed")


def make_row(name="a", frames=12):
    return PreparedRow(
        id=name,
        speaker="s",
        text="Hi.",
        phonemes="hˈI.",
        durations=torch.tensor([1, 2, 3, 4, 1, frames - 11]),
        codes=torch.arange(2 * frames).reshape(2, frames),
        f0=torch.linspace(0, 300, frames),
        n_frames=frames,
    )


@pytest.fixture
def tokenizer():
    return NaturalSpeech2Tokenizer()


def test_written_is_loaded(tmp_path, tiny_codec, tokenizer):
    rows = [make_row("a"), replace(make_row("b", 20), sung=True)]
    write_prepared_dataset(rows, tmp_path / "set", tiny_codec, tokenizer)
    loaded = load_prepared_dataset(tmp_path / "set", tiny_codec, tokenizer)
    assert list(loaded["id"]) == ["a", "b"] and list(loaded["sung"]) == [False, True]
    for row, back in zip(rows, loaded, strict=True):
        for key, value in vars(row).items():
            assert back[key] == (value.tolist() if isinstance(value, torch.Tensor) else value)
    card = json.loads((tmp_path / "set" / "dataset_card.json").read_text())
    assert card["utterances"] == 2 and card["frames"] == 32 and card["sampling_rate"] == 16000
    assert card["aligned"] and card["rejected"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    types = {name: str(feature) for name, feature in loaded.features.items()}
    assert types["codes"] == "List(List(Value('int16')))" and types["f0"] == "List(Value('float32'))"
    assert types["durations"] == "List(Value('int32'))" and types["n_frames"] == "Value('int32')"


def test_codec_and_tokenizer_lie_with_the_rows(tmp_path, tiny_codec, tokenizer):
    write_prepared_dataset([make_row()], tmp_path / "set", tiny_codec, tokenizer)
    codec = load_codec(str(tmp_path / "set" / "codec"))
    own = NaturalSpeech2Tokenizer.from_pretrained(tmp_path / "set" / "tokenizer")
    assert codec.config.latents_mean == tiny_codec.config.latents_mean
    assert len(load_prepared_dataset(tmp_path / "set", codec, own)) == 1


def test_a_dataset_of_another_codec_is_refused_with_both_fingerprints(tmp_path, tiny_codec, tokenizer):
    write_prepared_dataset([make_row()], tmp_path / "set", tiny_codec, tokenizer)
    before = tiny_codec.fingerprint
    with torch.no_grad():
        tiny_codec.codebooks.add_(1)
    with pytest.raises(ValueError, match=f"{before}.*{tiny_codec.fingerprint}"):
        load_prepared_dataset(tmp_path / "set", tiny_codec, tokenizer)


def test_a_dataset_of_another_tokenizer_is_refused(tmp_path, tiny_codec, tokenizer):
    write_prepared_dataset([make_row()], tmp_path / "set", tiny_codec, tokenizer)
    with pytest.raises(ValueError, match="tokenizer_fingerprint"):
        load_prepared_dataset(tmp_path / "set", tiny_codec, NaturalSpeech2Tokenizer(language="en-gb"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"durations": [1, 2, 3, 4, 1, 9]}, "12 frames"),
        ({"f0": [1.0] * 5}, "frames of f0': 5"),
        ({"phonemes": "hˈI"}, "5 symbols, start and end included, and 6 durations"),
    ],
)
def test_rows_that_disagree_are_refused_and_nothing_is_written(tmp_path, tiny_codec, tokenizer, change, message):
    with pytest.raises(ValueError, match=message):
        write_prepared_dataset([replace(make_row(), **change)], tmp_path / "set", tiny_codec, tokenizer)
    assert not list(tmp_path.iterdir())


def test_nothing_is_not_a_dataset(tmp_path, tiny_codec, tokenizer):
    with pytest.raises(ValueError, match="no utterance"):
        write_prepared_dataset([], tmp_path / "set", tiny_codec, tokenizer)
    with pytest.raises(ValueError, match="no prepared dataset"):
        load_prepared_dataset(tmp_path / "set", tiny_codec, tokenizer)


def test_a_folder_of_something_else_is_left_alone(tmp_path, tiny_codec, tokenizer):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="not a prepared dataset"):
        write_prepared_dataset([make_row()], tmp_path, tiny_codec, tokenizer)
    assert (tmp_path / "thesis.tex").exists()


def test_a_dataset_replaces_an_older_one(tmp_path, tiny_codec, tokenizer):
    for name in ("old", "new"):
        write_prepared_dataset([make_row(name)], tmp_path / "set", tiny_codec, tokenizer)
    assert list(load_prepared_dataset(tmp_path / "set", tiny_codec, tokenizer)["id"]) == ["new"]


def test_durations_can_come_later(tmp_path, tiny_codec, tokenizer):
    rows = [replace(make_row("a"), durations=[]), replace(make_row("b", 20), durations=[])]
    write_prepared_dataset(rows, tmp_path / "set", tiny_codec, tokenizer)
    before = load_prepared_dataset(tmp_path / "set", tiny_codec, tokenizer)
    assert not read_card(tmp_path / "set")["aligned"] and list(before["durations"]) == [[], []]
    durations = {"b": [1, 2, 3, 4, 1, 9], "a": torch.tensor([1, 2, 3, 4, 1, 1]), "of another dataset": [1]}
    update_durations(tmp_path / "set", durations)
    after = load_prepared_dataset(tmp_path / "set", tiny_codec, tokenizer)
    assert read_card(tmp_path / "set")["aligned"]
    assert list(after["durations"]) == [[1, 2, 3, 4, 1, 1], [1, 2, 3, 4, 1, 9]]
    assert after.features == before.features
    for column in ("id", "phonemes", "codes", "f0", "n_frames"):
        assert list(after[column]) == list(before[column])


def test_phonemes_can_change_with_the_durations(tmp_path, tiny_codec, tokenizer):
    rows = [replace(make_row("a"), durations=[]), replace(make_row("b"), durations=[])]
    write_prepared_dataset(rows, tmp_path / "set", tiny_codec, tokenizer)
    durations = {"a": [2] * 6, "b": [1, 2, 3, 2, 2, 1, 1]}
    update_durations(tmp_path / "set", durations, {"b": "hˈI ."})
    dataset = load_prepared_dataset(tmp_path / "set", tiny_codec, tokenizer)
    assert list(dataset["phonemes"]) == ["hˈI.", "hˈI ."]
    assert list(dataset["durations"]) == [durations["a"], durations["b"]]


def test_utterances_can_be_rejected_with_the_durations(tmp_path, tiny_codec, tokenizer):
    rows = [replace(make_row("a"), durations=[]), replace(make_row("b", 20), durations=[])]
    write_prepared_dataset(rows, tmp_path / "set", tiny_codec, tokenizer)
    with pytest.raises(ValueError, match="all 2 utterances"):
        update_durations(tmp_path / "set", {}, rejected={"a": "misaligned", "b": "misaligned"})
    assert not read_card(tmp_path / "set")["aligned"]
    update_durations(tmp_path / "set", {"b": [1, 2, 3, 4, 1, 9]}, rejected={"a": "misaligned", "another": "absent"})
    assert list(load_prepared_dataset(tmp_path / "set", tiny_codec, tokenizer)["id"]) == ["b"]
    card = read_card(tmp_path / "set")
    assert (card["utterances"], card["frames"], card["rejected"]) == (1, 20, 1)
    assert json.loads((tmp_path / "set" / "rejected.jsonl").read_text()) == {"id": "a", "reason": "misaligned"}


def test_several_datasets_are_one(tmp_path, tiny_codec, tokenizer):
    for name, ids in {"first": "ab", "second": "c"}.items():
        write_prepared_dataset([make_row(id_) for id_ in ids], tmp_path / name, tiny_codec, tokenizer)
    folders = [tmp_path / "first", tmp_path / "second"]
    together = load_prepared_datasets(folders, tiny_codec, tokenizer)
    assert list(together["id"]) == ["a", "b", "c"]
    assert together[2] == load_prepared_dataset(tmp_path / "second", tiny_codec, tokenizer)[0]
    assert list(load_prepared_datasets(folders[:1], tiny_codec, tokenizer)["id"]) == ["a", "b"]


def test_datasets_that_do_not_go_together_are_refused(tmp_path, tiny_codec, tokenizer):
    for name, row in {"a": make_row("x"), "b": make_row("x"), "c": replace(make_row("y"), durations=[])}.items():
        write_prepared_dataset([row], tmp_path / name, tiny_codec, tokenizer)
    with pytest.raises(ValueError, match="1 ids are in two of the datasets, such as 'x'"):
        load_prepared_datasets([tmp_path / "a", tmp_path / "b"], tiny_codec, tokenizer)
    with pytest.raises(ValueError, match="some have none"):
        load_prepared_datasets([tmp_path / "a", tmp_path / "c"], tiny_codec, tokenizer)


@pytest.mark.parametrize(("durations", "message"), [({}, "'a'.*none were given"), ({"a": [1, 2, 3]}, "sum to 6")])
def test_durations_that_do_not_fit_change_nothing(tmp_path, tiny_codec, tokenizer, durations, message):
    write_prepared_dataset([make_row()], tmp_path / "set", tiny_codec, tokenizer)
    before = [path.read_bytes() for path in shards(tmp_path / "set")]
    with pytest.raises(ValueError, match=message):
        update_durations(tmp_path / "set", durations)
    assert before == [path.read_bytes() for path in shards(tmp_path / "set")]
    assert read_card(tmp_path / "set")["aligned"]


def test_durations_for_some_only_are_refused(tmp_path, tiny_codec, tokenizer):
    with pytest.raises(ValueError, match="all of them durations, or none"):
        write_prepared_dataset(
            [make_row("a"), replace(make_row("b"), durations=[])], tmp_path / "set", tiny_codec, tokenizer
        )


def test_a_dataset_of_the_first_format_is_refused(tmp_path, tiny_codec, tokenizer):
    write_prepared_dataset([make_row()], tmp_path / "set", tiny_codec, tokenizer)
    card = tmp_path / "set" / "dataset_card.json"
    card.write_text(card.read_text().replace('"format_version": 2', '"format_version": 1'))
    with pytest.raises(ValueError, match="format_version 1"):
        load_prepared_dataset(tmp_path / "set", tiny_codec, tokenizer)
