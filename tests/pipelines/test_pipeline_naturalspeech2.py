"""The pipeline on real recordings, with tiny untrained models."""

import copy
import gc
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import diffusers
import numpy as np
import pytest
import soundfile
import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from huggingface_hub.errors import EntryNotFoundError

from ns2_diffusers import (
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2DDPMScheduler,
    NaturalSpeech2EulerScheduler,
    NaturalSpeech2Pipeline,
)
from ns2_diffusers.audio.mel import LogMelSpectrogram
from ns2_diffusers.audio.prompts import prepare_prompt
from ns2_diffusers.pipelines import model_card
from ns2_diffusers.pipelines.utterances import fade, join_utterances

TEXT = "The line is busy."
LONG_TEXT = "The line is busy. Please hold while we try again! Would you rather leave a message?"
DIFFUSERS_SCHEDULERS = [
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
]
OURS = [NaturalSpeech2DDPMScheduler, NaturalSpeech2DDIMScheduler, NaturalSpeech2EulerScheduler]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def voice(tiny_pipeline, clips):
    return tiny_pipeline.encode_voice(clips[0])


@pytest.fixture
def speak(tiny_pipeline, voice):
    def speak(text=TEXT, **options):
        options = {"voice": voice, "num_inference_steps": 3, "generator": seeded(), **options}
        if "prompt_audio" in options:
            options.pop("voice")
        if options.get("phonemes") is not None:
            text = None
        return tiny_pipeline(text, **options)

    return speak


# Outputs


def test_output_is_what_it_says(speak, tiny_pipeline):
    output = speak()
    phonemes = tiny_pipeline.tokenizer.phonemize(TEXT)
    assert output.sampling_rate == 16000
    assert isinstance(output.audios[0], np.ndarray) and output.audios[0].dtype == np.float32
    assert len(output.durations[0]) == len(phonemes) + 2
    frames = output.durations[0].sum()
    assert output.audios[0].shape == (frames * 320,) and output.f0[0].shape == (frames,)
    assert output.audios[0].std() > 1e-4 and (output.f0[0] > 50).all()


def test_output_types(speak, tiny_pipeline):
    array, tensor, latent = (speak(output_type=kind).audios[0] for kind in ("np", "pt", "latent"))
    assert torch.equal(torch.from_numpy(array), tensor)
    decoded = tiny_pipeline.codec.decode(latent[None])[0, 0]
    # The ends of the utterance are faded; the middle is the output of the codec.
    torch.testing.assert_close(tensor[200:-200], decoded[200:-200], atol=1e-5, rtol=1e-4)
    as_tuple = speak(return_dict=False)
    assert np.array_equal(as_tuple[0][0], array) and as_tuple[1] == 16000


def test_latents_are_the_scheduler_loop_written_out(speak, tiny_pipeline, voice):
    """The pipeline gives the same as its components called one by one."""
    latent = speak(output_type="latent").audios[0]
    pipe = tiny_pipeline
    with torch.no_grad():
        ids = pipe.tokenizer(TEXT, return_tensors="pt")["input_ids"]
        prompt = pipe.prompt_encoder(voice.latents[None]).last_hidden_state
        states = pipe.phoneme_encoder(ids).last_hidden_state
        condition = pipe.variance_adaptor(states, None, prompt).condition
        seed = int(torch.randint(2**62, (), generator=seeded()))
        z = torch.randn(1, 16, condition.shape[1], generator=seeded(seed)) / 1.2
        pipe.scheduler.set_timesteps(3)
        for t in pipe.scheduler.timesteps:
            z = pipe.scheduler.step(pipe.denoiser(z, t, condition, prompt).sample, t, z).prev_sample
    torch.testing.assert_close(latent, z[0], atol=1e-4, rtol=1e-4)


# Batches


@pytest.mark.parametrize("scheduler", [*OURS, diffusers.DPMSolverMultistepScheduler])
def test_an_item_sounds_the_same_in_any_batch(speak, tiny_pipeline, clips, scheduler):
    tiny_pipeline.scheduler = scheduler.from_config(tiny_pipeline.scheduler.config)
    texts = ["Yes.", LONG_TEXT, "Press four now."]
    prompts = [str(path) for path in clips[:3]]
    together = speak(texts, prompt_audio=prompts, generator=[seeded(i) for i in range(3)])
    for index, text in enumerate(texts):
        alone = speak(text, prompt_audio=prompts[index], generator=seeded(index))
        assert np.array_equal(alone.durations[0], together.durations[index])
        np.testing.assert_allclose(alone.f0[0], together.f0[index], rtol=1e-5)
        np.testing.assert_allclose(alone.audios[0], together.audios[index], atol=1e-5)


def test_stochastic_ddim_is_the_same_in_any_batch(speak):
    together = speak(["Yes.", LONG_TEXT], generator=[seeded(0), seeded(1)], eta=1.0)
    alone = speak("Yes.", generator=seeded(0), eta=1.0)
    np.testing.assert_allclose(alone.audios[0], together.audios[0], atol=1e-5)
    assert np.abs(alone.audios[0] - speak("Yes.", generator=seeded(0)).audios[0]).max() > 1e-4


