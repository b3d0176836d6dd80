"""Pauses, SSML and scripts: what becomes of them, and what is refused."""

import re

import pytest

from ns2_diffusers.text.directions import MAX_PAUSE, Passage, read_directions, speakers_of
from ns2_diffusers.text.sentences import SENTENCE_PAUSE


def ssml(inner):
    return read_directions(f"<speak>{inner}</speak>")


def test_pauses():
    assert read_directions("One. [pause 0.5s] Two[pause 20ms], three.") == [
        Passage("One.", 0.5, is_exact=True),
        Passage("Two", 0.02, is_exact=True),
        Passage(", three."),
    ]
    assert read_directions("[Pause 1 s]\n\nOne. [pause 2s]") == [
        Passage("", 1.0, is_exact=True),
        Passage("\n\nOne.", 2.0, is_exact=True),
    ]


@pytest.mark.parametrize(
    "mark, wanted",
    [
        *((mark, "write [pause 0.5s]") for mark in ("[pause half]", "[pause for effect]", "[pause]", "[Pause: 1s]")),
        *((mark, "write [pause 0.5s]") for mark in ("[pause=1s]", "[pause1s]", "[ pause 1s ]", "(pause 1s)")),
        *((mark, "write [pause 0.5s]") for mark in ("{pause 500 ms}", "[break 1s]", "[break]", "[pause\t1s]")),
        ("[Kubernetes](kˌubəɹnˈɛtɪs)", "write [word](/phonemes/)"),
        ("[Kubernetes] (/kˌubəɹnˈɛtɪs/)", "write [word](/phonemes/)"),
        ("[Kubernetes]{/kˌubəɹnˈɛtɪs/}", "write [word](/phonemes/)"),
        ('<break time="1s"/>', "begin the text with <speak>"),
        ("<emphasis>", "begin the text with <speak>"),
    ],
)
def test_what_is_nearly_a_direction_is_text_with_a_warning(mark, wanted):
    text = f"One {mark} two."
    with pytest.warns(UserWarning, match=re.escape(wanted)) as warned:
        assert read_directions(text) == [Passage(text)]
    assert str(warned[0].message).startswith(f"{mark}: not a ") or mark.startswith("<")
    assert mark in str(warned[0].message) and len(warned) == 1


def test_pauses_of_plain_text_in_ssml_cause_a_warning():
    with pytest.warns(UserWarning, match=r"^\[pause 1s\]: not read in SSML; write <break time="):
        assert ssml("One [pause 1s] two.") == [Passage("One [pause 1s] two.")]


def test_warnings_name_five_marks_at_most():
    with pytest.warns(UserWarning) as warned:
        read_directions(" ".join(f"[pause {word}] word" for word in "abcdefg") + " [pause a]")
    assert str(warned[0].message).startswith("[pause a], [pause b], [pause c], [pause d], [pause e], …: not a pause")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "text",
    [
        "One [paused video] (pause) [break the code] (a pause of 1s) two.",
        "See [it](https://example.org/a), [1] and [word](/wˈɜɹd/) and [poʊst].",
        "a < b and b > c, <b>bold</b>, [pause 1s] and a break.",
    ],
)
def test_other_brackets_cause_no_warning(text):
    read_directions(text)


@pytest.mark.parametrize("mark", ["[pause 5]", "[pause 1,5s]", "[pause 3 minutes]", "[pause 11s]"])
def test_a_pause_that_cannot_be_read_is_named(mark):
    message = f"longer than {MAX_PAUSE:g} s" if mark == "[pause 11s]" else "write .pause 0.5s."
    with pytest.raises(ValueError, match=message) as raised:
        read_directions(f"One. {mark} Two.")
    assert mark in str(raised.value)


def test_ssml_text_is_one_passage_until_something_changes():
    assert ssml(
        "One\n  two. <sub alias='World Wide Web'>WWW</sub> &amp; <say-as interpret-as='date'>5 May</say-as>"
    ) == [Passage("One two. World Wide Web & 5 May")]
    assert ssml("<p>One.</p> <p><s>Two</s><s>Three</s></p>") == [Passage("One.\n\nTwo\nThree\n\n")]
    assert read_directions('<?xml version="1.0" encoding="latin-1"?>\n<speak version="1.1">Größe</speak>') == [
        Passage("Größe")
    ]


