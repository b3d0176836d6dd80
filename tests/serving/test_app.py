"""The server as its clients see it: OpenAI's own, httpx, curl's way of reading."""

import base64
import io
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import soxr
import torch

from ns2_diffusers import named_voices
from ns2_diffusers.audio.encoding import FORMATS

from .conftest import LONG_TEXT, TEXT, httpx

openai = pytest.importorskip("openai")
RATE = 16000


def expected(pipe, text=TEXT, seed=3, voice="emma", **options):
    return pipe(text, voice=voice, generator=torch.Generator().manual_seed(seed), **options).audios[0]


def read(data, kind="wav"):
    return soundfile.read(io.BytesIO(data), dtype="float32")[0]


def body(**fields):
    return {"input": TEXT, "voice": "emma", "response_format": "wav", "seed": 3} | fields


def events(response):
    return [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]


# OpenAI's client


@pytest.fixture
def served(serve):
    with serve() as running:
        yield running


def test_openais_client(served):
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
    speech = client.audio.speech.create(
        model="tts-1", voice="emma", input=TEXT, response_format="wav", extra_body={"seed": 3}
    )
    np.testing.assert_allclose(read(speech.content), expected(served.pipe), atol=2 / 2**15)
    assert "naturalspeech2" in [model.id for model in client.models.list()]
    assert client.models.retrieve("tts-1").id == "tts-1"
    with pytest.raises(openai.BadRequestError, match="there is no voice 'nobody'") as raised:
        client.audio.speech.create(model="tts-1", voice="nobody", input=TEXT)
    assert raised.value.body["param"] == "voice" and raised.value.body["code"] == "voice_not_found"
    with pytest.raises(openai.NotFoundError, match="no model 'whisper'"):
        client.audio.speech.create(model="whisper", voice="emma", input=TEXT)


def test_openais_client_streams(served):
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
    options = {"model": "tts-1", "voice": "alloy", "input": LONG_TEXT, "speed": 1.25, "extra_body": {"seed": 3}}
    with client.audio.speech.with_streaming_response.create(response_format="pcm", **options) as response:
        chunks = [chunk for chunk in response.iter_bytes(4096) if chunk]
        assert response.headers["x-sample-rate"] == "24000"
    samples = np.frombuffer(b"".join(chunks), "<i2") / 32767
    wanted = expected(served.pipe, LONG_TEXT, speaking_rate=1.25)
    assert len(chunks) > 4 and len(samples) == len(wanted) * 3 // 2
    np.testing.assert_allclose(samples, soxr.resample(wanted, RATE, 24000).clip(-1, 1), atol=2e-3)
    with client.audio.speech.with_streaming_response.create(
        stream_format="sse", response_format="pcm", **options
    ) as response:
        got = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]
    assert [event["type"] for event in got][-1] == "speech.audio.done"
    audio = b"".join(base64.b64decode(e["audio"]) for e in got if e["type"] == "speech.audio.delta")
    assert audio == b"".join(chunks)
    assert got[-1]["usage"]["total_tokens"] > got[-1]["usage"]["input_tokens"] == len(LONG_TEXT)


def test_openais_asynchronous_client(served):
    import asyncio

    async def ask():
        client = openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
        async with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="emma", input=TEXT, response_format="flac", extra_body={"seed": 3, "stream": False}
        ) as response:
            return await response.read()

    np.testing.assert_allclose(read(asyncio.run(ask())), expected(served.pipe), atol=2 / 2**15)


# Formats


@pytest.mark.parametrize("kind", ["wav", "mp3", "flac", "opus"])
@pytest.mark.parametrize("stream", [True, False])
def test_formats(served, kind, stream):
    with served.client() as client:
        response = client.post("/v1/audio/speech", json=body(response_format=kind, stream=stream))
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("audio/") and response.headers["x-seed"] == "3"
    assert ("content-length" in response.headers) is not stream
    if stream and kind == "flac":
        assert response.content[:4] == b"fLaC"
        return
    audio, wanted = read(response.content), expected(served.pipe)
    assert abs(len(audio) - len(wanted)) < 0.25 * RATE
    if kind in ("wav", "flac"):
        np.testing.assert_allclose(audio, wanted, atol=2 / 2**15)


