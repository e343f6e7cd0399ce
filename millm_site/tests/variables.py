"""The environment variables that the code reads, by its syntax tree: for tests of documentation and deployment."""

import ast
from collections.abc import Iterable
from inspect import isfunction
from pathlib import Path

from millm_site import environment

ROOT = Path(__file__).resolve().parent.parent.parent
READERS = {
    name for name, one in vars(environment).items() if isfunction(one) and one.__module__ == environment.__name__
}
READERS = READERS - {"wrong"} | {"get", "getenv"}
FILES = [ROOT / "millm_site" / name for name in ("settings.py", "addresses.py", "embedded.py")]
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


class Expression(str):
    """A default that is computed, as the code has it."""


def defaults() -> dict[str, object]:
    """By name, the default of each variable: its value, or the Expression that computes it; without one, empty."""
    return {name: _default(call) for name, call in read_variables().items()}


def _default(call: ast.Call) -> object:
    if len(call.args) < 2:
        return ""
    written = ast.unparse(call.args[1])
    try:
        return eval(written, {"__builtins__": {}})  # such as 4 * 2**20
    except NameError:
        return Expression(written)
