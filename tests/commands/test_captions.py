"""Subtitles from words with known times."""

import json

from ns2_diffusers.commands.captions import captions, to_json, to_srt, to_vtt
from ns2_diffusers.pipelines.pipeline_output import SpokenWord

WORDS = [
    SpokenWord("It", 0.5, 0.6),
    SpokenWord("rained.", 0.6, 1.0),
    SpokenWord("A", 1.1, 1.2),
    SpokenWord("<b>", 1.2, 2.0),
    SpokenWord("then", 2.5, 2.6),
    SpokenWord("more", 3661.0, 3661.9996),
]


def test_captions_end_at_sentences_and_pauses():
    assert captions(WORDS) == [
        (0.5, 1.0, "It rained."),
        (1.1, 2.0, "A <b>"),
        (2.5, 2.6, "then"),
        (3661.0, 3661.9996, "more"),
    ]
    assert captions([]) == []


def test_captions_are_short():
    words = [SpokenWord("seven77", n * 0.5, n * 0.5 + 0.4) for n in range(20)]
    found = captions(words)
    assert [len(text) for _, _, text in found] == [39, 39, 39, 39]
    slow = captions([SpokenWord("slow", 1.9 * n, 1.9 * n + 1.8) for n in range(4)])
    assert [text for _, _, text in slow] == ["slow slow slow", "slow"]


def test_srt_and_vtt():
    assert to_srt(WORDS[:2]) == "1\n00:00:00,500 --> 00:00:01,000\nIt rained.\n"
    assert to_srt(WORDS).endswith("\n4\n01:01:01,000 --> 01:01:02,000\nmore\n")
    assert to_vtt(WORDS[2:4]) == "WEBVTT\n\n00:00:01.100 --> 00:00:02.000\nA &lt;b&gt;\n"


def test_json():
    assert json.loads(to_json(WORDS[:1], 1.23456)) == {
        "duration": 1.2346,
        "words": [{"word": "It", "start": 0.5, "end": 0.6}],
    }
