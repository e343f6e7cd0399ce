"""Models loaded, switched and unloaded while the server runs: the rows say so, and workers follow."""

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import psutil
import pytest
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from inference.broker import connections, heartbeats
from inference.broker.messages import EmbedMessage
from inference.models import LanguageModel
from inference.tests.conftest import Server
from inference.tests.tiny import D_MODEL, tiny_model, tiny_sae, tiny_tokenizer
from inference.worker.process import Worker
from inference.worker.servers import Servers
from profiles.models import Profile
from steering.errors import Refused
from steering.models import SAE, SteeringState

CHAT = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder with a model, and an SAE for it in `sae`."""
    folder = tmp_path / "tiny"
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT
    tiny_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tiny_sae(folder / "sae")
    return folder


@pytest.fixture(scope="module")
def following(processes: Server) -> Iterator[Any]:
    worker = processes.start_worker(INFERENCE_MODEL="")
    yield worker
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0


@pytest.fixture
def follower(server: Server, following: Any) -> Any:
    """A worker that serves whichever model is current: the demo, to begin with."""
    eventually(lambda: served() == [("demo", "ready")] * 2)
    return following


def eventually(condition: Callable[[], bool], timeout_s: float = 120) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, f"after {timeout_s} s workers report {heartbeats.live_workers()}"
        time.sleep(0.05)
    return time.monotonic() - began


def served() -> list[tuple[str, str]]:
    return sorted((beat.model, beat.status) for beat in heartbeats.live_workers())


def open_models() -> list[str]:
    """The models that workers take requests for, whatever else they do."""
    return sorted(beat.model for beat in heartbeats.live_workers() if beat.serves_any)


def status(model: LanguageModel) -> str:
    model.refresh_from_db()
    return model.status


def ask(server: Server, api_key: str, model: str, **options: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "ocean waves"}], "max_tokens": 5} | options
    headers = {"Authorization": f"Bearer {api_key}"}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=60)


def test_a_switch_is_followed_while_other_workers_keep_their_model(
    server: Server, api_key: str, follower: Any, tiny: Path
) -> None:
    demo = LanguageModel.objects.get(name="demo")
    eventually(lambda: served() == [("demo", "ready")] * 2)
    model = LanguageModel.objects.register(str(tiny), anywhere=True)
    assert (model.model_type, model.d_model, model.num_layers) == ("llama", D_MODEL, 3)
    Profile.objects.get(name="ocean").activate()
    model.load()
    assert Profile.objects.active() is None
    assert not SteeringState.objects.load().enabled
    # 2 seconds to notice and begin, and some more on a busy machine; loading is its own matter.
    assert eventually(lambda: ("", "loading") in served() or ("tiny", "ready") in served()) < 10
    eventually(lambda: served() == [("demo", "ready"), ("tiny", "ready")])
    eventually(lambda: (status(model), status(demo)) == ("ready", "ready"))  # each is one worker's
    assert ask(server, api_key, "tiny").status_code == 200
    # The pinned worker still serves the demo: unsteered, since what steers belongs to the current model.
    answer = ask(server, api_key, "demo")
    assert (answer.status_code, answer.headers["X-miLLM-Steering"]) == (200, "none")
    refused = ask(server, api_key, "demo", steering={"features": {"1": 2.0}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_current_model")
    listed = httpx.get(f"{server.url}/v1/models", headers={"Authorization": f"Bearer {api_key}"}).json()["data"]
    assert [one["id"] for one in listed] == ["tiny", "demo"]

    sae = SAE.objects.register(str(tiny / "sae"), anywhere=True)
    model.attach(sae)
    steered = ask(server, api_key, "tiny", steering={"features": {"3": 9.0}}, temperature=0)
    assert steered.json()["choices"] != ask(server, api_key, "tiny", temperature=0).json()["choices"]
    eventually(lambda: bool(SAE.objects.get(pk=sae.pk).fingerprint))

    model.unload()
    eventually(lambda: ("tiny", "ready") not in served())
    assert ask(server, api_key, "tiny").status_code in {404, 503}
    demo.load()
    eventually(lambda: served() == [("demo", "ready")] * 2)
    eventually(lambda: status(demo) == "ready")


def test_running_answers_finish_before_a_switch(server: Server, api_key: str, follower: Any, tiny: Path) -> None:
    model = LanguageModel.objects.register(str(tiny), name="first", anywhere=True)
    other = LanguageModel.objects.register(str(tiny), name="second", anywhere=True)
    model.load()
    eventually(lambda: status(model) == "ready")
    tokens = 1000  # a fast machine needs several heartbeats for them
    bias = {"logit_bias": {"1": -100}, "max_tokens": tokens}
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(ask, server, api_key, "first", **bias) for _ in range(6)]
        eventually(lambda: any(beat.running >= 6 for beat in heartbeats.live_workers()))
        other.load()
        assert [answer.result().json()["usage"]["completion_tokens"] for answer in answers] == [tokens] * 6
    eventually(lambda: status(other) == "ready")
    assert ask(server, api_key, "second").status_code == 200


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def claim_a_huge_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((2**60).to_bytes(8, "little") + b"{}")


def in_shards(folder: Path) -> list[Path]:
    """The same weights in several files with an index."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {key: f"model-{1 + i % 3:05d}-of-00003.safetensors" for i, key in enumerate(sorted(weights))}
    files = sorted({*names.values()})
    for name in files:
        shard = {key: value for key, value in weights.items() if names[key] == name}
        save_file(shard, folder / name, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return [folder / name for name in files]


def lose_a_shard(folder: Path) -> None:
    in_shards(folder)[1].unlink()


def swap_two_shards(folder: Path) -> None:
    first, second, _ = in_shards(folder)
    moved = first.rename(folder / "moved")
    second.rename(first)
    moved.rename(second)


def point_the_index_outside(folder: Path) -> None:
    in_shards(folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["lm_head.weight"] = "../other/model.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def rename_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights.safetensors")


def drop_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def spoil_a_number(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def lose_the_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def configure(**values: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))

    return spoil


def cut_the_tokenizer(folder: Path) -> None:
    whole = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(whole[: len(whole) // 2])


def empty_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def spoil_the_settings_of_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("[]")


SEEN_BY_THE_WEB = [
    (truncate, "model.safetensors cannot be read as safetensors, or is cut short"),
    (claim_a_huge_header, "model.safetensors cannot be read as safetensors, or is cut short"),
    (lose_a_shard, "lacks 1 of the 3 files that model.safetensors.index.json names, model-00002-of-00003.safetensors"),
    (swap_two_shards, ", which model.safetensors.index.json names: fetch the files again"),
    (point_the_index_outside, "names the file '../other/model.safetensors'"),
    (rename_the_weights, "has neither model.safetensors nor model.safetensors.index.json"),
    (configure(vocab_size=333), "model.embed_tokens.weight is 320 x 32 in the files: expected 333 x 32"),
    (configure(hidden_size=48), "model.embed_tokens.weight is 320 x 32 in the files: expected 320 x 48"),
    (cut_the_tokenizer, "tokenizer.json is not JSON: EOF while parsing"),
    (empty_the_tokenizer, "tokenizer.json has no model with a vocab: expected a file of the tokenizers library"),
    (spoil_the_settings_of_the_tokenizer, "tokenizer_config.json holds list: expected an object"),
]
SEEN_BY_THE_WORKER = [
    (drop_a_weight, "the files lack 1 weights, model.layers.1.mlp.up_proj.weight among them"),
    (lose_the_tokenizer, "tokenizer"),
    (configure(intermediate_size=80), "mlp.down_proj.weight is 32 x 64 in the files: expected 32 x 80, as config.json"),
    (configure(num_hidden_layers=4), "the files lack 9 weights, model.layers.3."),
]


@pytest.mark.parametrize(("spoil", "said"), SEEN_BY_THE_WEB)
def test_broken_files_are_refused_when_they_are_registered_and_before_a_load_ends_anything(
    demo: LanguageModel, tiny: Path, spoil: Callable[[Path], None], said: str
) -> None:
    ocean = Profile.objects.get(name="ocean")
    ocean.activate()
    model = LanguageModel.objects.register(str(tiny), anywhere=True)
    spoil(tiny)
    with pytest.raises(Refused) as load:
        model.load()
    with pytest.raises(Refused) as registration:
        LanguageModel.objects.register(str(tiny), name="again", anywhere=True)
    assert said in str(load.value)
    assert said in str(registration.value)
    assert (LanguageModel.objects.current(), Profile.objects.active()) == (demo, ocean)
    assert SteeringState.objects.load().enabled
    assert SAE.objects.attached() is not None
    assert status(model) == "registered"


def test_files_that_were_replaced_by_another_model_s_are_refused(demo: LanguageModel, tiny: Path) -> None:
    model = LanguageModel.objects.register(str(tiny), anywhere=True)
    configure(max_position_embeddings=64)(tiny)
    with pytest.raises(Refused, match=r"context_length=64.*registered was .*context_length=2048"):
        model.load()
    assert LanguageModel.objects.current() == demo


@pytest.mark.parametrize(("spoil", "said"), [*SEEN_BY_THE_WEB[:3], *SEEN_BY_THE_WORKER])
def test_what_cannot_be_loaded_is_an_error_on_its_row_and_the_worker_serves_what_it_served(
    server: Server,
    api_key: str,
    follower: Any,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], None],
    said: str,
) -> None:
    monkeypatch.setattr(LanguageModel, "check_files", lambda self: None)  # as where the web has not the folder
    broken, good = tiny.parent / "broken", shutil.copytree(tiny, tiny.parent / "good")
    tiny.rename(broken)
    model = LanguageModel.objects.register(str(broken), anywhere=True)
    spoil(broken)
    model.load()
    eventually(lambda: status(model) == "error")
    assert said in model.error
    assert ask(server, api_key, "broken").status_code == 503
    eventually(lambda: open_models() == ["demo"] * 2)  # a heartbeat is late now and then, on a busy machine
    assert follower.poll() is None
    # Mended and asked for again, it is served by the same worker.
    shutil.rmtree(broken)
    good.rename(broken)
    model.load()
    eventually(lambda: status(model) == "ready")
    assert ask(server, api_key, "broken").status_code == 200


def test_what_only_its_numbers_tell_is_an_error_on_its_row(
    server: Server, api_key: str, follower: Any, tiny: Path
) -> None:
    spoil_a_number(tiny)
    model = LanguageModel.objects.register(str(tiny), anywhere=True)
    model.load()
    eventually(lambda: status(model) == "error")
    assert "the weights of model.layers.1.mlp.up_proj.weight are not finite" in model.error
    assert follower.poll() is None


def test_what_would_not_fit_into_memory_is_refused_with_the_figures(server: Server, tiny: Path) -> None:
    model = LanguageModel.objects.register(str(tiny), anywhere=True)
    worker = server.start_worker(INFERENCE_MODEL="tiny", INFERENCE_CACHE_TOKENS=str(10**11))
    eventually(lambda: status(model) == "error")
    assert "GiB are free" in model.error
    assert "needs about" in model.error
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=90) == 0


