"""hibari's reader with our tables and memories reads what hibari's own reads."""

import json
import subprocess
import sys

import pytest

from ns2_diffusers.text.engine import Entries, _read, load_g2p

SENTENCES = [
    "I read the record that they record; she has read it, too.",
    "The wind will wind round Siobhan's well-known iPhone, don't you think?",
    'He\'s used to it: a tear, a minute detail (in the house) — "to err is human".',
    "US officials saw NASA's B-29s by the AN building. WHO said so?",
    "Zxqwv blorfed, vs. the O'Neills' co-op/shop e.g. at 5 p.m. in 1914...",
    "The the a an I am by in to used.",
]


@pytest.mark.parametrize("british", [False, True])
def test_reads_what_hibari_reads(british):
    hibari = pytest.importorskip("hibari.g2p").G2P(british=british)
    ours = load_g2p(british)
    for sentence in SENTENCES * 2:  # the second time from memory
        found, expected = (g2p.phonemize_tokens(g2p.tokenize(sentence)) for g2p in (ours, hibari))
        assert [(t.text, t.tag, t.phonemes, t.rating) for t in found] == [
            (t.text, t.tag, t.phonemes, t.rating) for t in expected
        ]


@pytest.mark.parametrize("accent", ["gb", "us"])
@pytest.mark.parametrize("kind", ["gold", "silver"])
def test_every_entry_of_a_lexicon_is_found(accent, kind):
    text = _read(f"lexicon_{accent}_{kind}.json.gz")
    wanted, entries = json.loads(text), Entries(text)
    assert len(entries) == len(wanted) > 80_000
    assert list(wanted) == sorted(wanted)
    some = list(wanted)[::17] + list(wanted)[-3:] + [key for key, value in wanted.items() if isinstance(value, dict)]
    assert [entries.get(key) for key in some] == [wanted[key] for key in some]
    assert all(key in entries for key in some[:9])
    for absent in ("", "zzzzzzz", "hous", 'house"', "\ud800", "日", '":'):
        assert absent not in wanted and entries.get(absent) is None and absent not in entries


def test_entries_of_small_objects():
    entries = Entries('{"a":"b","c":{"d":"e","f":null},"é":"ˈA"}'.encode())
    assert [entries.get(key) for key in "acéd"] == ["b", {"d": "e", "f": None}, "ˈA", None]
    assert len(entries) == 3 and Entries(b'{"a":"b"}').get("a") == "b"


def test_loads_no_voices():
    program = (
        "import sys; from ns2_diffusers.text.phonemizers import phonemize\n"
        "phonemize('Hello there.', 'english', 'en-us')\n"
        "print(sorted({'scipy', 'onnxruntime', 'hibari'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
