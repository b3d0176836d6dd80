"""Train a voice that reads from twenty recordings, in a quarter of an hour on two cores, without a network.

    pip install -e ".[train,eval]"
    python examples/quickstart.py

The script trains a small codec and a tiny NaturalSpeech 2 on the real recordings of `examples/asterisk`. It saves a
pipeline, loads it again, speaks the texts with *another* clip as the voice prompt, with three samplers,
and transcribes the result with whisper. All output goes to `outputs/quickstart`; steps whose output exists are
skipped. A minute of speech is enough to memorise these sentences, but not to read new ones.
"""

import argparse
import csv
import shutil
import time
from pathlib import Path

import soundfile
import torch
from diffusers import DPMSolverMultistepScheduler

import align_dataset
import prepare_dataset
import train_codec
import train_text_to_speech
from ns2_diffusers import (
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2EulerScheduler,
    NaturalSpeech2Pipeline,
)
from ns2_diffusers.data.prepared_dataset import read_card
from ns2_diffusers.evaluation.words import WordReader
from ns2_diffusers.training.arguments import HelpFormatter

CLIPS = Path(__file__).parent / "asterisk"
SAMPLERS = {
    "ddim": NaturalSpeech2DDIMScheduler,
    "euler": NaturalSpeech2EulerScheduler,
    "dpmsolver++": DPMSolverMultistepScheduler,
}
# No dropout: the model memorises these few sentences, with their durations and pitch. There are few pitch bins:
# otherwise the exact F0 would identify each frame, and predicted F0 would not work.
SETTINGS = Path(__file__).parent / "configs" / "quickstart.json"


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    add = parser.add_argument
    add("--output_dir", default="outputs/quickstart", help="output directory")
    add("--codec_minutes", type=float, default=4.5, help="minutes of codec training")
    add("--aligner_steps", type=int, default=300, help="number of training steps of the aligner")
    add("--model_minutes", type=float, default=7.5, help="minutes of model training")
    add("--model_steps", type=int, default=750, help="number of steps over which the learning rate of the model falls")
    add("--model_config", help="JSON text or file: sizes of the model; those of configs/quickstart.json if not given")
    add("--codec_config", help="JSON text or file: sizes of the codec; those of train_codec.py if not given")
    add("--num_inference_steps", type=int, default=32, help="number of sampling steps")
    add("--num_texts", type=int, default=20, help="number of texts to speak")
    return parser.parse_args(argv)


def main(args):
    started = time.monotonic()
    root = Path(args.output_dir)
    train(root, args)
    print(f"trained after {(time.monotonic() - started) / 60:.1f} min")
    pipe = NaturalSpeech2Pipeline.from_pretrained(root / "pipeline")
    pipe.set_progress_bar_config(disable=True)
    with open(CLIPS / "metadata.csv", newline="", encoding="utf-8") as file:
        clips = list(csv.DictReader(file))[: args.num_texts]
    reader = WordReader()
    recordings = words_right(reader, clips, [(CLIPS / clip["file"], None) for clip in clips])
    scores = {}
    for name, sampler in SAMPLERS.items():
        pipe.scheduler = sampler.from_config(pipe.scheduler.config)
        speech = speak(pipe, clips, root / "speech" / name, args.num_inference_steps)
        scores[name] = words_right(reader, clips, speech)
    print(f"recordings: {recordings:.1%} of the words right")
    for name, right in scores.items():
        print(f"{name}, {args.num_inference_steps} steps: {right:.1%} of the words right")
    print(f"done after {(time.monotonic() - started) / 60:.1f} min; listen to {root / 'speech'}")
    return scores


def train(root, args):
    """Make the codec, the dataset, the durations and the model in turn. A finished step is skipped."""
    metadata = str(CLIPS / "metadata.csv")
    codec, dataset, pipeline = (str(root / name) for name in ("codec", "dataset", "pipeline"))
    if not (root / "codec" / "config.json").exists():
        options = ["--train_data", metadata, "--output_dir", codec, "--crop_seconds", "0.5"]
        options += ["--learning_rate", "1e-3", "--max_train_time", str(args.codec_minutes)]
        options += ["--codec_config", args.codec_config] if args.codec_config else []
        options += ["--resume_from_checkpoint", "latest"]
        train_codec.main(train_codec.parse_args(options))
    if not (root / "dataset" / "dataset_card.json").exists():
        options = ["--metadata", metadata, "--codec", codec, "--output_dir", dataset]
        prepare_dataset.main(prepare_dataset.parse_args(options))
    if not read_card(dataset)["aligned"]:
        options = ["--dataset_dir", dataset, "--max_train_steps", str(args.aligner_steps), "--batch_seconds", "40"]
        options += ["--resume_from_checkpoint", "latest"]
        align_dataset.main(align_dataset.parse_args(options))
    if not (root / "pipeline" / "model_index.json").exists():
        options = ["--dataset_dir", dataset, "--output_dir", pipeline, "--resume_from_checkpoint", "latest"]
        options += ["--config", str(SETTINGS), "--max_train_time", str(args.model_minutes)]
        options += ["--max_train_steps", str(args.model_steps)]
        options += ["--model_config", args.model_config] if args.model_config else []
        train_text_to_speech.main(train_text_to_speech.parse_args(options))


def speak(pipe, clips, folder, steps):
    """Speak every text with the next clip's voice. Return pairs of audio and rate; `folder` has them as files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    prompts = [str(CLIPS / clip["file"]) for clip in clips[1:] + clips[:1]]
    texts = [clip["text"] for clip in clips]
    started = time.monotonic()
    generators = [torch.Generator().manual_seed(index) for index in range(len(texts))]
    output = pipe(texts, prompt_audio=prompts, num_inference_steps=steps, generator=generators)
    seconds = sum(len(audio) for audio in output.audios) / output.sampling_rate
    print(f"{folder.name}: {seconds:.0f} s of speech, real-time factor {(time.monotonic() - started) / seconds:.2f}")
    for clip, audio in zip(clips, output.audios, strict=True):
        soundfile.write(folder / Path(clip["file"]).with_suffix(".wav").name, audio, output.sampling_rate)
    return [(audio, output.sampling_rate) for audio in output.audios]


def words_right(reader, clips, speech):
    """Return the share of the clips' words that whisper recognises in `speech`, 1 - word error rate.

    `speech` has pairs of audio and rate.
    """
    heard = [reader.read(audio, rate) for audio, rate in speech]
    for clip, reading in zip(clips, heard, strict=True):
        print(f"  {clip['text']}\n    whisper: {reading}", flush=True)
    return 1 - reader.word_error_rate([clip["text"] for clip in clips], heard)


if __name__ == "__main__":
    main(parse_args())
