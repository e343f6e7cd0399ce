"""The depth of nested JSON, which Celery, chat templates and grammars read by recursion."""

from typing import Any

MAX_DEPTH = 64


def depth_of(value: Any) -> int:
    """The depth of nested lists and objects in `value`, at most MAX_DEPTH + 1."""
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            break
        level = [part for one in level for part in (one.values() if isinstance(one, dict) else one)]
    return depth