def test_the_same_generator_the_same_speech_another_another(speak):
    first, again, other = (speak(generator=seeded(s)).audios[0] for s in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_without_a_generator_torch_seeds_it(speak):
    torch.manual_seed(5)
    first = speak(generator=None).audios[0]
    torch.manual_seed(5)
    assert np.array_equal(first, speak(generator=None).audios[0])


def test_more_sentences_than_run_at_once(speak, tiny_pipeline):
    """`max_batch_size`, of a call or of the pipeline, changes the batches and not the speech."""
    sizes = []
    tiny_pipeline.denoiser.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    whole = speak(LONG_TEXT, num_inference_steps=1)
    for options in ({"max_batch_size": 1}, {"max_batch_size": 2}, {}):
        tiny_pipeline.register_to_config(max_batch_size=1)
        found = speak(LONG_TEXT, num_inference_steps=1, **options)
        np.testing.assert_allclose(found.audios[0], whole.audios[0], atol=1e-5)
    assert sizes == [3, 1, 1, 1, 2, 1, 1, 1, 1]


def test_nothing_is_masked_where_nothing_is_padded(speak, tiny_pipeline, monkeypatch):
    masks = []
    for name in ("phoneme_encoder", "prompt_encoder", "denoiser"):
        forward = getattr(tiny_pipeline, name).forward

        def spy(*args, forward=forward, **kwargs):
            masks.extend(each for each in (*args, *kwargs.values()) if getattr(each, "dtype", None) == torch.bool)
            return forward(*args, **kwargs)

        monkeypatch.setattr(getattr(tiny_pipeline, name), "forward", spy)
    speak(num_inference_steps=1)
    assert not masks
    speak([TEXT, "Yes."], num_inference_steps=1)
    assert masks


# Long text


def test_long_text_is_its_sentences_with_pauses(speak, tiny_pipeline):
    sentences = [
        "The line is busy. ",
        "Please hold while we try again! ",
        "Would you rather leave a message?",
    ]
    output = speak(LONG_TEXT)
    symbols = [len(tiny_pipeline.tokenizer.phonemize(sentence)) + 2 for sentence in sentences]
    assert len(output.durations[0]) == sum(symbols)
    # A pause belongs to the last symbol of its sentence.
    end, pause = output.durations[0][: symbols[0]].sum() * 320, round(0.4 * 16000)
    assert not output.audios[0][end - pause : end].any() and output.audios[0][end:][:2000].any()
    assert not output.f0[0][end // 320 - 20 : end // 320].any() and output.f0[0][end // 320] > 0
    spoken = sum(speak(sentence).durations[0].sum() for sentence in sentences)
    assert output.durations[0].sum() == spoken + 2 * 20


@pytest.mark.parametrize("kind", ["np", "pt", "latent"])
def test_durations_times_hop_are_the_samples(speak, kind):
    output = speak([LONG_TEXT, "Yes."], output_type=kind)
    for audio, durations, f0 in zip(output.audios, output.durations, output.f0, strict=True):
        assert audio.shape[-1] == durations.sum() * (1 if kind == "latent" else 320)
        assert len(f0) == durations.sum()


@pytest.mark.parametrize("scheduler", OURS)
def test_streaming_is_the_whole_in_pieces(speak, tiny_pipeline, voice, scheduler):
    tiny_pipeline.scheduler = scheduler.from_config(tiny_pipeline.scheduler.config)
    whole = speak(LONG_TEXT).audios[0]
    pieces = list(tiny_pipeline.stream(LONG_TEXT, voice=voice, num_inference_steps=3, generator=seeded()))
    assert len(pieces) == 3
    # The whole is made in one batch, which rounds differently; the errors add up in the phase of the pulses.
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)


def test_streaming_complains_before_the_first_sentence(tiny_pipeline, voice):
    with pytest.raises(ValueError, match="num_inference_steps"):
        tiny_pipeline.stream(TEXT, voice=voice, num_inference_steps=0)
    with pytest.raises(TypeError, match="one text"):
        tiny_pipeline.sentences([TEXT], voice=voice)


def test_lines_of_dashes_are_passed_over(speak):
    first, second = "This is the first paragraph.\n\n", "This is the second paragraph."
    with_dashes = speak(f"{first}{'-' * 200}\n\n{second}").durations[0]
    assert np.array_equal(with_dashes, speak(first + second).durations[0])


# Control


def test_phonemes_in_place_of_text(speak, tiny_pipeline):
    phonemes = tiny_pipeline.tokenizer.phonemize(TEXT)
    assert np.array_equal(speak(phonemes=phonemes).audios[0], speak().audios[0])


def test_given_durations_and_pitch_are_used(speak):
    count = len(speak().durations[0])
    durations = [1 + index % 3 for index in range(count)]
    frames = sum(durations)
    by_frame = np.linspace(100, 300, frames)
    output = speak(durations=durations, pitch=by_frame)
    assert output.durations[0].tolist() == durations
    np.testing.assert_allclose(output.f0[0], by_frame, rtol=1e-5)
    by_phoneme = np.linspace(100, 300, count)
    output = speak(durations=durations, pitch=by_phoneme)
    np.testing.assert_allclose(output.f0[0], np.repeat(by_phoneme, durations), rtol=1e-5)
    assert np.abs(output.audios[0] - speak(durations=durations).audios[0]).max() > 1e-5


def test_pitch_without_durations_follows_the_predicted_ones(speak):
    predicted = speak()
    output = speak(pitch=[220.0] * len(predicted.durations[0]))
    assert np.array_equal(output.durations[0], predicted.durations[0])
    np.testing.assert_allclose(output.f0[0], 220.0, rtol=1e-6)


def test_unvoiced_gaps_in_given_pitch_are_bridged(speak):
    count = len(speak().durations[0])
    pitch = [0.0] * count
    pitch[1] = 200.0
    np.testing.assert_allclose(speak(pitch=pitch).f0[0], 200.0, rtol=1e-6)


def test_rate_and_shift(speak):
    plain, fast, high = speak(), speak(speaking_rate=1.5), speak(pitch_shift=12)
    assert fast.durations[0].sum() == pytest.approx(plain.durations[0].sum() / 1.5, rel=0.15)
    np.testing.assert_allclose(high.f0[0], 2 * plain.f0[0], rtol=1e-4)
    both = speak([TEXT, TEXT], pitch_shift=[0, 12])
    np.testing.assert_allclose(both.f0[0], plain.f0[0], rtol=1e-4)
    np.testing.assert_allclose(both.f0[1], high.f0[0], rtol=1e-4)


def test_the_voice_matters_to_everything(speak, clips):
    one, two = (speak(prompt_audio=clip) for clip in (clips[0], clips[7]))
    assert not np.array_equal(one.f0[0], two.f0[0])
    assert speak(prompt_audio=clips[0]).audios[0].tolist() == one.audios[0].tolist()


def test_guidance_is_one_doubled_batch(speak, tiny_pipeline, make_tiny_pipeline, voice, monkeypatch):
    """ẑ = unconditional + s (conditional - unconditional), from one call per step."""
    tiny_pipeline.register_modules(denoiser=make_tiny_pipeline("undistilled").denoiser)
    sizes = []
    forward = tiny_pipeline.denoiser.forward
    monkeypatch.setattr(
        tiny_pipeline.denoiser,
        "forward",
        lambda sample, *args, **kwargs: sizes.append(len(sample)) or forward(sample, *args, **kwargs),
    )
    one_step = {"num_inference_steps": 1, "output_type": "latent"}
    guided = speak(guidance_scale=3.0, **one_step).audios[0]
    conditional = speak(guidance_scale=1.0, **one_step).audios[0]
    unconditional = speak(guidance_scale=0.0, **one_step).audios[0]
    assert sizes == [2, 1, 2]
    # One DDIM step from t = 1 ends at the predicted sample.
    torch.testing.assert_close(guided, unconditional + 3 * (conditional - unconditional), atol=1e-3, rtol=1e-3)
    assert (conditional - unconditional).abs().max() > 1e-3


def test_a_distilled_denoiser_takes_guidance_in_one_call(tiny_pipeline, voice):
    sizes = []
    tiny_pipeline.denoiser.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    speech = [
        tiny_pipeline(TEXT, voice=voice, guidance_scale=scale, num_inference_steps=1, generator=seeded()).audios[0]
        for scale in (1.0, 4.0)
    ]
    assert sizes == [1, 1] and np.abs(speech[0] - speech[1]).max() > 1e-5


def test_temperature_scales_the_start(speak, tiny_pipeline):
    starts = []
    add = tiny_pipeline.denoiser.register_forward_pre_hook(lambda module, args: starts.append(args[0]))
    for name in ("NaturalSpeech2EulerScheduler", "UniPCMultistepScheduler"):
        library = diffusers if hasattr(diffusers, name) else sys.modules["ns2_diffusers"]
        tiny_pipeline.scheduler = getattr(library, name).from_config(tiny_pipeline.scheduler.config)
        starts.clear()
        for temperature in (None, 1.0, 4.0):
            speak(temperature=temperature, num_inference_steps=1)
        torch.testing.assert_close(starts[0] * 1.2, starts[1])
        torch.testing.assert_close(starts[2] * 2, starts[1])
    add.remove()


def test_given_latents_are_the_noise(speak):
    output = speak(output_type="latent")
    noise = torch.randn(1, *output.audios[0].shape)
    durations = output.durations[0]
    first, again = (
        speak(latents=noise, durations=durations, generator=seeded(seed), output_type="latent").audios[0]
        for seed in (1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, output.audios[0])


def test_callback_sees_and_changes_every_step(speak):
    seen = []

    def callback(pipe, step, timestep, tensors):
        seen.append((step, float(timestep)))
        return {"latents": torch.zeros_like(tensors["latents"])}

    latent = speak(callback_on_step_end=callback, output_type="latent").audios[0]
    assert [step for step, _ in seen] == [0, 1, 2]
    assert [t for _, t in seen] == sorted((t for _, t in seen), reverse=True)
    assert not latent.any()


def test_cached_conditioning_is_exact(speak, tiny_pipeline, monkeypatch):
    cached = speak().audios[0]
    denoiser = tiny_pipeline.denoiser
    arguments = {}
    encode = denoiser.encode_conditioning
    forward = denoiser.forward
    monkeypatch.setattr(
        denoiser,
        "encode_conditioning",
        lambda *inputs, **masks: arguments.update(inputs=inputs, masks=masks) or encode(*inputs, **masks),
    )

    def uncached(sample, timestep, conditioning=None, **rest):
        fresh = encode(*arguments["inputs"], **arguments["masks"])
        return forward(sample, timestep, conditioning=fresh, **rest)

    monkeypatch.setattr(denoiser, "forward", uncached)
    assert np.array_equal(speak().audios[0], cached)


def test_callbacks_change_guidance(speak, tiny_pipeline, make_tiny_pipeline):
    """The recipe of diffusers for dynamic guidance: no guidance from the second step on."""
    tiny_pipeline.register_modules(denoiser=make_tiny_pipeline("undistilled").denoiser)
    sizes, scales = [], []
    tiny_pipeline.denoiser.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))

    def cut_off(pipe, step, timestep, tensors):
        scales.append(pipe.guidance_scale)
        pipe._guidance_scale = 1.0
        return tensors

    changed = speak(guidance_scale=3.0, callback_on_step_end=cut_off).audios[0]
    assert sizes == [2, 1, 1] and scales == [3.0, 1.0, 1.0]
    sizes.clear()
    raised = speak(callback_on_step_end=lambda pipe, *_: setattr(pipe, "_guidance_scale", 2.0)).audios[0]
    assert sizes == [1, 2, 2]
    assert np.abs(changed - raised).max() > 1e-5
    assert tiny_pipeline.guidance_scale == 1.0  # outside a call: the default


