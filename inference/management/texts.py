"""Files of texts that a command names: one text per line, or JSON lines of texts and conversations."""

from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError

from inference.api.reading_serializers import chat_prompt, text_prompt
from inference.broker.messages import Prompt
from steering import strict_json

FORM = "one text per line; or, with the suffix .jsonl, a JSON string or a list of messages per line"


def sides_of(positive: Path, negative: Path) -> tuple[list[Prompt], list[Prompt]]:
    """The texts of two files, INFERENCE_MAX_READING_TEXTS at most. Raises CommandError."""
    sides = prompts_of(positive), prompts_of(negative)
    if (total := len(sides[0]) + len(sides[1])) > (most := settings.INFERENCE_MAX_READING_TEXTS):
        raise CommandError(f"got {total:,} texts, expected at most {most:,}: raise INFERENCE_MAX_READING_TEXTS")
    return sides


def prompts_of(path: Path) -> list[Prompt]:
    """The texts of a file. Raises CommandError, which names the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_prompt(line, is_json=path.suffix == ".jsonl"))
            except ValueError as error:
                raise CommandError(f"{path}, line {number}: {error}") from error
    if not found:
        raise CommandError(f"{path}: got no text, expected one per line")
    return found


def _prompt(line: str, *, is_json: bool) -> Prompt:
    given = strict_json.loads(line) if is_json else line
    return text_prompt(given) if isinstance(given, str) else chat_prompt(given)
