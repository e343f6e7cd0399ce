"""What a client sees when the worker dies in the middle of its answer."""

import json
import signal
import time

import httpx

from inference.models import LanguageModel
from inference.tests.conftest import Server
from profiles.models import Profile

LONG = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Tell me something."}],
    "stream": True,
    "max_tokens": 3000,
    "temperature": 2.0,
    "min_p": 0.0,
}


def test_a_killed_worker_ends_the_stream_with_an_error_and_its_successor_steers(server: Server, api_key: str) -> None:
    auth = {"Authorization": f"Bearer {api_key}"}
    Profile.objects.get(name="ocean").activate()
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=LONG, headers=auth, timeout=30) as answer:
        assert answer.status_code == 200
        lines = (line for line in answer.iter_lines() if line)
        next(lines), next(lines)
        server.worker.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        last = list(lines)[-1]
    assert time.monotonic() - killed < 20
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "worker_lost"

    refused = httpx.post(f"{server.url}/v1/chat/completions", json=LONG | {"stream": False}, headers=auth, timeout=30)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_worker")
    assert httpx.get(f"{server.url}/readyz").status_code == 503

    server.worker.wait()
    server.worker = server.start_worker()
    server.wait_until_ready()
    active = Profile.objects.active()
    assert active is not None
    assert active.name == "ocean"
    again = httpx.post(
        f"{server.url}/v1/chat/completions", json=LONG | {"stream": False, "max_tokens": 20}, headers=auth, timeout=30
    )
    assert again.status_code == 200
    assert LanguageModel.objects.get(name="demo").status == "ready"
