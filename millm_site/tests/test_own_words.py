"""Our words for sentences of Django, Unfold and DRF: the compiled catalogue is that of the source, and is used."""

import gettext
import re
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as translated

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
