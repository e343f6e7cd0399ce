"""What every benchmark needs: Django on embedded services of its own, and a place for its figures."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def start_django() -> None:
    """Embedded PostgreSQL and Redis in a folder of their own, migrated."""
    os.environ["MILLM_HOME"] = tempfile.mkdtemp(prefix="millm-bench-")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millm_site.settings")
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    from millm_site import embedded

    embedded.provide()
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def median_ms(call: Callable[[], Any], rounds: int, warm_up: int = 3) -> float:
    """The median time of `call`, in ms."""
    for _ in range(warm_up):
        call()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return round(1000 * statistics.median(times), 2)


def report(name: str, about: str, figures: dict[str, Any]) -> None:
    """Print the figures and keep them with the machine, the commit and the command."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    machine = {"cpu": _cpu(), "cores": os.cpu_count(), "python": platform.python_version(), "device": _device()}
    document = {
        "commit": commit.strip(),
        "command": " ".join(sys.orig_argv[1:]),
        "machine": machine,
        "about": about,
        **figures,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def _device() -> str:
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch and torch.cuda.is_available() else "cpu"
