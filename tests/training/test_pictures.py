import torch

from ns2_diffusers.training.pictures import picture_alignment, picture_speech


def test_symbols_stand_where_they_are_spoken():
    figure = picture_speech(torch.randn(16000), 16000, 320, [0.0] * 25 + [200.0] * 25, [10, 30, 10], ["a", "b", "c"])
    axes, pitch = figure.axes
    # 10 frames of 20 ms end after 0.2 s, 40 after 0.8 s.
    assert [round(line.get_xdata()[0], 6) for line in axes.lines] == [0.2, 0.8]
    (names,) = axes.child_axes
    assert [label.get_text() for label in names.get_xticklabels()] == ["a", "b", "c"]
    assert names.get_xticks().round(6).tolist() == [0.1, 0.5, 0.9]
    times, f0 = pitch.lines[0].get_data()
    assert torch.tensor(f0).isnan().tolist() == [True] * 25 + [False] * 25
    assert abs(times[0] - 0.01) < 1e-9


def test_the_path_goes_through_the_frames():
    figure = picture_alignment(torch.rand(5, 2), [2, 3], ["a", "b"])
    frames, path = figure.axes[0].lines[0].get_data()
    assert list(path) == [0, 0, 1, 1, 1] and list(frames) == [0, 1, 2, 3, 4]
    assert figure.axes[0].images[0].get_array().shape == (2, 5)
