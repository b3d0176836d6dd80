"""Test the server under load, and over a long time.

    ns2-diffusers serve --port 8000 &
    python benchmarks/serving.py load --clients 1 4 16 --seconds 30
    python benchmarks/serving.py soak --clients 8 --minutes 10 --pid $!

`load` sends requests as fast as responses arrive, with the load generator locust (`pip install locust`). It prints
requests per second and percentiles of the time to the first sound and to the last. `soak` runs clients, some of which
disconnect during the stream. It compares each complete response with the response to the same seed alone, and the
server's memory before and after.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if sys.argv[1:2] == ["load"]:
    # locust patches sockets and ssl, so it comes before other modules import them.
    import locust  # noqa: F401

from ns2_diffusers.training.arguments import HelpFormatter

SENTENCES = Path(__file__).parent / "sentences.txt"
VOICES = ("emma", "george", "bella")
HEADER_BYTES = 44


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    add = parser.add_argument
    add("mode", choices=("load", "soak"), help="load of several clients, or a long run of mixed requests")
    add("--url", default="http://127.0.0.1:8000", help="address of the server")
    add("--clients", type=int, nargs="+", default=[1, 4, 16], help="numbers of clients (load)")
    add("--seconds", type=float, default=30.0, help="seconds with each number of clients (load)")
    add("--minutes", type=float, default=10.0, help="minutes of the soak")
    add("--warm_up", type=float, default=2.0, help="minutes of the same before memory is measured (soak)")
    add("--sentences", type=int, default=2, help="number of sentences per text")
    add("--pid", type=int, help="process of the server, whose memory the soak measures; not measured if not given")
    return parser.parse_args(argv)


def main(args):
    check_server(args.url)
    texts = make_texts(args.sentences)
    if args.mode == "load":
        load(args, texts)
    else:
        soak(args, texts)


def check_server(url: str) -> None:
    from urllib.request import urlopen

    try:
        urlopen(f"{url}/health", timeout=10)
    except OSError as error:
        raise SystemExit(f"no server answers at {url} ({error}): start it with ns2-diffusers serve.") from error


def make_texts(sentences: int) -> list[str]:
    lines = [line.strip() for line in SENTENCES.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [" ".join(lines[n : n + sentences]) for n in range(0, len(lines) - sentences + 1, sentences)]


def load(args: argparse.Namespace, texts: list[str]) -> None:
    import gevent
    from locust import HttpUser, events, task
    from locust.env import Environment

    class Listener(HttpUser):
        host = args.url

        @task
        def listen(self):
            body = {"input": random.choice(texts), "voice": "emma", "response_format": "wav"}
            begun = time.perf_counter()
            with self.client.post("/v1/audio/speech", json=body, stream=True, catch_response=True) as response:
                if response.status_code != 200:
                    return response.failure(f"status {response.status_code}")
                size, first = 0, None
                for chunk in response.iter_content(4096):
                    size += len(chunk)
                    if first is None and size > HEADER_BYTES:
                        first = time.perf_counter() - begun
                response.success()
            for name, seconds in (("first", first), ("whole", time.perf_counter() - begun)):
                about = {"response_length": size, "exception": None, "context": {}}
                self.environment.events.request.fire(
                    request_type="sound", name=name, response_time=1000 * seconds, **about
                )

    print("clients  requests/s  first sound p50 p95 p99 (s)  whole p50 p95 p99 (s)  failures")
    for clients in args.clients:
        environment = Environment(user_classes=[Listener], events=events)
        runner = environment.create_local_runner()
        runner.start(clients, spawn_rate=clients)
        gevent.sleep(args.seconds)
        elapsed, stats = args.seconds, environment.stats
        runner.quit()
        times = [
            [stats.get(name, "sound").get_response_time_percentile(share) / 1000 for share in (0.5, 0.95, 0.99)]
            for name in ("first", "whole")
        ]
        count = stats.get("whole", "sound").num_requests
        if not count:
            print(f"{clients:7}  no request was answered in {elapsed:g} s: take more --seconds", flush=True)
            continue
        shown = "  ".join(" ".join(f"{seconds:.2f}" for seconds in each) for each in times)
        print(f"{clients:7}  {count / elapsed:10.2f}  {shown}  {stats.total.num_failures}", flush=True)


def soak(args: argparse.Namespace, texts: list[str]) -> None:
    import httpx
    import numpy as np

    client = httpx.Client(base_url=args.url, timeout=300, limits=httpx.Limits(max_connections=None))
    asks = [
        {"input": texts[n % len(texts)], "voice": VOICES[n % 3], "seed": n, "response_format": "pcm"}
        for n in range(12)
    ]

    def listen(body):
        response = client.post("/v1/audio/speech", json=body)
        response.raise_for_status()
        return np.frombuffer(response.content, "<i2").astype(np.int32)

    def outcome(index):
        """Return the outcome of a request, or the difference if its audio differs from that of the request alone."""
        try:
            audio = listen(asks[index])
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            return "busy" if status == 503 else "timeout" if status == 504 else f"status {status}"
        except httpx.RemoteProtocolError:
            return "broken off"  # the server's response to a timeout after the stream has begun
        wanted = alone[index]
        if len(audio) != len(wanted):
            print(f"request {index}: {len(audio)} samples, alone {len(wanted)}", flush=True)
            return "other length"
        # Floating-point rounding depends on the batch: up to 65 of 32,768 steps for the bundled model.
        if (difference := rms(audio - wanted) / rms(wanted)) > 0.01:
            print(f"request {index}: differs by {difference:.4f} of its RMS", flush=True)
            return "other sound"
        return "same"

    def until(end, seed):
        generator, counts = random.Random(seed), Counter()
        while time.monotonic() < end:
            index = generator.randrange(len(asks))
            if generator.random() < 0.25:
                with client.stream("POST", "/v1/audio/speech", json=asks[index]) as response:
                    next(response.iter_bytes(1000), None)
                counts["left"] += 1
            else:
                counts[outcome(index)] += 1
        return counts

    def rms(samples):
        return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))

    def together(seconds):
        end = time.monotonic() + seconds
        with ThreadPoolExecutor(clients) as pool:
            return sum(pool.map(lambda seed: until(end, seed), range(clients)), Counter())

    alone = [listen(body) for body in asks]
    clients = args.clients[-1] if len(args.clients) == 1 else 8
    # Threads and buffers that are created once are not a leak.
    together(60 * args.warm_up)
    seen, counts = [memory(args.pid)], Counter()
    for _ in range(parts := max(1, round(args.minutes))):
        counts += together(60 * args.minutes / parts)
        time.sleep(2)
        seen.append(memory(args.pid))
        print(f"{dict(counts)}, {seen[-1]} MB", flush=True)
    health = client.get("/health").json()
    report = {"clients": clients, "minutes": args.minutes, **counts, "places_taken": health["requests"]}
    if args.pid:
        report |= {"memory_mb": seen, "growth": round(seen[-1] / seen[0] - 1, 4)}
    print(json.dumps(report))
    leaks = args.pid and seen[-1] > 1.05 * seen[0]
    if health["requests"] or leaks or counts.keys() - {"same", "left", "busy", "timeout", "broken off"}:
        raise SystemExit("the server leaks, mixes answers up or keeps places")


def memory(pid: int | None) -> float:
    """Return the resident megabytes of a process, on Linux."""
    if pid is None:
        return 0.0
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024, 1)


if __name__ == "__main__":
    main(parse_args())
