"""A sweep: a row that a worker takes up, and a row for each of its answers as soon as the answer has ended."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

from django.db import models, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from pydantic import TypeAdapter

from inference import capabilities
from inference.broker.messages import Prompt
from inference.sweeps.effects import Effects, effects
from inference.sweeps.plan import InvalidSweep, Plan, as_prompt
from inference.sweeps.subject import Subject
from profiles.current import NoCurrentModel
from profiles.managers import NAME_LENGTH
from steering.errors import NothingToCancel, Refused
from steering.history import AGENT_LENGTH, current_agent
from steering.language_models import LanguageModel
from steering.spec import SteeringSpec

MAX_CHANGES = 100_000
"""Features of a profile times values: each value keeps its own steering."""
SPECS: TypeAdapter[list[SteeringSpec | None]] = TypeAdapter(list[SteeringSpec | None])
FIGURES = ("value_at", "prompt_at", "error", "tokens", "perplexity", "repeats", "words")


class SweepNotFound(Refused):
    """An id that no sweep has."""

    code = "sweep_not_found"
    status = 404


class Place(NamedTuple):
    """The place of an answer in a sweep: positions of its value and its prompt, and the seed."""

    value_at: int
    prompt_at: int
    seed: int


class SweepManager(models.Manager["Sweep"]):
    def get_queryset(self) -> "models.QuerySet[Sweep]":
        """Without the steerings, which may have megabytes: they are read where `specs` needs them."""
        return super().get_queryset().defer("steerings")

    def with_id(self, sweep_id: int) -> "Sweep":
        """The sweep of that id. Raises SweepNotFound."""
        found = self.filter(pk=sweep_id).first() if sweep_id < 2**63 else None
        if found is None:
            raise SweepNotFound(f"there is no sweep {sweep_id}")
        return found

    def start(self, subject: Subject, plan: Plan) -> "Sweep":
        """Ask a worker that serves the current model for the answers of `plan`; 0 is among its values then.

        Raises NoCurrentModel, InvalidSweep, Unsupported, or what `Subject.specs` raises.
        """
        model = LanguageModel.objects.current()
        if model is None:
            raise NoCurrentModel("no model is current: load a model, then sweep")
        capabilities.check(capabilities.SWEEPS, model.name)
        plan.check()
        plan = plan.with_reference()
        plan.check_size()
        specs = subject.specs(plan.values)
        _check_changes(specs)
        return self.create(
            **_of_subject(subject),
            steerings=SPECS.dump_python(specs, mode="json"),
            model_name=model.name,
            model_version=model.version,
            values=[*plan.values],
            prompts=[*plan.prompts],
            seeds=[*plan.seeds],
            words=[*plan.words],
            chat=plan.chat,
            max_tokens=plan.max_tokens,
            sampling=plan.full_sampling(model.sampling_defaults),
            total=plan.cells,
            asked_by=current_agent()[:AGENT_LENGTH],
            due_at=Now(),
        ).fresh()


def _check_changes(specs: list[SteeringSpec | None]) -> None:
    if (changes := sum(spec.features for spec in specs if spec)) > MAX_CHANGES:
        got = f"got {len(specs)} values of a profile with {changes // max(1, len(specs) - 1):,} features"
        raise InvalidSweep(f"{got}: expected at most {MAX_CHANGES:,} features in all: sweep fewer values", "values")


def _of_subject(subject: Subject) -> dict[str, Any]:
    return {
        "profile": subject.profile.name if subject.profile else "",
        "sae_id": subject.sae.pk if subject.sae else "",
        "feature": subject.feature,
        "document": subject.document.as_json(),
    }


class Sweep(models.Model):
    """Answers over values of one strength. `due_at` and `attempts` are as in `inference.worker.leases`.

    The steering of each value is kept as it was when the sweep was made, with the fingerprints of SAEs.
    """

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        ERROR = "error"
        CANCELLED = "cancelled"

    profile = models.CharField(
        max_length=NAME_LENGTH, blank=True, help_text="Its intensity varies; empty of a feature."
    )
    sae_id = models.CharField(max_length=200, blank=True, help_text="The SAE of the feature whose strength varies.")
    feature = models.PositiveIntegerField(null=True)
    document = models.JSONField(help_text="The profile's content; of a feature the steering at strength 1.")
    steerings = models.JSONField(help_text="The steering of each value, as a worker gets it; null is unsteered.")
    model_name = models.CharField(max_length=100, help_text="The model that answers.")
    model_version = models.TextField(help_text="See LanguageModel.version.")
    values = models.JSONField(help_text="Intensities or strengths, in ascending order; 0 is among them.")
    prompts = models.JSONField()
    seeds = models.JSONField()
    words = models.JSONField()
    chat = models.BooleanField(help_text="True where a prompt is a user's message, false where it is continued.")
    max_tokens = models.PositiveIntegerField()
    sampling = models.JSONField()
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.QUEUED)
    error = models.TextField(blank=True)
    total = models.PositiveIntegerField(help_text="The answers of the plan.")
    ended = models.PositiveIntegerField(default=0, help_text="The answers that are stored.")
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Leases since an answer was stored last.")
    asked_by = models.CharField(max_length=AGENT_LENGTH, blank=True)
    due_at = models.DateTimeField(null=True, help_text="When a worker is to take it up: see lease.py.")
    created_at = models.DateTimeField(auto_now_add=True)

    ONGOING = (Status.QUEUED, Status.RUNNING)
    objects = SweepManager()

    class Meta:
        ordering = ["-id"]
        default_permissions = ()  # those of profiles count

    def __str__(self) -> str:
        return f"sweep {self.pk}"

    @property
    def subject(self) -> str:
        """What varies, in words."""
        if self.feature is None:
            return f"intensity of {self.profile}"
        return f"strength of feature {self.feature} of {self.sae_id}"

    @property
    def is_under_way(self) -> bool:
        return self.status in self.ONGOING

    @property
    def waits(self) -> bool:
        """True while no worker holds a lease on it."""
        return self.is_under_way and self.due_at is not None and self.due_at <= timezone.now()

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        return self.ended / self.total

    def fresh(self) -> "Sweep":
        """This row as it is in the database now."""
        self.refresh_from_db()
        return self

    # --- what it asks for ---

    def specs(self) -> list[SteeringSpec | None]:
        """The steering of each value; None is unsteered."""
        return SPECS.validate_json(json.dumps(self.steerings))

    def prompt(self, at: int) -> Prompt:
        """A prompt as a worker reads it."""
        return as_prompt(self.prompts[at], self.chat)

    def missing(self) -> Iterator[Place]:
        """The places without an answer: those of the unsteered reference first, then in order of the values."""
        known = set(self.cells.values_list(*Place._fields))
        order = sorted(range(len(self.values)), key=lambda at: self.values[at] != 0)
        every = product(order, range(len(self.prompts)), self.seeds)
        yield from (Place(*one) for one in every if one not in known)

    # --- what was found ---

    def effects(self) -> list[Effects]:
        """The effects of each value over the answers so far."""
        return effects(self.values, len(self.words), self.cells.values(*FIGURES))

    def failed(self) -> int:
        """The number of answers that ended with an error."""
        return self.cells.exclude(error="").count()

    # --- its life ---

    def cancel(self) -> None:
        """End the sweep; its answers so far are kept. Raises NothingToCancel where it has ended."""
        row = Sweep.objects.filter(pk=self.pk, status__in=self.ONGOING)
        cancelled = row.update(status=self.Status.CANCELLED, error="", due_at=None)
        self.refresh_from_db()
        if not cancelled:
            raise NothingToCancel(f"{self} is {self.status} already: nothing was cancelled")

    @transaction.atomic
    def resume(self) -> None:
        """Go on after a cancellation or an error: with the answers that are missing, or that ended with an error.

        Raises NothingToCancel where it is in progress, or has all answers.
        """
        now = Sweep.objects.select_for_update().get(pk=self.pk)
        failed = now.cells.exclude(error="")
        if now.is_under_way or (now.status == self.Status.DONE and not failed.exists()):
            why = "is in progress" if now.is_under_way else "has all its answers"
            raise NothingToCancel(f"{self} {why}: there is nothing to resume")
        failed.delete()
        ended = now.cells.count()
        again = {"status": self.Status.QUEUED, "error": "", "attempts": 0, "ended": ended, "due_at": Now()}
        Sweep.objects.filter(pk=self.pk).update(**again)
        self.refresh_from_db()

    def check_deletable(self) -> None:
        """Every sweep can be deleted: a worker that works on it ends then."""


class SweepCell(models.Model):
    """An answer of a sweep. With an `error` there is no answer, and its figures are unknown."""

    sweep = models.ForeignKey(Sweep, models.CASCADE, related_name="cells", db_index=False)
    value_at = models.PositiveSmallIntegerField(help_text="The place of its value in the sweep's values.")
    prompt_at = models.PositiveSmallIntegerField()
    seed = models.BigIntegerField()
    text = models.TextField(blank=True)
    token_ids = models.JSONField(default=list)
    tokens = models.PositiveIntegerField(default=0)
    reason = models.CharField(max_length=20, blank=True, help_text="stop or length, as of a chat.")
    perplexity = models.FloatField(null=True, help_text="Of the answer, by the unsteered model.")
    repeats = models.FloatField(null=True, help_text="The share of repeated 4-grams.")
    words = models.JSONField(default=list, help_text="The log-probability of each chosen word after the prompt.")
    error = models.TextField(blank=True)

    class Meta:
        default_permissions = ()
        ordering = ["value_at", "prompt_at", "seed"]
        constraints = [
            models.UniqueConstraint(fields=["sweep", "value_at", "prompt_at", "seed"], name="one_answer_of_a_place")
        ]

    def store(self) -> None:
        """Store the answer, and count it. To be called in a transaction that holds the sweep."""
        self.save(force_insert=True)
        Sweep.objects.filter(pk=self.sweep_id).update(ended=F("ended") + 1, attempts=0)
