"""`manage.py help`: miLLM's commands come first, each with what it does."""

from django.core.management import get_commands

from manage import APPS, Commands


def test_the_help_begins_with_millm_s_commands_each_with_what_it_does() -> None:
    lines = [line for line in Commands(["manage.py"]).main_help_text().splitlines() if line]
    begin = lines.index("[miLLM]")
    assert lines[begin - 1] == "Available subcommands:"
    own = sorted(name for name, app in get_commands().items() if app in APPS)
    shown = lines[begin + 1 : begin + 1 + len(own)]
    assert [line.split()[0] for line in shown] == own
    assert all(len(line.split()) > 3 for line in shown)
    assert (
        next(line for line in shown if "load_model" in line).split(maxsplit=1)[1].startswith("Make a registered model")
    )


def test_django_s_commands_come_after_and_none_is_listed_twice() -> None:
    lines = [line.strip() for line in Commands(["manage.py"]).main_help_text().splitlines()]
    names = [line.split()[0] for line in lines if line]
    assert "migrate" in names
    assert [name for name in get_commands() if names.count(name) != 1] == []
    assert not any(f"[{app}]" in names for app in APPS)


def test_the_names_alone_are_those_of_django() -> None:
    assert Commands(["manage.py"]).main_help_text(commands_only=True).split() == sorted(get_commands())
