"""Turn recordings with transcripts into a prepared dataset: phonemes, codes, F0, and durations where known.

    python examples/prepare_dataset.py --metadata examples/asterisk/metadata.csv \
        --codec outputs/codec --output_dir outputs/dataset

Recordings that cannot be used are listed in `rejected.jsonl`, with the reason. After a kill, the same command
continues where it stopped. For several processes, use `accelerate launch examples/prepare_dataset.py …` on a file
system that all of them share.
"""

import argparse
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState

from ns2_diffusers import NaturalSpeech2Tokenizer, load_codec
from ns2_diffusers.data.alignments import check_phones_fit
from ns2_diffusers.data.preparation.rows import RowLimits, RowPreparer
from ns2_diffusers.data.preparation.shards import Preparation, prepare_shards
from ns2_diffusers.data.sources import (
    hub_source,
    librispeech_source,
    libritts_source,
    ljspeech_source,
    table_source,
    with_speeds,
    with_textgrids,
    without_speakers,
)
from ns2_diffusers.training.arguments import HelpFormatter


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--metadata", help="CSV or JSONL with audio (or file), text[, id, speaker, phonemes, durations, sung]"
    )
    source.add_argument("--dataset_name", help="dataset of the hub, or anything else that datasets.load_dataset takes")
    source.add_argument("--ljspeech_dir", help="folder with metadata.csv and wavs/")
    source.add_argument("--libritts_dir", help="folder with speaker/chapter/*.normalized.txt")
    source.add_argument("--librispeech_dir", help="folder with speaker/chapter/*.trans.txt, of LibriSpeech")
    parser.add_argument("--codec", required=True, help="directory or hub id of a trained codec")
    parser.add_argument("--output_dir", required=True, help="output directory of the dataset")
    parser.add_argument(
        "--tokenizer", help="directory of the tokenizer of a pipeline to fine-tune; a new one if not given"
    )
    parser.add_argument(
        "--backend", default="english", help="phonemizer backend: english, arpabet, espeak, misaki or none"
    )
    parser.add_argument(
        "--exclude_speakers",
        help="file with one speaker per line, whose recordings are left out; none if not given",
    )
    parser.add_argument("--language", default="en-us", help="language of the phonemizer")

    parser.add_argument(
        "--audio_path", help="path of the audio, if the metadata does not give it, such as audio/{id}.ogg"
    )
    parser.add_argument("--dataset_config_name", help="configuration of the dataset, if it has several")
    parser.add_argument("--dataset_split", default="train", help="split of the dataset")
    parser.add_argument("--dataset_revision", help="commit of the dataset's repository; the newest if not given")
    parser.add_argument("--streaming", action="store_true", help="stream the dataset instead of storing it on disk")
    parser.add_argument("--audio_column", default="audio", help="column of the dataset with the recordings")
    parser.add_argument("--text_column", default="text", help="column of the dataset with the texts")
    parser.add_argument("--speaker_column", help="column of the dataset with the speakers; one speaker if not given")
    parser.add_argument("--id_column", help="column of the dataset with the ids; row numbers if not given")

    parser.add_argument(
        "--textgrid_dir",
        help="folder of TextGrids with phones and durations, as written by forced aligners; none if not given",
    )
    parser.add_argument(
        "--durations_hop_seconds",
        type=float,
        help="take durations from the metadata, in units of this many seconds; not used if not given",
    )
    parser.add_argument(
        "--measure_latents", action="store_true", help="measure latent statistics even if the codec has some"
    )

    parser.add_argument(
        "--min_seconds", type=float, default=RowLimits.min_seconds, help="shorter recordings are rejected"
    )
    parser.add_argument(
        "--max_seconds", type=float, default=RowLimits.max_seconds, help="longer recordings are rejected"
    )
    parser.add_argument(
        "--min_sampling_rate",
        type=int,
        default=RowLimits.min_sampling_rate,
        help="recordings with a lower sampling rate are rejected",
    )
    parser.add_argument(
        "--max_clipped",
        type=float,
        default=RowLimits.max_clipped,
        help="recordings with a larger share of samples at full scale are rejected",
    )
    parser.add_argument(
        "--trim_db",
        type=float,
        help="trim ends that are this many dB below the loudest part, such as 40; no trimming if not given",
    )

    parser.add_argument(
        "--speeds",
        type=float,
        nargs="*",
        default=[],
        help="also add every recording at these speeds, as further speakers",
    )
    parser.add_argument(
        "--shard_size", type=int, default=500, help="number of rows per shard; a killed run repeats at most one shard"
    )
    parser.add_argument("--batch_seconds", type=float, default=60.0, help="seconds of audio per codec batch")
    parser.add_argument(
        "--num_workers", type=int, default=0, help="number of processes that read audio, phonemize and estimate F0"
    )
    args = parser.parse_args(argv)
    if args.durations_hop_seconds is not None and (args.metadata is None or args.textgrid_dir):
        parser.error("--durations_hop_seconds is for durations in --metadata, without --textgrid_dir.")
    return args


