"""The application of a replica; and the deployment, if Ray is installed."""

import pytest

pytest.importorskip("fastapi")
testclient = pytest.importorskip("starlette.testclient")
import serve_ray  # noqa: E402


def test_a_replica_answers(tiny_pipeline_dir, tmp_path, clips):
    app = serve_ray.make_application(str(tiny_pipeline_dir), str(tmp_path), "secret", gpus=0, requests=2)
    with testclient.TestClient(app) as client:
        assert client.get("/health").json()["places"] == 8
        assert client.get("/v1/models").status_code == 401
        key = {"authorization": "Bearer secret"}
        body = {"input": "Yes.", "num_inference_steps": 1, "response_format": "wav"}
        spoken = client.post("/v1/audio/speech", json=body, headers=key)
        assert spoken.status_code == 200 and len(spoken.content) > 1000


def test_the_network_needs_a_key(monkeypatch):
    monkeypatch.delenv("NS2_DIFFUSERS_API_KEY", raising=False)
    with pytest.raises(SystemExit, match="NS2_DIFFUSERS_API_KEY"):
        serve_ray.check_args(serve_ray.parse_args(["--host", "0.0.0.0"]))
    monkeypatch.setenv("NS2_DIFFUSERS_API_KEY", "secret")
    assert serve_ray.check_args(serve_ray.parse_args(["--host", "0.0.0.0"])).max_replicas == 4


def test_the_deployment():
    pytest.importorskip("ray.serve", reason='pip install "ray[serve]"')
    application = serve_ray.make_deployment(serve_ray.parse_args(["--max_replicas", "3"]))
    config = application._bound_deployment.init_args, application._bound_deployment._deployment_config
    assert config[1].autoscaling_config.max_replicas == 3
