"""The environment variables that the code reads, by its syntax tree: for tests of documentation and deployment."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
READERS = {
    *("text", "secret", "words", "boolean", "positive_int", "positive_float", "port", "one_of", "folder"),
    *("host", "hosts", "addresses", "database", "redis_url", "optional_url", "origins"),
    *("get", "getenv"),
}
FILES = [ROOT / "millm_site" / name for name in ("settings.py", "embedded.py")]
# Of tests, and what a process tells its children.
INTERNAL = {"MILLM_TEST_HOME", "MILLM_EMBEDDED"}


def read_variables(files: Iterable[Path] = FILES) -> dict[str, ast.Call]:
    """By name, the call that reads it."""
    found: dict[str, ast.Call] = {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and (variable := _variable(node)):
                found.setdefault(variable, node)
    return {name: call for name, call in found.items() if name not in INTERNAL}


def _variable(call: ast.Call) -> str:
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    first = call.args[0] if call.args else None
    if called not in READERS or not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        return ""
    if called in {"get", "getenv"} and "environ" not in ast.unparse(call.func):
        return ""
    return first.value if first.value.isupper() else ""


def defaults() -> Iterator[tuple[str, object]]:
    """Name and default of each whose default is written where it is read."""
    for name, call in read_variables().items():
        if len(call.args) > 1 and not ast.unparse(call.func).endswith("url"):  # these have their schemes there
            try:
                yield name, eval(ast.unparse(call.args[1]), {"__builtins__": {}})  # such as 4 * 2**20
            except NameError:
                continue  # made of other settings
