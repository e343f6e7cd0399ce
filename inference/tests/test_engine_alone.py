"""The engine without the rest: no Django in it, and an example that uses it alone."""

import os
import subprocess
import sys

from django.conf import settings

IMPORT_ALL = """
import importlib, pkgutil, sys
import inference.engine
for module in pkgutil.iter_modules(inference.engine.__path__):
    importlib.import_module(f"inference.engine.{module.name}")
assert "inference.engine.engine" in sys.modules
sys.exit(" ".join(name for name in sys.modules if name.split(".")[0] in ("django", "rest_framework", "celery")) or None)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter, which knows of no Django settings."""
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=settings.BASE_DIR, env=env, capture_output=True, text=True, timeout=120)


def test_no_module_of_the_engine_imports_django() -> None:
    done = run("-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr


def test_the_example_steers_two_requests_in_one_batch() -> None:
    done = run("examples/engine.py")
    assert done.returncode == 0, done.stderr
    ocean, winter = done.stdout.splitlines()
    assert ocean.startswith("ocean: ")
    assert winter.startswith("winter: ")