def test_a_drawn_seed_is_told(served):
    with served.client() as client:
        first = client.post("/v1/audio/speech", json=body(seed=None))
        seed = int(first.headers["x-seed"])
        again = client.post("/v1/audio/speech", json=body(seed=seed))
        other = client.post("/v1/audio/speech", json=body(seed=None))
    assert first.content == again.content != other.content


def test_options_reach_the_pipeline(served):
    fields = {"num_inference_steps": 3, "guidance_scale": 1, "speed": 0.5, "pitch_shift": 2, "voice": {"id": "george"}}
    with served.client() as client:
        response = client.post("/v1/audio/speech", json=body(**fields))
    options = {"num_inference_steps": 3, "guidance_scale": 1.0, "speaking_rate": 0.5, "pitch_shift": 2.0}
    wanted = expected(served.pipe, voice="george", **options)
    np.testing.assert_allclose(read(response.content), wanted, atol=2 / 2**15)


def test_loudness_and_a_watermark_are_those_of_each_request(serve, monkeypatch):
    """Requests that differ in them do not share a batch, which has one of each."""
    pytest.importorskip("pyloudnorm")
    monkeypatch.setattr("ns2_diffusers.pipelines.sampling.watermarker", lambda: None)
    monkeypatch.setattr("ns2_diffusers.pipelines.sampling.add_watermark", lambda audio, rate: -audio)
    asks = [{"loudness": -20}, {"loudness": -30.5}, {}, {"watermark": True}]
    with serve(batch_wait=0.5) as running, running.client() as client, ThreadPoolExecutor(4) as pool:
        running.server.voices.get("emma")
        answers = list(pool.map(lambda fields: client.post("/v1/audio/speech", json=body(**fields)), asks))
    for answer, fields in zip(answers, asks, strict=True):
        np.testing.assert_allclose(read(answer.content), expected(running.pipe, **fields), atol=2 / 2**15)


@pytest.mark.parametrize("fields", [{"loudness": 0}, {"loudness": "loud"}, {"watermark": 1}])
def test_bad_loudness_and_watermarks(served, fields):
    with served.client() as client:
        answer = client.post("/v1/audio/speech", json=body(**fields))
    assert answer.status_code == 400 and answer.json()["error"]["param"] in fields


