"""Compose melodies for `make_corpus.py --sung`: the duration and the pitch of each symbol of a text."""

import numpy as np
from kokoro import FRAME, SAMPLING_RATE

from ns2_diffusers.data.alignments import end_with_voice
from ns2_diffusers.text.notes import VOWELS

FRAMES_A_SECOND = SAMPLING_RATE / FRAME
# Vowels on which a note is held. Weak vowels are too short.
HELD = VOWELS - {*"ɐᵊᵻ"}
SCALE = np.array([0, 2, 4, 5, 7, 9, 11])  # semitones, major
BEATS, STEPS = (0.5, 1, 1, 1, 2, 2, 4), (-4, -2, -1, -1, 0, 1, 1, 2, 4)
LOWEST, HIGHEST = 80.0, 700.0  # Hz
VOICED = 50.0  # Hz; lower values are unvoiced
GLIDE = 5  # F0 values, 12.5 ms each, of the transition between two notes


def compose(phonemes, speech, generator):
    """Compose a random melody for spoken phonemes. Return durations, F0 and energy for `Kokoro.sing`.

    Consonants stay as they were spoken. Every vowel is a note of 0.13 to 1.6 seconds, from a major scale that begins
    near the speaking pitch of the voice. Each note is held at the maximum energy of the text, because Kokoro alone
    would let it fade. Half of the melodies have vibrato.

    Args:
        phonemes: phonemes with at least one of `HELD`.
        speech: result of `Kokoro.speak`.
        generator: random generator of numpy.
    """
    symbols = ["<s>", *phonemes, "</s>"]
    is_voiced = speech.f0 > VOICED
    # Kokoro's last sound includes the silence after it, which is not sung.
    spoken = end_with_voice(symbols, speech.durations, is_voiced.reshape(-1, 2).any(1))
    is_note = np.array([symbol in HELD for symbol in symbols])
    beat = FRAMES_A_SECOND * generator.uniform(0.25, 0.4)
    durations = spoken.copy()
    notes = np.round(beat * generator.choice(BEATS, is_note.sum())).astype(int)
    durations[is_note] = np.maximum(durations[is_note], notes)
    pitches = melody(is_note.sum(), np.median(speech.f0[is_voiced]), generator)
    # Symbols before a vowel belong to its note; those after the last vowel belong to the last note.
    notes_of = np.minimum(np.cumsum(is_note) - is_note, len(pitches) - 1)
    f0 = np.repeat(pitches[notes_of], 2 * durations)
    f0 = glide(f0) * vibrato(len(f0), generator)
    is_sung = spread(is_voiced, True, spoken, durations)
    energy = spread(speech.energy, np.quantile(speech.energy, 0.95), spoken, durations)
    return durations, np.where(is_sung, f0, 0.0), energy


def melody(length, spoken, generator):
    """Return the pitch of each note in Hz: a random walk over the scale, at most an octave up or down."""
    first = spoken * 2 ** (generator.uniform(-2, 8) / 12)
    degrees = np.cumsum(generator.choice(STEPS, length))
    degrees = np.abs((degrees + 7) % 28 - 14) - 7  # reflected at ±7
    semitones = SCALE[degrees % 7] + 12 * (degrees // 7)
    first = np.clip(first, LOWEST * 2 ** (-semitones.min() / 12), HIGHEST * 2 ** (-semitones.max() / 12))
    return first * 2 ** (semitones / 12)


def glide(f0):
    edges = np.pad(np.log(f0), GLIDE // 2, mode="edge")
    return np.exp(np.convolve(edges, np.full(GLIDE, 1 / GLIDE), mode="valid"))


def vibrato(length, generator):
    cents = generator.choice([0.0, 1.0]) * generator.uniform(10, 50)
    seconds = np.arange(length) / (2 * FRAMES_A_SECOND)
    return 2 ** (cents / 1200 * np.sin(2 * np.pi * generator.uniform(4.5, 6.5) * seconds))


def spread(values, held, spoken, durations):
    """Return two values per frame of each symbol. A symbol with a changed duration has the value `held`."""
    ends = 2 * np.cumsum(spoken)
    parts = [values[end - 2 * length : end] for end, length in zip(ends, spoken, strict=True)]
    lengths = zip(parts, spoken, durations, strict=True)
    return np.concatenate([part if new == old else np.full(2 * new, held) for part, old, new in lengths])
