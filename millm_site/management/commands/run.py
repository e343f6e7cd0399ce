"""`manage.py run`: everything on one machine, until Ctrl-C."""

import os
import shlex
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import honcho.manager
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from millm_site.bootstrap import Secrets, bootstrap

STOPPED_BY_HAND = {130, 143}  # honcho's codes for SIGINT and SIGTERM
KILL_WAIT_S = 12  # uvicorn lets open streams end for 5 s


class Command(BaseCommand):
    help = "Serve the web and an inference worker on this machine, until Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = os.environ.get("HOST", "127.0.0.1"), _port()
        _check_free(host, port)
        self.stdout.write("Preparing the database …")
        call_command("migrate", verbosity=0)
        self._greet(f"http://{host}:{port}", bootstrap())
        self._serve(host, port)

    def _greet(self, url: str, made: Secrets) -> None:
        self.stdout.write(f"\n  Admin     {url}/admin/\n  REST API  {url}/api/\n  OpenAI    {url}/v1\n")
        if made.password:
            self.stdout.write(f"  Login     admin / {made.password}   (shown once)")
        if made.api_key:
            self.stdout.write(f"  API key   {made.api_key}   (shown once)\n")
            for profile in ("", '"profile": "ocean", '):
                self.stdout.write(_curl(url, made.api_key, profile))
        self.stdout.write("")
        self.stdout.flush()

    def _serve(self, host: str, port: int) -> None:
        honcho.manager.KILL_WAIT = KILL_WAIT_S
        manager = honcho.manager.Manager()
        manager.add_process("worker", _command(*_worker()), env=_environment())
        manager.add_process("web", _command(*_web(host, port)), env=_environment())
        threading.Thread(target=self._announce, args=(f"http://{host}:{port}",), daemon=True).start()
        manager.loop()
        if manager.returncode not in STOPPED_BY_HAND:
            raise CommandError(f"{_first_stopped(manager)} ended by itself: its lines above say why")

    def _announce(self, url: str) -> None:
        """Say so when the first request would be answered."""
        while True:
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        self.stdout.write(f"miLLM is ready: {url}/admin/   (Ctrl-C stops it)")
        self.stdout.flush()


def _worker() -> list[str]:
    from django.conf import settings

    return [
        *("celery", "--quiet", "-A", "millm_site", "worker", "--pool", "threads"),
        *("--concurrency", str(settings.INFERENCE_BATCH_SIZE), "--hostname", "inference@%h"),
        *("--loglevel", "INFO", "--without-gossip", "--without-mingle"),
    ]


def _web(host: str, port: int) -> list[str]:
    application = ["uvicorn", "millm_site.asgi:application", "--host", host, "--port", str(port)]
    return [*application, "--no-access-log", "--timeout-graceful-shutdown", "5"]


def _command(*words: str) -> str:
    """For honcho's shell, which must not stand between it and the process."""
    return "exec " + shlex.join([sys.executable, "-m", *words])


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONUNBUFFERED": "1"}


def _first_stopped(manager: Any) -> str:
    codes = {name: process.get("returncode") for name, process in manager._processes.items()}
    name = next((name for name, code in codes.items() if code == manager.returncode), "a process")
    how = f"signal {-manager.returncode}" if manager.returncode < 0 else f"exit status {manager.returncode}"
    return f"{name} ({how})"


def _port() -> int:
    given = os.environ.get("PORT", "8000")
    if not given.isdecimal() or not 0 < int(given) < 65536:
        raise CommandError(f"PORT is {given!r}: expected a number from 1 to 65535")
    return int(given)


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(f"{host}:{port} cannot be used ({error.strerror}): set PORT to a free one") from error


def _curl(url: str, key: str, profile: str) -> str:
    body = f'{{"model": "demo", {profile}"messages": [{{"role": "user", "content": "Tell me something."}}]}}'
    headers = f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
    return f"  Try       curl -s {url}/v1/chat/completions {headers} -d '{body}'"
