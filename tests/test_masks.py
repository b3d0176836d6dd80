import torch

from ns2_diffusers.masks import lengths_mask, masked_mean, mean_over_time, pad


def test_padding():
    padded = pad([torch.tensor([1, 2, 3]), torch.tensor([4])])
    assert padded.tolist() == [[1, 2, 3], [4, 0, 0]] and padded.dtype == torch.int64
    assert pad([torch.ones(2, 5), torch.ones(4, 5)]).shape == (2, 4, 5)


def test_masks_of_lengths():
    expected = [[True, True, False], [True, True, True], [False, False, False]]
    assert lengths_mask([2, 3, 0]).tolist() == expected
    assert lengths_mask(torch.tensor([2, 3, 0])).tolist() == expected
    assert lengths_mask([2], size=4).tolist() == [[True, True, False, False]]
    assert lengths_mask([2]).dtype == torch.bool


def test_the_mean_of_what_a_mask_keeps():
    values = torch.tensor([[1.0, 3.0, 100.0], [5.0, 100.0, 100.0]])
    mask = lengths_mask([2, 1], size=3)
    assert masked_mean(values, mask) == 3
    assert masked_mean(values, mask, weights=torch.tensor([1.0, 2.0])) == (1 + 3 + 10) / 3
    assert masked_mean(values, torch.zeros(1, 3, dtype=torch.bool)) == 0
    assert masked_mean(values.unsqueeze(1).expand(2, 4, 3), mask.unsqueeze(1)) == 3


def test_the_mean_over_time():
    states = torch.arange(12.0).reshape(2, 3, 2)
    assert mean_over_time(states, None).tolist() == [[2, 3], [8, 9]]
    assert mean_over_time(states, lengths_mask([2, 3])).tolist() == [[1, 2], [8, 9]]
    assert mean_over_time(states, lengths_mask([0, 1], size=3)).tolist() == [[0, 0], [6, 7]]
    half = states.bfloat16()
    assert mean_over_time(half, lengths_mask([2, 3])).dtype == torch.bfloat16