def test_the_memory_of_a_model_comes_back(server: Server, follower: Any, tiny: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    wide = LlamaForCausalLM(LlamaConfig(**config | {"intermediate_size": 500_000}))  # 580 MB in its three layers
    wide.save_pretrained(tiny)
    size = sum(weights.numel() * 4 for weights in wide.parameters())
    del wide
    model = LanguageModel.objects.register(str(tiny), anywhere=True)
    process = psutil.Process(follower.pid)
    eventually(lambda: served() == [("demo", "ready")] * 2)
    before = process.memory_info().rss
    for _ in range(3):
        model.load()
        eventually(lambda: status(model) == "ready")
        model.unload()
        eventually(lambda: ("tiny", "ready") not in served() and ("", "idle") in served())
    # The heartbeat that says so may come a moment before the memory is free.
    eventually(lambda: process.memory_info().rss - before < size / 2, 5)


@pytest.mark.parametrize("spoil", ["truncate", "nan", "huge header"])
def test_a_broken_sae_is_an_error_on_its_row(server: Server, follower: Any, tiny: Path, spoil: str) -> None:
    weights = tiny / "sae" / "sae_weights.safetensors"
    sae = SAE.objects.register(str(tiny / "sae"), anywhere=True)
    if spoil == "nan":
        tensors = load_file(weights)
        tensors["W_dec"][5, 5] = float("nan")
        save_file(tensors, weights)
    else:
        weights.write_bytes(
            weights.read_bytes()[:-100] if spoil == "truncate" else (2**60).to_bytes(8, "little") + b"{}"
        )
    SAE.objects.filter(pk=sae.pk).update(fingerprint="")
    sae.refresh_from_db()
    sae.prepare()

    def now() -> SAE:
        sae.refresh_from_db()
        return sae

    eventually(lambda: now().status == "error")
    assert sae.error
    assert follower.poll() is None


def test_what_waited_for_one_load_is_not_answered_by_another() -> None:
    worker = object.__new__(Worker)  # without its threads
    worker.servers = Servers()
    worker.servers.open = cast(Any, SimpleNamespace(model=SimpleNamespace(version="second")))
    inbox = f"millm:inbox:test-{time.monotonic()}"
    message = {"request_id": "r", "inbox": inbox, "version": "first", "deadline": 0.0, "prompts": []}
    assert worker.accept(EmbedMessage, message) is None
    [(_, fields)] = connections.connection.xrange(inbox)
    assert json.loads(fields["events"])[0][2]["code"] == "no_worker"
    accepted = worker.accept(EmbedMessage, message | {"version": "second"})
    assert accepted
    assert accepted[0] is worker.servers.open
