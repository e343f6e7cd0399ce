"""What the documentation says is there: settings and their defaults, commands, links, addresses, examples."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from django.core.management import get_commands, load_command_class
from django.urls import Resolver404, resolve

from bench.table import PAGE
from bench.table import page as performance_page
from millm_site.tests.variables import ROOT, Expression, defaults, read_variables

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SETTINGS = (ROOT / "docs/settings.md").read_text()
# Defaults that the table has in words, beside what the code has.
WORDS = {
    "DATABASE_URL": ("DATABASE_URL", "embedded PostgreSQL"),
    "REDIS_URL": ("addresses.redis_url()", "embedded Redis, of each machine its own"),
    "MILLM_HOME": ("CHECKOUT / '.millm'", "`.millm` in the checkout"),
    "MILLM_MODEL_DIRS": ("[str(MILLM_HOME / 'models')]", "`models` in `MILLM_HOME`"),
    "MILLM_VECTORS_DIR": ("str(MILLM_HOME / 'vectors')", "`vectors` in `MILLM_HOME`"),
    "LOG_FORMAT": ("'plain' if 'DATABASE_URL' in EMBEDDED else 'json'", "`plain`"),
    "SECRET_KEY": ("", "made once, in `MILLM_HOME`"),
    "MILLM_ADMIN_PASSWORD": ("", "random"),
    "MILLM_API_KEY": ("", "random"),
    "HF_ENDPOINT": ("", "the Hugging Face hub"),
    "HF_HUB_CACHE": ("", "huggingface_hub's own"),
}
ROW = re.compile(r"^\| (`[A-Z].*?) \| (.*?) \| (.*) \|$", re.MULTILINE)


def pages() -> Iterator[tuple[str, str]]:
    return ((str(page.relative_to(ROOT)), page.read_text()) for page in PAGES)


def blocks(text: str) -> Iterator[str]:
    """The indented blocks of a page, without their indentation."""
    for block in re.findall(r"(?:^(?: {4}.*)?\n)+", text, re.MULTILINE):
        if block.strip():
            yield re.sub(r"^ {4}", "", block, flags=re.MULTILINE).strip("\n")


def is_python(block: str) -> bool:
    return bool(re.match(r"(from|import) ", block))


def is_text(block: str) -> bool:
    """A list's second line, or a file of another program."""
    return (not is_python(block) and not re.match(r"[./\w-]+(=\S*)?( |$)", block)) or " {\n" in block


def table() -> dict[str, tuple[str, str]]:
    """Each variable of the table with its default and what it means."""
    rows: dict[str, tuple[str, str]] = {}
    for names, told, meaning in ROW.findall(SETTINGS):
        listed = re.findall(r"`(\w+)`", names)
        values = [one.strip() for one in told.split(", ")] if len(listed) > 1 else [told.strip()]
        values += values[-1:] * (len(listed) - len(values))
        rows |= {name: (value, meaning) for name, value in zip(listed, values, strict=True)}
    return rows


def test_the_table_of_settings_has_every_variable_once_and_no_other() -> None:
    listed = re.findall(r"`(\w+)`", " ".join(names for names, _, _ in ROW.findall(SETTINGS)))
    assert sorted(listed) == sorted(read_variables())


def test_the_table_of_settings_has_the_right_defaults() -> None:
    rows = table()
    told = {name: (rows[name][0], default) for name, default in defaults().items()}
    assert {name: one for name, one in told.items() if not is_told(name, *one)} == {}


def is_told(name: str, told: str, default: object) -> bool:
    if name in WORDS or isinstance(default, Expression):
        return WORDS.get(name) == (default, told)
    told = told.strip("`")
    if isinstance(default, bool):
        return told == str(default).lower()
    if isinstance(default, int | float):
        return float(told) == default
    return told == ((",".join(default) if isinstance(default, list) else str(default)) or "empty")


# --- figures ---