def test_breaks():
    assert ssml("<break time='1s'/>One.<break time='250ms'/> Two<break/>.") == [
        Passage("", 1.0, is_exact=True),
        Passage("One.", 0.25, is_exact=True),
        Passage("Two", SENTENCE_PAUSE),
        Passage("."),
    ]
    assert ssml("a<break strength='none'/>b") == [Passage("a", 0.0), Passage("b")]


def test_prosody_is_nested():
    passages = ssml("A <prosody rate='150%' pitch='+2st'>b <prosody rate='+20%' pitch='low'>c</prosody> d</prosody> e")
    assert [(p.text.strip(), p.rate, p.pitch) for p in passages] == [
        ("A", 1, 0),
        ("b", 1.5, 2),
        ("c", pytest.approx(1.8), -1),
        ("d", 1.5, 2),
        ("e", 1, 0),
    ]
    (octave,) = ssml("<prosody pitch='+100%' rate='slow'>x</prosody>")
    assert (octave.pitch, octave.rate) == (12, 0.75)


def test_range_and_volume():
    inner = "<prosody range='150%' volume='+6dB'>a<prosody range='low' volume='soft'>b</prosody></prosody>"
    outer, nested = ssml(inner)
    assert (outer.range, outer.energy) == (1.5, pytest.approx(10**0.3))
    assert (nested.range, nested.energy) == (pytest.approx(1.125), pytest.approx(0.65 * 10**0.3))


def test_emphasis_is_part_of_a_sentence():
    (passage,) = ssml(
        "I <emphasis>never</emphasis> said <emphasis level='strong'>that <sub alias='is'>=</sub></emphasis>."
    )
    assert passage.text == "I never said that is."
    assert [(passage.text[a:b], level) for a, b, level in passage.emphasis] == [("never", 1.0), ("that is", 2.0)]
    assert ssml("<emphasis level='none'>a</emphasis>")[0].emphasis == ()


def test_emphasis_across_a_break():
    first, second = ssml("<emphasis level='reduced'>one <break time='1s'/> two</emphasis> three")
    assert [first.text[a:b].strip() for a, b, _ in first.emphasis] == ["one"]
    assert [second.text[a:b].strip() for a, b, _ in second.emphasis] == ["two"]


@pytest.mark.parametrize(
    "how, text, spoken",
    [
        ("characters", "abc", "A-B-C"),
        ("spell-out", "A 1", "A-1"),
        ("digits", "0 42", "zero four two"),
        ("cardinal", "1,984", "one thousand nine hundred eighty-four"),
        ("number", "-3", "minus three"),
        ("ordinal", "21", "twenty-first"),
        ("telephone", "555-0199", "555-0199"),
    ],
)
def test_say_as(how, text, spoken):
    (passage,) = ssml(f"<say-as interpret-as='{how}'>{text}</say-as>")
    assert passage.text.replace("-", " ") == spoken.replace("-", " ")


def test_phonemes_of_the_ipa_become_those_of_the_model():
    assert ssml("<phoneme ph='təˈmeɪtoʊ'>tomato</phoneme>") == [Passage("[tomato](/təmˈAtO/)")]
    assert ssml("a <phoneme alphabet='x-misaki' ph='təmˈAtO'>to[ma]to</phoneme>.") == [
        Passage("a [to ma to](/təmˈAtO/).")
    ]


