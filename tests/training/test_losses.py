import itertools
import math

import pytest
import torch

from ns2_diffusers.training import losses


def test_data_loss_is_a_masked_mean_weighted_by_item():
    predicted = torch.tensor([[[1.0, 5.0]], [[2.0, 4.0]]])
    target = torch.zeros(2, 1, 2)
    mask = torch.tensor([[True, False], [True, True]])
    # (1 + 4 + 16) / 3, then with weights 2 and 0.5: (2 + 2 + 8) / 3.
    assert losses.data_loss(predicted, target, mask).item() == pytest.approx(7.0)
    weighted = losses.data_loss(predicted, target, mask, torch.tensor([2.0, 0.5]))
    assert weighted.item() == pytest.approx(4.0)


def test_score_loss_is_the_squared_error_of_scores():
    alpha, sigma = torch.tensor([0.6]), torch.tensor([0.8])
    original, predicted = torch.tensor([[[1.0]]]), torch.tensor([[[1.5]]])
    noisy = 0.6 * 1.0 + 0.8 * 0.3
    score = (0.6 * 1.0 - noisy) / 0.64
    predicted_score = (0.6 * 1.5 - noisy) / 0.64
    loss = losses.score_loss(predicted, original, alpha, sigma, torch.ones(1, 1, dtype=torch.bool))
    assert loss.item() == pytest.approx((predicted_score - score) ** 2, rel=1e-5)


def test_score_loss_is_clipped_near_clean_data():
    alpha, sigma = torch.tensor([0.9999]), torch.tensor([0.01])
    mask = torch.ones(1, 1, dtype=torch.bool)
    loss = losses.score_loss(torch.full((1, 1, 1), 2.0), torch.zeros(1, 1, 1), alpha, sigma, mask, 5.0)
    assert loss.item() == pytest.approx(20.0)


def test_residual_codebook_loss_by_hand():
    # Two layers of two vectors in one channel. ẑ₀ = 3, true codes 0 and 1.
    codebooks = torch.tensor([[[4.0], [-4.0]], [[1.0], [-1.0]]])
    codes = torch.tensor([[[0], [1]]])
    loss = losses.residual_codebook_loss(torch.tensor([[[3.0]]]), codes, codebooks, torch.ones(1, 1, dtype=bool))
    # Layer 0: distances 1 and 7, scaled by 4. Layer 1: 3 - 4 = -1, distances 2 and 0, scaled by 1.
    first = math.log(1 + math.exp(-(7 - 1) / 4))
    second = math.log(1 + math.exp(-2.0))
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_residual_codebook_loss_ignores_padding():
    codebooks = torch.randn(2, 5, 3)
    codes = torch.randint(0, 5, (1, 2, 4))
    predicted = torch.randn(1, 3, 4)
    mask = torch.tensor([[True, True, False, False]])
    padded = losses.residual_codebook_loss(predicted, codes, codebooks, mask)
    cut = losses.residual_codebook_loss(predicted[..., :2], codes[..., :2], codebooks, mask[:, :2])
    assert padded.item() == pytest.approx(cut.item(), rel=1e-5)


def plain_codebook_loss(predicted, codes, codebooks, mask):
    """The same as a simple formula that autograd differentiates."""
    residual, total = predicted.transpose(1, 2)[mask], 0.0
    for layer, codebook in enumerate(codebooks):
        wanted = codes[:, layer][mask]
        distances = (residual[:, None] - codebook).square().sum(-1).sqrt()
        logits = -distances / codebook.square().mean().sqrt()
        total = total + torch.nn.functional.cross_entropy(logits, wanted)
        residual = residual - codebook[wanted]
    return total / len(codebooks)


def codebook_case():
    codebooks = torch.randn(3, 6, 4) * torch.tensor([1.0, 0.5, 0.2])[:, None, None]
    mask = torch.arange(200) < torch.tensor([[200], [150]])  # longer than a piece of the loss on the CPU
    return torch.randn(2, 4, 200, requires_grad=True), torch.randint(0, 6, (2, 3, 200)), codebooks, mask


def test_residual_codebook_loss_has_autograds_gradient():
    predicted, codes, codebooks, mask = codebook_case()
    values, found = [], []
    for loss in (losses.residual_codebook_loss, plain_codebook_loss):
        value = loss(predicted, codes, codebooks, mask)
        values.append(value.item())
        found.append(torch.autograd.grad(3.0 * value, predicted)[0])
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    torch.testing.assert_close(found[0], found[1], atol=1e-7, rtol=1e-4)


def test_residual_codebook_loss_is_exact_under_autocast():
    predicted, codes, codebooks, mask = codebook_case()
    expected = losses.residual_codebook_loss(predicted, codes, codebooks, mask)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(losses.residual_codebook_loss(predicted, codes, codebooks, mask), expected)


