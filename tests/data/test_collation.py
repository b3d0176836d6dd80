import sys

import pytest
import torch

from ns2_diffusers import NaturalSpeech2Tokenizer
from ns2_diffusers.data.alignment_prior import beta_binomial_prior, elapsed_speech
from ns2_diffusers.data.collation import FrameBudgetSampler, PromptCollator

datasets = pytest.importorskip("datasets", reason="the train extra is not installed")


def make_row(name, speaker, frames):
    """Rows whose codes identify them: the hundreds are the utterance, the rest is the frame."""
    number = ord(name) - ord("a")
    return {
        "id": name,
        "speaker": speaker,
        "phonemes": "hˈI."[: 2 + number % 3],
        "durations": [1] * (2 + 2 + number % 3),
        "codes": [[100 * number + frame for frame in range(frames)]] * 2,
        "f0": [0.0, 100.0, 0.0, 400.0] + [0.0] * (frames - 4),
        "n_frames": frames,
    }


ROWS = [make_row("a", "s", 30), make_row("b", "s", 20), make_row("c", "s", 25), make_row("d", "t", 15)]


@pytest.fixture
def collator():
    return collator_of()


def test_batches_are_padded_and_masked(collator):
    batch = collator(ROWS[:2])
    assert batch["codes"].shape == (2, 2, 30) and batch["codes"].dtype == torch.int64
    assert batch["frame_mask"].sum(1).tolist() == [30, 20]
    assert batch["codes"][0].tolist() == ROWS[0]["codes"]
    assert batch["codes"][1, :, :20].tolist() == ROWS[1]["codes"]
    assert batch["attention_mask"].sum(1).tolist() == [4, 5] == [len(row["durations"]) for row in ROWS[:2]]
    assert batch["durations"].sum(1).tolist() == [4, 5]
    tokenizer = collator.tokenizer
    assert [tokenizer.decode(ids) for ids in batch["input_ids"].tolist()] == ["hˈ", "hˈI"]


def test_songs_are_marked(collator):
    assert collator([ROWS[0], ROWS[1] | {"sung": True}])["sung"].tolist() == [False, True]


def test_pitch_has_no_gaps_where_f0_has(collator):
    batch = collator(ROWS[1:2])
    assert batch["f0"][0, :4].tolist() == [0, 100, 0, 400]
    assert batch["pitch"][0, :6].tolist() == pytest.approx([100, 100, 200, 400, 400, 400])


def of(piece):
    """The index of the row that a piece of codes (Q, T) is from, and its first frame there."""
    frames = piece[0].tolist()
    assert frames == list(range(frames[0], frames[0] + len(frames)))
    return frames[0] // 100, frames[0] % 100


def prompts(batch):
    return [of(codes[:, mask]) for codes, mask in zip(batch["prompt_codes"], batch["prompt_mask"], strict=True)]


def collator_of(prompt_source="other", seed=0, rows=ROWS):
    dataset = datasets.Dataset.from_list(rows)
    return PromptCollator(dataset, NaturalSpeech2Tokenizer(), 5, 10, seed, prompt_source)


def test_a_pipelines_collator_counts_its_prompts_in_seconds(tiny_pipeline):
    """The counts follow from 50 frames per second; the batches are those of a collator with given counts."""
    dataset = datasets.Dataset.from_list(ROWS)
    found = PromptCollator.from_pipeline(tiny_pipeline, dataset, 0.1, 0.2, 3, "mixed")
    assert found.prompt_frames == (5, 10) and found.tokenizer is tiny_pipeline.tokenizer
    for batch, wanted in zip(epochs(found, ROWS), epochs(collator_of("mixed", seed=3), ROWS), strict=True):
        assert batch.keys() == wanted.keys()
        assert all(torch.equal(batch[name], wanted[name]) for name in batch)
    assert PromptCollator.from_pipeline(tiny_pipeline, dataset).prompt_frames == (50, 250)
    # A prompt has at least one frame.
    assert PromptCollator.from_pipeline(tiny_pipeline, dataset, 0.001, 0.002).prompt_frames == (1, 1)
    for seconds in ((0, 1), (2, 1), (-1, 1), (float("nan"), 1)):
        with pytest.raises(ValueError, match="the least length must be positive"):
            PromptCollator.from_pipeline(tiny_pipeline, dataset, *seconds)
    with pytest.raises(ValueError, match="prompt_source is 'best'"):
        PromptCollator.from_pipeline(tiny_pipeline, dataset, prompt_source="best")


def epochs(collator, rows, count=40):
    for epoch in range(count):
        collator.set_epoch(epoch)
        yield collator(rows)


def test_prompts_are_pieces_of_another_utterance_of_the_speaker(collator):
    lengths = set()
    for batch in epochs(collator, ROWS[:1]):
        lengths.add(int(batch["prompt_mask"].sum()))
        assert torch.equal(batch["loss_mask"], batch["frame_mask"])
    assert lengths == set(range(5, 11))
    seen = [{prompts(batch)[item][0] for batch in epochs(collator, ROWS[:3])} for item in range(3)]
    assert seen == [{1, 2}, {0, 2}, {0, 1}]


