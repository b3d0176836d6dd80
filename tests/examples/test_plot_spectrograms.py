import pytest

plot_spectrograms = pytest.importorskip("plot_spectrograms", reason="matplotlib is not installed")


def test_a_picture_a_recording(clips, tmp_path):
    import matplotlib.image

    heights = []
    for count in (1, 3):
        recordings = [f"clip {index}={clips[index]}" for index in range(count)]
        output = tmp_path / "pictures" / f"{count}.png"
        plot_spectrograms.main(plot_spectrograms.parse_args([*recordings, "--output", str(output)]))
        picture = matplotlib.image.imread(output)
        assert picture[..., :3].std() > 0.1
        heights.append(picture.shape[0])
    assert heights[1] == pytest.approx(3 * heights[0], abs=3)
