#!/usr/bin/env python
"""Django's command line; without DATABASE_URL or REDIS_URL it starts the embedded services it needs."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millm_site.settings")
    from millm_site import embedded

    embedded.provide()
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
