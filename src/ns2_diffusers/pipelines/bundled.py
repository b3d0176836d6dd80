"""The pipeline that comes with the package."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "bundled_model"


def bundled() -> Path:
    """The pipeline directory that comes with the package: English, zero-shot, speaks offline.

        NaturalSpeech2Pipeline.from_pretrained(ns2_diffusers.bundled())

    It guides itself, with any sampler and number of steps. The folder `few_steps` in it has LoRA weights that make it
    a student of 4, 2 and 1 steps: `pipe.load_lora_weights(ns2_diffusers.bundled() / "few_steps")`.

    What it was trained on and how well it speaks is in the README.md in it.

    Raises:
        FileNotFoundError: this copy of the package has no weights in it.
    """
    if not (FOLDER / "model_index.json").exists():
        raise FileNotFoundError(
            f"this installation of ns2_diffusers has no voice at {str(FOLDER)!r}: install a release, or train a "
            "pipeline (docs/bundled_voice.md) and put it there with examples/corpus/pack_voice.py."
        )
    return FOLDER