def test_a_library_that_is_not_installed_is_named(served, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyloudnorm", None)
    with served.client() as client:
        answer = client.post("/v1/audio/speech", json=body(loudness=-20))
    assert answer.status_code == 501 and "pip install" in answer.json()["error"]["message"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("kind", ["wav", "mp3", "flac", "opus"])
def test_a_player_hears_the_beginning_before_the_end_is_made(serve_slowly, slow, kind):
    """ffmpeg reads the stream as players do, and gives out the samples of what it has."""
    options = "-loglevel error -probesize 4096 -analyzeduration 0 -i pipe:0 -flush_packets 1 -f s16le -"
    player = subprocess.Popen(["ffmpeg", *options.split()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    asked = body(input=LONG_TEXT, response_format=kind, speed=0.25, num_inference_steps=1)
    heard = bytearray()

    def hear():
        while data := player.stdout.read1(4096):
            heard.extend(data)

    def pass_on(answer):
        for chunk in answer.iter_bytes():
            player.stdin.write(chunk)
            player.stdin.flush()
        player.stdin.close()

    with serve_slowly() as running, running.client() as client, ThreadPoolExecutor(2) as pool:
        hearing = pool.submit(hear)
        slow.permit(1)
        with client.stream("POST", "/v1/audio/speech", json=asked) as answer:
            passing = pool.submit(pass_on, answer)
            running.wait_for(lambda: len(heard) > RATE // 4)  # an eighth of a second
            assert not passing.done()
            slow.permit()
            passing.result(60)
        hearing.result(60)
        assert player.wait(60) == 0
        wanted = len(expected(slow._pipe, LONG_TEXT, speaking_rate=0.25, num_inference_steps=1))
    rate = int(answer.headers["x-sample-rate"]) if kind != "opus" else 48000
    assert len(heard) / 2 / rate == pytest.approx(wanted / RATE, abs=0.2)


def test_times_of_words(served):
    text = LONG_TEXT.replace("busy. ", "busy. [pause 1s]")
    words = served.pipe(text, generator=torch.Generator().manual_seed(3)).words[0]
    wanted = [{"word": w.text, "start": pytest.approx(w.start), "end": pytest.approx(w.end)} for w in words]
    with served.client() as client:
        fields = body(input=text, timestamps=True)
        whole = client.post("/v1/audio/speech", json=fields | {"stream": False}).json()
        assert whole["words"] == wanted and whole["format"] == "wav"
        assert len(read(base64.b64decode(whole["audio"]))) / RATE == pytest.approx(whole["duration"])
        with client.stream("POST", "/v1/audio/speech", json=fields | {"stream_format": "sse"}) as response:
            got = events(response)
        assert [word for event in got for word in event.get("words", [])] == wanted
        assert got[-1]["duration"] == pytest.approx(whole["duration"])
        refused = client.post("/v1/audio/speech", json=fields)
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "timestamps"


# Voices


def test_a_recording_in_place_of_a_voice(served, clips):
    recording = base64.b64encode(clips[0].read_bytes()).decode()
    with served.client() as client:
        response = client.post("/v1/audio/speech", json=body(prompt_audio=recording))
        np.testing.assert_allclose(read(response.content), expected(served.pipe, voice=clips[0]), atol=2 / 2**15)
        for bad, message in (("no base64!", "not base64"), (base64.b64encode(b"noise").decode(), "cannot be read")):
            response = client.post("/v1/audio/speech", json=body(prompt_audio=bad))
            assert response.status_code == 400 and message in response.json()["error"]["message"]


def test_voices_are_added_used_and_deleted(serve, clips, tmp_path):
    with serve(voices=tmp_path) as running, running.client() as client:
        shipped = list(named_voices())
        assert [voice["id"] for voice in client.get("/v1/audio/voices").json()["data"]] == shipped
        files = {"audio_sample": ("me.flac", clips[0].read_bytes())}
        added = client.post("/v1/audio/voices", data={"name": "me"}, files=files)
        assert added.status_code == 201 and added.json()["id"] == "me"
        assert [path.name for path in tmp_path.iterdir()] == ["me.uploaded.safetensors"]
        assert [v["id"] for v in client.get("/v1/audio/voices").json()["data"] if v["is_own"]] == ["me"]
        spoken = client.post("/v1/audio/speech", json=body(voice="me"))
        np.testing.assert_allclose(read(spoken.content), expected(running.pipe, voice=clips[0]), atol=2 / 2**15)
        for name, status in (("me", 409), ("emma", 409), ("alloy", 409)):
            assert client.post("/v1/audio/voices", data={"name": name}, files=files).status_code == status
        assert client.delete("/v1/audio/voices/emma").status_code == 403
        assert client.delete("/v1/audio/voices/me").json()["deleted"] is True
        assert client.delete("/v1/audio/voices/me").status_code == 404
        assert not list(tmp_path.iterdir())
        assert client.post("/v1/audio/speech", json=body(voice="me")).status_code == 400


def test_only_uploaded_voices_are_deleted(serve, clips, tmp_path):
    """Also after a restart; what the owner of the folder put there stays."""
    files = {"audio_sample": ("me.flac", clips[0].read_bytes())}
    for name in ("anna.flac", "two.flac"):
        (tmp_path / name).write_bytes(clips[0].read_bytes())
    with serve(voices=tmp_path) as running, running.client() as client:
        running.pipe.load_voice("emma").save(tmp_path / "file.safetensors")
        assert client.post("/v1/audio/voices", data={"name": "anna"}, files=files).status_code == 409
        assert client.post("/v1/audio/voices", data={"name": "me"}, files=files).json()["can_delete"] is True
    shutil.copy(tmp_path / "me.uploaded.safetensors", tmp_path / "two.uploaded.safetensors")
    with serve(voices=tmp_path) as running, running.client() as client:
        listed = client.get("/v1/audio/voices").json()["data"]
        assert {v["id"] for v in listed if v["is_own"]} == {"anna", "file", "me", "two"}
        assert [v["id"] for v in listed if v["can_delete"]] == ["me"]
        for name in ("anna", "file", "two"):
            refused = client.delete(f"/v1/audio/voices/{name}")
            assert refused.status_code == 403
            assert "only the owner of the folder can delete it" in refused.json()["error"]["message"]
        assert client.delete("/v1/audio/voices/me").status_code == 200
    kept = ["anna.flac", "file.safetensors", "two.flac", "two.uploaded.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_mixes_of_voices(served):
    with served.client() as client:
        mixed = client.post("/v1/audio/speech", json=body(voice="0.7 * emma + 0.3 * fable"))
        wanted = expected(served.pipe, voice="0.7 * emma + 0.3 * george")
        np.testing.assert_allclose(read(mixed.content), wanted, atol=2 / 2**15)
        for voice, message in (
            ("0.7 * emma + 0.3 * nobody", "there is no voice 'nobody'"),
            ("0.7 * emma + george * 0.3", 'write "0.7 * emma + 0.3 * george"'),
            ("0 * emma", "wanted a number above 0"),
            ("0.5 * ../secret.wav", "there is no voice '../secret.wav'"),
        ):
            response = client.post("/v1/audio/speech", json=body(voice=voice))
            error = response.json()["error"]
            assert response.status_code == 400 and message in error["message"] and error["param"] == "voice"


def test_what_is_unreadable_names_the_fields_of_the_request(served):
    with served.client() as client:
        response = client.post("/v1/audio/speech", json=body(input="Hello 日本"))
        message = response.json()["error"]["message"]
        assert 'drop such characters with the field "unknown": "drop".' in message and "Tokenizer" not in message
        dropped = client.post("/v1/audio/speech", json=body(input="Hello 日本", unknown="drop"))
        np.testing.assert_allclose(read(dropped.content), expected(served.pipe, "Hello"), atol=2 / 2**15)
        refused = client.post("/v1/audio/speech", json=body(input="Hello 👍", emoji="error"))
        assert refused.status_code == 400 and "THUMBS UP" in refused.json()["error"]["message"]
        named = client.post("/v1/audio/speech", json=body(input="Hello 👍", emoji="name"))
        wanted = expected(served.pipe, "Hello thumbs up")
        np.testing.assert_allclose(read(named.content), wanted, atol=2 / 2**15)
        assert client.post("/v1/audio/speech", json=body(emoji="read")).status_code == 400
    # Requests leave the pipeline's own tokenizer as it is.
    assert (served.pipe.tokenizer.emoji, served.pipe.tokenizer.unknown) == ("skip", "error")
    assert "option_form" not in vars(served.pipe.tokenizer)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "", None])
def test_bodies_of_another_content_type_say_which_is_wanted(served, kind):
    headers = {} if kind is None else {"content-type": kind}
    with served.client() as client:
        response = client.post("/v1/audio/speech", content=json.dumps(body()), headers=headers)
        if response.status_code != 200:  # fastapi before 0.132 takes a missing type for JSON
            assert response.status_code == 415
            assert "content-type: application/json" in response.json()["error"]["message"]
        assert response.status_code == 415 or kind is None
        uploaded = client.post("/v1/audio/voices", content="x", headers=headers)
        assert uploaded.status_code == 415 and "curl -F" in uploaded.json()["error"]["message"]


def test_recordings_in_the_folder_are_voices(serve, clips, tmp_path):
    (tmp_path / "anna.flac").write_bytes(clips[0].read_bytes())
    (tmp_path / "notes.txt").write_text("no voice")
    with serve(voices=tmp_path) as running, running.client() as client:
        spoken = client.post("/v1/audio/speech", json=body(voice="anna"))
        np.testing.assert_allclose(read(spoken.content), expected(running.pipe, voice=clips[0]), atol=2 / 2**15)
        (tmp_path / "anna.flac").write_bytes(clips[1].read_bytes())
        changed = client.post("/v1/audio/speech", json=body(voice="anna"))
        assert changed.content != spoken.content


@pytest.mark.parametrize(
    "name", ["../up", "..", "a/b", "/etc/passwd", "a.b", "", " ", "-x", "é", "a" * 65, "a\0b", "con:"]
)
def test_names_cannot_leave_the_folder(serve, clips, tmp_path, name):
    folder = tmp_path / "voices"
    folder.mkdir()
    with serve(voices=folder) as running, running.client() as client:
        files = {"audio_sample": ("me.flac", clips[0].read_bytes())}
        response = client.post("/v1/audio/voices", data={"name": name}, files=files)
        assert response.status_code == 400, response.text
        assert client.post("/v1/audio/speech", json=body(voice=name)).status_code == 400
        assert client.delete(f"/v1/audio/voices/{name.encode().hex() or 0}").status_code == 404
    assert [path.name for path in tmp_path.iterdir()] == ["voices"] and not list(folder.iterdir())


def test_nothing_is_deleted_outside(serve, tmp_path):
    (tmp_path / "voices").mkdir()
    (tmp_path / "secret.wav").write_bytes(b"x")
    (tmp_path / "voices" / "link.wav").symlink_to(tmp_path / "secret.wav")
    with serve(voices=tmp_path / "voices") as running, running.client() as client:
        for name in ("..%2Fsecret", "%2e%2e/secret", "../secret"):
            assert client.delete(f"/v1/audio/voices/{name}").status_code in (404, 405)
        client.delete("/v1/audio/voices/link")
    assert (tmp_path / "secret.wav").read_bytes() == b"x"


def test_no_voice_is_kept_without_a_folder(served, clips):
    files = {"audio_sample": ("me.flac", clips[0].read_bytes())}
    with served.client() as client:
        response = client.post("/v1/audio/voices", data={"name": "me"}, files=files)
    assert response.status_code == 403 and "--voices" in response.json()["error"]["message"]


def test_bad_recordings(serve, tmp_path):
    def wav(seconds, level=0.1):
        data = io.BytesIO()
        soundfile.write(data, np.full(int(RATE * seconds), level, np.float32), RATE, format="WAV")
        return data.getvalue()

    with serve(voices=tmp_path, max_prompt_seconds=5, max_upload_bytes=300_000) as running, running.client() as client:
        for data, status, message in (
            (b"", 400, "cannot be read"),
            (b"RIFF" + bytes(100), 400, "cannot be read"),
            (wav(0.1), 400, "at least 0.5 s"),
            (wav(2, 0), 400, "silent"),
            (wav(6), 400, "at most 5 s"),
            (wav(20), 413, "larger"),
        ):
            response = client.post("/v1/audio/voices", data={"name": "x"}, files={"audio_sample": ("x.wav", data)})
            assert (response.status_code, message in response.text) == (status, True), response.text
    assert not list(tmp_path.iterdir())


# Limits


BAD = {
    "no input": ({"voice": "emma"}, "input"),
    "empty": (body(input=""), "input"),
    "nothing to say": (body(input=" ... "), "input"),
    "unreadable": (body(input="日本"), "input"),
    "too long": (body(input="a " * 3000), "input"),
    "ssml": (body(input="<speak><audio/></speak>"), "input"),
    "long pauses": (body(input="Hi. " + "[pause 10s]" * 50), "input"),
    "format": (body(response_format="mp4"), "response_format"),
    "speed": (body(speed=9), "speed"),
    "speed of text": (body(speed="fast"), "speed"),
    "seed": (body(seed=-1), "seed"),
    "steps": (body(num_inference_steps=0), "num_inference_steps"),
    "many steps": (body(num_inference_steps=10**6), "num_inference_steps"),
    "true steps": (body(num_inference_steps=True), "num_inference_steps"),
    "guidance": (body(guidance_scale=-1), "guidance_scale"),
    "unknown field": (body(volume=11), "volume"),
    "no object": ([1, 2], None),
    "input of numbers": (body(input=5), "input"),
    "surrogate": ({**body(), "input": "\ud800"}, "input"),
}


def test_bad_requests_are_answered_in_openais_form(served):
    with served.client() as client:
        for name, (content, param) in BAD.items():
            response = client.post("/v1/audio/speech", content=json.dumps(content), headers=JSON)
            error = response.json()["error"]
            assert (response.status_code, error["param"]) == (400, param), (name, response.text)
            assert error["type"] == "invalid_request_error" and error["message"]
        for content in (b"", b"{", b"null", b"\xff\xfe", b"[" * 100_000, b'{"input": NaN}'):
            assert client.post("/v1/audio/speech", content=content, headers=JSON).status_code == 400
        assert client.get("/v1/audio/speech").json()["error"]["type"] == "invalid_request_error"
        assert client.get("/nowhere").status_code == 404 and "error" in client.get("/nowhere").json()
        assert client.post("/v1/audio/speech", json=body()).status_code == 200
    assert served.server.engine.places_taken == 0


JSON = {"content-type": "application/json"}


def test_large_bodies_are_refused(serve):
    with serve(max_upload_bytes=1000) as running, running.client() as client:
        large = b'{"input": "' + b"a" * 2_000_000 + b'"}'
        assert client.post("/v1/audio/speech", content=large, headers=JSON).status_code == 413

        def chunks():
            for _ in range(300):
                yield b"a" * 10_000

        response = client.post("/v1/audio/speech", content=chunks(), headers=JSON)
        assert response.status_code == 413 and "larger than" in response.json()["error"]["message"]


# Many at once


def test_each_answer_is_the_one_made_alone(serve):
    texts = [LONG_TEXT, TEXT, "Please hold.", "We try again today, and then once more."]
    asks = [(texts[n % 4], n, ["emma", "george", "bella"][n % 3]) for n in range(12)]
    with serve(max_batch_size=4, batch_wait=0.05) as running, running.client() as client:
        for voice in ("emma", "george", "bella"):
            running.server.voices.get(voice)

        def ask(text, seed, voice):
            return client.post("/v1/audio/speech", json=body(input=text, seed=seed, voice=voice))

        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda each: ask(*each), asks))
        batches = running.server.metrics.registry.get_sample_value("ns2_batch_sentences_count")
        sentences = running.server.metrics.registry.get_sample_value("ns2_batch_sentences_sum")
    assert sentences == sum(4 if text == LONG_TEXT else 1 for text, _, _ in asks)
    assert batches < sentences
    for answer, (text, seed, voice) in zip(answers, asks, strict=True):
        wanted = expected(running.pipe, text, seed, voice)
        np.testing.assert_allclose(read(answer.content), wanted, atol=4 / 2**15)


def test_the_first_sentence_is_sent_before_the_last_is_made(serve_slowly, slow):
    asked = body(input=LONG_TEXT, stream_format="sse", timestamps=True)
    with serve_slowly() as running, running.client() as client:
        slow.permit(1)
        with client.stream("POST", "/v1/audio/speech", json=asked) as response:
            lines = response.iter_lines()
            assert "speech.audio.delta" in next(lines)
            assert len(slow.batches) <= 2  # and the second waits
            slow.permit()
            # The last piece of each sentence has its words.
            assert sum("speech.audio.delta" in line and '"words": [{' in line for line in lines) == 4


def test_the_beginning_of_a_sentence_is_sent_before_its_end_is_decoded(serve, tiny_pipeline, monkeypatch):
    decode, permits = tiny_pipeline.decode_in_pieces, threading.Semaphore(1)

    def decode_slowly(*args):
        for piece in decode(*args):
            assert permits.acquire(timeout=120)
            yield piece

    monkeypatch.setattr(tiny_pipeline, "decode_in_pieces", decode_slowly)
    asked = body(speed=0.25, response_format="wav")
    with serve() as running, running.client() as client:
        with client.stream("POST", "/v1/audio/speech", json=asked) as response:
            chunks = response.iter_raw()
            heard = next(chunks)
            assert running.server.engine.places_taken == 1
            assert 44 < len(heard) <= 44 + 2 * 0.25 * RATE
            permits.release(10_000)
            heard += b"".join(chunks)
        wanted = expected(tiny_pipeline, speaking_rate=0.25)
    np.testing.assert_allclose(read(heard), wanted, atol=2 / 2**15)


def test_a_full_server_answers_503(serve_slowly, slow):
    with serve_slowly(max_requests=2) as running, running.client() as client, ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(client.post, "/v1/audio/speech", json=body()) for _ in range(2)]
        running.wait_for(lambda: running.server.engine.places_taken == 2)
        refused = client.post("/v1/audio/speech", json=body())
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "server_busy"
        assert client.get("/health").json() == {"status": "ok", "requests": 2, "places": 2}
        slow.permit()
        assert [each.result().status_code for each in asked] == [200, 200]
        assert client.post("/v1/audio/speech", json=body()).status_code == 200
        assert running.server.engine.places_taken == 0


def test_a_request_that_takes_too_long_frees_its_place(serve_slowly, slow):
    with serve_slowly(max_requests=1, request_timeout=3.0) as running, running.client() as client:
        late = client.post("/v1/audio/speech", json=body())
        assert late.status_code == 504 and late.json()["error"]["code"] == "timeout"
        assert running.server.engine.places_taken == 0
        slow.permit()
        running.wait_for(lambda: client.post("/v1/audio/speech", json=body()).status_code == 200)


def ask_by_socket(running, fields):
    """A client that sends its request and reads nothing; it goes when it is closed."""
    content = json.dumps(fields).encode()
    head = f"POST /v1/audio/speech HTTP/1.1\r\nhost: {running.url[7:]}\r\ncontent-length: {len(content)}\r\n"
    connection = socket.create_connection(running.url[7:].split(":"))
    connection.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + content)
    return connection


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
def test_speech_stops_when_the_client_goes(serve_slowly, slow, stream_format):
    """Before the first sound, and amid the stream."""
    with serve_slowly(max_requests=1) as running:
        with ask_by_socket(running, body(input=LONG_TEXT)):
            running.wait_for(lambda: slow.batches)
        running.wait_for(lambda: running.server.engine.places_taken == 0)
        slow.permit()
        running.wait_for(lambda: running.server.engine.sentences_waiting == 0)
        made = len(slow.batches)
        assert made == 1
        asked = body(input=" ".join(f"This is sentence number {n}." for n in range(60)), stream_format=stream_format)
        with running.client() as client, client.stream("POST", "/v1/audio/speech", json=asked) as response:
            next(response.iter_bytes())
        running.wait_for(lambda: running.server.engine.places_taken == 0)
        assert sum(map(len, slow.batches)) < 50
        count = running.server.metrics.registry.get_sample_value
        running.wait_for(lambda: count("ns2_requests_total", {"outcome": "cancelled"}) == 2)


