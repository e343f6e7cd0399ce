"""`manage.py measure_features`: measure the features of an SAE over texts."""

from contextlib import ExitStack
from time import sleep
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.management.named import sae_named
from inference.management.progress import POLL_S
from inference.measuring.corpus import CorpusFile
from inference.measuring.models import Measurement
from steering.errors import Refused
from steering.imports.command import opened, shown_name
from steering.models import SAE

INTERRUPTED = 130  # the status of a shell for a command that Ctrl-C ended


class Command(BaseCommand):
    help = (
        "Measure the features of an SAE over texts: maximum, density, mean, histogram, examples and promoted tokens. "
        "A worker that serves the current model measures, and answers chats meanwhile. This command shows the "
        "progress: Ctrl-C ends the command and not the measuring. Without files the command shows the measuring in "
        "progress, or resumes one that failed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sae", metavar="SAE", help="the id of the SAE")
        texts = 'text, one text per line, or JSON lines ({"text": …} or {"messages": […]}); may be gzipped; - is stdin'
        parser.add_argument("files", nargs="*", metavar="FILE", help=texts)
        parser.add_argument("--cancel", action="store_true", help="end the measuring; earlier statistics are kept")
        parser.add_argument("--no-wait", action="store_true", help="begin, and show no progress")

    def handle(self, *, sae: str, files: list[str], cancel: bool, no_wait: bool, **options: Any) -> None:
        if cancel and files:
            raise CommandError("--cancel takes no files: nothing was changed")
        try:
            measurement = self._measurement(sae_named(sae), files, cancel)
        except Refused as error:
            raise CommandError(str(error)) from error
        if cancel or no_wait:
            self.stdout.write(measurement.status)
            return
        try:
            self._wait(measurement)
        except KeyboardInterrupt:
            self.stderr.write(
                f"The measuring goes on. `measure_features {sae}` shows it again, with --cancel it is ended."
            )
            raise SystemExit(INTERRUPTED) from None
        self._report(measurement)

    def _measurement(self, sae: SAE, files: list[str], cancel: bool) -> Measurement:
        """Begin, cancel, or go on. Raises Refused or CommandError."""
        if files:
            return self._start(sae, files)
        measurement = Measurement.objects.of(sae)
        if cancel:
            measurement.cancel()
        elif measurement.status == Measurement.Status.ERROR:
            self.stderr.write(f"It failed: {measurement.error}. It goes on now.")
            measurement.retry()
        return measurement

    def _start(self, sae: SAE, files: list[str]) -> Measurement:
        with ExitStack() as stack:
            corpus = [CorpusFile(stack.enter_context(opened(name)), shown_name(name)) for name in files]
            try:
                measurement = Measurement.objects.start(sae, corpus)
            except OSError as error:
                raise CommandError(f"a file cannot be read: {error.strerror}. Nothing was stored.") from error
        self.stderr.write(f"{measurement.lines:,} texts of SAE {sae} are measured by {measurement.model_name}.")
        return measurement

    def _wait(self, measurement: Measurement) -> None:
        """Wait for the end; report each change of the progress."""
        reported = ""
        while measurement.is_under_way:
            share = "" if measurement.progress is None else f" {measurement.progress:.0%}"
            tokens = f", {measurement.tokens:,} tokens" if measurement.tokens else ""
            waits = f": waits for a worker that serves {measurement.model_name}" if measurement.waits else ""
            if (now := f"{measurement.status}{share}{tokens}{waits}") != reported:
                self.stderr.write(now)
                reported = now
            sleep(POLL_S)
            measurement.refresh_from_db()

    def _report(self, measurement: Measurement) -> None:
        if measurement.status != Measurement.Status.MEASURED:
            raise CommandError(measurement.error or f"the measuring is {measurement.status}")
        sae = measurement.sae
        sae.refresh_from_db()
        norm = "none" if sae.residual_norm is None else f"{sae.residual_norm:.4g}"
        self.stderr.write(
            f"{sae.d_sae:,} features of SAE {sae} are measured over {measurement.tokens:,} tokens; mean norm of the "
            f"residual stream: {norm}."
        )
        self.stdout.write(measurement.status)
