"""Measure how much written English is read correctly, for tables of written and spoken forms and any normaliser.

    python benchmarks/reading.py --table tests/text/cases/money.tsv
    python benchmarks/reading.py --table DIR/test_cases_*.txt --normalizer ours nemo hibari misaki --verbose
    python benchmarks/reading.py --homographs WikipediaHomographData/data/eval
    python benchmarks/reading.py --speed
    python benchmarks/reading.py --table tests/text/cases/everyday.tsv --heard 100

A table has one line per case, `written<TAB>spoken` or `written~spoken`. Alternatives are further `<TAB>spoken`; in the
tables of NeMo with audio, a line `~written` is followed by one line per alternative.

Both sides are compared word by word. These differences, which do not matter to a listener, are removed first:

1. Case, punctuation and hyphens; the words "and" within numbers and amounts, "o'clock", "the" and "of" of dates.
2. How digits are grouped: "thirteen thousand", "one three zero zero zero" and "thirteen zero zero zero" are 13000;
   "oh" and "zero". The order of day and month.
3. Whether initials are written together: "P M", "PM", "p.m.".
4. "dash" and "hyphen", "times", "x" and "by", "hash" and "hashtag", "ampersand" and "and", "to" and a dash between
   numbers, the scheme of a web address, a slash, "Mr" and "mister", "M" and "million", a unit's name and its letters
   ("seconds", "S"), a plural "s" joined to its number or apart.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import time
from collections import defaultdict
from pathlib import Path

from ns2_diffusers.training.arguments import HelpFormatter

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = {
    "hundred": 2,
    "thousand": 3,
    "million": 6,
    "billion": 9,
    "trillion": 12,
    "quadrillion": 15,
    "quintillion": 18,
}
VALUES = {word: value for value, word in enumerate(ONES)} | {w: 10 * i for i, w in enumerate(TENS) if i > 1}
SAME = {
    "mr": "mister", "mrs": "missus", "misses": "missus", "dr": "doctor", "ms": "miz", "hyphen": "dash", "x": "by",
    "times": "by", "asterisk": "by", "star": "by", "hash": "hashtag", "pound": "pounds", "ampersand": "and",
    "k": "thousand", "m": "million", "b": "billion", "saint": "st", "over": "slash", "hertz": "hz", "jpeg": "jpg",
    "second": "s", "seconds": "s", "minute": "min", "minutes": "min",
    "jason": "json", "pie": "py", "hrs": "hours",
}  # fmt: skip
MONTHS = "january february march april may june july august september october november december".split()
DROPPED = {"oclock", "the", "of", "and", "colon", "slash"}


def _number(words, start):
    """Return the digits of the longest spoken number at a position, and its end."""
    total, group, position, last = 0, 0, start, None
    while position < len(words):
        word = words[position]
        if word in VALUES:
            value = VALUES[word]
            if last == "tens" and 1 <= value <= 9 or last in ("hundred", "scale", None):
                group += value
            else:
                break
            last = "tens" if value >= 20 else "ones"
            if value == 0 and position == start:
                return "0", position + 1
        elif word == "hundred" and last in ("ones", "tens"):
            group, last = group * 100, "hundred"
        elif word in SCALES and word != "hundred" and group:
            total, group, last = total + group * 10 ** SCALES[word], 0, "scale"
        else:
            break
        position += 1
    return str(total + group), position


def _ordinal(word):
    special = {"first": "one", "second": "two", "third": "three", "fifth": "five", "eighth": "eight", "ninth": "nine",
               "twelfth": "twelve"}  # fmt: skip
    if word in special:
        return special[word]
    if word.endswith("ieth") and word[:-4] + "y" in VALUES:
        return word[:-4] + "y"
    if word.endswith("th") and (word[:-2] in VALUES or word[:-2] in SCALES):
        return word[:-2]
    return None


def canonical(spoken: str) -> str:
    """Return spoken words without the differences that do not matter to a listener."""
    text = spoken.lower().replace("’", "'").replace("a.m.", "am").replace("p.m.", "pm")
    text = re.sub(r"\bhttps? colon slash slash ", "", text)
    text = re.sub(r"(?<=\w)\.(?=\w\b)|(?<=\b\w)\.(?=\s|$|,)", " ", text)
    text = re.sub(r"\bo'clock\b", "oclock", text)
    text = re.sub(r"'s\b", "s", text)
    text = re.sub(r"(?<=percent)-", " to ", text)
    text = re.sub(r"(\w+)(?:[ ][-–][ ]|–[ ])(?=(\w+))", _between_numbers, text)
    text = re.sub(r"cubic centimeters?", "cc", text)
    text = re.sub(r"[^\w\s]|_", " ", text)
    words = text.split()
    # A letter next to another letter is an initial, not a unit or a sign. An "o" by itself is a zero.
    letters = [len(word) == 1 and word.isalpha() and word != "o" for word in words]
    initials = [is_letter or word == "o" and any(letters[max(0, i - 1) : i] + letters[i + 1 : i + 2])
                for i, (word, is_letter) in enumerate(zip(words, letters, strict=True))]  # fmt: skip
    alone = [not any(initials[max(0, i - 1) : i] + initials[i + 1 : i + 2]) for i in range(len(words))]
    words = [SAME.get(w, "zero" if w == "o" else w) if by_itself or len(w) > 1 else w
             for w, by_itself in zip(words, alone, strict=True)]  # fmt: skip
    words = ["zero" if word == "oh" else word for word in words if word not in DROPPED]
    # The plural of a number with a separate "s", as some write it.
    words = [part for word in words for part in ((word[:-1], "s") if word[-1:] == "s" and word[:-1] in VALUES else
             (word[:-3] + "y", "s") if word.endswith("ies") and word[:-3] + "y" in VALUES else
             (word[:-2], "s") if word == "sixes" else (word,))]  # fmt: skip
    result, position = [], 0
    while position < len(words):
        word = words[position]
        if word in VALUES:
            number, end = _number(words, position)
            ordinal = _ordinal(words[end]) if end < len(words) else None
            if ordinal and (
                VALUES.get(ordinal, 100) < 10
                and words[end - 1] in TENS
                or words[end - 1] in SCALES
                or ordinal in SCALES
            ):
                number, _ = _number([*words[position:end], ordinal], 0)
                number, end = f"{number}th", end + 1
            if result and result[-1].isdigit() and number.isdigit():
                result[-1] += number
            else:
                result.append(number)
            position = end
            continue
        ordinal = _ordinal(word)
        result.append(f"{_number([ordinal], 0)[0]}th" if ordinal in VALUES else word)
        position += 1
    return _dates(_letters(result))


def _between_numbers(match):
    """A dash between numbers, days or times is "to"; between other words it is a pause."""
    dated = all(_NUMERIC.fullmatch(word) for word in match.groups())
    return f"{match[1]} to " if dated else f"{match[1]} "


_NUMERIC = re.compile(
    rf"(?:{'|'.join(VALUES)}|hundred|thousand|million|billion|\w*(?:th|first|second|third)|[ap]m|m|oclock|percent|"
    rf"(?:mon|tues|wednes|thurs|fri|satur|sun)day|{'|'.join(MONTHS)}|dollars?|pounds?|euros?)"
)


def _letters(words):
    joined = []
    for word in words:
        if len(word) == 1 and word.isalpha() and joined and joined[-1].startswith("\0"):
            joined[-1] += word
        else:
            joined.append("\0" + word if len(word) == 1 and word.isalpha() else word)
    return [word.lstrip("\0") for word in joined]


def _dates(words):
    """Move a day that is spoken before the month behind it."""
    for index in range(len(words) - 1):
        if words[index + 1] in MONTHS and words[index].endswith("th") and words[index][0].isdigit():
            words[index], words[index + 1] = words[index + 1], words[index]
    return " ".join(words)


def is_right(read: str, alternatives: list[str]) -> bool:
    """Return whether the reading is one of the alternatives."""
    found = canonical(read).replace(" ", "")
    return any(canonical(spoken).replace(" ", "") == found for spoken in alternatives)


def read_table(path: Path) -> list[tuple[str, list[str]]]:
    """Return the cases of a table: the written form and its spoken forms."""
    cases, written = [], None
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("# "):
            continue
        if line.startswith("~") and "with_audio" in path.name:
            written = line.strip("~")
            cases.append((written, []))
        elif "with_audio" in path.name:
            if cases:
                cases[-1][1].append(line)
        elif "\t" in line:
            first, *spoken = line.split("\t")
            cases.append((first, spoken))
        elif "~" in line:
            first, _, spoken = line.partition("~")
            cases.append((first, [spoken]))
    return [(first, spoken) for first, spoken in cases if first.strip() and spoken]


def normalizers() -> dict:
    """Return the functions of the installed normalisers, by name."""

    def ours():
        from ns2_diffusers.text.phonemizers import normalize_for

        def read(text):
            normalized = normalize_for(text, "english", "en-us")
            words = normalized.text
            # Words in IPA have names of their own in the normalized text; here they stand as they are written.
            for name in normalized.given:
                start = normalized.text.index(name)
                words = words.replace(name, text[slice(*normalized.source_span(start, start + len(name)))])
            return words

        return read

    def nemo():
        from nemo_text_processing.text_normalization.normalize import Normalizer

        normalizer = Normalizer(input_case="cased", lang="en")
        return lambda text: normalizer.normalize(text, punct_post_process=True)

    def hibari():
        from hibari.g2p.normalize import normalize

        return normalize

    return {"ours": ours, "nemo": nemo, "hibari": hibari}


def phonemizers() -> dict:
    """Return the installed functions from text to phonemes, for tables compared by sound."""

    def ours():
        from ns2_diffusers.text.phonemizers import phonemize

        return lambda text: phonemize(text, "english", "en-us")[0]

    def hibari():
        from hibari.g2p import G2P

        return G2P()

    def misaki():
        from misaki import en, espeak

        g2p = en.G2P(trf=False, british=False, fallback=espeak.EspeakFallback(british=False))
        return lambda text: g2p(text)[0]

    def espeak():
        from ns2_diffusers.text.phonemizers import _espeak

        return lambda text: _espeak(text, "en-us")

    return {"ours": ours, "hibari": hibari, "misaki": misaki, "espeak": espeak}


def _sound(phonemes):
    return re.sub(r"[^\w]|[ˈˌː]", "", phonemes or "").replace("ɾ", "t").replace("T", "t")


def score_tables(paths, names, verbose, by_sound) -> dict:
    """Return the numbers of correct and of all cases, by normaliser and table."""
    makers = phonemizers() if by_sound else normalizers()
    scores = defaultdict(dict)
    for name in names:
        read = makers[name]()
        for path in paths:
            right, cases = 0, read_table(path)
            for written, alternatives in cases:
                try:
                    said = read(written)
                    if by_sound:
                        ok = any(_sound(said) == _sound(read(spoken)) for spoken in alternatives)
                    else:
                        ok = is_right(said, alternatives)
                except Exception as error:  # a normaliser that raises an error has failed the case
                    said, ok = repr(error), False
                right += ok
                if verbose and not ok:
                    print(
                        f"{name}  {path.stem}  {written!r}\n    read   {said}\n    wanted {' | '.join(alternatives)}"
                    )
            scores[name][path.stem.removeprefix("test_cases_")] = (right, len(cases))
    return scores


def score_homographs(folder: Path, verbose: bool) -> tuple[int, int, dict]:
    """Score homographs of google-research-datasets/WikipediaHomographData: right, all, and wrong by word.

    Each pronunciation of the set is matched to our reading with the nearest consonants and vowels.
    """
    from ns2_diffusers.text.phonemizers import explain

    wordids = {}
    with (folder.parent / "wordids.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            wordids[row["wordid"]] = row
    right, total, wrong = 0, 0, defaultdict(list)
    for path in sorted(folder.glob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        options = [w for w, row in wordids.items() if row["homograph"] == rows[0]["homograph"]]
        for row in rows:
            sentence = row["sentence"]
            data = sentence.encode()
            start = len(data[: int(row["start"])].decode(errors="ignore"))
            words = explain(sentence, "english", "en-us", emoji="skip")
            within = [w for w in words if w.start <= start < w.end]
            # Words such as "15-minute" are several words.
            named = [w for w in within if w.spoken.lower() == row["homograph"]]
            word = next(iter(named or within), None)
            total += 1
            sound = word.phonemes if word else ""
            guess = min(options, key=lambda w: _distance(_plain(sound), _plain_ipa(wordids[w]["pronunciation"])))
            if guess == row["wordid"]:
                right += 1
            else:
                wrong[row["homograph"]].append((row["wordid"], sound, sentence))
    if verbose:
        for homograph, rows in sorted(wrong.items(), key=lambda item: -len(item[1])):
            for wordid, sound, sentence in rows:
                print(f"{homograph}\t{wordid}\t{sound}\t{sentence}")
    return right, total, wrong


_ARPABET = {
    "A": "eɪ", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ", "Q": "oʊ", "ʧ": "tʃ", "ʤ": "dʒ", "T": "t",
    "ᵊ": "ə", "ᵻ": "ɪ", "ɹ": "r", "ɐ": "ə", "ɡ": "g",
}  # fmt: skip


def _plain(phonemes):
    plain = "".join(_ARPABET.get(c, c) for c in phonemes if c.isalpha() or c == "ˈ")
    return plain.replace("ɪz", "əz")


def _plain_ipa(pronunciation):
    plain = (
        pronunciation.replace("'", "ˈ")
        .replace("ʤ", "dʒ")
        .replace("ʧ", "tʃ")
        .replace("ɹ", "r")
        .replace("ɝ", "ɜr")
        .replace("ɚ", "ər")
        .replace("g", "ɡ")
    )
    plain = re.sub(r"[^\wˈ]|[\dːˌ]", "", plain).replace("ᵻ", "ɪ").replace("ɪz", "əz")
    return re.sub(r"ˈ([^aeiouæɑɒɔəɛɜɪʊʌˈ]+)", r"\1ˈ", plain)  # stress before the vowel, as in misaki


def _distance(first, second):
    previous = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        current = [i]
        for j, b in enumerate(second, 1):
            current.append(min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (a != b)))
        previous = current
    return previous[-1]


def measure_speed(characters: int = 200_000) -> tuple[float, float]:
    """Measure the CPU seconds of the first call, and the characters per CPU second after it.

    The text is prose with numbers in every fourth line.
    """
    from ns2_diffusers.text.phonemizers import phonemize

    started = time.process_time()
    phonemize("Hello there.", "english", "en-us")
    first = time.process_time() - started
    lines = (Path(__file__).parent / "sentences.txt").read_text(encoding="utf-8").split("\n")
    lines = [
        line + f" It was {index} km, on May {index % 28 + 1}." if index % 4 == 0 else line
        for index, line in enumerate(lines)
    ]
    done, started = 0, time.process_time()
    while done < characters:
        for line in lines:
            phonemize(line, "english", "en-us") if line else None
            done += len(line)
    return first, done / (time.process_time() - started)


def score_heard(paths, count: int, verbose: bool) -> dict[str, int]:
    """Speak the written and the spoken form of lines, and compare whisper's transcripts of both.

    Args:
        paths: tables, of which `count` lines are taken, evenly spaced.

    Returns: counts of `lines`, of lines with the same transcript (`alike`), of lines whose written form is heard as
        one of its spoken forms (`right`), and of lines whose spoken form is (`spoken right`). The last is the upper
        bound that whisper and the voice allow.
    """
    import torch

    from ns2_diffusers import NaturalSpeech2Pipeline, bundled
    from ns2_diffusers.evaluation.words import WordReader

    cases = [case for path in paths for case in read_table(path)]
    count = min(count, len(cases))
    cases = [cases[int((index + 0.5) * len(cases) / count)] for index in range(count)]
    pipe, reader = NaturalSpeech2Pipeline.from_pretrained(bundled()), WordReader()
    pipe.set_progress_bar_config(disable=True)
    counts = {"lines": len(cases), "alike": 0, "right": 0, "spoken right": 0}
    for written, spoken in cases:
        heard = []
        for text in (written, spoken[0]):
            output = pipe(text, voice="emma", generator=torch.Generator().manual_seed(0))
            heard.append(reader.read(output.audios[0], output.sampling_rate))
        alike, right = canonical(heard[0]) == canonical(heard[1]), is_right(heard[0], spoken)
        counts["alike"] += alike
        counts["right"] += right
        counts["spoken right"] += is_right(heard[1], spoken)
        if verbose and not alike:
            print(f"{written!r}: {heard[0]!r}, and {spoken[0]!r}: {heard[1]!r}", file=sys.stderr)
    return counts


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--table", nargs="+", type=Path, default=[], help="tables of written and spoken forms")
    parser.add_argument("--normalizer", nargs="+", default=["ours"], help="normalizers to compare")
    parser.add_argument("--by_sound", action="store_true", help="compare phonemes rather than words")
    parser.add_argument(
        "--homographs", type=Path, help="folder data/eval or data/train of the homograph set; none if not given"
    )
    parser.add_argument("--speed", action="store_true", help="measure characters per second")
    parser.add_argument(
        "--heard",
        type=int,
        default=0,
        help="number of lines of the tables whose two forms are spoken and recognised by whisper",
    )
    parser.add_argument("--verbose", action="store_true", help="print every error")
    return parser.parse_args(argv)


def main(args):
    if args.heard:
        counts = score_heard(args.table, args.heard, args.verbose)
        print(", ".join(f"{name} {number}" for name, number in counts.items()))
    elif args.table:
        scores = score_tables(args.table, args.normalizer, args.verbose, args.by_sound)
        print("| table | " + " | ".join(scores) + " |\n|" + "---|" * (len(scores) + 1))
        for table in next(iter(scores.values())):
            cells = [f"{scores[name][table][0]}/{scores[name][table][1]}" for name in scores]
            print(f"| {table} | " + " | ".join(cells) + " |")
        cells = []
        for by_table in scores.values():
            right, total = map(sum, zip(*by_table.values(), strict=True))
            cells.append(f"{right}/{total} ({right / total:.1%})")
        print("| all | " + " | ".join(cells) + " |")
    if args.homographs:
        right, total, wrong = score_homographs(args.homographs, args.verbose)
        print(f"homographs: {right}/{total} ({right / total:.1%})")
        worst = sorted(wrong.items(), key=lambda item: -len(item[1]))[:40]
        print(", ".join(f"{word} {len(rows)}" for word, rows in worst), file=sys.stderr)
    if args.speed:
        first, rate = measure_speed()
        print(f"first call {first:.2f} s, {rate:,.0f} characters per second")


if __name__ == "__main__":
    main(parse_args())