def test_one_bad_sentence_does_not_end_the_others(serve, tiny_pipeline, monkeypatch):
    speak = tiny_pipeline.speak

    def fail_for(utterances, *rest, **options):
        if any(each.pitch_shift == 5 for each in utterances):
            raise RuntimeError("out of memory, say")
        return speak(utterances, *rest, **options)

    monkeypatch.setattr(tiny_pipeline, "speak", fail_for)
    with serve(batch_wait=0.2) as running, running.client() as client, ThreadPoolExecutor(3) as pool:
        running.server.voices.get("emma")
        asks = [body(), body(pitch_shift=5), body(seed=4)]
        answers = list(pool.map(lambda each: client.post("/v1/audio/speech", json=each), asks))
        assert [each.status_code for each in answers] == [200, 500, 200]
        assert answers[1].json()["error"]["code"] == "speech_failed" and "memory" not in answers[1].text
        assert running.server.engine.places_taken == 0


def test_a_failure_amid_the_stream_is_seen(serve, tiny_pipeline, monkeypatch):
    speak, calls = tiny_pipeline.speak, []

    def fail_second(utterances, *rest, **options):
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("broken")
        return speak(utterances, *rest, **options)

    first = tiny_pipeline.plan(LONG_TEXT, generator=torch.Generator().manual_seed(3))[0]
    settings = tiny_pipeline.check_sampling()
    whole_sentence = tiny_pipeline.finish(first, speak([first], settings)[0]).audios[0]
    monkeypatch.setattr(tiny_pipeline, "speak", fail_second)
    with serve() as running, running.client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            client.post("/v1/audio/speech", json=body(input=LONG_TEXT))
        calls.clear()
        with client.stream("POST", "/v1/audio/speech", json=body(input=LONG_TEXT, stream_format="sse")) as response:
            got = events(response)
        *deltas, failure = got
        assert [event["type"] for event in deltas] == ["speech.audio.delta"] * len(deltas)
        assert failure["type"] == "error" and failure["error"]["code"] == "speech_failed"
        # All of the first sentence was sent, and nothing of the second.
        heard = read(b"".join(base64.b64decode(event["audio"]) for event in deltas))
        assert len(heard) == len(whole_sentence)