def test_callbacks_are_told_when_guidance_is_impossible(speak, tiny_pipeline, make_tiny_pipeline):
    tiny_pipeline.register_modules(denoiser=make_tiny_pipeline("undistilled").denoiser)
    tiny_pipeline.denoiser.register_to_config(learned_nulls=False)
    with pytest.raises(ValueError, match="leave it at 1"):
        speak(callback_on_step_end=lambda pipe, *_: setattr(pipe, "_guidance_scale", 2.0))


def test_callbacks_stop_a_call(speak, tiny_pipeline):
    seen = []

    def stop(pipe, step, timestep, tensors):
        seen.append((step, pipe.num_timesteps, pipe.interrupt))
        pipe._interrupt = step == 1

    output = speak(LONG_TEXT, callback_on_step_end=stop, num_inference_steps=4, max_batch_size=2)
    assert seen == [(0, 4, False), (1, 4, False)]
    # Two of three sentences were started.
    assert len(output.audios[0]) == output.durations[0].sum() * 320 > 0
    assert output.durations[0].sum() < speak(LONG_TEXT).durations[0].sum()
    assert not tiny_pipeline.interrupt


def test_official_callbacks(speak):
    class Record(PipelineCallback):
        tensor_inputs = ["latents"]
        seen = []

        def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
            self.seen.append((step_index, sorted(callback_kwargs)))
            return callback_kwargs

    speak(callback_on_step_end=MultiPipelineCallbacks([Record(), Record()]), num_inference_steps=2)
    assert Record.seen == [(0, ["latents"])] * 2 + [(1, ["latents"])] * 2


