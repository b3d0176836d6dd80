"""Plot the curves of one or more training runs from the `log.jsonl` in each output directory.

python examples/plot_training.py outputs/pipeline --output curves.png
python examples/plot_training.py first=outputs/one second=outputs/two --names loss validation_loss --output both.png
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ns2_diffusers.training.arguments import HelpFormatter
from ns2_diffusers.training.tracking import NOT_LOSSES, read_log


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="[TITLE=]DIRECTORY", help="output directories of training runs")
    parser.add_argument("--output", required=True, help="image file to write")
    parser.add_argument("--names", nargs="+", help="names of the values to plot; all losses if not given")
    parser.add_argument("--smooth", type=int, default=1, help="number of log lines to average")
    return parser.parse_args(argv)


def main(args):
    runs = {}
    for run in args.runs:
        title, _, directory = run.rpartition("=")
        runs[title or Path(directory).name] = read_log(directory)
    # A validation loss is drawn in the same panel as its training loss.
    found = {name: None for rows in runs.values() for row in rows for name in row if name not in NOT_LOSSES}
    names = args.names or [name for name in found if not name.startswith("validation_")]
    columns = min(5, len(names))
    figure = Figure(figsize=(4 * columns, 3 * -(-len(names) // columns)), layout="tight")
    panels = list(figure.subplots(-(-len(names) // columns), columns, squeeze=False).flat)
    for axes in panels[len(names) :]:
        axes.remove()
    for name, axes in zip(names, panels, strict=False):
        for index, (title, rows) in enumerate(runs.items()):
            draw(axes, rows, name, args.smooth, color=f"C{index}", label=title)
            draw(
                axes, rows, f"validation_{name}", 1, color=f"C{index}", label=f"{title}, held out", marker=".", ls="--"
            )
        axes.set(title=name, xlabel="step")
        axes.legend(fontsize=7)
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=90)


def draw(axes, rows, name, smooth, **style):
    points = np.array([(row["step"], row[name]) for row in rows if name in row])
    if len(points):
        smooth = min(smooth, len(points))
        steps, values = (np.convolve(column, np.full(smooth, 1 / smooth), "valid") for column in points.T)
        axes.plot(steps, values, linewidth=1, **style)


if __name__ == "__main__":
    main(parse_args())
