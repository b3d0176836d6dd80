import pytest
import torch

from ns2_diffusers import NaturalSpeech2Tokenizer
from ns2_diffusers.data.collation import FrameBudgetSampler, PromptCollator

datasets = pytest.importorskip("datasets", reason="the train extra is not installed")


def make_row(name, speaker, frames):
    """Codes say whose they are: hundreds for the utterance, the rest for the frame."""
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
    return PromptCollator(datasets.Dataset.from_list(ROWS), NaturalSpeech2Tokenizer(), 5, 10)


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


def test_pitch_has_no_gaps_where_f0_has(collator):
    batch = collator(ROWS[1:2])
    assert batch["f0"][0, :4].tolist() == [0, 100, 0, 400]
    assert batch["pitch"][0, :6].tolist() == pytest.approx([100, 100, 200, 400, 400, 400])


def test_prompts_are_pieces_of_another_utterance_of_the_speaker(collator):
    seen = set()
    for _ in range(30):
        batch = collator(ROWS[:1])
        codes, length = batch["prompt_codes"][0], int(batch["prompt_mask"].sum())
        assert 5 <= length <= 10
        piece = codes[0, :length]
        assert torch.equal(piece, torch.arange(piece[0], piece[0] + length))
        seen.add(int(piece[0]) // 100)
    assert seen == {1, 2}


def test_a_lonely_utterance_prompts_itself(collator):
    assert int(collator(ROWS[3:])["prompt_codes"][0, 0, 0]) // 100 == 3


def test_prompts_are_drawn_by_seed():
    dataset = datasets.Dataset.from_list(ROWS)
    draw = [
        PromptCollator(dataset, NaturalSpeech2Tokenizer(), 5, 10, seed)(ROWS[:3])["prompt_codes"] for seed in (1, 1, 2)
    ]
    assert torch.equal(draw[0], draw[1])
    assert draw[0].shape != draw[2].shape or not torch.equal(draw[0], draw[2])


def test_batches_keep_to_the_budget_and_miss_nobody():
    lengths = torch.randint(20, 300, (200,), generator=torch.Generator().manual_seed(0)).tolist() + [5000]
    sampler = FrameBudgetSampler(lengths, 1000)
    for _ in range(3):
        batches = list(sampler)
        assert sorted(index for batch in batches for index in batch) == list(range(201))
        for batch in batches:
            assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 1000
    padding = sum(max(lengths[i] for i in b) * len(b) for b in batches) / sum(lengths)
    assert padding < 1.15  # bucketed: random batches of these lengths would waste about half


def test_epochs_differ():
    sampler = FrameBudgetSampler([100, 110, 90, 105, 95, 100], 220)
    assert list(sampler) != list(sampler)