@pytest.mark.parametrize("scheduler", [diffusers.DPMSolverMultistepScheduler, diffusers.HeunDiscreteScheduler])
def test_a_callback_may_call_the_pipeline(speak, tiny_pipeline, scheduler):
    tiny_pipeline.scheduler = scheduler.from_config(tiny_pipeline.scheduler.config)
    expected, inner = speak(num_inference_steps=4).audios[0], []

    def nested(pipe, step, timestep, tensors):
        inner.append(speak("Yes.", num_inference_steps=2, guidance_scale=2.0).audios[0])
        assert pipe.guidance_scale == 1.0 and pipe.num_timesteps > 3

    assert np.array_equal(speak(num_inference_steps=4, callback_on_step_end=nested).audios[0], expected)
    assert all(np.array_equal(each, inner[0]) for each in inner)


@pytest.mark.parametrize(
    "scheduler", [*OURS, diffusers.DPMSolverMultistepScheduler, diffusers.UniPCMultistepScheduler]
)
def test_threads_do_not_disturb_one_another(speak, tiny_pipeline, scheduler):
    """Two threads call one pipeline with different steps, guidance and temperature."""
    tiny_pipeline.scheduler = scheduler.from_config(tiny_pipeline.scheduler.config)
    options = [
        {"num_inference_steps": 4, "temperature": 1.0},
        {"num_inference_steps": 7, "guidance_scale": 2.0},
        {"num_inference_steps": 3, "callback_on_step_end": lambda pipe, *_: setattr(pipe, "_guidance_scale", 1.5)},
    ]
    alone = [speak(**each).audios[0] for each in options]
    config = dict(tiny_pipeline.scheduler.config)
    with ThreadPoolExecutor(3) as pool:
        for index, found in enumerate(pool.map(lambda index: speak(**options[index % 3]).audios[0], range(12))):
            np.testing.assert_allclose(found, alone[index % 3], atol=1e-6)
    assert dict(tiny_pipeline.scheduler.config) == config