@pytest.mark.parametrize(("source", "row"), [("same", 0), ("other", 3)])
def test_a_prompt_of_the_same_utterance_is_left_out_of_the_loss(source, row):
    """With `source` "same", and for speakers without another utterance."""
    collator = collator_of(source)
    for batch in epochs(collator, ROWS[row : row + 1]):
        (index, start), length = prompts(batch)[0], int(batch["prompt_mask"].sum())
        assert index == row and length <= ROWS[row]["n_frames"] // 2
        expected = torch.ones(1, ROWS[row]["n_frames"], dtype=torch.bool)
        expected[:, start : start + length] = False
        assert torch.equal(batch["loss_mask"], expected)
        assert batch["frame_mask"].all()


def test_mixed_prompts_are_of_both_kinds():
    own = [prompts(batch)[0][0] == 0 for batch in epochs(collator_of("mixed"), ROWS[:1])]
    assert 8 < sum(own) < 32


def test_other_prompt_sources_are_refused():
    with pytest.raises(ValueError, match="'mine'.*mixed"):
        collator_of("mine")


def test_prompts_depend_on_seed_epoch_and_id_alone():
    first, second, other = collator_of("mixed"), collator_of("mixed"), collator_of("mixed", seed=1)
    batch = first(ROWS)
    for item in (3, 1, 0, 2):  # items one by one, in another order
        assert prompts(second(ROWS[item : item + 1]))[0] == prompts(batch)[item]
    assert prompts(other(ROWS)) != prompts(batch)
    first.set_epoch(1)
    assert prompts(first(ROWS)) != prompts(batch)
    first.set_epoch(0)
    assert prompts(first(ROWS)) == prompts(batch)


def test_a_batch_names_its_seed():
    collator = collator_of()
    seed = collator(ROWS[:2])["seed"]
    assert seed.dtype == torch.int64 and seed.ndim == 0 and seed > 0
    assert seed == collator_of()(ROWS[:2])["seed"]
    others = [collator(ROWS[1:2]), collator(ROWS[1::-1]), collator_of(seed=1)(ROWS[:2])]
    collator.set_epoch(1)
    others.append(collator(ROWS[:2]))
    assert len({int(batch["seed"]) for batch in others} | {int(seed)}) == 5


def test_a_dataset_that_is_not_aligned_has_priors():
    rows = [{**row, "durations": []} for row in ROWS[:2]]
    batch = collator_of(rows=rows)(rows)
    assert "durations" not in batch
    assert batch["alignment_prior"].shape == (2, 30, 5)
    for item, (row, phonemes) in enumerate(zip(rows, (4, 5), strict=True)):
        prior = beta_binomial_prior(phonemes, elapsed_speech(torch.tensor(row["f0"])))
        assert torch.equal(batch["alignment_prior"][item, : len(prior), :phonemes], prior)
    assert not batch["alignment_prior"][1, 20:].any()


def test_numpy_rows_make_the_same_batch(collator):
    rows = datasets.Dataset.from_list(ROWS).with_format("numpy")
    for key, value in collator([rows[index] for index in range(4)]).items():
        assert torch.equal(value, collator(ROWS)[key]), key


@pytest.mark.parametrize("workers, method", [(0, None), (2, "fork"), (2, "spawn")])
def test_a_loader_makes_the_same_epochs_with_and_without_workers(workers, method):
    if method == "fork" and sys.platform == "win32":
        pytest.skip("there is no fork")
    torch.ones(500, 500) @ torch.ones(500, 500)  # This starts torch's threads, which do not exist after a fork.
    collator = collator_of("mixed")
    sampler = FrameBudgetSampler([row["n_frames"] for row in ROWS], 60)
    loader = torch.utils.data.DataLoader(
        datasets.Dataset.from_list(ROWS),
        batch_sampler=sampler,
        collate_fn=collator,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context=method,
    )
    for epoch in (3, 0, 7):
        collator.set_epoch(epoch)
        sampler.set_epoch(epoch)
        expected = [collator([ROWS[index] for index in indices]) for indices in sampler]
        for found, wanted in zip(loader, expected, strict=True):
            assert found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in found)


LENGTHS = torch.randint(20, 300, (200,), generator=torch.Generator().manual_seed(0)).tolist()


def test_batches_keep_to_the_budget_and_miss_nobody():
    lengths = [*LENGTHS, 5000]
    sampler = FrameBudgetSampler(lengths, 1000)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(sampler) == len(batches)
        assert sorted(index for batch in batches for index in batch) == list(range(201))
        for batch in batches:
            assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 1000
    padding = sum(max(lengths[i] for i in b) * len(b) for b in batches) / sum(lengths)
    assert padding < 1.15  # with buckets; random batches of these lengths would waste about half


def test_batches_depend_on_seed_and_epoch():
    one, two, other = (
        FrameBudgetSampler(LENGTHS, 1000),
        FrameBudgetSampler(LENGTHS, 1000),
        FrameBudgetSampler(LENGTHS, 1000, seed=1),
    )
    first = list(one)
    assert first == list(one) == list(two) != list(other)
    one.set_epoch(1)
    assert list(one) != first
    one.set_epoch(0)
    assert list(one) == first
