"""Random numbers are equal to those of torch."""

import numpy as np
import pytest
import torch

from ns2_diffusers.onnx.noise import draw_seeds, generator_of, randn
from ns2_diffusers.pipelines import inputs


@pytest.mark.parametrize("shape", [(16,), (17,), (1, 40), (16, 77), (3, 1024)])
@pytest.mark.parametrize("seed", [0, 2**40 + 5])
def test_normal_numbers_are_those_of_torch(shape, seed):
    ours, theirs = generator_of(seed), torch.Generator().manual_seed(seed)
    for _ in range(2):
        wanted = torch.randn(shape, generator=theirs).numpy()
        np.testing.assert_allclose(randn(shape, ours), wanted, rtol=0, atol=2e-6)


def test_seeds_are_those_of_torch():
    one = inputs.draw_seeds(torch.Generator().manual_seed(7), [3, 1])
    assert draw_seeds(generator_of(7), [3, 1]) == one
    both = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    assert draw_seeds([generator_of(1), generator_of(2)], [1, 2]) == inputs.draw_seeds(both, [1, 2])


def test_without_a_generator_seeds_are_fresh():
    (first,), (second,) = draw_seeds(None, [1, 1])
    assert first != second


def test_other_generators_are_refused():
    with pytest.raises(TypeError, match="numpy.random.RandomState"):
        draw_seeds(torch.Generator(), [1])
    with pytest.raises(ValueError, match="2 generators for 1 texts"):
        draw_seeds([generator_of(1), generator_of(2)], [1])