def test_an_interruption_from_another_thread(speak, tiny_pipeline):
    reached, go_on = threading.Event(), threading.Event()

    def wait(pipe, step, timestep, tensors):
        steps.append(step)
        reached.set()
        go_on.wait(10)

    steps = []
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(speak, num_inference_steps=8, callback_on_step_end=wait)
        assert reached.wait(10)
        tiny_pipeline._interrupt = True
        go_on.set()
        result.result()
    assert steps == [0]


def test_timesteps_and_sigmas_of_the_callers_own(speak, tiny_pipeline):
    tiny_pipeline.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(tiny_pipeline.scheduler.config)
    timesteps = [999, 700, 400, 100]
    seen = []
    own = {"num_inference_steps": None, "callback_on_step_end": lambda pipe, step, t, _: seen.append(int(t))}
    speak(timesteps=timesteps, **own)
    assert seen == timesteps
    tiny_pipeline.scheduler = diffusers.EulerDiscreteScheduler.from_config(tiny_pipeline.scheduler.config)
    seen.clear()
    speak(sigmas=[100.0, 10.0, 1.0, 0.0], **own)  # the last sigma is the end of sampling
    assert len(seen) == 3
    tiny_pipeline.scheduler = diffusers.PNDMScheduler.from_config(tiny_pipeline.scheduler.config)
    with pytest.raises(ValueError, match="PNDMScheduler takes no sigmas"):
        speak(sigmas=[10.0, 1.0], **own)


def test_a_call_changes_no_component(speak, tiny_pipeline):
    before = {name: dict(part.config) for name, part in tiny_pipeline.components.items() if hasattr(part, "config")}
    scheduler = copy.deepcopy(vars(tiny_pipeline.scheduler))
    speak(temperature=3.0, num_inference_steps=5)
    for name, config in before.items():
        assert dict(getattr(tiny_pipeline, name).config) == config
    for name, value in vars(tiny_pipeline.scheduler).items():
        same = torch.equal(value, scheduler[name]) if isinstance(value, torch.Tensor) else value == scheduler[name]
        assert same, name


def test_streams_leave_gradients_alone(tiny_pipeline, voice):
    for _ in tiny_pipeline.stream(LONG_TEXT, voice=voice, num_inference_steps=1):
        assert torch.is_grad_enabled()
        break
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("is_finished", [True, False], ids=["finished", "abandoned"])
@pytest.mark.parametrize("enabled", [True, False])
def test_a_stream_of_one_thread_in_another_leaves_gradients_alone(tiny_pipeline, voice, is_finished, enabled):
    def begin():
        with torch.set_grad_enabled(enabled):
            stream = tiny_pipeline.stream(LONG_TEXT, voice=voice, num_inference_steps=1)
            next(stream)
            return stream, torch.is_grad_enabled()

    def go_on(stream):
        with torch.set_grad_enabled(not enabled):
            next(stream)
            within = torch.is_grad_enabled()
            if is_finished:
                list(stream)
            stream.close()
            del stream
            gc.collect()
            return within, torch.is_grad_enabled()

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        stream, first = one.submit(begin).result()
        assert other.submit(go_on, stream).result() == (not enabled, not enabled)
        assert first is enabled and one.submit(torch.is_grad_enabled).result()
    assert torch.is_grad_enabled()


# Changes during speech


def while_speaking(speak, change):
    """The error that `change` raises in another thread during a call; the call succeeds."""
    reached, go_on = threading.Event(), threading.Event()

    def wait(pipe, step, timestep, tensors):
        reached.set()
        go_on.wait(60)

    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(speak, num_inference_steps=2, callback_on_step_end=wait)
        assert reached.wait(60)
        raised = pool.submit(change).exception(60)
        go_on.set()
        return raised, call.result()


def test_components_are_not_replaced_while_it_speaks(speak, tiny_pipeline, make_tiny_pipeline):
    other, before, alone = make_tiny_pipeline("wavenet").denoiser, tiny_pipeline.denoiser, speak(num_inference_steps=2)
    raised, output = while_speaking(speak, lambda: setattr(tiny_pipeline, "denoiser", other))
    assert isinstance(raised, RuntimeError) and "another denoiser changes the pipeline, which is speaking" in str(
        raised
    )
    assert tiny_pipeline.denoiser is before and np.array_equal(output.audios[0], alone.audios[0])
    tiny_pipeline.denoiser = other
    assert tiny_pipeline.denoiser is other and not np.array_equal(speak().audios[0], alone.audios[0])


