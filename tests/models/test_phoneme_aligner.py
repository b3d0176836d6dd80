import itertools

import pytest
import torch

from ns2_diffusers.models.phoneme_aligner import monotonic_alignment_search

from .cases import CASES, build, randn


def best_by_trying_all(log_probs):
    """Durations of the most probable monotonic path, by enumeration."""
    frames, phonemes = log_probs.shape
    best = (-float("inf"), None)
    for cuts in itertools.combinations(range(1, frames), phonemes - 1):
        bounds = (0, *cuts, frames)
        score = sum(log_probs[a:b, n].sum().item() for n, (a, b) in enumerate(itertools.pairwise(bounds)))
        best = max(best, (score, [b - a for a, b in itertools.pairwise(bounds)]))
    return best[1]


@pytest.mark.parametrize("seed", range(8))
def test_search_finds_the_likeliest_path(seed):
    log_probs = randn(3, 8, 4, seed=seed).log_softmax(-1)
    frames, phonemes = torch.tensor([8, 6, 5]), torch.tensor([4, 3, 4])
    found = monotonic_alignment_search(
        log_probs, torch.arange(8) < frames[:, None], torch.arange(4) < phonemes[:, None]
    )
    for item, (t, n) in enumerate(zip(frames.tolist(), phonemes.tolist(), strict=True)):
        assert found[item, :n].tolist() == best_by_trying_all(log_probs[item, :t, :n])
        assert not found[item, n:].any()


def test_more_phonemes_than_frames_are_refused():
    with pytest.raises(ValueError, match="4 phonemes and only 3 frames"):
        monotonic_alignment_search(torch.zeros(1, 3, 4))


@torch.no_grad()
def test_scores_are_scaled_squared_distances():
    aligner, batch = build("phoneme_aligner"), CASES["phoneme_aligner"][2]
    prior = torch.rand(2, 15, 11) + 0.1
    plain, weighted = aligner(**batch), aligner(**batch, prior=prior)
    probabilities = plain.log_probs[0, :, :7].exp().sum(-1)
    torch.testing.assert_close(probabilities, torch.ones(15))
    torch.testing.assert_close(weighted.scores, plain.log_probs + torch.log(prior + 1e-8))


@torch.no_grad()
def test_align_is_the_search_over_the_scores():
    aligner, batch = build("phoneme_aligner"), CASES["phoneme_aligner"][2]
    durations = aligner.align(**batch)
    assert durations.sum(1).tolist() == [10, 15]
    expected = monotonic_alignment_search(aligner(**batch).log_probs, batch["feature_mask"], batch["attention_mask"])
    assert torch.equal(durations, expected)
