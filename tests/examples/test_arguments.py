"""Every option of every script has a help text with its default; the recipes in `configs` are valid settings."""

import argparse
import importlib
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("datasets", reason="the train extra is not installed")

EXAMPLES = Path(__file__).parents[2] / "examples"
BENCHMARKS = EXAMPLES.parent / "benchmarks"
SCRIPTS = [
    path
    for path in sorted([*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*/*.py"), *BENCHMARKS.glob("*.py")])
    if "ArgumentParser(" in path.read_text(encoding="utf-8")
]
TRAINING = ["align_dataset", "distill_text_to_speech", "train_codec", "train_text_to_speech", "train_unconditional"]
CONFIGS = {
    "fitted_codec": "train_codec",
    "fitted_codec_adversarial": "train_codec",
    "fine_tuning": "train_text_to_speech",
    "lora": "train_text_to_speech",
    "quickstart": "train_text_to_speech",
    "real_voices": "train_text_to_speech",
    "small": "train_text_to_speech",
    "voice": "train_text_to_speech",
    "voice_codec": "train_codec",
    "voice_codec_adversarial": "train_codec",
    "voice_few_steps": "distill_text_to_speech",
    "voice_guidance": "distill_text_to_speech",
}
REQUIRED = {
    "train_text_to_speech": ["--dataset_dir", "d", "--output_dir", "o", "--pretrained_pipeline", "p"],
    "train_codec": ["--train_data", "d", "--output_dir", "o"],
    "distill_text_to_speech": ["--dataset_dir", "d", "--output_dir", "o", "--pretrained_pipeline", "p"],
}


class Parsing(Exception):
    """Carries the parser of a script at the moment of parsing."""


def parser_of(script, monkeypatch):
    def parse_args(self, args=None, namespace=None):
        raise Parsing(self)

    monkeypatch.setattr(sys, "path", [str(EXAMPLES / script).rpartition("/")[0], *sys.path])
    module = importlib.import_module(Path(script).stem)
    with monkeypatch.context() as patch, pytest.raises(Parsing) as caught:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse_args)
        module.parse_args([])
    return caught.value.args[0]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_option_has_help_and_shows_its_default(script, monkeypatch):
    parser = parser_of(script, monkeypatch)
    assert not [action.dest for action in parser._actions if not action.help]
    formatter = parser._get_formatter()
    alternatives = [action for group in parser._mutually_exclusive_groups for action in group._group_actions]
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        if action.dest != "help" and not action.required and action.default is not None:
            shown = formatter._expand_help(action)
            assert f"(default: {action.default})" in shown, f"{action.dest}: {shown}"
        elif action.option_strings and not action.required and action.dest not in ("help", "config"):
            # Such as "32 if not given" or "if it has several". If one of several options is required, none has a
            # default.
            assert action in alternatives or "if" in action.help.split(), action.dest
    assert parser.format_help()


@pytest.mark.parametrize("script", TRAINING)
def test_training_scripts_share_their_arguments(script, monkeypatch):
    """An option has the same type, choices and help in all scripts; only its default can differ."""
    shared = parser_of("train_text_to_speech.py", monkeypatch)
    kinds = {action.dest: (action.type, action.choices, action.help) for action in shared._actions}
    own = {
        action.dest: (action.type, action.choices, action.help)
        for action in parser_of(f"{script}.py", monkeypatch)._actions
    }
    names = {
        "config",
        "seed",
        "max_train_time",
        "learning_rate",
        "resume_from_checkpoint",
        "report_to",
        "max_grad_norm",
    }
    assert names <= own.keys()
    for name in names:
        assert own[name] == kinds[name], name


def test_every_recipe_is_one_of_a_script():
    assert {path.stem for path in (EXAMPLES / "configs").iterdir()} == set(CONFIGS)


@pytest.mark.parametrize("config", sorted(CONFIGS))
def test_recipes_are_settings_of_their_script(config, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    script, file = importlib.import_module(CONFIGS[config]), EXAMPLES / "configs" / f"{config}.json"
    args = script.parse_args(["--config", str(file), *REQUIRED[CONFIGS[config]]])
    for name, value in json.loads(file.read_text(encoding="utf-8")).items():
        assert getattr(args, name) == value, name
    assert script.parse_args(["--seed", "7", "--config", str(file), *REQUIRED[CONFIGS[config]]]).seed == 7