def test_a_callback_replaces_no_component(speak, tiny_pipeline):
    with pytest.raises(RuntimeError, match="from no callback"):
        speak(callback_on_step_end=lambda pipe, *_: setattr(pipe, "tokenizer", pipe.tokenizer))
    tiny_pipeline.tokenizer = tiny_pipeline.tokenizer


@pytest.mark.parametrize("pieces", [{}, {"chunk_seconds": 0.2}, {"first_clause": True}], ids=str)
def test_a_stream_whose_components_change_goes_no_further(tiny_pipeline, voice, make_tiny_pipeline, pieces):
    stream = tiny_pipeline.stream(LONG_TEXT, voice=voice, num_inference_steps=1, **pieces)
    next(stream)
    tiny_pipeline.codec = make_tiny_pipeline().codec
    with pytest.raises(RuntimeError, match="while this stream was open.*begin the stream anew"):
        next(stream)
    # The same for a stream that was opened and not read.
    unread = tiny_pipeline.stream(LONG_TEXT, voice=voice, num_inference_steps=1, **pieces)
    tiny_pipeline.denoiser = tiny_pipeline.denoiser
    with pytest.raises(RuntimeError, match="while this stream was open"):
        next(unread)


def test_calls_wait_for_a_change(speak, tiny_pipeline):
    begun = threading.Event()

    def call():
        begun.set()
        return speak(num_inference_steps=1)

    with ThreadPoolExecutor(1) as pool:
        with tiny_pipeline.change_guard.changing("this"):
            waiting = pool.submit(call)
            assert begun.wait(60)
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
        assert len(waiting.result(60).audios) == 1


def test_copies_of_a_pipeline_are_guarded_by_themselves(speak, tiny_pipeline):
    copied = []
    speak(num_inference_steps=1, callback_on_step_end=lambda pipe, *_: copied.append(copy.deepcopy(pipe)) or None)
    copied[0].denoiser = tiny_pipeline.denoiser
    assert copied[0].change_guard is not tiny_pipeline.change_guard


def test_silence_is_warned_of(speak, tiny_pipeline, caplog, monkeypatch):
    speak()
    assert "silent" not in caplog.text
    quiet = 5e-5 * torch.ones(1, 1, 320)
    monkeypatch.setattr(tiny_pipeline.codec, "decode", lambda latents, *_: quiet.repeat(1, 1, latents.shape[-1]))
    assert np.abs(speak().audios[0]).max() < 1e-4
    assert "a sentence came out silent" in caplog.text and "not trained" in caplog.text


def test_a_stream_keeps_its_scheduler(tiny_pipeline, voice):
    ask = {"voice": voice, "num_inference_steps": 3}
    whole = np.concatenate(list(tiny_pipeline.stream(LONG_TEXT, **ask, generator=seeded())))
    stream = tiny_pipeline.stream(LONG_TEXT, **ask, generator=seeded())
    first = next(stream)
    tiny_pipeline.scheduler = NaturalSpeech2EulerScheduler()
    np.testing.assert_array_equal(np.concatenate([first, *stream]), whole)


def test_joining_releases_the_sentences(tiny_pipeline, speak, voice):
    """The audio of a text has its sentences and pauses in order, and no other copy of a sentence stays."""
    utterances = tiny_pipeline.plan(LONG_TEXT, voice=voice, generator=torch.Generator().manual_seed(0))
    settings = tiny_pipeline.check_sampling(num_inference_steps=2)
    spoken = [result for each in utterances for result in tiny_pipeline.speak([each], settings)]
    kept = [fade(result.waveform.numpy(), 16000) for result in spoken]
    pauses = [np.zeros(each.pause * 320, np.float32) for each in utterances]
    joined = join_utterances(utterances, spoken, *tiny_pipeline._form, "np")
    wanted = np.concatenate([part for pair in zip(kept, pauses, strict=True) for part in pair])
    assert np.array_equal(joined.audios[0], wanted) and spoken == [None] * len(utterances) and len(utterances) > 2


def test_hooks_are_freed(speak, tiny_pipeline, voice, clips, monkeypatch):
    """With model offloading, the last component leaves the device after calls, streams and voices."""
    freed = []
    monkeypatch.setattr(tiny_pipeline, "maybe_free_model_hooks", lambda: freed.append(1))
    # Another recording: that of `voice` is not encoded again.
    tiny_pipeline.encode_voice(clips[1])
    speak()
    assert len(freed) == 2
    stream = tiny_pipeline.stream(LONG_TEXT, voice=voice, num_inference_steps=1)
    next(stream)
    assert len(freed) == 2
    stream.close()
    assert len(freed) == 3


