"""`manage.py train_demo`: train the demo and write its files."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from inference.demo.tiny import FILES


class Command(BaseCommand):
    help = "Train the demo model, its SAE and its profiles (a few minutes on two cores)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--output", type=Path, default=FILES, help="the folder to write to")
        parser.add_argument("--only-labels", action="store_true", help="only label the features of the existing SAE")
        parser.add_argument("--only-features", action="store_true", help="only measure its features")

    def handle(self, *args: Any, output: Path, only_labels: bool, only_features: bool, **options: Any) -> None:
        from inference.demo.tiny.labels import label_files
        from inference.demo.tiny.statistics import measure_files
        from inference.demo.tiny.training import LAYER, train_demo

        if only_labels or only_features:
            if only_labels:
                label_files(output, LAYER)
            if only_features:
                measure_files(output)
            return

        for topic, pick in train_demo(output).items():
            shares = f"{pick.measured.on_topic:4.0%} on the topic, {pick.measured.well_formed:4.0%} well-formed"
            self.stdout.write(f"{topic:8} {shares}, {len(pick.strengths)} features")
