"""Our words for sentences of Django, Unfold, DRF and pydantic; the compiled catalogue is that of the source."""

import gettext
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils.translation import gettext as translated

from inference.api.reading_serializers import ActivationsRequestSerializer
from inference.openai.errors import OpenAIError
from inference.openai.requests import ChatRequest, CompletionRequest
from steering import strict_json

FOLDER = Path(settings.LOCALE_PATHS[0]) / "en" / "LC_MESSAGES"
STRING = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
ENTRY = re.compile(rf"msgid {STRING}(?:msgid_plural {STRING}msgstr\[0\] {STRING}msgstr\[1\] {STRING}|msgstr {STRING})")


def text(literals: str) -> str:
    parts = re.findall(r'"((?:[^"\\]|\\.)*)"', literals)
    return "".join(parts).replace('\\"', '"').replace("\\n", "\n")


def source() -> dict[str | tuple[str, int], str]:
    found: dict[str | tuple[str, int], str] = {}
    for identity, plural, one, many, single in ENTRY.findall((FOLDER / "django.po").read_text()):
        if plural:
            found |= {(text(identity), 0): text(one), (text(identity), 1): text(many)}
        elif text(identity):
            found[text(identity)] = text(single)
    return found


def test_the_compiled_catalogue_has_what_the_source_says() -> None:
    with (FOLDER / "django.mo").open("rb") as file:
        compiled = dict(gettext.GNUTranslations(file)._catalog)  # type: ignore[attr-defined]
    compiled.pop("", None)
    assert source() == compiled
    assert len(compiled) > 10


def test_it_is_used() -> None:
    assert translated("Yes, I’m sure") == "Delete"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content.0: got 'image_url' as 'type', expected one of 'text', 'refusal'",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "?"}}]},
            "tools.0.function.name: expected a string that matches ^[a-zA-Z0-9_-]{1,64}$, got '?'",
        ),
        ({"stream": 1}, "stream: expected true or false, got 1"),
        ({"temperature": True}, "temperature: expected a number, got true"),
        ({"nope": 1}, "nope is unknown: correct its name, or leave it out"),
    ],
)
def test_a_wrong_body_of_v1_is_refused_without_words_of_pydantic(fields: dict[str, Any], said: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}
    with pytest.raises(OpenAIError) as refused:
        ChatRequest.parse(json.dumps(body).encode(), strict=True)
    assert str(refused.value) == said


def test_an_empty_list_of_a_field_that_may_be_a_text_too_is_named_alone() -> None:
    with pytest.raises(OpenAIError, match=r"prompt: got 0 entries, expected at least 1$"):
        CompletionRequest.parse(b'{"model": "m", "prompt": []}')


def test_bytes_that_are_no_text_are_named_by_their_place() -> None:
    with pytest.raises(ValueError, match="byte 6 is not UTF-8: send the text as UTF-8"):
        strict_json.loads(b'{"a":\xff}')


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"features": []}, "features", "Expected at least 1 entries."),
        ({"profile": "a\0"}, "profile", "Expected a text without null characters."),
        ({"top_k": 1.5}, "top_k", "Expected a whole number."),
    ],
)
def test_a_wrong_field_of_rest_is_refused_without_words_of_drf(body: dict[str, Any], field: str, said: str) -> None:
    serializer = ActivationsRequestSerializer(data={"texts": ["x"], **body})
    assert not serializer.is_valid()
    assert serializer.errors[field] == [said]
