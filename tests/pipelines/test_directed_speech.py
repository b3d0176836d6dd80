"""Word times, pauses, SSML and scripts of several voices through the pipeline."""

from dataclasses import astuple

import numpy as np
import pytest
import torch

from ns2_diffusers import NaturalSpeech2Tokenizer, named_voices
from ns2_diffusers.arrays import like

RATE, HOP = 16000, 320
FRAME = HOP / RATE
LONG_TEXT = "The line is busy. Please hold while we try again! Would you rather leave a message?"


@pytest.fixture
def speak(tiny_pipeline, clips):
    voice = tiny_pipeline.encode_voice(clips[0])

    def speak(text, **options):
        generator = torch.Generator().manual_seed(0)
        return tiny_pipeline(text, **{"voice": voice, "num_inference_steps": 2, "generator": generator} | options)

    return speak


def silent(audio, start, end):
    """Whether a part of a waveform, in seconds, is silent."""
    return not audio[round(start * RATE) : round(end * RATE)].any()


# Word times


def test_words_of_given_durations(speak, tiny_pipeline):
    text = "Hi, it cost $5."
    phonemes = tiny_pipeline.tokenizer.phonemize(text)
    durations = np.arange(1, len(phonemes) + 3)
    words = speak(text, durations=durations).words[0]
    assert [word.text for word in words] == ["Hi,", "it", "cost", "$5."]
    for word, symbols in zip(words, ["hˈI", "ɪt", "kˈɔst", "fˈIv dˈɑləɹz"], strict=True):
        first = phonemes.index(symbols)
        # Symbol 0 is the start symbol; symbol n lasts n + 1 frames.
        assert word.start == pytest.approx(sum(range(1, first + 2)) * FRAME)
        assert word.end == pytest.approx(sum(range(1, first + len(symbols) + 2)) * FRAME)


def test_words_count_the_sentences_and_pauses_before_them(speak):
    output = speak("[pause 1s]" + LONG_TEXT)
    words = output.words[0]
    assert " ".join(word.text for word in words) == LONG_TEXT
    assert all(a.end <= b.start for a, b in zip(words, words[1:], strict=False))
    assert words[0].start >= 1 and words[-1].end <= output.durations[0].sum() * FRAME
    for word in words:
        assert word.start < word.end
        assert word.start / FRAME == pytest.approx(round(word.start / FRAME), abs=1e-6)
    # Sentences end with pauses of 0.4 s.
    for last, following in ((3, 4), (9, 10)):
        assert words[following].start - words[last].end >= 0.4
    alone = speak("The line is busy.").words[0]
    np.testing.assert_allclose([w.start for w in words[:4]], [w.start + 1 for w in alone])


def test_words_of_each_text_and_of_phonemes(speak, tiny_pipeline):
    output = speak(["Hello there.", "Good night to you."])
    assert [[word.text for word in words] for words in output.words] == [
        ["Hello", "there."],
        ["Good", "night", "to", "you."],
    ]
    phonemes = tiny_pipeline.tokenizer.phonemize("Hello there.")
    given = speak(None, phonemes=phonemes)
    assert [word.text for word in given.words[0]] == phonemes.split()
    assert [astuple(w)[1:] for w in given.words[0]] == [astuple(w)[1:] for w in speak("Hello there.").words[0]]


def test_sentences_are_the_whole_in_pieces(speak, tiny_pipeline, clips):
    whole = speak(LONG_TEXT)
    for size in (1, 2, 5):
        pieces = list(
            tiny_pipeline.sentences(
                LONG_TEXT,
                clips[0],
                num_inference_steps=2,
                generator=torch.Generator().manual_seed(0),
                max_batch_size=size,
            )
        )
        assert len(pieces) == 3
        np.testing.assert_allclose(np.concatenate([p.audios[0] for p in pieces]), whole.audios[0], atol=1e-5)
        begins, times = 0.0, []
        for piece in pieces:
            times += [(word.text, word.start + begins, word.end + begins) for word in piece.words[0]]
            begins += len(piece.audios[0]) / RATE
        assert [word.text for word in whole.words[0]] == [text for text, _, _ in times]
        np.testing.assert_allclose([astuple(w)[1:] for w in whole.words[0]], [t[1:] for t in times], atol=1e-9)


# Pauses and SSML


