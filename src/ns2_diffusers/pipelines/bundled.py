"""The pipeline that ships with the package."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "bundled_model"


def bundled() -> Path:
    """The directory of the pipeline that ships with the package: English, zero-shot, works offline.

        NaturalSpeech2Pipeline.from_pretrained(ns2_diffusers.bundled())

    Its denoiser has guidance built in; it works with any sampler and number of steps. Its folder `few_steps` has LoRA
    weights of a student of 4, 2 and 1 steps: `pipe.load_lora_weights(ns2_diffusers.bundled() / "few_steps")`.

    Its README.md describes the training data and the quality.

    Raises:
        FileNotFoundError: this installation has no weights.
    """
    if not (FOLDER / "model_index.json").exists():
        raise FileNotFoundError(
            f"this installation of ns2_diffusers has no voice at {str(FOLDER)!r}: install a release, or train a "
            "pipeline (docs/bundled_voice.md) and put it there with examples/corpus/pack_voice.py."
        )
    return FOLDER
