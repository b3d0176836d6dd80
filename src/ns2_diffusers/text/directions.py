"""Directions in a text for how it is spoken (pauses, rate, pitch, speakers), in three forms.

- `[pause 0.5s]` or `[pause 500ms]` anywhere;
- SSML: a text that begins with `<speak`, `<?xml` or `<!DOCTYPE`;
- a script: lines that begin with the name of a speaker and a colon.

Pronunciations (`[word](/phonemes/)`) stay in the text; the tokenizer reads them.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass, replace
from xml.parsers import expat

from . import numbers
from .phonemizers import from_ipa
from .readings import NEARLY_READING, READING, reading_mark
from .sentences import CLAUSE_PAUSE, PARAGRAPH_PAUSE, SENTENCE_PAUSE

# Seconds. Longer silence is better added to the audio afterwards.
MAX_PAUSE = 10.0
TURN_PAUSE = 0.5
_PAUSE = re.compile(r"[^\S\n]*\[pause[ ]+([0-9][^\]\n]{0,20})\][^\S\n]*", re.IGNORECASE)
_TIME = re.compile(r"\+?(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})[ ]?(ms|s)")
# Marks that are nearly directions and are read as text, each with what is said about them.
_NEARLY_PAUSE = re.compile(
    r"\[[^\S\n]*(?:pause(?:[\s:=,.\d-][^\]\n]{0,40})?|break[\s:=]*\d[^\]\n]{0,20}|break\s*)\]|"
    r"[({][^\S\n]*pause[\s:=]*\.?\d[^)}\n]{0,20}[)}]",
    re.IGNORECASE,
)
_NEARLY_SSML = re.compile(r"</?(?:break|prosody|emphasis|say-as|phoneme|sub)\b[^<>\n]{0,100}>")
_MOST_NAMED = 5
_SSML = re.compile(r"\s*<(?:speak\b|\?xml\b|!DOCTYPE\b)")
# The SSML 1.1 recommendation defines these names; it leaves most of the values to the voice.
RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.25, "x-fast": 1.6}
PITCHES = {"x-low": -6.0, "low": -3.0, "medium": 0.0, "default": 0.0, "high": 3.0, "x-high": 6.0}
STRENGTHS = {
    "none": 0.0,
    "x-weak": CLAUSE_PAUSE / 2,
    "weak": CLAUSE_PAUSE,
    "medium": SENTENCE_PAUSE,
    "strong": PARAGRAPH_PAUSE,
    "x-strong": 2 * PARAGRAPH_PAUSE,
}
# The text rules already read these correctly as they are written.
_AS_WRITTEN = ("date", "time", "telephone", "currency", "fraction", "unit", "address")
_LETTERS = ("characters", "spell-out", "verbatim")
SAY_AS = (*_LETTERS, "digits", "cardinal", "number", "ordinal", *_AS_WRITTEN)
# The attributes that each element may have. `p` and `s` are paragraphs and sentences.
ATTRIBUTES = {
    "speak": ("version", "xml:lang", "xmlns", "xmlns:xsi", "xsi:schemaLocation"),
    "p": (),
    "s": (),
    "break": ("time", "strength"),
    "prosody": ("rate", "pitch", "range", "volume"),
    "emphasis": ("level",),
    "sub": ("alias",),
    "say-as": ("interpret-as", "format", "detail"),
    "phoneme": ("ph", "alphabet"),
}
RANGES = {"x-low": 0.5, "low": 0.75, "medium": 1.0, "default": 1.0, "high": 1.3, "x-high": 1.6}
VOLUMES = {"x-soft": 0.4, "soft": 0.65, "medium": 1.0, "default": 1.0, "loud": 1.4, "x-loud": 2.0}
# How strongly a word is emphasised, in steps; `Style` of the pipelines defines the effect of one step.
EMPHASES = {"reduced": -1.0, "none": 0.0, "moderate": 1.0, "strong": 2.0}
# Elements that may hold text but no elements.
_LEAVES = ("break", "sub", "say-as", "phoneme")
ALPHABETS = ("ipa", "x-misaki")


@dataclass(frozen=True)
class Passage:
    """Text that is spoken in one manner, by one speaker.

    Attributes:
        text: the text; empty where there is only a pause.
        pause: seconds of silence after it; None: the pause that its punctuation asks for.
        is_exact: whether `pause` is a given time, to which the silence at the ends of sentences does not add.
        rate: factor of the speaking rate.
        pitch: shift of the pitch in semitones.
        speaker: name of the speaker; None where the text has no speakers.
        range: factor of the range of F0.
        energy: factor of the amplitude.
        emphasis: emphasised parts of the text: (start, end, level), where level is a value of `EMPHASES`.
    """

    text: str
    pause: float | None = None
    rate: float = 1.0
    pitch: float = 0.0
    speaker: str | None = None
    range: float = 1.0
    energy: float = 1.0
    emphasis: tuple[tuple[int, int, float], ...] = ()
    is_exact: bool = False


def read_directions(text: str, speakers: Collection[str] = (), turn_pause: float = TURN_PAUSE) -> list[Passage]:
    """Split a text where the manner of speaking changes and where it asks for a pause.

    Args:
        text: a text with `[pause …]`, or SSML.
        speakers: names of the speakers, whose lines begin `Anna: …`. Text before the first name is the first one's.
        turn_pause: seconds of silence where the speaker changes.

    What is nearly a direction is read as text, with a warning.

    Raises:
        ValueError: if a pause cannot be read or is longer than `MAX_PAUSE`; if the SSML is not well-formed, or has an
            unknown element, attribute or value; if a speaker has no line.
    """
    if _SSML.match(text):
        if speakers:
            raise ValueError("a text is either SSML or a script of several speakers, not both: SSML has one voice.")
        _warn_of("not read in SSML", 'write <break time="500ms"/>', [mark[0] for mark in _NEARLY_PAUSE.finditer(text)])
        return _SpokenXML(text).passages
    _warn_of_nearly(text)
    turns = _turns(text, speakers) if speakers else [Passage(text)]
    passages: list[Passage] = []
    for turn in turns:
        if passages and passages[-1].speaker != turn.speaker:
            passages[-1] = replace(passages[-1], pause=(passages[-1].pause or 0.0) + turn_pause, is_exact=True)
        passages += _split_at_pauses(turn)
    return passages


def _warn_of_nearly(text: str) -> None:
    pauses = [mark[0] for mark in _NEARLY_PAUSE.finditer(text) if not _PAUSE.fullmatch(mark[0])]
    _warn_of("not a pause, so it is read as text", "write [pause 0.5s] or [pause 500ms]", pauses)
    readings = [mark[0] for mark in NEARLY_READING.finditer(text) if not READING.match(mark[0])]
    _warn_of("not a pronunciation, so it is read as text", "write [word](/phonemes/)", readings)
    elements = [mark[0] for mark in _NEARLY_SSML.finditer(text)]
    _warn_of(
        "SSML in a text that is not SSML, so it has no effect",
        "begin the text with <speak> and end it with </speak>",
        elements,
    )


def _warn_of(problem: str, wanted: str, marks: list[str]) -> None:
    if marks := list(dict.fromkeys(marks)):
        named = ", ".join(marks[:_MOST_NAMED]) + (", …" if len(marks) > _MOST_NAMED else "")
        warnings.warn(f"{named}: {problem}; {wanted}.", stacklevel=4)


def begins_with_pause(text: str) -> bool:
    """Whether the first thing of a text is `[pause …]`, of which the time may be incomplete."""
    return bool(re.match(r"\s*\[pause[ ]", text, re.IGNORECASE))


def _split_at_pauses(passage: Passage) -> list[Passage]:
    found, start, text = [], 0, passage.text
    for mark in _PAUSE.finditer(text):
        seconds = _seconds(mark[1].strip(), mark[0].strip())
        found.append(replace(passage, text=text[start : mark.start()], pause=seconds, is_exact=True))
        start = mark.end()
    if not found or text[start:].strip():
        found.append(replace(passage, text=text[start:]))
    return found


def _seconds(time: str, where: str) -> float:
    match = _TIME.fullmatch(time)
    if match is None:
        raise ValueError(f'{where} is not a pause: write [pause 0.5s], [pause 500ms] or SSML <break time="500ms"/>.')
    seconds = float(match[1]) / (1000 if match[2] == "ms" else 1)
    if seconds > MAX_PAUSE:
        raise ValueError(f"{where} is longer than {MAX_PAUSE:g} s, the longest pause.")
    return seconds


# ------------------------------------------------------------------------------------------------ scripts


# The beginning of a line that may be that of a speaker: one to four parts, a capital letter first, and a colon.
_NAMED_LINE = re.compile(
    r"^[^\S\n]*([^\W\d_a-z][^\W\d]{0,30}(?:[ .'’-]{1,2}[^\W\d]{1,30}){0,3})[^\S\n]?:(?=[^\S\n]+\S)", re.MULTILINE
)


def speakers_of(text: str, speakers: Collection[str]) -> list[str]:
    """The speakers who speak in a script; the first one speaks what is before the first name."""
    lines = _lines_of(text, speakers)
    found = {line[1] for line in lines}
    if text[: lines[0].start() if lines else len(text)].strip():
        found.add(next(iter(speakers)))
    return [name for name in speakers if name in found]


def _lines_of(text: str, speakers: Collection[str]) -> list[re.Match]:
    """The beginnings of the lines of speakers, up to the colon and the space after it."""
    pattern = "|".join(re.escape(name) for name in sorted(speakers, key=len, reverse=True))
    return list(re.finditer(rf"^[^\S\n]*({pattern})[^\S\n]*:[^\S\n]*", text, re.MULTILINE))


def _turns(text: str, speakers: Collection[str]) -> list[Passage]:
    """Split a script into the lines of its speakers; a line without a name belongs to the speaker before it."""
    names = list(speakers)
    if any(not name.strip() or ":" in name or "\n" in name for name in names):
        raise ValueError(f"speakers are {names}: a name is a word or more, without a colon.")
    lines = _lines_of(text, names)
    if silent := [name for name in names if name not in speakers_of(text, names)] or ([] if lines else names):
        raise ValueError(
            f"{', '.join(silent)} has no line in the script: begin lines with {silent[0] + ':'!r}, or leave the name "
            "out."
        )
    others = [line[1] for line in _NAMED_LINE.finditer(text) if line[1] not in names]
    _warn_of("not a speaker, so the name is read aloud", f"the speakers are {', '.join(names)}", others)
    turns: list[Passage] = []
    start, speaker = 0, names[0]
    for line in lines:
        turns.append(Passage(text[start : line.start()], speaker=speaker))
        start, speaker = line.end(), line[1]
    turns.append(Passage(text[start:], speaker=speaker))
    return [turn for turn in turns if turn.text.strip()]


# --------------------------------------------------------------------------------------------------- SSML


class _SpokenXML:
    """Reads SSML with expat. Document types are refused, because only they can define entities."""

    def __init__(self, text: str):
        self.passages: list[Passage] = []
        self.text = ""
        self.manners = [Passage("")]
        self.open: list[tuple[str, dict[str, str], int]] = []
        self.emphases: list[tuple[int, int, float]] = []
        self.levels: list[tuple[int, float]] = []  # start and level of each <emphasis> that is open
        self.position = 0
        self.parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            # The text is decoded already, so the encoding that its first line may name is ignored.
            parser.Parse(re.sub(r"\A\s*<\?xml[^>]{0,200}\?>", "", text).strip().encode("utf-8", "replace"), True)
        except expat.ExpatError as error:
            raise ValueError(
                f"the SSML is not well-formed: {expat.ErrorString(error.code)}, line {error.lineno}, column "
                f"{error.offset + 1}. Write & as &amp; and < as &lt;."
            ) from error
        self._flush()

    def _refuse_doctype(self, name, *rest):
        raise ValueError("the SSML has a document type (<!DOCTYPE …>): leave it out; entities are not read.")

    def _flush(self, pause: float | None = None, is_exact: bool = False) -> None:
        """End a passage here."""
        emphases = self.emphases + [(start, len(self.text), level) for start, level in self.levels]
        if self.text.strip() or pause is not None:
            spans = tuple((start, end, level) for start, end, level in emphases if start < end and level)
            passage = replace(self.manners[-1], text=self.text, pause=pause, is_exact=is_exact, emphasis=spans)
            self.passages.append(passage)
        self.text, self.emphases = "", []
        self.levels = [(0, level) for _, level in self.levels]

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name not in ATTRIBUTES:
            raise ValueError(f"the SSML element <{name}> is not read here; those that are: {', '.join(ATTRIBUTES)}.")
        if (name == "speak") != (not self.open):
            raise ValueError("SSML is one <speak> element with the others in it.")
        if self.open and self.open[-1][0] in _LEAVES:
            raise ValueError(f"<{self.open[-1][0]}> of SSML holds no other elements, and here <{name}>.")
        for attribute in attributes:
            if attribute not in ATTRIBUTES[name]:
                known = ", ".join(ATTRIBUTES[name]) or "none"
                raise ValueError(f"the attribute {attribute!r} of <{name}> is not read here; those that are: {known}.")
        self.open.append((name, attributes, len(self.text)))
        if name == "break":
            self._flush(_break_seconds(attributes), is_exact="time" in attributes)
            self.open[-1] = (name, attributes, 0)
        elif name == "prosody":
            self._flush()
            manner = self.manners[-1]
            rate = manner.rate * _rate(attributes.get("rate", "medium"))
            pitch = manner.pitch + _pitch(attributes.get("pitch", "medium"))
            f0_range = manner.range * _factor(attributes.get("range", "medium"), RANGES, "range of <prosody>")
            energy = manner.energy * _volume(attributes.get("volume", "medium"))
            self.manners.append(replace(manner, rate=rate, pitch=pitch, range=f0_range, energy=energy))
        elif name == "emphasis":
            level = _named(attributes.get("level", "moderate"), EMPHASES, "level of <emphasis>")
            self.levels.append((len(self.text), level))
        elif name in ("p", "s"):
            self._end_block(name)

    def _end(self, name: str) -> None:
        _, attributes, start = self.open.pop()
        inner = self.text[start:]
        if name == "prosody":
            self._flush()
            self.manners.pop()
        elif name == "emphasis":
            start, level = self.levels.pop()
            self.emphases.append((start, len(self.text), level))
        elif name in ("p", "s"):
            self._end_block(name)
        elif name == "break" and inner.strip():
            raise ValueError("<break> of SSML holds nothing: write <break/>.")
        elif name == "sub":
            self._replace(start, _wanted(attributes, "alias", "sub"))
        elif name == "say-as":
            self._replace(start, _said_as(inner, _wanted(attributes, "interpret-as", "say-as")))
        elif name == "phoneme":
            alphabet, phonemes = attributes.get("alphabet", "ipa"), _wanted(attributes, "ph", "phoneme")
            if alphabet not in ALPHABETS:
                raise ValueError(
                    f"the alphabet {alphabet!r} of <phoneme> is not read here; {' and '.join(ALPHABETS)} are."
                )
            phonemes = from_ipa(phonemes) if alphabet == "ipa" else phonemes
            mark = reading_mark(inner, phonemes)
            if not READING.fullmatch(mark):
                raise ValueError(f"ph={phonemes!r} of <phoneme> is not a pronunciation: give at most 200 phonemes.")
            self._replace(start, mark)

    def _characters(self, data: str) -> None:
        if not self.text or self.text[-1].isspace():
            data = data.lstrip() or ""
        self.text += re.sub(r"\s+", " ", data)

    def _replace(self, start: int, new: str) -> None:
        self.text = self.text[:start] + new

    def _end_block(self, name: str) -> None:
        """End a block with a line break; the usual rules for punctuation then set the pause."""
        if self.text.strip():
            breaks = self.text[len(self.text.rstrip()) :].count("\n")
            self.text = self.text.rstrip() + "\n" * max(breaks, 2 if name == "p" else 1)


def _wanted(attributes: dict[str, str], name: str, element: str) -> str:
    value = attributes.get(name, "").strip()
    if not value:
        raise ValueError(f'<{element}> of SSML needs {name}="…".')
    return value


def _break_seconds(attributes: dict[str, str]) -> float:
    if "time" in attributes:
        return _seconds(attributes["time"].strip(), f"<break time={attributes['time']!r}>")
    return _named(attributes.get("strength", "medium"), STRENGTHS, "strength of <break>")


def _named(value: str, known: dict[str, float], what: str) -> float:
    if value not in known:
        raise ValueError(f"the {what} is {value!r}; wanted one of {', '.join(known)}.")
    return known[value]


def _rate(value: str) -> float:
    rate = _factor(value, RATES, "rate of <prosody>")
    if not 0.1 <= rate <= 10:
        raise ValueError(f"the rate of <prosody> is {value!r}; wanted 10% to 1000%.")
    return rate


def _factor(value: str, names: dict[str, float], what: str) -> float:
    """Convert `120%`, `1.2`, `+20%` or a name to a factor."""
    match = re.fullmatch(r"([+-]?)(\d{1,4}(?:\.\d{1,4})?)(%?)", value.strip())
    if match is None:
        return _named(value.strip(), names, what)
    number = float(match[2]) / (100 if match[3] else 1)
    return 1 + number if match[1] == "+" else 1 - number if match[1] == "-" else number


def _volume(value: str) -> float:
    """Convert `+6dB` or a name to a factor of the amplitude."""
    match = re.fullmatch(r"([+-]\d{1,2}(?:\.\d{1,4})?)dB", value.strip())
    if match is None:
        return _named(value.strip(), VOLUMES, "volume of <prosody> (or +6dB)")
    return 10 ** (float(match[1]) / 20)


def _pitch(value: str) -> float:
    """Convert `+2st`, `-10%` or a name to semitones."""
    match = re.fullmatch(r"([+-]\d{1,3}(?:\.\d{1,4})?)(st|%)", value.strip())
    if match is None:
        return _named(value.strip(), PITCHES, "pitch of <prosody> (or +2st, -10%)")
    number = float(match[1])
    if match[2] == "%":
        if number <= -100:
            raise ValueError(f"the pitch of <prosody> is {value!r}; wanted more than -100%.")
        number = 12 * math.log2(1 + number / 100)
    if abs(number) > 24:
        raise ValueError(f"the pitch of <prosody> is {value!r}; wanted at most two octaves.")
    return number


def _said_as(text: str, how: str) -> str:
    text = text.strip()
    if how not in SAY_AS:
        raise ValueError(f"interpret-as={how!r} of <say-as> is not read here; those that are: {', '.join(SAY_AS)}.")
    if how in _AS_WRITTEN:
        return text
    if how in _LETTERS:
        # Hyphens make every letter, also "A", a letter name.
        return "-".join(character.upper() for character in text if not character.isspace())
    plain = re.sub(r"(?<=\d)[, ](?=\d)", "", text)
    if not re.fullmatch(r"-?\d{1,30}" if how != "digits" else r"[\d\s-]{1,60}", plain):
        raise ValueError(f"<say-as interpret-as={how!r}> holds {text!r}; wanted a whole number in digits.")
    if how == "digits":
        return numbers.digits(plain)
    sign, plain = ("minus " if plain[0] == "-" else ""), plain.lstrip("-")
    return sign + (numbers.ordinal(plain) if how == "ordinal" else numbers.cardinal(plain))
