"""Malformed requests: each gets a reason, and the server lives on."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import TEXT

PATHS = ["/v1/audio/speech", "/v1/audio/voices", "/v1/audio/voices/x", "/v1/models", "/v1/models/x", "/health", "/x"]
FIELDS = ["input", "model", "voice", "response_format", "speed", "stream", "stream_format", "seed", "timestamps"]
FIELDS += ["num_inference_steps", "guidance_scale", "pitch_shift", "prompt_audio", "instructions", "other"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
# At least one field is none of this server's, so that no such request is a good one.
objects = st.dictionaries(st.sampled_from(FIELDS), anything).map(lambda fields: {"bad": 1, "input": TEXT} | fields)
types = st.sampled_from(["application/json", "text/plain", "multipart/form-data; boundary=x", "", "x" * 500])
bodies = (
    objects.map(lambda fields: json.dumps(fields).encode("utf-8", "surrogatepass"))
    | anything.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
    | st.binary(max_size=300)
    | st.binary(max_size=300).map(lambda data: b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + data)
)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_malformed_requests(serve, tmp_path, count):
    seen = []
    with serve(voices=tmp_path) as running, running.client() as client:

        @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(["POST", "PUT", "DELETE", "PATCH", "POST"]), st.sampled_from(PATHS), bodies, types)
        def ask(method, path, content, content_type):
            response = client.request(method, path, content=content, headers={"content-type": content_type})
            assert 400 <= response.status_code < 500, (method, path, content, response.text)
            error = response.json()["error"]
            assert error["message"] and error["type"] and set(error) == {"message", "type", "param", "code"}
            seen.append(response.status_code)

        ask()
        assert len(seen) >= count and {400, 404, 405} <= set(seen)
        good = client.post("/v1/audio/speech", json={"input": TEXT})
        assert good.status_code == 200 and running.server.engine.places_taken == 0
    assert not list(tmp_path.iterdir())