def test_the_page_of_figures_is_what_the_benchmarks_wrote() -> None:
    assert PAGE.read_text() == performance_page(), "write it: .venv/bin/python -m bench.table"


# --- commands ---


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_whatever_is_to_be_made_can_be_made() -> None:
    for page, text in pages():
        for target in re.findall(r"(?:`|^    |\$ )make ([a-z]+)", text, re.MULTILINE):
            assert target in make_targets(), f"{page}: make {target}"


def commands() -> Iterator[tuple[str, str]]:
    for page, text in pages():
        for line in re.findall(r"(?:python )?manage\.py (.*?)(?:`|$)", text, re.MULTILINE):
            yield page, line


def test_every_command_is_there_and_has_the_options_that_are_named() -> None:
    wrong = []
    for page, line in commands():
        name = line.split()[0].rstrip(".,:;")
        if name not in get_commands():
            wrong.append(f"{page}: manage.py {line}")
            continue
        parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
        known = {option for action in parser._actions for option in action.option_strings}
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", re.split(r" && | \| | -- ", line)[0]))
        wrong += [f"{page}: manage.py {line}: {option}" for option in named - known]
    assert wrong == []


def test_every_command_of_ours_is_documented() -> None:
    ours = {name for name, app in get_commands().items() if app in {"millm_site", "inference", "profiles", "steering"}}
    told = {line.split()[0] for _page, line in commands()}
    makers = {"train_demo", "check_demo"}  # of the demo's files: inference/demo/tiny/README.md
    assert ours - told - makers == set()


# --- links and addresses ---


def test_every_link_leads_to_a_file() -> None:
    for page, text in pages():
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in target:
                assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"


def test_every_file_that_is_named_is_there() -> None:
    for page, text in pages():
        for path in re.findall(r"`((?:[\w-]+/)+[\w.-]+\.(?:py|md|yaml|json|js|service))`", text):
            assert (ROOT / path).exists(), f"{page}: {path}"


def addresses() -> Iterator[tuple[str, str]]:
    prefix = {"docs/profiles.md": "/api/profiles"}
    for page, text in pages():
        named = re.findall(r"`(?:(?:GET|POST|PUT|PATCH|DELETE) )?(/(?:api|v1|admin|healthz|readyz|metrics)\S*?)`", text)
        named += re.findall(r"https?://127\.0\.0\.1:8000(/[^\s\"'<]*)", text)
        if page in prefix:
            table = re.findall(r"^\| `(?:GET|POST|PUT|PATCH|DELETE).*?\|", text, re.MULTILINE)
            parts = [part for row in table for part in re.findall(r"(?<=[ `])(/[^\s`]*)", row)]
            named += [prefix[page] + part for part in parts if not part.startswith(("/api", "/v1"))]
        for address in named:
            yield page, address


def is_answered(address: str) -> bool:
    path = re.sub(r"\{\w+\}", "1", address.partition("?")[0].rstrip(".,"))
    if path.rstrip("/") in {"/api", "/v1"}:
        return True  # they stand for all that is below
    try:
        return getattr(resolve(path).func, "__name__", "") != "no_endpoint"
    except Resolver404:
        return False


def test_every_address_is_answered() -> None:
    assert [f"{page}: {address}" for page, address in addresses() if not is_answered(address)] == []


# --- examples ---


def test_every_example_is_written_correctly(tmp_path: Path) -> None:
    for page, text in pages():
        for block in blocks(text):
            if is_python(block):
                compile(block, page, "exec")
            elif not is_text(block):
                done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
                assert done.returncode == 0, f"{page}: {block}\n{done.stderr}"
                for body in re.findall(r"-d '(\{.*?\})'", block, re.DOTALL):
                    json.loads(body)


def test_every_json_that_is_quoted_whole_is_json() -> None:
    for page, text in pages():
        for quoted in re.findall(r"`(\{\".*?\})`", text):
            if "{name" not in quoted and "…" not in quoted and "message" not in quoted:
                json.loads(quoted), page
