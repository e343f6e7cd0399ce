"""The `llm` tool, configured as its documentation says for OpenAI-compatible servers."""

import os
import subprocess
import sys
from pathlib import Path

home = Path(os.environ["LLM_USER_PATH"])
home.mkdir(exist_ok=True)
model = f"- model_id: ocean\n  model_name: demo:ocean\n  api_base: {os.environ['MILLM_URL']}\n  api_key_name: millm\n"
(home / "extra-openai-models.yaml").write_text(model)


def llm(*words: str) -> str:
    command = [sys.executable, "-m", "llm", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.strip()


llm("keys", "set", "millm", "--value", os.environ["MILLM_KEY"])
ask = ["prompt", "-m", "ocean", "-o", "seed", "3", "Tell me something."]
text = llm(*ask)
assert llm(*ask, "--no-stream") == text
assert llm("logs", "-r") == text
print(text)