def test_a_pause_is_silence_of_that_length(speak):
    output = speak("Hold on. [pause 1s] Now go. [pause 500ms]")
    audio, words = output.audios[0], output.words[0]
    last, first = words[1], words[2]
    assert len(audio) == output.durations[0].sum() * HOP
    ends = len(audio) / RATE
    assert silent(audio, ends - 0.5, ends) and not silent(audio, ends - 0.5 - 2 * FRAME, ends)
    both = [speak(text) for text in ("Hold on.", "Now go.")]
    assert len(audio) == sum(len(each.audios[0]) for each in both) + 1.5 * RATE
    begins = len(both[0].audios[0]) / RATE
    assert silent(audio, begins, begins + 1)
    assert last.end <= begins and first.start >= begins + 1
    assert not output.f0[0][round(begins / FRAME) : round((begins + 1) / FRAME)].any()


QUIET_START, QUIET_END = 5, 7


@pytest.fixture
def quiet_ends(tiny_pipeline, monkeypatch):
    """Make the first and the last frames of each sentence silent (60 dB softer), as trained models do."""

    def soften(waveform):
        factor = np.full(waveform.shape[-1], 1e-3, np.float32)
        factor[QUIET_START * HOP : -QUIET_END * HOP] = 1
        return waveform * like(factor, waveform)

    decode, pieces = tiny_pipeline.decode_latents, tiny_pipeline.decode_in_pieces
    monkeypatch.setattr(tiny_pipeline, "decode_latents", lambda *args: [soften(each) for each in decode(*args)])
    monkeypatch.setattr(tiny_pipeline, "decode_in_pieces", lambda *args: (soften(each) for each in pieces(*args)))


@pytest.mark.parametrize("text", ["[pause 0.2s] Hold on. [pause 1s] Now go. [pause 0.5s]", None, "Anna"])
def test_silence_at_the_ends_of_sentences_does_not_add_to_a_given_pause(speak, tiny_pipeline, quiet_ends, clips, text):
    """A given pause, a break of SSML and the gap of a script are as long as they say."""
    voice = tiny_pipeline.encode_voice(clips[0])
    first, second = speak("Hold on."), speak("Now go.")
    sounds = [len(each.audios[0]) / RATE - (QUIET_START + QUIET_END) * FRAME for each in (first, second)]
    options = {"turn_pause": 1.0, "voice": {"Anna": voice, "Bob": voice}} if text == "Anna" else {}
    lead, end = (0.0, 0.0) if text == "Anna" else (0.2, 0.5)
    if text is None:
        text = "<speak><break time='0.2s'/>Hold on.<break time='1s'/>Now go.<break time='0.5s'/></speak>"
    elif text == "Anna":
        lead, end = QUIET_START * FRAME, QUIET_END * FRAME
        text = "Anna: Hold on.\nBob: Now go."
    output = speak(text, **options)
    audio = output.audios[0]
    assert len(audio) / RATE == pytest.approx(lead + sounds[0] + 1 + sounds[1] + end)
    assert len(audio) == output.durations[0].sum() * HOP and len(output.f0[0]) == output.durations[0].sum()
    begins = lead + sounds[0]
    assert silent(audio, begins, begins + 1)
    assert not silent(audio, begins - FRAME, begins) and not silent(audio, begins + 1, begins + 1 + FRAME)
    words = output.words[0]
    assert words[0].start >= lead and words[1].end == pytest.approx(begins)
    assert words[2].start == pytest.approx(begins + 1) and words[3].end == pytest.approx(begins + 1 + sounds[1])
    plan = {"voice": voice, "generator": torch.Generator().manual_seed(0)} | options
    pieces = tiny_pipeline.sentences(text, num_inference_steps=2, **plan)
    np.testing.assert_allclose(np.concatenate([each.audios[0] for each in pieces]), audio, atol=1e-5)
    for chunk_seconds in (None, 0.1):
        plan["generator"] = torch.Generator().manual_seed(0)
        pieces = tiny_pipeline.stream(text, num_inference_steps=2, chunk_seconds=chunk_seconds, **plan)
        np.testing.assert_allclose(np.concatenate(list(pieces)), audio, atol=1e-5)


def test_silence_at_the_ends_of_other_sentences_stays(speak, quiet_ends):
    both = [speak(text) for text in ("Hold on to it for a while.", "Now go where you want.")]
    output = speak("Hold on to it for a while. Now go where you want.")
    assert len(output.audios[0]) == sum(len(each.audios[0]) for each in both) + 0.4 * RATE
    strength = speak("<speak>Hold on to it for a while. <break strength='medium'/>Now go where you want.</speak>")
    assert len(strength.audios[0]) == len(output.audios[0])


def test_pauses_alone_are_nothing_to_say(speak):
    with pytest.raises(ValueError, match="nothing to speak"):
        speak("[pause 1s] ... [pause 1s]")


