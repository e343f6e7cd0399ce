"""For the tests of deployments: the linters, and whether commands and variables are ours."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from django.core.management import get_commands, load_command_class

from millm_site.tests.variables import ROOT, read_variables

BIN = Path(sys.executable).parent
# Read by Python, by the programs in the images, by Compose, by KEDA.
FOREIGN = {"PATH", "HOME", "TMPDIR", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "CUDA_VISIBLE_DEVICES"}
FOREIGN |= {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "REDIS_ADDRESS"}
FOREIGN |= {"REDISCLI_AUTH", "VALKEYCLI_AUTH", "PUBLISH", "COMPOSE_FILE", "STOP_GRACE_PERIOD"}


def tool(*words: str, folder: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", "/")}
    command = [str(BIN / words[0]), *words[1:]]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


def check_command(words: list[str]) -> None:
    """That `python manage.py …` is one of our commands, and that it takes these arguments."""
    if words[:2] == ["sh", "-c"]:
        [line] = re.findall(r"python manage\.py [^;|&\n]*", words[2])
        words = line.split()
    assert words[:2] == ["python", "manage.py"], words
    name = words[2]
    command = load_command_class(get_commands()[name], name)
    command.create_parser("manage.py", name).parse_args(words[3:])  # exits with 2 where it does not


def check_variables(names: Iterable[str]) -> None:
    assert set(names) - read_variables().keys() - FOREIGN == set()
