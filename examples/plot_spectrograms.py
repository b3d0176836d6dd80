"""Plot log-mel spectrograms of recordings, one above the other, for visual comparison.

    python examples/plot_spectrograms.py --output outputs/quickstart.png \
        "prompt=examples/asterisk/conf-placeintoconf.flac" "target=examples/asterisk/conf-onlyone.flac" \
        "result=outputs/quickstart/speech/ddim/conf-onlyone.wav"
"""

import argparse
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt

from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.audio.mel import LogMelSpectrogram
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.training.arguments import HelpFormatter

RATE, HOP = 16000, 160


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("recordings", nargs="+", metavar="TITLE=FILE", help="audio files, each with a title")
    parser.add_argument("--output", required=True, help="image file to write")
    return parser.parse_args(argv)


def main(args):
    matplotlib.use("Agg")
    mel = LogMelSpectrogram(sampling_rate=RATE, n_fft=1024, hop_length=HOP, n_mels=80)
    recordings = [recording.split("=", 1) for recording in args.recordings]
    waveforms = [load_audio(file, target_sampling_rate=RATE)[0] for _, file in recordings]
    longest = max(len(waveform) for waveform in waveforms) / RATE
    figure, rows = plt.subplots(len(recordings), figsize=(9, 2.2 * len(recordings)), sharex=True, squeeze=False)
    for (title, file), waveform, axes in zip(recordings, waveforms, rows[:, 0], strict=True):
        seconds = len(waveform) / RATE
        axes.imshow(mel(waveform[None])[0], origin="lower", aspect="auto", extent=(0, seconds, 0, 80), vmin=-9, vmax=2)
        f0 = estimate_f0(waveform, RATE, HOP)
        pitch_axes = axes.twinx()
        times = [(frame + 0.5) * HOP / RATE for frame in range(len(f0))]
        pitch_axes.plot(times, f0.where(f0 > 0, float("nan")), color="white", linewidth=1)
        pitch_axes.set(ylim=(0, 500), ylabel="F0 (Hz)")
        axes.set(title=f"{title}: {Path(file).name}", ylabel="mel band", xlim=(0, longest))
    rows[-1, 0].set_xlabel("seconds")
    figure.tight_layout()
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=80)


if __name__ == "__main__":
    main(parse_args())