def test_a_leading_pause_of_latents(speak):
    lead = speak("[pause 0.2s] Go on.", output_type="latent")
    plain = speak("Go on.", output_type="latent")
    assert lead.audios[0].shape[1] == plain.audios[0].shape[1] + 10
    torch.testing.assert_close(lead.audios[0][:, 10:], plain.audios[0])
    assert lead.durations[0][0] == plain.durations[0][0] + 10


def test_prosody_changes_rate_and_pitch(speak):
    plain, slow = speak("The line is busy."), speak("<speak><prosody rate='50%'>The line is busy.</prosody></speak>")
    np.testing.assert_array_equal(slow.durations[0], speak("The line is busy.", speaking_rate=0.5).durations[0])
    assert slow.durations[0].sum() > 1.5 * plain.durations[0].sum()
    high = speak("<speak><prosody pitch='+12st'>The line is busy.</prosody></speak>", pitch_shift=-5)
    np.testing.assert_allclose(high.f0[0], speak("The line is busy.", pitch_shift=7).f0[0], rtol=1e-4)


def test_ssml_and_marks_reach_the_phonemes(speak, tiny_pipeline):
    ssml = "<speak>Ask <phoneme alphabet='x-misaki' ph='mˈiə'>Mia</phoneme>, <sub alias='please'>pls</sub>.</speak>"
    marked = "Ask [Mia](/mˈiə/), please."
    np.testing.assert_array_equal(speak(ssml).audios[0], speak(marked).audios[0])
    assert [word.text for word in speak(marked).words[0]] == ["Ask", "Mia,", "please."]
    phonemes = tiny_pipeline.tokenizer.phonemize(marked)
    np.testing.assert_array_equal(speak(None, phonemes=phonemes).audios[0], speak(marked).audios[0])


def test_bad_directions_are_refused_before_anything_runs(speak):
    for text, message in (("<speak><audio/></speak>", "<audio>"), ("Hi. [pause 99s]", "longer than 10 s")):
        with pytest.raises(ValueError, match=message):
            speak(text)


# Scripts


def test_a_script_has_a_voice_for_each_speaker(speak, tiny_pipeline, clips):
    voices = {"Anna": clips[0], "Bob": named_voices()["george"]}
    script = "Anna: The line is busy.\nBob: Please hold.\nAnna: I will."
    output = speak(script, voice=voices, turn_pause=0.6, max_batch_size=1)
    utterances = tiny_pipeline.plan(script, voice=voices, turn_pause=0.6, generator=torch.Generator().manual_seed(0))
    assert [each.speaker for each in utterances] == ["Anna", "Bob", "Anna"]
    assert [each.pause for each in utterances] == [30, 30, 0]
    own = {name: tiny_pipeline.encode_voice(each) for name, each in voices.items()}
    for each in utterances:
        torch.testing.assert_close(each.voice.latents, own[each.speaker].latents)
    settings = tiny_pipeline.check_sampling(num_inference_steps=2)
    parts = [tiny_pipeline.finish(each, tiny_pipeline.speak([each], settings)[0]).audios[0] for each in utterances]
    np.testing.assert_allclose(output.audios[0], np.concatenate(parts), atol=1e-5)
    assert [word.text for word in output.words[0]] == "The line is busy. Please hold. I will.".split()


def test_scripts_that_do_not_fit(speak, clips):
    with pytest.raises(ValueError, match="Bob has no line"):
        speak("Anna: Hello.", voice={"Anna": clips[0], "Bob": clips[1]})
    with pytest.raises(ValueError, match="empty dict"):
        speak("Hello.", voice={})
    with pytest.raises(ValueError, match="turn_pause is -1"):
        speak("Anna: Hello.", voice={"Anna": clips[0]}, turn_pause=-1)
    with pytest.raises(ValueError, match="text alone"):
        speak(None, phonemes="hˈI", voice={"Anna": clips[0]})


# Unreadable input


def test_a_sentence_of_unreadable_characters_ends_no_book(make_tiny_pipeline, clips):
    text = "The line is busy. 日本語日本語。 Please hold the line."
    strict = make_tiny_pipeline()
    with pytest.raises(ValueError, match="'日'"):
        strict(text, clips[0], num_inference_steps=1)
    pipe = make_tiny_pipeline(tokenizer=NaturalSpeech2Tokenizer(unknown="drop"))
    with pytest.warns(UserWarning, match="Dropped"):
        output = pipe(text, clips[0], num_inference_steps=1)
    assert [word.text for word in output.words[0]] == "The line is busy. Please hold the line.".split()
    with pytest.warns(UserWarning, match="Dropped"), pytest.raises(ValueError, match="nothing to speak|can be read"):
        pipe("日本語日本語。 日本語日本語。", clips[0], num_inference_steps=1)
