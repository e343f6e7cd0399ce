#!/usr/bin/env python
"""Django's command line; without DATABASE_URL or REDIS_URL it starts the embedded services it needs."""

import os
import re
import sys

from django.core.management import ManagementUtility, get_commands, load_command_class

APPS = {"millm_site", "inference", "profiles", "steering"}


class Commands(ManagementUtility):
    """Django's and miLLM's commands; the help shows miLLM's first, each with what it does."""

    def main_help_text(self, commands_only: bool = False) -> str:
        text: str = super().main_help_text(commands_only)
        if commands_only:
            return text
        own = {name: app for name, app in sorted(get_commands().items()) if app in APPS}
        lines = [f"    {name:24} {_summary(app, name)}" for name, app in own.items()]
        others = [
            line for line in text.splitlines() if line.strip() not in own and not any(f"[{a}]" in line for a in APPS)
        ]
        head = others.index("Available subcommands:") + 1
        return re.sub(r"\n{3,}", "\n\n", "\n".join([*others[:head], "", "[miLLM]", *lines, *others[head:]]))


def _summary(app: str, name: str) -> str:
    """The first statement of a command's help."""
    return re.split(r"[.;:] ", load_command_class(app, name).help)[0].rstrip(".")


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millm_site.settings")
    from millm_site import embedded

    embedded.provide()
    Commands(sys.argv).execute()


if __name__ == "__main__":
    main()
