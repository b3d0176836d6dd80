"""Turn recordings with transcripts into a prepared dataset: codes, phonemes, durations, F0.

    python examples/prepare_dataset.py --metadata examples/asterisk/metadata.csv \
        --codec outputs/codec --output_dir outputs/dataset

The metadata is a CSV with the columns `file` (relative to it), `text` and, if there is more than one,
`speaker`. Durations come from a `PhonemeAligner` that is trained here on these very recordings.
"""

import argparse
import csv
import time
from pathlib import Path

import torch

from ns2_diffusers import NaturalSpeech2Tokenizer, PhonemeAligner, load_codec
from ns2_diffusers.audio.loading import check_audible, load_audio
from ns2_diffusers.audio.mel import LogMelSpectrogram
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.data.prepared_dataset import write_prepared_dataset
from ns2_diffusers.training.losses import beta_binomial_prior, binarization_loss, forward_sum_loss


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metadata", required=True, help="CSV with file,text[,speaker]")
    parser.add_argument("--codec", required=True, help="directory of a trained codec")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--tokenizer", help="directory of the tokenizer of a pipeline to fine-tune")
    parser.add_argument("--backend", default="english", help="phonemizer: english, espeak or none")
    parser.add_argument("--language", default="en-us")
    parser.add_argument("--aligner_steps", type=int, default=300)
    parser.add_argument("--aligner_batch_size", type=int, default=10)
    parser.add_argument("--aligner_learning_rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def main(args):
    torch.manual_seed(args.seed)
    codec = load_codec(args.codec).eval()
    if args.tokenizer:
        tokenizer = NaturalSpeech2Tokenizer.from_pretrained(args.tokenizer)
    else:
        tokenizer = NaturalSpeech2Tokenizer(backend=args.backend, language=args.language)
    utterances = read_utterances(args.metadata, codec, tokenizer)
    features = mel_features([u["waveform"] for u in utterances], codec)
    durations = learn_durations(features, [u["input_ids"] for u in utterances], tokenizer, args)
    rows = [finish(u, d, codec) for u, d in zip(utterances, durations, strict=True)]
    write_prepared_dataset(rows, args.output_dir, codec, tokenizer)
    tokenizer.save_pretrained(Path(args.output_dir) / "tokenizer")
    seconds = sum(row["n_frames"] for row in rows) / codec.frame_rate
    print(f"prepared {len(rows)} utterances, {seconds:.0f} s, in {args.output_dir}")


def read_utterances(metadata, codec, tokenizer):
    folder = Path(metadata).parent
    with open(metadata, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    utterances = []
    for row in rows:
        waveform, rate = load_audio(folder / row["file"], target_sampling_rate=codec.sampling_rate)
        check_audible(waveform, rate, 0.2, row["file"])
        phonemes = tokenizer.phonemize(row["text"])
        utterances.append(
            {
                "id": Path(row["file"]).stem,
                "speaker": row.get("speaker") or "speaker",
                "text": row["text"],
                "phonemes": phonemes,
                "waveform": waveform,
                "input_ids": tokenizer(phonemes, is_phonemes=True, padding=True, return_tensors="pt")["input_ids"][0],
            }
        )
    return utterances


def mel_features(waveforms, codec):
    """Log-mel frames (80, T) at the codec's frame rate, standardised over all recordings."""
    mel = LogMelSpectrogram(
        sampling_rate=codec.sampling_rate, n_fft=4 * codec.hop_length, hop_length=codec.hop_length, n_mels=80
    )
    features = [mel(waveform[None])[0] for waveform in waveforms]
    everything = torch.cat(features, dim=1)
    mean, std = everything.mean(1, keepdim=True), everything.std(1, keepdim=True)
    return [(feature - mean) / std for feature in features]


def learn_durations(features, input_ids, tokenizer, args, temperature=5e-3, hidden=128):
    """Train an aligner on the recordings, then align them: a tensor of frames per phoneme each."""
    aligner = PhonemeAligner(vocab_size=len(tokenizer), hidden_size=hidden, temperature=temperature)
    optimizer = torch.optim.AdamW(aligner.parameters(), lr=args.aligner_learning_rate)
    start = time.time()
    for step in range(1, args.aligner_steps + 1):
        chosen = torch.randperm(len(features))[: args.aligner_batch_size].tolist()
        batch = alignment_batch([features[i] for i in chosen], [input_ids[i] for i in chosen])
        scores, masks = aligner(**batch), (batch["feature_mask"], batch["attention_mask"])
        loss = forward_sum_loss(scores.scores, *masks)
        if step > args.aligner_steps // 2:
            durations = aligner.align(**batch)
            loss = loss + binarization_loss(scores.log_probs, durations, batch["feature_mask"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"aligner step {step} loss {loss.item():.3f} {time.time() - start:.0f} s", flush=True)
    aligner.eval()
    return [
        aligner.align(**alignment_batch([feature], [ids]))[0] for feature, ids in zip(features, input_ids, strict=True)
    ]


def alignment_batch(features, input_ids):
    pad = torch.nn.utils.rnn.pad_sequence
    frames = torch.tensor([feature.shape[1] for feature in features])
    phonemes = torch.tensor([len(ids) for ids in input_ids])
    prior = torch.zeros(len(features), int(frames.max()), int(phonemes.max()))
    for item, (t, n) in enumerate(zip(frames.tolist(), phonemes.tolist(), strict=True)):
        prior[item, :t, :n] = beta_binomial_prior(n, t)
    return {
        "features": pad([feature.T for feature in features], batch_first=True).transpose(1, 2),
        "input_ids": pad(input_ids, batch_first=True),
        "feature_mask": torch.arange(int(frames.max())) < frames[:, None],
        "attention_mask": torch.arange(int(phonemes.max())) < phonemes[:, None],
        "prior": prior,
    }


@torch.no_grad()
def finish(utterance, durations, codec):
    waveform = utterance["waveform"]
    _, codes = codec.quantize(codec.encode(waveform[None, None]))
    f0 = estimate_f0(waveform, codec.sampling_rate, codec.hop_length)
    return {**utterance, "durations": durations, "codes": codes[0], "f0": f0, "n_frames": codes.shape[2]}


if __name__ == "__main__":
    main(parse_args())