def main(args):
    # Without a GPU, processes find each other only if the CPU is requested. The first to finish may wait long.
    state = PartialState(cpu=not torch.accelerator.is_available(), timeout=timedelta(days=30))
    codec = load_codec(args.codec).to(state.device).eval()
    if args.tokenizer:
        tokenizer = NaturalSpeech2Tokenizer.from_pretrained(args.tokenizer)
    else:
        tokenizer = NaturalSpeech2Tokenizer(backend=args.backend, language=args.language)
    source = open_source(args)
    if args.exclude_speakers:
        source = without_speakers(source, Path(args.exclude_speakers).read_text(encoding="utf-8").split())
    if args.textgrid_dir:
        check_phones_fit(tokenizer)
        source = with_textgrids(source, args.textgrid_dir)
    if args.speeds:
        source = with_speeds(source, args.speeds)

    preparation = Preparation(args.output_dir, what_decides(args, codec, tokenizer, source))
    if state.is_main_process:
        preparation.begin()
    state.wait_for_everyone()
    if preparation.is_complete():
        state.print(f"{args.output_dir} is prepared already")
        return
    limits = RowLimits(**{field.name: getattr(args, field.name) for field in fields(RowLimits)})
    prepare_shards(
        preparation,
        source,
        RowPreparer(tokenizer, codec.sampling_rate, codec.hop_length, limits, args.durations_hop_seconds),
        codec,
        shard_size=args.shard_size,
        batch_seconds=args.batch_seconds,
        num_workers=args.num_workers,
        measure_latents=args.measure_latents or codec.config.latents_mean is None,
        process_index=state.process_index,
        num_processes=state.num_processes,
    )
    state.wait_for_everyone()
    if state.is_main_process:
        aligned = args.textgrid_dir is not None or args.durations_hop_seconds is not None
        card, reasons = preparation.finish(source, codec, tokenizer, aligned)
        seconds = card["frames"] / codec.frame_rate
        print(f"prepared {card['utterances']} utterances, {seconds:.0f} s, in {args.output_dir}")
        print("rejected: " + (", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "none"))
    state.wait_for_everyone()


def open_source(args):
    if args.metadata:
        return table_source(args.metadata, args.audio_path)
    if args.ljspeech_dir:
        return ljspeech_source(args.ljspeech_dir)
    if args.libritts_dir:
        return libritts_source(args.libritts_dir)
    if args.librispeech_dir:
        return librispeech_source(args.librispeech_dir)
    return hub_source(
        args.dataset_name,
        args.shard_size,
        args.dataset_config_name,
        args.dataset_split,
        args.dataset_revision,
        args.streaming,
        args.audio_column,
        args.text_column,
        args.speaker_column,
        args.id_column,
    )


def what_decides(args, codec, tokenizer, source):
    """Return everything that the dataset depends on, for its card."""
    arguments = {key: value for key, value in vars(args).items() if key not in ("output_dir", "num_workers")}
    fingerprints = {"codec_given": codec.fingerprint, "tokenizer_given": tokenizer.fingerprint}
    return {**arguments, **fingerprints, "source": source.identity}


if __name__ == "__main__":
    main(parse_args())