def test_only_text_and_prompt_are_positional(tiny_pipeline, clips):
    with pytest.raises(TypeError, match="positional"):
        tiny_pipeline("Yes.", clips[0], 16000)


def test_latents_may_be_an_array(speak):
    output = speak(output_type="latent")
    noise, durations = torch.randn(1, *output.audios[0].shape), output.durations[0]
    expected = speak(latents=noise, durations=durations, output_type="latent").audios[0]
    for given in (noise.numpy(), [noise[0].numpy()]):
        assert torch.equal(speak(latents=given, durations=durations, output_type="latent").audios[0], expected)


def test_progress_bar(speak, tiny_pipeline, capsys):
    tiny_pipeline.set_progress_bar_config(disable=False)
    speak()
    assert "3/3" in capsys.readouterr().err


# Prompts and voices


def test_prompts_of_every_kind_are_the_same_voice(tiny_pipeline, clips):
    samples, rate = soundfile.read(clips[0], dtype="float32")
    stereo = np.stack([samples, samples])
    kinds = [
        str(clips[0]),
        (rate, samples),
        {"array": samples, "sampling_rate": rate},
        {"bytes": clips[0].read_bytes(), "path": None},
        {"path": str(clips[0])},
    ]
    expected = tiny_pipeline.encode_voice(clips[0]).latents
    for prompt in kinds:
        assert torch.equal(tiny_pipeline.encode_voice(prompt).latents, expected)
    for array in (samples, torch.from_numpy(samples), stereo, stereo.T, (samples * 32768).astype(np.int16)):
        assert torch.equal(tiny_pipeline.encode_voice(array, rate).latents, expected)


def test_prompt_is_resampled_and_trimmed(make_tiny_pipeline, clips):
    pipe = make_tiny_pipeline(max_prompt_seconds=0.7, max_voice_seconds=1.0)
    samples, _ = soundfile.read(clips[0], dtype="float32")
    assert pipe.encode_voice(samples, 16000).latents.shape == (16, 50)
    assert pipe.encode_voice(samples, 8000).latents.shape == (16, 50)


def test_a_voice_is_one_file(tiny_pipeline, voice, tmp_path, speak):
    path = tmp_path / "voice.safetensors"
    voice.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["voice.safetensors"]
    assert np.array_equal(speak(voice=str(path)).audios[0], speak().audios[0])


def test_a_voice_is_quantised(tiny_pipeline, voice, clips):
    """Prompts are quantised latents, as in training."""
    prompt = prepare_prompt(soundfile.read(clips[0], dtype="float32")[0], 16000)
    waveform = torch.from_numpy(prompt)[None, None]
    continuous = tiny_pipeline.codec.encode(waveform)
    quantised, codes = tiny_pipeline.codec.quantize(continuous)
    torch.testing.assert_close(voice.latents, quantised[0])
    torch.testing.assert_close(voice.latents, tiny_pipeline.codec.codes_to_latents(codes)[0])
    assert (voice.latents - continuous[0]).abs().max() > 0.01


# Schedulers


@pytest.mark.parametrize("name", [scheduler.__name__ for scheduler in OURS] + DIFFUSERS_SCHEDULERS)
@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction", "epsilon"])
def test_every_scheduler_runs_from_the_config(tiny_pipeline, voice, name, prediction_type):
    first = NaturalSpeech2DDIMScheduler(prediction_type=prediction_type)
    library = diffusers if name in DIFFUSERS_SCHEDULERS else sys.modules["ns2_diffusers"]
    tiny_pipeline.scheduler = getattr(library, name).from_config(first.config)
    assert isinstance(tiny_pipeline.scheduler, SchedulerMixin)
    assert tiny_pipeline.scheduler.config.prediction_type == prediction_type
    latent = tiny_pipeline(
        "Yes.", voice=voice, num_inference_steps=6, generator=seeded(), output_type="latent"
    ).audios[0]
    assert latent.isfinite().all() and latent.std() > 0


def test_timesteps_below_zero_are_refused(speak, tiny_pipeline):
    tiny_pipeline.scheduler = diffusers.DDIMScheduler.from_config(tiny_pipeline.scheduler.config)
    with pytest.raises(ValueError, match="61 steps"):
        speak(num_inference_steps=61)


# Saving, loading, moving


def test_saved_is_loaded(speak, tiny_pipeline, tiny_pipeline_dir, voice):
    expected = speak().audios[0]
    loaded = NaturalSpeech2Pipeline.from_pretrained(tiny_pipeline_dir)
    assert set(loaded.components) == set(tiny_pipeline.components)
    assert loaded.config.max_prompt_seconds == 10.0
    again = loaded(TEXT, voice=voice, num_inference_steps=3, generator=seeded()).audios[0]
    # The alignment of the weights in memory differs now, and some kernels round accordingly.
    np.testing.assert_allclose(again, expected, atol=1e-6)


