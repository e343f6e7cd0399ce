"""A running worker sweeps over REST: its answers are those of the chat endpoint, and nothing of a sweep is lost."""

import csv
import io
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from inference.sweeps.effects import repeats
from inference.sweeps.models import Sweep, SweepCell
from inference.tests.conftest import Server
from profiles.models import Profile

LIMIT_S = 120
PROMPTS = ["Tell me something.", "What do you see?"]
PLAN = {"profile": "ocean", "values": [0.5, 1], "prompts": PROMPTS, "seeds": [1, 7], "max_tokens": 16, "words": ["The"]}
LONG = PLAN | {"values": {"from": 0, "to": 2, "count": 50}, "seeds": list(range(10)), "max_tokens": 64, "words": []}


@pytest.fixture
def rest(server: Server, api_key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        yield client


def begun(rest: httpx.Client, **plan: Any) -> str:
    """The URL of a new sweep."""
    answer = rest.post("/api/sweeps", json=PLAN | plan)
    assert answer.status_code == 202, answer.text
    return f"/api/sweeps/{answer.json()['id']}"


def wait_until(rest: httpx.Client, url: str, condition: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while not condition(row := rest.get(url).json()):
        assert time.monotonic() < deadline, {name: row[name] for name in ("status", "ended", "error")}
        time.sleep(0.05)
    return row


def swept(rest: httpx.Client, url: str) -> Any:
    row = wait_until(rest, url, lambda row: row["status"] not in ("queued", "running"))
    assert (row["status"], row["error"]) == ("done", "")
    return row


def asked(rest: httpx.Client, model: str, prompt: str, seed: int, **more: Any) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "seed": seed, "max_tokens": 16}
    answer = rest.post("/v1/chat/completions", json=body | more)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def under_ocean(intensity: float) -> tuple[str, dict[str, Any]]:
    """The model and further fields of a request at an intensity of the profile; 0 is unsteered."""
    return (f"demo:ocean@{intensity}", {}) if intensity else ("demo", {"steering": {"features": {}}})


def test_each_answer_of_a_profile_is_the_one_of_the_chat_endpoint(rest: httpx.Client) -> None:
    row = swept(rest, begun(rest))
    assert row["values"] == [0, 0.5, 1]
    assert (row["total"], row["ended"], row["progress"]) == (12, 12, 1)
    for cell in row["cells"]:
        model, more = under_ocean(cell["value"])
        assert cell["error"] == ""
        assert cell["answer"] == asked(rest, model, cell["prompt"], cell["seed"], **more), cell
        assert cell["repeated_4grams"] == repeats(cell["answer"])
        assert cell["perplexity"] > 1
    places = {(cell["value"], cell["prompt_number"], cell["seed"]) for cell in row["cells"]}
    assert places == {(value, prompt, seed) for value in (0, 0.5, 1) for prompt in (1, 2) for seed in (1, 7)}
    [zero, half, one] = row["effects"]
    assert zero["is_broken"] is None
    assert len({effects["words"][0] for effects in (zero, half, one)}) == 3
    assert all(effects["cells"] == 4 for effects in (zero, half, one))


def test_each_answer_of_a_feature_is_the_one_of_the_chat_endpoint(rest: httpx.Client) -> None:
    [index] = [*Profile.objects.named("ocean").strengths][:1]
    plan = {"feature": index, "values": [-2, 6], "prompts": PROMPTS[:1], "seeds": [3], "max_tokens": 16}
    answer = rest.post("/api/sweeps", json=plan)
    row = swept(rest, f"/api/sweeps/{answer.json()['id']}")
    assert [cell["value"] for cell in row["cells"]] == [-2, 0, 6]
    for cell in row["cells"]:
        steering = {"features": {str(index): cell["value"]}}
        assert cell["answer"] == asked(rest, "demo", PROMPTS[0], 3, steering=steering)


def test_texts_are_continued_and_their_words_are_read_as_the_echo_of_a_completion_reads_them(
    rest: httpx.Client,
) -> None:
    prompt, words = "The sailor looks at", [" the", " the waves"]
    row = swept(rest, begun(rest, prompts=[prompt], chat=False, seeds=[1], words=words, temperature=0))
    for cell, value in zip(row["cells"], row["values"], strict=True):
        model, more = under_ocean(value)
        body = {"model": model, "prompt": prompt, "max_tokens": 16, "temperature": 0, **more}
        assert cell["answer"] == rest.post("/v1/completions", json=body).json()["choices"][0]["text"]
        for word in words:
            echo = {"model": model, "prompt": prompt + word, "max_tokens": 0, "echo": True, "logprobs": 0, **more}
            read = rest.post("/v1/completions", json=echo).json()["choices"][0]["logprobs"]
            start = next(at for at, offset in enumerate(read["text_offset"]) if offset >= len(prompt))
            assert cell["logprobs"][word] == pytest.approx(sum(read["token_logprobs"][start:]), abs=2e-3)


def test_a_later_change_of_the_profile_does_not_change_the_sweep(rest: httpx.Client) -> None:
    before = asked(rest, "demo:ocean", PROMPTS[0], 1)
    answer = rest.post("/api/sweeps", json=PLAN | {"values": [1]})
    ocean = Profile.objects.named("ocean")
    ocean.strengths = {index: -strength for index, strength in ocean.strengths.items()}
    ocean.save()
    row = swept(rest, f"/api/sweeps/{answer.json()['id']}")
    [cell] = [one for one in row["cells"] if (one["value"], one["prompt_number"], one["seed"]) == (1, 1, 1)]
    assert cell["answer"] == before
    assert row["document"] != ocean.document.as_json()


def test_a_sweep_is_cancelled_and_resumed_with_what_it_has(rest: httpx.Client) -> None:
    url = begun(rest, **LONG)
    wait_until(rest, url, lambda row: row["ended"] > 0)
    assert rest.post(f"{url}/cancel").json()["status"] == "cancelled"
    kept = rest.get(url).json()["cells"]
    assert 0 < len(kept) < 1000
    refused = rest.post(f"{url}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_cancel")
    sweep = Sweep.objects.get()
    left = list(sweep.missing())[8:]  # but a few are as good as made, so that the test ends soon
    SweepCell.objects.bulk_create(SweepCell(sweep=sweep, **place._asdict()) for place in left)
    assert rest.post(f"{url}/resume").json()["status"] == "queued"
    row = swept(rest, url)
    assert row["ended"] == row["total"] == 1000
    assert [cell for cell in row["cells"] if cell in kept] == kept
    assert rest.post(f"{url}/resume").status_code == 409


def test_a_sweep_of_a_killed_worker_is_another_workers(rest: httpx.Client, server: Server) -> None:
    url = begun(rest, values=[0.5, 1, 1.5], max_tokens=64, seeds=list(range(8)))
    wait_until(rest, url, lambda row: row["ended"] > 0)
    server.worker.send_signal(signal.SIGKILL)
    server.worker.wait(20)
    kept = rest.get(url).json()["cells"]
    server.worker = server.start_worker()
    row = swept(rest, url)
    assert row["ended"] == row["total"] == len(row["cells"]) == 64
    assert [cell for cell in row["cells"] if cell in kept] == kept


def test_an_answer_that_is_refused_has_its_error_and_is_asked_for_again_when_resumed(rest: httpx.Client) -> None:
    url = begun(rest, prompts=["Tell me something.", "whale " * 5000], seeds=[1], values=[1])
    row = swept(rest, url)
    good, bad = ([cell for cell in row["cells"] if cell["prompt_number"] == number] for number in (1, 2))
    assert [cell["error"] for cell in good] == ["", ""]
    assert {cell["answer"] for cell in bad} == {""}
    assert {cell["error"][:54] for cell in bad} == {"This model's maximum context length is 4096 tokens. Ho"}
    assert [effects["failed"] for effects in row["effects"]] == [1, 1]
    assert rest.post(f"{url}/resume").json()["ended"] == 2
    assert swept(rest, url)["ended"] == 4


def test_the_answers_are_downloaded_as_csv_and_as_json(rest: httpx.Client) -> None:
    url = begun(rest, values=[1], words=["The", "a, b"])
    row = swept(rest, url)
    answer = rest.get(f"{url}/cells.csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.headers["Content-Disposition"].endswith('.csv"')
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [line["answer"] for line in lines] == [cell["answer"] for cell in row["cells"]]
    assert [float(line["logprob of a, b"]) for line in lines] == [cell["logprobs"]["a, b"] for cell in row["cells"]]
    download = rest.get(f"{url}/cells.json")
    assert "attachment" in download.headers["Content-Disposition"]
    assert download.json() == row
    assert rest.delete(url).status_code == 204
    assert rest.get(url).json()["code"] == "sweep_not_found"
