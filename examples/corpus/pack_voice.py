"""Compress a trained pipeline and put it into the package, with its card.

    python examples/corpus/pack_voice.py --pipeline outputs/pipeline --scores outputs/bundled_voice/table.md

Weights are stored with a few bits each (`models/compact_weights.py`), except the codec's quantiser: its codebooks
define the latent space, so voices and prepared datasets of the trained pipeline stay valid. The script prints the size
on disk, and the distance of the packed pipeline's latents from the original's for the same text, voice, melody and
noise.
"""

import argparse
import json
from pathlib import Path

import torch
from diffusers.loaders.lora_base import LORA_WEIGHT_NAME_SAFE
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from huggingface_hub import ModelCard
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ns2_diffusers import NaturalSpeech2Pipeline, load_codec
from ns2_diffusers.files import whole_folder
from ns2_diffusers.models.compact_weights import BITS, compact_weights
from ns2_diffusers.pipelines.bundled import FOLDER
from ns2_diffusers.pipelines.model_card import component_rows
from ns2_diffusers.training.arguments import HelpFormatter

HERE = Path(__file__).parent


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--pipeline", required=True, help="directory of the trained pipeline")
    parser.add_argument("--codec", help="codec with the same codes; that of the pipeline if not given")
    parser.add_argument(
        "--few_steps",
        type=Path,
        help="student distilled from the pipeline with --lora_rank, whose adapters are added; none if not given",
    )
    parser.add_argument("--output_dir", type=Path, default=FOLDER, help="output directory of the packed pipeline")
    parser.add_argument(
        "--num_inference_steps", type=int, default=4, help="default number of steps of the packed pipeline"
    )
    parser.add_argument(
        "--guidance_scale", type=float, default=2.0, help="default guidance scale of the packed pipeline"
    )
    parser.add_argument(
        "--voice_matching", type=float, default=0.7, help="default voice matching of the packed pipeline"
    )
    parser.add_argument("--bits", type=int, choices=BITS, default=6, help="bits per weight of the model")
    parser.add_argument("--codec_bits", type=int, choices=BITS, default=8, help="bits per weight of the codec")
    parser.add_argument("--card", type=Path, default=HERE / "voice_card.md", help="template of the model card")
    parser.add_argument(
        "--scores",
        type=Path,
        help="table.md of benchmarks/bundled_voice.py, for the model card; no scores if not given",
    )
    parser.add_argument(
        "--prompt",
        default=str(HERE.parents[1] / "benchmarks" / "prompts" / "kokoro" / "af_bella.ogg"),
        help="recording of the voice with which trained and packed weights are compared",
    )
    parser.add_argument("--max_megabytes", type=float, default=60.0, help="largest size on disk that is accepted")
    return parser.parse_args(argv)


def main(args):
    pipe = NaturalSpeech2Pipeline.from_pretrained(args.pipeline)
    if args.codec:
        codec = load_codec(args.codec).eval()
        if codec.fingerprint != pipe.codec.fingerprint:
            raise ValueError(
                f"{args.codec} has codes of its own ({codec.fingerprint}, the pipeline's {pipe.codec.fingerprint}): "
                "give one that was trained from the pipeline's with --freeze_encoder."
            )
        pipe.register_modules(codec=codec)
    pipe.register_to_config(
        default_num_inference_steps=args.num_inference_steps,
        default_guidance_scale=args.guidance_scale,
        default_voice_matching=args.voice_matching,
    )
    pipe.set_progress_bar_config(disable=True)
    voice = pipe.encode_voice(args.prompt)
    before = speak(pipe, voice)
    with whole_folder(args.output_dir, replace=True) as folder:
        pack(pipe, args, folder)
        check_packed(folder, voice, before, args.max_megabytes)
    print(args.output_dir)


def pack(pipe, args, folder):
    pipe.save_pretrained(folder)
    for file in folder.rglob("*.json"):
        # diffusers records the local path that a model was loaded from.
        config = json.loads(file.read_text(encoding="utf-8"))
        if config.pop("_name_or_path", None) is not None:
            file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for file in folder.glob(f"*/{SAFETENSORS_WEIGHTS_NAME}"):
        bits = args.codec_bits if file.parent.name == "codec" else args.bits
        save_file(compact_weights(load_file(file), bits, apart=["quantizer."]), file, metadata={"format": "pt"})
    make_card(pipe, args).save(folder / "README.md")
    if args.few_steps:
        pack_adapters(args.few_steps, folder / "few_steps")


def check_packed(folder, voice, before, max_megabytes):
    packed = NaturalSpeech2Pipeline.from_pretrained(folder)
    packed.set_progress_bar_config(disable=True)
    # The pipeline would reject the voice if packing had changed the codec's fingerprint.
    distance = (speak(packed, voice) - before).norm() / before.norm()
    megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    print(f"{megabytes:.1f} MB on disk; latents differ by {distance:.2%} from the original's")
    if megabytes > max_megabytes:
        raise ValueError(f"{megabytes:.1f} MB is more than --max_megabytes {max_megabytes:g}: a smaller model?")


def speak(pipe, voice):
    """Return the latents of a sentence with fixed noise, durations and pitch, so that small differences stay small."""
    phonemes = pipe.tokenizer.phonemize("The same words, before and after.")
    options = {"num_inference_steps": 8, "generator": torch.Generator().manual_seed(0), "output_type": "latent"}
    given = {"durations": [5] * (len(phonemes) + 2), "pitch": [180.0] * (len(phonemes) + 2)}
    return pipe(phonemes=phonemes, voice=voice, **given, **options).audios[0]


def pack_adapters(source, target):
    target.mkdir()
    with safe_open(source / LORA_WEIGHT_NAME_SAFE, "pt") as file:
        tensors = {name: file.get_tensor(name).half() for name in file.keys()}
        save_file(tensors, target / LORA_WEIGHT_NAME_SAFE, metadata=file.metadata())


def make_card(pipe, args):
    """Return the model card: `--card` with the table of components and the scores."""
    scores = args.scores.read_text(encoding="utf-8").strip() if args.scores else "Not measured yet."
    template = args.card.read_text(encoding="utf-8")
    return ModelCard(template.replace("{components}", component_rows(pipe.components)).replace("{scores}", scores))


if __name__ == "__main__":
    main(parse_args())