def test_stopping_ends_open_requests(serve_slowly, slow):
    answers = []
    with serve_slowly() as running:

        def ask():
            with running.client() as client:
                answers.append(client.post("/v1/audio/speech", json=body()).status_code)

        thread = threading.Thread(target=ask)
        thread.start()
        running.wait_for(lambda: slow.batches)
        threading.Timer(0.2, slow.permit).start()
        running.server.engine.stop()
        thread.join(5)
        with running.client() as client:
            assert client.get("/health").status_code == 503
    assert answers == [500]


# Keys and hosts


def test_a_key_is_asked_for(serve):
    with serve(api_key="secret", is_local=False) as running, running.client() as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic secret"}):
            response = client.post("/v1/audio/speech", json=body(), headers=headers)
            assert response.status_code == 401 and response.json()["error"]["code"] == "invalid_api_key"
            for path in ("/v1/models", "/v1/audio/voices", "/metrics"):
                assert client.get(path, headers=headers).status_code == 401
        assert client.get("/health").status_code == 200
        with_key = {"authorization": "Bearer secret", "host": "example.org"}
        assert client.post("/v1/audio/speech", json=body(), headers=with_key).status_code == 200


def test_a_local_server_answers_no_pages_of_elsewhere(served):
    port = served.url.rsplit(":", 1)[1]
    with served.client() as client:
        for headers, status in (
            ({"host": f"evil.example:{port}"}, 403),
            ({"origin": "https://evil.example"}, 403),
            ({"origin": "null"}, 403),
            ({"host": f"localhost:{port}"}, 200),
            ({"host": f"[::1]:{port}"}, 200),
            ({"origin": served.url}, 200),
        ):
            assert client.get("/v1/models", headers=headers).status_code == status, headers


def test_metrics_and_schema(served):
    with served.client() as client:
        client.post("/v1/audio/speech", json=body())
        client.post("/v1/audio/speech", json=body(voice="nobody"))
        time.sleep(0.05)
        text = client.get("/metrics").text
        paths = client.get("/openapi.json").json()["paths"]
        assert client.get("/docs").status_code == 200
    assert 'ns2_requests_total{outcome="done"} 1.0' in text and 'ns2_requests_total{outcome="refused"} 1.0' in text
    assert "ns2_first_sound_seconds_count 1.0" in text
    seconds = len(expected(served.pipe)) / RATE
    assert f"ns2_audio_seconds_total {seconds}" in text
    assert {"/v1/audio/speech", "/v1/audio/voices", "/v1/models", "/health", "/metrics"} <= set(paths)
    assert set(FORMATS) >= {"wav", "mp3", "flac", "opus", "pcm"}
