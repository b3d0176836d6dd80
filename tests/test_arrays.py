import pytest

from ns2_diffusers.arrays import piece_ranges


@pytest.mark.parametrize(
    "given, wanted",
    [
        ((5, 2), [(0, 2), (2, 4), (4, 5)]),
        ((4, 2), [(0, 2), (2, 4)]),
        ((3, 9), [(0, 3)]),
        ((10, 1, 2), [(0, 1), (1, 3), (3, 7), (7, 10)]),
        ((0, 4), []),
    ],
)
def test_ranges_of_pieces(given, wanted):
    assert list(piece_ranges(*given)) == wanted