def test_residual_codebook_loss_of_the_very_vector_is_finite():
    predicted, codes, codebooks, mask = codebook_case()
    exact = sum(book[layer] for book, layer in zip(codebooks, codes.unbind(1), strict=True)).transpose(1, 2)
    exact = exact.detach().requires_grad_()
    losses.residual_codebook_loss(exact, codes, codebooks, mask).backward()
    assert exact.grad.isfinite().all() and exact.grad.abs().sum() > 0


def test_standardized_codebooks_sum_to_standardised_latents(tiny_codec):
    codebooks = losses.standardized_codebooks(tiny_codec)
    codes = torch.randint(0, tiny_codec.codebook_size, (2, tiny_codec.num_codebooks, 7))
    summed = sum(book[layer] for book, layer in zip(codebooks, codes.unbind(1), strict=True))
    torch.testing.assert_close(summed.transpose(1, 2), tiny_codec.codes_to_latents(codes), atol=1e-5, rtol=1e-5)


def test_duration_loss_by_hand():
    log_durations = torch.tensor([[math.log(3.0), 0.0, 9.0]])
    durations, mask = torch.tensor([[5, 1, 1]]), torch.tensor([[True, True, False]])
    expected = (math.log(6 / 3) + math.log(2)) / 2
    assert losses.duration_loss(log_durations, durations, mask).item() == pytest.approx(expected)


def test_pitch_loss_counts_voiced_frames_only():
    log_pitch = torch.tensor([[math.log(100.0), 7.0, math.log(400.0), 1.0]])
    f0, mask = torch.tensor([[200.0, 0.0, 200.0, 200.0]]), torch.tensor([[True, True, True, False]])
    assert losses.pitch_loss(log_pitch, f0, mask).item() == pytest.approx(math.log(2), rel=1e-5)
    silent = losses.pitch_loss(log_pitch, torch.zeros(1, 4), mask)
    assert silent.item() == 0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("sample", [2.0, 5.0]), ("epsilon", [1.0, 0.5]), ("v_prediction", [2 / 3, 5 / 11])],
)
def test_min_snr_weights(kind, expected):
    weights = losses.min_snr_weights(torch.tensor([2.0, 10.0]), kind)
    torch.testing.assert_close(weights, torch.tensor(expected))


def test_min_snr_weights_make_all_predictions_alike():
    """An error in ẑ₀ has the same loss in all prediction types, with the errors of v and ε in terms of it."""
    alpha, sigma, error = 0.3, math.sqrt(1 - 0.09), 0.7
    snr = torch.tensor([alpha**2 / sigma**2])
    cost = {
        "sample": error**2,
        "epsilon": (error * alpha / sigma) ** 2,
        "v_prediction": (error / sigma) ** 2,
    }
    weighted = [losses.min_snr_weights(snr, kind).item() * value for kind, value in cost.items()]
    assert weighted == pytest.approx([weighted[0]] * 3, rel=1e-5)


def test_min_snr_refuses_other_predictions():
    with pytest.raises(ValueError, match="'flow'"):
        losses.min_snr_weights(torch.ones(1), "flow")


def all_alignments(log_probs):
    """Log of the sum over all monotonic alignments, by enumeration."""
    frames, phonemes = log_probs.shape
    scores = []
    for cuts in itertools.combinations(range(1, frames), phonemes - 1):
        bounds = (0, *cuts, frames)
        scores.append(sum(log_probs[a:b, n].sum() for n, (a, b) in enumerate(itertools.pairwise(bounds))))
    return torch.logsumexp(torch.stack(scores), 0)


def test_forward_sum_is_the_sum_over_all_alignments():
    scores = torch.randn(2, 7, 4)
    frames, phonemes = torch.tensor([7, 5]), torch.tensor([3, 4])
    feature_mask, attention_mask = torch.arange(7) < frames[:, None], torch.arange(4) < phonemes[:, None]
    expected = []
    for item, (t, n) in enumerate(zip(frames.tolist(), phonemes.tolist(), strict=True)):
        expected.append(-all_alignments(scores[item, :t, :n].log_softmax(-1)) / n)
    loss = losses.forward_sum_loss(scores, feature_mask, attention_mask)
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)


def test_binarization_loss_is_the_log_probability_of_the_path():
    log_probs = torch.randn(1, 5, 3).log_softmax(-1)
    mask = torch.tensor([[True, True, True, True, False]])
    loss = losses.binarization_loss(log_probs, torch.tensor([[1, 2, 1]]), mask)
    path = [log_probs[0, 0, 0], log_probs[0, 1, 1], log_probs[0, 2, 1], log_probs[0, 3, 2]]
    assert loss.item() == pytest.approx(-sum(path).item() / 4, rel=1e-5)
