"""Run the server on a cluster with Ray Serve, which adjusts the number of replicas to the load.

pip install "ns2-diffusers[serve]" "ray[serve]>=2.40"
NS2_DIFFUSERS_API_KEY=secret python examples/serve_ray.py --max_replicas 8

Each replica runs the application of `ns2-diffusers serve` with its own pipeline. Each request goes to the replica with
the fewest requests. A replica batches the sentences of its requests itself, so Ray's batching is not needed.
"""

import argparse
import os

from ns2_diffusers import NaturalSpeech2Pipeline, bundled
from ns2_diffusers.serving.app import API_KEY_VARIABLE, ServerSettings, create_app
from ns2_diffusers.training.arguments import HelpFormatter


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--model", help="pipeline directory or hub id; the bundled model if not given")
    parser.add_argument("--voices", help="folder of voices that all nodes can read; no added voices if not given")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on")
    parser.add_argument("--min_replicas", type=int, default=1, help="replicas without load")
    parser.add_argument("--max_replicas", type=int, default=4, help="replicas under the most load")
    parser.add_argument("--cpus", type=float, default=2, help="processor cores of a replica")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of a replica; 0.25 lets four share one")
    parser.add_argument("--requests", type=int, default=8, help="requests of a replica before another is started")
    return parser.parse_args(argv)


def check_args(args):
    if args.host not in ("127.0.0.1", "localhost", "::1") and not os.environ.get(API_KEY_VARIABLE):
        raise SystemExit(f"the host {args.host} can be reached from elsewhere: set {API_KEY_VARIABLE}.")
    return args


def make_application(model, voices, api_key, gpus, requests):
    """Return the application that each replica serves."""
    pipe = NaturalSpeech2Pipeline.from_pretrained(model or bundled())
    pipe.set_progress_bar_config(disable=True)
    settings = ServerSettings(
        voices=voices,
        api_key=api_key,
        is_local=api_key is None,
        # Ray limits the requests to a replica. This limit is a second bound.
        max_requests=4 * requests,
        max_batch_size=requests,
    )
    return create_app(pipe.to("cuda" if gpus else "cpu"), settings)


def make_deployment(args):
    """Return the application as a Ray Serve deployment."""
    from ray import serve

    arguments = (args.model, args.voices, os.environ.get(API_KEY_VARIABLE), args.gpus, args.requests)

    @serve.deployment(
        ray_actor_options={"num_cpus": args.cpus, "num_gpus": args.gpus},
        max_ongoing_requests=2 * args.requests,
        autoscaling_config={
            "min_replicas": args.min_replicas,
            "max_replicas": args.max_replicas,
            "target_ongoing_requests": args.requests,
        },
    )
    # The pipeline is loaded in the replica, not here.
    @serve.ingress(lambda: make_application(*arguments))
    class Speech:
        pass

    return Speech.bind()


def main(args):
    from ray import serve

    serve.start(http_options={"host": args.host, "port": args.port})
    serve.run(make_deployment(args), name="speech", blocking=True)


if __name__ == "__main__":
    main(check_args(parse_args()))