def test_components_can_be_replaced_while_loading(tiny_pipeline_dir, tiny_codec):
    scheduler = NaturalSpeech2EulerScheduler()
    loaded = NaturalSpeech2Pipeline.from_pretrained(tiny_pipeline_dir, scheduler=scheduler, codec=tiny_codec)
    assert loaded.scheduler is scheduler and loaded.codec is tiny_codec


@pytest.mark.parametrize(
    "imports",
    [
        "import ns2_diffusers; from diffusers import DiffusionPipeline",
        "from diffusers import DiffusionPipeline; import ns2_diffusers",
    ],
)
def test_diffusion_pipeline_finds_ours(tiny_pipeline_dir, imports):
    """In either order, before any class of this package was used."""
    program = f"import sys; {imports};print(type(DiffusionPipeline.from_pretrained(sys.argv[1])).__name__)"
    command = [sys.executable, "-c", program, str(tiny_pipeline_dir)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout.strip() == "NaturalSpeech2Pipeline", result.stderr


def test_dtype_and_variant(tiny_pipeline, tmp_path, clips):
    tiny_pipeline.save_pretrained(tmp_path, variant="half")
    assert (tmp_path / "denoiser" / "diffusion_pytorch_model.half.safetensors").exists()
    loaded = NaturalSpeech2Pipeline.from_pretrained(tmp_path, variant="half", torch_dtype=torch.bfloat16)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.denoiser.dtype == torch.bfloat16
    output = loaded(TEXT, clips[0], num_inference_steps=3, generator=seeded())
    assert output.audios[0].dtype == np.float32 and np.isfinite(output.audios[0]).all()


def test_components_make_another_pipeline(tiny_pipeline, speak, voice):
    expected = speak().audios[0]
    for other in (
        NaturalSpeech2Pipeline(**tiny_pipeline.components),
        NaturalSpeech2Pipeline.from_pipe(tiny_pipeline),
    ):
        assert other.denoiser is tiny_pipeline.denoiser
        assert np.array_equal(other(TEXT, voice=voice, num_inference_steps=3, generator=seeded()).audios[0], expected)


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the hub that keeps uploads; its card, if any, is `hub["card"]`."""
    kept = {"card": None}

    def upload(repo_id, folder_path, **_):
        loaded = NaturalSpeech2Pipeline.from_pretrained(folder_path)
        card = Path(folder_path, "README.md").read_text(encoding="utf-8")
        kept.update(repo_id=repo_id, denoiser=loaded.denoiser.num_parameters(), uploaded=card)
        return "url"

    def load(repo_id, token=None):
        if kept["card"] is None:
            raise EntryNotFoundError("no README.md")
        return kept["card"]

    monkeypatch.setattr(model_card, "create_repo", lambda name, **_: type("Repo", (), {"repo_id": f"me/{name}"}))
    monkeypatch.setattr(model_card, "upload_folder", upload)
    monkeypatch.setattr(model_card.ModelCard, "load", load)
    return kept


def test_published_with_a_card(tiny_pipeline, hub):
    """`push_to_hub` uploads a loadable directory and a card that describes it."""
    assert tiny_pipeline.push_to_hub("voice") == "url"
    assert hub["repo_id"] == "me/voice"
    assert hub["denoiser"] == tiny_pipeline.denoiser.num_parameters()
    for part in ("text-to-speech", "TransformerDenoiser", "16000", "consent", '"me/voice"'):
        assert part in hub["uploaded"]
    assert "license" not in hub["uploaded"]


def test_a_card_that_is_there_is_kept(tiny_pipeline, hub):
    hub["card"] = model_card.ModelCard("---\nlicense: mit\n---\nMy own words.")
    tiny_pipeline.push_to_hub("voice")
    assert "My own words." in hub["uploaded"] and "apache" not in hub["uploaded"]


@pytest.mark.parametrize("part", ["denoiser", "prompt_encoder", "phoneme_encoder", "variance_adaptor", "codec"])
def test_one_component_in_bfloat16(tiny_pipeline, voice, part):
    """A mixed pipeline speaks nearly as in float32."""
    ask = {
        "voice": voice,
        "num_inference_steps": 2,
        "generator": None,
        "durations": [2] * 20,
        "phonemes": "ðə lˈIn ɪz bˈɪzi.",
    }
    durations = [2] * len(tiny_pipeline.tokenizer(ask["phonemes"], is_phonemes=True)["input_ids"])
    ask |= {"durations": durations, "latents": torch.randn(1, 16, sum(durations), generator=seeded())}
    expected = tiny_pipeline(**ask).audios[0]
    getattr(tiny_pipeline, part).to(torch.bfloat16)
    found = tiny_pipeline(**ask).audios[0]
    assert found.dtype == np.float32 and np.isfinite(found).all()
    if part == "codec":
        # A rounded F0 moves the phase of the pulses, so waveforms differ; spectra do not.
        mel = LogMelSpectrogram(16000)
        found, expected = (mel(torch.from_numpy(audio)[None]).flatten().numpy() for audio in (found, expected))
    assert np.corrcoef(found, expected)[0, 1] > 0.9
