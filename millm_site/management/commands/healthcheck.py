"""`manage.py healthcheck`: the health check of a container. The exit status is the result."""

import http.client
import socket
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.broker import heartbeats

TIMEOUT_S = 5
AT_REST = {"ready", "idle"}  # idle: no model is current


class Command(BaseCommand):
    help = "Check that the web or the worker on this machine is alive, and with --ready that it can do its work."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("process", choices=["web", "worker"])
        parser.add_argument(
            "--ready", action="store_true", help="web: its services answer; worker: it has loaded its model"
        )
        parser.add_argument("--name", default="inference", help="the worker's name, as given to `run worker`")

    def handle(self, *, process: str, ready: bool, name: str, **options: Any) -> None:
        self.stdout.write(_web(ready) if process == "web" else _worker(name, ready))


def _web(ready: bool) -> str:
    path = "/readyz?exclude=worker" if ready else "/healthz"
    connection = http.client.HTTPConnection("127.0.0.1", settings.PORT, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise CommandError(f"the web does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise CommandError(f"{path} answered {answer.status}: {body}")
    return body


def _worker(name: str, ready: bool) -> str:
    prefix = f"{name}@{socket.gethostname()}:"
    try:
        mine = [heartbeat for heartbeat in heartbeats.live_workers() if heartbeat.worker.startswith(prefix)]
    except redis.RedisError as error:
        if ready:
            raise CommandError(f"Redis does not answer: {error}") from error
        return f"unknown, since Redis does not answer: {error}"  # restarting the worker would not help
    if not mine:
        raise CommandError(f"no heartbeat from {prefix.rstrip(':')}")
    status = mine[0].status
    if ready and status not in AT_REST:
        raise CommandError(f"the worker is {status}")
    return status
