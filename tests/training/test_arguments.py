import argparse
import json
from dataclasses import dataclass

import pytest

from ns2_diffusers.training import arguments


def make_parser():
    parser = arguments.TrainingArgumentParser("a script\n    indented")
    parser.add_argument("--output_dir", required=True, help="where it goes")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1, 2], help="some sizes")
    parser.add_argument("--model_config", type=arguments.json_object, default={}, help="JSON text or file")
    arguments.add_run_arguments(parser)
    arguments.add_optimizer_arguments(parser)
    arguments.add_lr_scheduler_argument(parser)
    return parser


def parse(settings, tmp_path, *words):
    file = tmp_path / "config.json"
    file.write_text(settings if isinstance(settings, str) else json.dumps(settings))
    return make_parser().parse_args(["--config", str(file), *words])


def test_a_file_gives_what_the_command_line_does_not(tmp_path):
    settings = {
        "output_dir": "there",
        "learning_rate": 3e-4,
        "max_train_time": 2.5,
        "sizes": [],
        "gradient_checkpointing": True,
        "model_config": {"hidden_size": 8, "denoiser": {"num_layers": 2}},
        "seed": -1,
    }
    args = parse(settings, tmp_path, "--learning_rate", "1e-3")
    assert {name: getattr(args, name) for name in settings} == settings | {"learning_rate": 1e-3}
    assert args.max_grad_norm == 1.0
    assert parse(settings, tmp_path, "--no-gradient_checkpointing").gradient_checkpointing is False
    assert parse(settings, tmp_path, "--sizes", "5", "6").sizes == [5, 6]
    assert parse({"output_dir": "x", "gradient_checkpointing": False}, tmp_path).gradient_checkpointing is False


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"learning_rates": 1}, "settings that are not arguments of this script: learning_rates"),
        ({"config": "another.json"}, "not arguments of this script: config"),
        ({"learning_rate": None}, "learning_rate is null"),
        ({"learning_rate": True}, "learning_rate is true"),
        ({"gradient_checkpointing": 1}, "gradient_checkpointing is 1; wanted is true or false"),
        ({"seed": 0.5}, "invalid int value: '0.5'"),
        ({"lr_scheduler": "piecewise_constant"}, "invalid choice"),
        ([1], "Wanted is an object of argument names"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_wrong_settings_are_errors(tmp_path, settings, words, capsys):
    with pytest.raises(SystemExit):
        parse(settings, tmp_path, "--output_dir", "x")
    assert words in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path, capsys):
    with pytest.raises(SystemExit):
        make_parser().parse_args(["--config", str(tmp_path / "none.json"), "--output_dir", "x"])
    assert "none.json cannot be read" in capsys.readouterr().err


def test_json_objects_as_text_or_file(tmp_path):
    (tmp_path / "sizes.json").write_text('{"a": 1}')
    assert arguments.json_object(' {"a": 1}') == arguments.json_object(str(tmp_path / "sizes.json")) == {"a": 1}
    (tmp_path / "list.json").write_text("[1]")
    for wrong in ("{", str(tmp_path / "none.json"), str(tmp_path / "list.json"), str(tmp_path)):
        with pytest.raises(argparse.ArgumentTypeError, match="JSON object"):
            arguments.json_object(wrong)


def test_help_shows_defaults_and_the_description_as_it_is():
    text = make_parser().format_help()
    assert "    indented" in text
    assert "(default: 0.0005)" in text and "(default: [1, 2])" in text
    # An option without a default has none in its help.
    assert "None" not in text


@dataclass
class Settings:
    rate: float = arguments.option(0.5, "a rate")
    steps: int = arguments.option(3, "a number of steps")
    kind: str = arguments.option("plain", "a kind")
    fast: bool = arguments.option(False, "a flag")


def test_settings_are_arguments(capsys):
    parser = argparse.ArgumentParser(formatter_class=arguments.HelpFormatter)
    arguments.add_options(parser, Settings)
    assert arguments.read_options(Settings, parser.parse_args([])) == Settings()
    given = parser.parse_args(["--rate", "1", "--steps", "4", "--kind", "odd", "--fast"])
    assert arguments.read_options(Settings, given) == Settings(1.0, 4, "odd", True)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    assert "a number of steps (default: 3)" in capsys.readouterr().out
