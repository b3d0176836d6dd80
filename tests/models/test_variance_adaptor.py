import math

import pytest
import torch

from ns2_diffusers.models.variance_adaptor import regulate_length, round_durations

from .cases import CASES, build

BATCH = CASES["variance_adaptor"][2]
PREDICTING = {key: value for key, value in BATCH.items() if key != "durations"}


def test_length_regulator_repeats_states():
    states = torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [0.0]]])
    repeated, mask = regulate_length(states, torch.tensor([[2, 0, 1], [1, 3, 0]]))
    assert repeated[0, :, 0].tolist() == [1, 1, 3, 0]
    assert repeated[1, :, 0].tolist() == [4, 5, 5, 5]
    assert mask.tolist() == [[True, True, True, False], [True] * 4]


def test_durations_are_rounded_from_their_logarithm():
    log_durations = torch.log(1 + torch.tensor([[0.4, 2.6, 7.0, 3.0]]))
    mask = torch.tensor([[True, True, True, False]])
    assert round_durations(log_durations, mask).tolist() == [[0, 3, 7, 0]]
    assert round_durations(log_durations, mask, speaking_rate=2.0).tolist() == [[0, 1, 4, 0]]


def test_no_item_is_left_without_a_frame():
    assert round_durations(torch.full((2, 3), -1.0)).tolist() == [[1, 0, 0], [1, 0, 0]]


@torch.no_grad()
def test_pitch_takes_its_bin_on_a_logarithmic_scale():
    adaptor = build("variance_adaptor")
    boundaries = adaptor.pitch_boundaries()
    assert boundaries[0].item() == pytest.approx(50) and boundaries[-1].item() == pytest.approx(1100)
    torch.testing.assert_close(boundaries[1:] / boundaries[:-1], torch.full((14,), (1100 / 50) ** (1 / 14)))
    frames = int(BATCH["durations"].sum(1).max())
    states, mask = regulate_length(BATCH["phoneme_hidden_states"], BATCH["durations"])
    for f0 in (0.0, 49.0, 51.0, 220.0, 2000.0):
        pitch = torch.full((2, frames), f0)
        condition = adaptor(**BATCH, pitch=pitch).condition
        bin_ = sum(float(boundary) < f0 for boundary in boundaries)
        expected = (states + adaptor.pitch_embedding.weight[bin_]) * mask.unsqueeze(-1)
        torch.testing.assert_close(condition, expected)


@torch.no_grad()
def test_predictions_are_used_where_nothing_is_given():
    adaptor = build("variance_adaptor")
    # An untrained predictor returns about zero; with these biases frames and Hz can be told apart.
    adaptor.duration_predictor.proj_out.bias.fill_(math.log(6))
    adaptor.pitch_predictor.proj_out.bias.fill_(math.log(200))
    output = adaptor(**PREDICTING)
    rounded = round_durations(output.log_durations, PREDICTING["phoneme_mask"])
    assert torch.equal(output.durations, rounded)
    assert torch.equal(output.condition_mask.sum(1), rounded.sum(1))
    torch.testing.assert_close(output.pitch, output.log_pitch.exp() * output.condition_mask)


@torch.no_grad()
def test_rate_and_shift_are_per_item():
    adaptor = build("variance_adaptor")
    adaptor.duration_predictor.proj_out.bias.fill_(math.log(9))
    adaptor.pitch_predictor.proj_out.bias.fill_(math.log(200))
    plain = adaptor(**PREDICTING)
    fast = adaptor(**PREDICTING, speaking_rate=torch.tensor([1.0, 2.0]))
    assert torch.equal(fast.durations[0], plain.durations[0])
    assert fast.durations[1].sum().item() == pytest.approx(plain.durations[1].sum().item() / 2, rel=0.1)
    high = adaptor(**PREDICTING, pitch_shift=torch.tensor([0.0, 12.0]))
    torch.testing.assert_close(high.pitch[0], plain.pitch[0])
    torch.testing.assert_close(high.pitch[1], 2 * plain.pitch[1])


@torch.no_grad()
def test_half_precision_keeps_pitch_fine():
    """A model in bfloat16 distinguishes neighbouring bins, and hundredths of a semitone."""
    adaptor = build("variance_adaptor")
    boundaries = adaptor.pitch_boundaries()
    adaptor = adaptor.to(torch.bfloat16)
    assert torch.equal(adaptor.pitch_boundaries(), boundaries)
    inputs = {k: v.bfloat16() if v.is_floating_point() else v for k, v in PREDICTING.items()}
    log_pitch = adaptor(**inputs).log_pitch
    assert log_pitch.dtype == torch.float32 and (log_pitch.bfloat16().float() != log_pitch).any()


def test_pitch_must_have_a_value_a_frame():
    with pytest.raises(ValueError, match="one F0 value in Hz per frame"):
        build("variance_adaptor")(**BATCH, pitch=torch.ones(2, 3))
