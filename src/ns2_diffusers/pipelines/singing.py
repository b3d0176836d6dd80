"""Singing: sets a text to notes with given durations and pitch (NaturalSpeech 2, section 5, zero-shot singing)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import as_array
from ..text.notes import read_notes, set_to_notes
from .inputs import HIGHEST_PITCH, check_number, check_seconds
from .pipeline_output import NaturalSpeech2PipelineOutput
from .utterances import fade
from .voice import Voice

if TYPE_CHECKING:
    from .pipeline_naturalspeech2 import NaturalSpeech2Pipeline

Notes = Sequence[tuple[float, float]]
# In speech the last vowel fades early, and models learn this, so they fade in a long last note too. Therefore a song
# is sung with one more syllable, with this many seconds per symbol, which is cut off.
EXTRA_SYLLABLE, EXTRA_SECONDS = "la.", 0.1


def sing(
    pipe: NaturalSpeech2Pipeline,
    text: str,
    voice: Voice,
    notes: str | Notes,
    tempo: float = 100.0,
    **options: Any,
) -> tuple[NaturalSpeech2PipelineOutput, np.ndarray]:
    """Sing a text, one note per vowel. Consonants are as long as the pipeline would speak them.

        song, _ = sing(pipe, "La la la.", pipe.encode_voice("voice.wav"), "C4 D4 E4:2")

    Args:
        pipe: a pipeline with a tokenizer; the voice must be from its codec.
        text: text of one sentence.
        voice: voice from `pipe.encode_voice`.
        notes: notes in the format of `ns2_diffusers.text.notes.read_notes` (`C4 F#4:2`), or pairs of Hz and beats.
            Notes close to the pitch of the voice give the best result: see `transpose`.
        tempo: beats per minute.
        options: arguments of the pipeline's call, such as `num_inference_steps` and `generator`.

    Returns: the pipeline's output, whose audio is as long as its durations; and the requested pitch in Hz, (frames,)
        float64.

    Raises:
        TypeError, ValueError: the tempo is not above zero, or so slow that the song is longer than the pipeline's
            `max_utterance_seconds`; notes are not pairs of numbers in range; the numbers of notes and vowels differ; a
            note has less than two frames; a note cannot be read.
    """
    check_number("tempo", tempo, "beats a minute: give a number above zero, at most 1000", above=0.0, most=1000.0)
    notes = check_notes(read_notes(notes) if isinstance(notes, str) else notes)
    # Beats may be too large to be counted in frames, so the duration is checked first.
    beats = sum(beats for _, beats in notes)
    check_seconds("the notes", beats * 60 / tempo, pipe.config.max_utterance_seconds)
    words, extra = sung_phonemes(pipe.tokenizer, text), pipe.tokenizer.phonemize(EXTRA_SYLLABLE)
    call: dict[str, Any] = {"phonemes": f"{words} {extra}", "voice": voice}
    spoken = _call(pipe, **call, num_inference_steps=1, output_type="latent").durations[0]
    symbols = sung_symbols(pipe.tokenizer, text)
    count, rate = len(symbols), pipe.codec.frame_rate
    durations, pitch = set_to_notes(symbols, spoken[:count], notes, 60 / tempo * rate)
    num_extra = len(spoken) - count
    call["durations"] = np.append(durations, [round(EXTRA_SECONDS * rate)] * num_extra)
    call["pitch"] = np.append(pitch, [pitch[-1]] * num_extra)
    output = _call(pipe, **call, **options)
    frames = int(durations.sum())
    waveform = as_array(output.audios[0])[..., : frames * pipe.codec.hop_length]
    audio, f0 = fade(waveform, output.sampling_rate), output.f0[0][:frames]
    return replace(output, audios=[audio], durations=[durations], f0=[f0]), pitch.repeat(durations)


def _call(pipe: NaturalSpeech2Pipeline, **call: Any) -> Any:
    """The pipeline's output; a tuple only if that is asked for."""
    return pipe(**call)


def check_notes(notes: Any) -> Notes:
    """Check that notes are pairs of Hz and beats.

    Raises:
        TypeError, ValueError: they are not, or they are out of range.
    """
    pairs = isinstance(notes, (list, tuple, np.ndarray)) and all(
        isinstance(note, (list, tuple, np.ndarray)) and len(note) == 2 for note in notes
    )
    if not pairs:
        raise TypeError(f"notes is {notes!r:.80}; wanted text such as 'C4 D4', or pairs of Hz and beats.")
    for hz, beats in notes:
        check_number(
            "the pitch of a note", hz, f"Hz, above 0 and at most {HIGHEST_PITCH:g}", above=0, most=HIGHEST_PITCH
        )
        check_number("the length of a note", beats, "beats, above 0", above=0.0)
    return notes


def transpose(notes: Notes, semitones: float) -> list[tuple[float, float]]:
    """Shift notes, pairs of Hz and beats, by semitones."""
    return [(hz * 2 ** (semitones / 12), beats) for hz, beats in notes]


def sung_phonemes(tokenizer: Any, text: str) -> str:
    """Phonemes of a text without its last full stop, because nothing is sung after the last note."""
    return tokenizer.phonemize(text.rstrip(" .,;:!?…"))


def sung_symbols(tokenizer: Any, text: str) -> list[str]:
    """Symbols of `sung_phonemes` with a start symbol; the end symbol comes after the extra syllable."""
    symbols = tokenizer.convert_ids_to_tokens(tokenizer(sung_phonemes(tokenizer, text), is_phonemes=True)["input_ids"])
    return symbols[: len(symbols) - (tokenizer.eos_token is not None)]