REFUSED = {
    "unknown element": ("<audio src='x'/>", "<audio> is not read"),
    "voice": ("<voice name='x'>a</voice>", "<voice>"),
    "attribute": ("<prosody contour='(0%,+20Hz)'>a</prosody>", "'contour' of <prosody>"),
    "volume": ("<prosody volume='11'>a</prosody>", "'11'; wanted one of x-soft"),
    "range": ("<prosody range='wide'>a</prosody>", "'wide'; wanted one of x-low"),
    "level": ("<emphasis level='much'>a</emphasis>", "'much'; wanted one of reduced"),
    "rate": ("<prosody rate='quick'>a</prosody>", "'quick'; wanted one of x-slow"),
    "endless rate": ("<prosody rate='0%'>a</prosody>", "'0%'; wanted 10%"),
    "pitch": ("<prosody pitch='+5Hz'>a</prosody>", "'+5Hz'"),
    "far pitch": ("<prosody pitch='+99st'>a</prosody>", "two octaves"),
    "time": ("<break time='soon'/>", "'soon'"),
    "long": ("<break time='60s'/>", "longer than"),
    "strength": ("<break strength='big'/>", "'big'"),
    "break of text": ("<break>text</break>", "holds nothing"),
    "say-as": ("<say-as interpret-as='poem'>a</say-as>", "'poem'"),
    "say-as nothing": ("<say-as>a</say-as>", "interpret-as"),
    "number": ("<say-as interpret-as='cardinal'>many</say-as>", "'many'"),
    "alphabet": ("<phoneme alphabet='x-sampa' ph='a'>a</phoneme>", "'x-sampa'"),
    "no phonemes": ("<phoneme>a</phoneme>", 'ph="'),
    "slash": ("<phoneme ph='a/b'>a</phoneme>", "not a pronunciation"),
    "nested": ("<sub alias='a'><break/></sub>", "holds no other elements"),
    "two roots": ("</speak><speak>", "not well-formed"),
    "inner root": ("<speak>a</speak>", "one <speak>"),
    "ampersand": ("salt & pepper", "&amp;"),
    "entity": ("&lol;", "undefined entity"),
    "unclosed": ("<p>", "mismatched tag"),
}


@pytest.mark.parametrize("inner, message", REFUSED.values(), ids=REFUSED)
def test_what_ssml_is_refused(inner, message):
    with pytest.raises(ValueError) as raised:
        ssml(inner)
    assert message in str(raised.value)


@pytest.mark.parametrize("head", ["", '<?xml version="1.0"?>', " \n"])
def test_no_entities_are_made(head):
    laughs = '<!DOCTYPE speak [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>'
    with pytest.raises(ValueError, match="document type"):
        read_directions(f"{head}{laughs}<speak>&b;&c;</speak>")


def test_deep_and_long_ssml_takes_no_stack():
    deep = "<prosody rate='1'>" * 20_000 + "x" + "</prosody>" * 20_000
    assert ssml(deep) == [Passage("x")]


def test_lines_of_names_without_a_voice_cause_a_warning():
    script = "Anna: Hello.\n  Bob: Hi.\nANNA: Again.\nDr. Mary O'Neil : Yes.\nnote: no.\nChapter 1: no.\nAt 5:30 no."
    with pytest.warns(UserWarning) as warned:
        passages = read_directions(script, ["Anna"])
    assert len(passages) == 1 and len(warned) == 1
    wanted = "Bob, ANNA, Dr. Mary O'Neil: not a speaker, so the name is read aloud; the speakers are Anna."
    assert str(warned[0].message) == wanted


def test_speakers_who_have_text():
    script = "It begins.\nAnna: Hello.\nBob: Hi."
    assert speakers_of(script, ["Anna", "Cleo", "Bob"]) == ["Anna", "Bob"]
    # What is before the first name is the first speaker's.
    assert speakers_of(script, ["Cleo", "Bob", "Dora"]) == ["Cleo", "Bob"]
    assert speakers_of(script[11:], ["Cleo", "Anna"]) == ["Anna"]
    assert [(p.speaker, p.text.strip()) for p in read_directions(script, ["Cleo", "Anna", "Bob"])] == [
        ("Cleo", "It begins."),
        ("Anna", "Hello."),
        ("Bob", "Hi."),
    ]


def test_a_script_is_split_at_its_speakers():
    script = "It begins.\nAnna: Hello: you?\n  BOB : Fine.\nReally. [pause 1s] Yes.\nAnna: Note: bye.\nBob: not a name"
    assert read_directions(script, ["Anna", "BOB"], turn_pause=0.5) == [
        Passage("It begins.\n", speaker="Anna"),
        Passage("Hello: you?\n", 0.5, speaker="Anna", is_exact=True),
        Passage("Fine.\nReally.", 1.0, speaker="BOB", is_exact=True),
        Passage("Yes.\n", 0.5, speaker="BOB", is_exact=True),
        Passage("Note: bye.\nBob: not a name", speaker="Anna"),
    ]


def test_a_speaker_without_a_line_is_an_error():
    with pytest.raises(ValueError, match="Bob has no line"):
        read_directions("Anna: Hello.\nbob: Hi.", ["Anna", "Bob"])
    with pytest.raises(ValueError, match="without a colon"):
        read_directions("A: b", ["A: b"])
    with pytest.raises(ValueError, match="either SSML or a script"):
        read_directions("<speak>Anna: Hi</speak>", ["Anna"])
