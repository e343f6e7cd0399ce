"""The web process never imports torch, nor the folders that do."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

HEAVY = {"torch", "transformers", "tokenizers"}
FOLDERS = ("inference/engine", "inference/vllm", "inference/worker", "inference/demo")
APPS = ("steering", "profiles", "inference", "millm_site")


def test_the_asgi_application_loads_without_torch() -> None:
    folders = tuple(folder.replace("/", ".") for folder in FOLDERS)
    program = (
        "import sys, millm_site.asgi\n"
        "from django.urls import get_resolver\n"
        "get_resolver().url_patterns\n"
        f"sys.exit(' '.join(name for name in sys.modules if name in {HEAVY} or name.startswith({folders})) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def imported(path: Path) -> Iterator[str]:
    """The packages that a module imports, in functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_torch_is_imported_in_its_folders_only() -> None:
    modules = [path.relative_to(settings.BASE_DIR) for app in APPS for path in (settings.BASE_DIR / app).rglob("*.py")]
    assert len(modules) > 200
    found = [
        f"{module} imports {name}"
        for module in sorted(modules)
        if "tests" not in module.parts and not module.as_posix().startswith(FOLDERS)
        for name in imported(settings.BASE_DIR / module)
        if name.partition(".")[0] in HEAVY
    ]
    assert found == []
