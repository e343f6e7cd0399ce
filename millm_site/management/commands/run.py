"""`manage.py run`: serve on one machine until Ctrl-C; `run web` and `run worker` are its two processes."""

import json
import math
import os
import shlex
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from typing import Any

import honcho.manager
import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.demo import Demo, choice
from inference.demo.register import MODEL, registered
from inference.demo.smollm2.wheel import DemoUnavailable
from millm_site import embedded
from millm_site.bootstrap import PRESET, Secrets, bootstrap, is_first_run
from millm_site.management.commands.prepare import secret_lines

STOPPED_BY_HAND = {130, 143}  # honcho's codes for SIGINT and SIGTERM
MISSES = 3  # failed checks, one a second, until an embedded server counts as lost
KILL_MARGIN_S = 10  # added to the time in which web and worker let their requests finish


class Command(BaseCommand):
    help = "Serve on this machine, until Ctrl-C: the web and an inference worker, or only one of them."
    requires_system_checks = ("millm",)  # Unfold's checks read tables; the web must start without PostgreSQL

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "process", nargs="?", choices=["web", "worker"], help="only this process, on a prepared database"
        )
        parser.add_argument("--name", default="inference", help="the worker's name; unique on this machine")

    def handle(self, *, process: str | None, name: str, **options: Any) -> None:
        host, port = settings.HOST, settings.PORT
        if process == "web":
            _run_web(host, port)
        elif process == "worker":
            _run_worker(name)
        else:
            self._run_both(host, port)

    def _run_both(self, host: str, port: int) -> None:
        _check_free(host, port)
        self.stdout.write("Preparing the database …")
        call_command("migrate", verbosity=0)
        demo = self._choose_demo()
        self._greet(f"http://{host}:{port}", bootstrap(demo))
        self._serve(host, port)

    def _choose_demo(self) -> Demo | None:
        """The demo to register; None on later runs. Fetches SmolLM2 where it is the demo and its model is missing."""
        try:
            if is_first_run():
                return choice.fetched(self._say)
            choice.kept(self._say)
        except DemoUnavailable as error:
            raise CommandError(f"{error} (MILLM_DEMO is {settings.MILLM_DEMO})") from error
        except KeyboardInterrupt:
            raise CommandError("stopped: the next run begins again", returncode=130) from None
        return None

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()  # before the lines of pip

    def _greet(self, url: str, created: Secrets) -> None:
        self.stdout.write(f"\n  Admin     {url}/admin/\n  REST API  {url}/api/\n  OpenAI    {url}/v1\n")
        for line in secret_lines(created):
            self.stdout.write(line)
        self._key = created.api_key if created.api_key and created.api_key != PRESET else "$KEY"
        self.stdout.write("")
        self.stdout.flush()

    def _serve(self, host: str, port: int) -> None:
        honcho.manager.KILL_WAIT = settings.INFERENCE_DRAIN_S + KILL_MARGIN_S
        manager = honcho.manager.Manager()
        for process in ("worker", "web"):
            manager.add_process(process, _command("run", process), env=os.environ | {"PYTHONUNBUFFERED": "1"})
        threading.Thread(target=self._announce, args=(f"http://{host}:{port}",), daemon=True).start()
        lost: list[str] = []
        threading.Thread(target=_watch, args=(manager, lost), daemon=True).start()
        manager.loop()
        if lost:
            logs = f"see the logs in {settings.MILLM_HOME / 'redis'} and {settings.MILLM_HOME / 'postgres'}"
            raise CommandError(f"{lost[0]}, which make run started, ended by itself: {logs}")
        if manager.returncode not in STOPPED_BY_HAND:
            raise CommandError(f"{_first_stopped(manager)} ended by itself: see its lines above")

    def _announce(self, url: str) -> None:
        """Print that miLLM is ready when /readyz says so."""
        while True:
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        if demo := registered():
            for model in (MODEL, f"{MODEL}:ocean"):
                self.stdout.write(_curl(url, self._key, model, demo))
        if self._key == "$KEY":
            self.stdout.write(f"  $KEY is an API key: {url}/admin/millm_site/apikey/ makes a new one")
        self.stdout.write(f"miLLM is ready: {url}/admin/   (Ctrl-C stops it)")
        self.stdout.flush()


def _run_web(host: str, port: int) -> None:
    if settings.WHITENOISE_USE_FINDERS is False and not (settings.STATIC_ROOT / "staticfiles.json").exists():
        raise CommandError(f"STATIC_ROOT {settings.STATIC_ROOT} is empty: run `manage.py collectstatic` first")
    from inference.broker.exchange import SEND_S
    from millm_site.asgi import application  # sets up the logs, before uvicorn switches some of them off
    from millm_site.middleware.protocol import BoundedProtocol

    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        http=BoundedProtocol,
        ws="none",
        log_config=None,  # Django's LOGGING configures all loggers
        access_log=False,
        forwarded_allow_ips=settings.FORWARDED_ALLOW_IPS,
        timeout_graceful_shutdown=math.ceil(settings.INFERENCE_DRAIN_S),
    )
    with suppress(KeyboardInterrupt):  # uvicorn raises it again after its shutdown
        uvicorn.Server(config).run(sockets=[_listener(config, SEND_S)])


def _listener(config: uvicorn.Config, timeout_s: float) -> socket.socket:
    """The web's listening socket. The kernel ends a connection whose client accepts no data for `timeout_s`."""
    listener = config.bind_socket()
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux has it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout_s * 1000))
    return listener


def _run_worker(name: str) -> None:
    from celery.bin.celery import celery

    options = ["--pool", "threads", "--concurrency", str(settings.INFERENCE_BATCH_SIZE), "--hostname", f"{name}@%h"]
    # Celery sets the root logger to this level.
    options += ["--loglevel", settings.LOGGING["root"]["level"], "--without-gossip", "--without-mingle"]
    options.append("--without-heartbeat")  # nobody listens to Celery's own
    # `app.worker_main` is not used: it loses the exit status of a failed worker.
    celery.main(["--app", "millm_site.celery:app", "--quiet", "worker", *options])


def _watch(manager: Any, lost: list[str]) -> None:
    """End all processes when an embedded server is lost: else requests would fail without a visible reason."""
    misses = 0
    while misses < MISSES:
        time.sleep(1)
        misses = misses + 1 if (name := embedded.silent()) else 0
    lost.append(name)
    manager.terminate()


def _command(*words: str) -> str:
    """A command line of manage.py for honcho. `exec` replaces honcho's shell, so that signals reach the process."""
    return "exec " + shlex.join([sys.executable, str(settings.BASE_DIR / "manage.py"), *words])


def _first_stopped(manager: Any) -> str:
    codes = {name: process.get("returncode") for name, process in manager._processes.items()}
    name = next((name for name, code in codes.items() if code == manager.returncode), "a process")
    how = f"signal {-manager.returncode}" if manager.returncode < 0 else f"exit status {manager.returncode}"
    return f"{name} ({how})"


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(f"{host}:{port} cannot be used ({error.strerror}): set PORT to a free port") from error


def _curl(url: str, key: str, model: str, demo: Demo) -> str:
    ask = [{"role": "user", "content": demo.prompt}]
    body = shlex.quote(json.dumps({"model": model, "messages": ask}))
    headers = f"-H \"Authorization: Bearer {key}\" -H 'Content-Type: application/json'"
    return f"  Try       curl -s {url}/v1/chat/completions {headers} -d {body}"
