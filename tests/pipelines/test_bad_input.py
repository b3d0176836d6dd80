"""Bad input: each error states the given value and the expected one."""

import functools

import numpy as np
import pytest
import soundfile
import torch

from ns2_diffusers import NaturalSpeech2Pipeline, NaturalSpeech2Tokenizer, Voice, WaveNetDenoiser
from ns2_diffusers.models import variance_adaptor

RATE = 16000
SPEECH = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)


@pytest.fixture
def call(tiny_pipeline, clips):
    def call(text="Yes.", prompt_audio=clips[0], **options):
        return tiny_pipeline(text, prompt_audio, **{"num_inference_steps": 1, **options})

    return call


CASES = {
    # name: (arguments, error, required text of the message)
    "empty text": ({"text": ""}, ValueError, "text 0 is empty"),
    "blank text in a list": ({"text": ["Yes.", "  "]}, ValueError, "text 1 is empty"),
    "empty list": ({"text": []}, ValueError, "at least one"),
    "no text": ({"text": None}, ValueError, "text or phonemes"),
    "number as text": ({"text": 5}, TypeError, "str or a list of str"),
    "number in a list": ({"text": ["Yes.", 5]}, TypeError, "str or a list of str"),
    "text and phonemes": ({"phonemes": "jˈɛs"}, ValueError, "not both"),
    "nothing to say": ({"text": "?!"}, ValueError, "nothing to speak"),
    "unknown script": ({"text": "你好"}, ValueError, "你"),
    "unknown phoneme": ({"text": None, "phonemes": "jˈ™s"}, ValueError, "™"),
    "prompt and voice": ({"voice": "emma"}, ValueError, "not both"),
    "no voice of that name": ({"prompt_audio": None, "voice": "nobody"}, ValueError, "emma, george"),
    "prompt missing on disk": ({"prompt_audio": "nowhere.wav"}, ValueError, "nowhere.wav"),
    "prompt is None in a list": ({"prompt_audio": [None]}, TypeError, "NoneType"),
    "prompt without a rate": ({"prompt_audio": SPEECH}, ValueError, "sampling rate"),
    "prompt with a negative rate": ({"prompt_audio": (-1, SPEECH)}, ValueError, "-1"),
    "silent prompt": ({"prompt_audio": (RATE, np.zeros(RATE, np.float32))}, ValueError, "silent"),
    "NaN prompt": ({"prompt_audio": (RATE, np.full(RATE, np.nan))}, ValueError, "NaN"),
    "short prompt": ({"prompt_audio": (RATE, SPEECH[:1600])}, ValueError, "0.10 s; at least 0.5 s"),
    "empty prompt": ({"prompt_audio": (RATE, SPEECH[:0])}, ValueError, "no samples"),
    "prompt in a batch array": (
        {"prompt_audio": (RATE, SPEECH.reshape(100, 160))},
        ValueError,
        "one recording",
    ),
    "complex prompt": ({"prompt_audio": (RATE, SPEECH.astype(np.complex64))}, TypeError, "complex64"),
    "prompt dict without audio": ({"prompt_audio": {"rate": 3}}, ValueError, "rate"),
    "too many prompts": ({"prompt_audio": [(RATE, SPEECH)] * 2}, ValueError, "2 entries for 1 texts"),
    "voice of the wrong kind": ({"prompt_audio": None, "voice": 3}, TypeError, "int"),
    "voice missing on disk": (
        {"prompt_audio": None, "voice": "no.safetensors"},
        ValueError,
        "no.safetensors",
    ),
    "steps 0": ({"num_inference_steps": 0}, ValueError, "num_inference_steps"),
    "steps 2.5": ({"num_inference_steps": 2.5}, ValueError, "2.5"),
    "steps beyond training": ({"num_inference_steps": 2000}, ValueError, "1000"),
    "negative guidance": ({"guidance_scale": -1}, ValueError, "guidance_scale"),
    "temperature 0": ({"temperature": 0}, ValueError, "temperature"),
    "output type": ({"output_type": "wav"}, ValueError, "'wav'"),
    "speaking rate 0": ({"speaking_rate": 0}, ValueError, "speaking_rate"),
    "speaking rates for other texts": ({"speaking_rate": [1, 1]}, ValueError, "each of 1 texts"),
    "pitch shift NaN": ({"pitch_shift": float("nan")}, ValueError, "pitch_shift"),
    "too few durations": ({"durations": [3, 3]}, ValueError, "2 durations"),
    "durations for other texts": ({"durations": [[3], [3]]}, ValueError, "2 sequences for 1 texts"),
    "empty durations": ({"durations": []}, ValueError, "durations"),
    "too many pitch values": ({"pitch": [200.0] * 9999}, ValueError, "9999 values"),
    "latents of another length": ({"latents": torch.zeros(1, 16, 9999)}, ValueError, "9999"),
    "latents for other texts": ({"latents": torch.zeros(2, 16, 9)}, ValueError, "2 texts"),
    "generator": ({"generator": 7}, TypeError, "torch.Generator"),
    "too many generators": ({"generator": [torch.Generator()] * 3}, ValueError, "3 generators for 1"),
    "callback input": ({"callback_on_step_end_tensor_inputs": ["noise"]}, ValueError, "noise"),
    "steps True": ({"num_inference_steps": True}, TypeError, "bool"),
    "steps as text": ({"num_inference_steps": "4"}, TypeError, "'4'"),
    "steps and timesteps": ({"timesteps": [999]}, ValueError, "give one of them"),
    "timesteps of no number": ({"num_inference_steps": None, "timesteps": ["a"]}, TypeError, "'a'"),
    "no timesteps": ({"num_inference_steps": None, "timesteps": []}, TypeError, "list of numbers"),
    "NaN guidance": ({"guidance_scale": float("nan")}, ValueError, "guidance_scale is nan"),
    "complex pitch": ({"pitch": np.array([100 + 1j])}, ValueError, "finite numbers"),
    "complex guidance": ({"guidance_scale": 1j}, TypeError, "complex"),
    "guidance as text": ({"guidance_scale": "2"}, TypeError, "guidance_scale is '2'"),
    "infinite temperature": ({"temperature": float("inf")}, ValueError, "temperature is inf"),
    "eta 2": ({"eta": 2}, ValueError, "eta is 2"),
    "voice matching 2": ({"voice_matching": 2}, ValueError, "voice_matching is 2"),
    "voice matching NaN": ({"voice_matching": float("nan")}, ValueError, "voice_matching is nan"),
    "batch size 0": ({"max_batch_size": 0}, ValueError, "max_batch_size is 0"),
    "batch size True": ({"max_batch_size": True}, TypeError, "max_batch_size is True"),
    "NaN sentence length": ({"max_sentence_length": float("nan")}, ValueError, "max_sentence_length is nan"),
    "latents as text": ({"latents": "noise"}, TypeError, "latents is a str"),
    "latents of whole numbers": ({"latents": torch.ones(1, 16, 9, dtype=torch.int64)}, ValueError, "int64"),
    "NaN latents": ({"latents": torch.full((1, 16, 9), float("nan"))}, ValueError, "finite"),
    "callback that is no function": ({"callback_on_step_end": 3}, TypeError, "wanted a function"),
    "callback that returns a tensor": (
        {"callback_on_step_end": lambda *args: args[3]["latents"]},
        TypeError,
        "returned a Tensor",
    ),
    "callback that returns other latents": (
        {"callback_on_step_end": lambda *args: {"latents": torch.zeros(3)}},
        ValueError,
        "shape (3,)",
    ),
    "speaking rate that leaves nothing": ({"speaking_rate": 8}, ValueError, "between 0.1 and 4"),
    "pitch shift of octaves": ({"pitch_shift": 1e6}, ValueError, "semitones between -60 and 60"),
    "temperature 1e-300": ({"temperature": 1e-300}, ValueError, "from 0.001 to 1000"),
    "a thousand and two sigmas": ({"num_inference_steps": None, "sigmas": [1.0] * 1002}, ValueError, "at most 1000"),
    "batch size of a million": ({"max_batch_size": 10**6}, ValueError, "from 1 to 1024"),
    "more characters than wanted": ({"max_characters": 3}, ValueError, "4 characters to speak"),
    "no characters": ({"max_characters": 0}, ValueError, "max_characters is 0"),
    "no seconds": ({"max_seconds": 0}, ValueError, "max_seconds is 0"),
    "NaN seconds": ({"max_seconds": float("nan")}, ValueError, "max_seconds is nan"),
    "more seconds than wanted": ({"max_seconds": 0.05}, ValueError, "lasts longer than max_seconds"),
    "a phoneme of 33 minutes": ({"durations": [1e5, 0, 0, 0, 0, 0, 0]}, ValueError, "durations last 2000 s"),
    "a phoneme of centuries": ({"durations": [1e18, 0, 0, 0, 0, 0, 0]}, ValueError, "durations last 2e+16 s"),
    "infinite durations": ({"durations": [float("inf")] * 7}, ValueError, "finite"),
    "pitch of a bat": ({"durations": [1] * 7, "pitch": [1e30] * 7}, ValueError, "at most 10000"),
    "a sentence of 5000 phonemes": ({"text": None, "phonemes": "a" * 5000}, ValueError, "at most 4096"),
    "a sentence of 5000 letters": ({"text": "a, " * 5000, "max_sentence_length": 10**9}, ValueError, "at most 4096"),
    "max sentence length": ({"max_sentence_length": 0}, ValueError, "at least 1"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_call(call, name):
    options, error, message = CASES[name]
    with pytest.raises(error) as raised:
        call(**options)
    assert message in str(raised.value)


def test_durations_must_be_whole_frames(call, tiny_pipeline):
    count = len(tiny_pipeline.tokenizer("Yes.")["input_ids"])
    for value in (2.5, -1, 0):
        with pytest.raises(ValueError, match="whole latent frames"):
            call(durations=[float(value)] * count)


def test_negative_pitch(call, tiny_pipeline):
    with pytest.raises(ValueError, match="negative"):
        call(pitch=[-200.0] * len(tiny_pipeline.tokenizer("Yes.")["input_ids"]))


def test_a_file_that_is_no_audio(call, tmp_path):
    (tmp_path / "voice.wav").write_text("not audio at all")
    with pytest.raises(ValueError, match="cannot be read as audio"):
        call(prompt_audio=tmp_path / "voice.wav")


def test_a_file_with_another_rate_than_said(call, clips):
    with pytest.raises(ValueError, match="16000 Hz and 8000 Hz"):
        call(prompt_sampling_rate=8000)


def test_a_safetensors_file_that_is_no_voice(call, tiny_pipeline_dir, tmp_path):
    with pytest.raises(ValueError, match="no voice"):
        call(prompt_audio=None, voice=tiny_pipeline_dir / "denoiser" / "diffusion_pytorch_model.safetensors")
    (tmp_path / "voice.safetensors").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="not a safetensors file"):
        call(prompt_audio=None, voice=tmp_path / "voice.safetensors")


def test_a_voice_of_another_codec(call):
    with pytest.raises(ValueError, match="0123"):
        call(prompt_audio=None, voice=Voice(torch.zeros(16, 50), "0123"))


def test_unknown_characters_are_dropped_by_choice(make_tiny_pipeline, clips):
    pipe = make_tiny_pipeline(tokenizer=NaturalSpeech2Tokenizer(unknown="drop"))
    with pytest.warns(UserWarning, match="你"):
        output = pipe("Yes 你.", clips[0], num_inference_steps=1)
    assert len(output.audios[0])


def test_components_that_do_not_fit(make_tiny_pipeline):
    denoiser = WaveNetDenoiser(
        latent_channels=8, hidden_size=32, condition_dim=32, num_layers=1, num_attention_heads=2
    )
    with pytest.raises(ValueError, match="latent channels.*'denoiser': 8"):
        NaturalSpeech2Pipeline(**{**make_tiny_pipeline().components, "denoiser": denoiser})
    with pytest.raises(ValueError, match="no phoneme_encoder"):
        NaturalSpeech2Pipeline(**{**make_tiny_pipeline().components, "phoneme_encoder": None})


def test_guidance_by_nulls_that_were_never_learned(call, tiny_pipeline, make_tiny_pipeline):
    tiny_pipeline.register_modules(denoiser=make_tiny_pipeline("undistilled").denoiser)
    tiny_pipeline.denoiser.register_to_config(learned_nulls=False)
    assert len(call(guidance_scale=1.0).audios[0])
    with pytest.raises(ValueError, match="leave it at 1"):
        call(guidance_scale=2.0)


UNCONDITIONAL_CASES = {
    "length 0": ({"audio_length_in_s": 0}, ValueError, "audio_length_in_s is 0"),
    "length of years": ({"audio_length_in_s": 1e9}, ValueError, "the items last 1e+09 s"),
    "batch of years": ({"batch_size": 1000, "audio_length_in_s": 60}, ValueError, "the items last 60000 s"),
    "batch size of a million": ({"batch_size": 10**6}, ValueError, "from 1 to 1024"),
    "length True": ({"audio_length_in_s": True}, TypeError, "audio_length_in_s is True"),
    "infinite length": ({"audio_length_in_s": float("inf")}, ValueError, "audio_length_in_s is inf"),
    "batch size 0": ({"batch_size": 0}, ValueError, "batch_size is 0"),
    "batch size 1.5": ({"batch_size": 1.5}, ValueError, "batch_size is 1.5"),
    "latents for another batch": ({"latents": torch.zeros(2, 16, 9)}, ValueError, "latents are for 2"),
    "latents of another length": ({"latents": torch.zeros(1, 16, 9)}, ValueError, "(16, 9)"),
    "generators": ({"generator": [torch.Generator()] * 2}, ValueError, "2 generators for 1"),
}


@pytest.mark.parametrize("name", UNCONDITIONAL_CASES)
def test_bad_unconditional_call(make_tiny_pipeline, name):
    options, error, message = UNCONDITIONAL_CASES[name]
    with pytest.raises(error) as raised:
        make_tiny_pipeline(unconditional=True)(**{"audio_length_in_s": 0.4, "num_inference_steps": 1, **options})
    assert message in str(raised.value)


def test_nan_is_reported_and_not_returned(call, tiny_pipeline):
    with torch.no_grad():
        tiny_pipeline.denoiser.proj_out.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        call()


def test_clipping_is_reported(call, tiny_pipeline, monkeypatch, caplog):
    decode = tiny_pipeline.codec.decode
    monkeypatch.setattr(tiny_pipeline.codec, "decode", lambda *args: 1000 * decode(*args))
    with caplog.at_level("WARNING"):
        from diffusers.utils import logging

        logging.enable_propagation()
        call(limiter=False)
    assert "would clip" in caplog.text


def test_nothing_clips_unless_that_is_asked_for(call, tiny_pipeline, monkeypatch, clips):
    make = {"generator": torch.Generator().manual_seed(0)}
    plain = call(**make).audios[0]
    assert abs(plain).max() < 1
    make["generator"].manual_seed(0)
    # Audio that does not clip is the same with and without limiter, to the last bit.
    assert np.array_equal(call(**make, limiter=False).audios[0], plain)
    decode = tiny_pipeline.codec.decode
    monkeypatch.setattr(tiny_pipeline.codec, "decode", lambda *args: 1000 * decode(*args))
    assert 0.9 < abs(call().audios[0]).max() <= 1
    pieces = tiny_pipeline.stream("Yes.", clips[0], num_inference_steps=1)
    assert 0.9 < abs(np.concatenate(list(pieces))).max() <= 1


def test_loudness_of_a_call(call, tiny_pipeline, clips):
    finishing = pytest.importorskip("ns2_diffusers.audio.finishing")
    pytest.importorskip("pyloudnorm")
    audio = call("Yes it is, all of it.", loudness=-30).audios[0]
    # The ends are faded after the loudness is set.
    assert finishing.measure_loudness(torch.from_numpy(audio), RATE) == pytest.approx(-30, abs=1)


@pytest.mark.parametrize(
    "option", [{"loudness": 0}, {"loudness": float("nan")}, {"loudness": "loud"}, {"limiter": 1}, {"watermark": None}]
)
def test_bad_finish(call, option):
    with pytest.raises((TypeError, ValueError), match=f"{next(iter(option))} is"):
        call(**option)


def test_a_stereo_file_is_no_error(call, tmp_path):
    soundfile.write(tmp_path / "stereo.wav", np.stack([SPEECH, SPEECH], axis=1), RATE)
    assert len(call(prompt_audio=tmp_path / "stereo.wav").audios[0])


@pytest.fixture
def no_memory(monkeypatch):
    """More than a few thousand latent frames are an error before memory is allocated."""
    regulate = variance_adaptor.regulate_length

    def regulate_little(states, durations):
        assert durations.sum() < 10_000, "memory would have been taken"
        return regulate(states, durations)

    monkeypatch.setattr(variance_adaptor, "regulate_length", regulate_little)


@pytest.mark.parametrize("value", [20.0, 80.0, 1000.0, float("inf"), float("nan")])
def test_predicted_durations_of_a_broken_model(call, tiny_pipeline, no_memory, value):
    predictor = tiny_pipeline.variance_adaptor.duration_predictor
    torch.nn.init.constant_(predictor.proj_out.bias, value)
    with pytest.raises(ValueError, match="latent frames, and at most 15000 are spoken at once"):
        call()


def test_seconds_of_a_sentence_can_be_configured(call, tiny_pipeline, no_memory):
    tiny_pipeline.register_to_config(max_utterance_seconds=0.1)
    with pytest.raises(ValueError, match="at most 5 are spoken at once"):
        call()
    with pytest.raises(ValueError, match="durations last 0.14 s, and at most 0.1 s"):
        call(durations=[1] * 7)


def test_seconds_of_a_call_are_those_of_all_its_sentences(call, tiny_pipeline, clips):
    text = "Yes it is. No it is. Yes it is."
    call = functools.partial(call, text, max_sentence_length=10)
    seconds = sum(call().durations[0]) / 50
    assert len(call(max_seconds=seconds).audios[0]) == round(seconds * 16000)
    for option in ({"max_batch_size": 1}, {}):
        with pytest.raises(ValueError, match="max_seconds"):
            call(max_seconds=seconds / 2, **option)
    options = {"num_inference_steps": 1, "max_sentence_length": 10}
    stream = tiny_pipeline.stream(text, clips[0], max_seconds=seconds / 2, **options)
    next(stream)
    with pytest.raises(ValueError, match="max_seconds"):
        list(stream)
    with pytest.raises(ValueError, match="31 characters to speak and max_characters is 30"):
        tiny_pipeline.stream(text, clips[0], max_characters=30)


@pytest.mark.parametrize(
    "name, value",
    [
        ("max_prompt_seconds", float("inf")),
        ("max_voice_seconds", 1e9),
        ("min_prompt_seconds", -1),
        ("max_utterance_seconds", float("nan")),
        ("max_utterance_seconds", "300"),
        ("max_batch_size", 10**9),
        ("max_batch_size", 0.5),
    ],
)
def test_a_config_out_of_bounds(make_tiny_pipeline, name, value):
    with pytest.raises((TypeError, ValueError), match=f"{name} is"):
        make_tiny_pipeline(**{name: value})
