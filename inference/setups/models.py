"""Setups that were left: a model with its load options, its attached SAEs and what steered, as one switch back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import models, transaction
from django.utils import timezone
from django.utils.text import capfirst

from inference.setups.errors import NoSuchSetup, SetupGone, SetupIncomplete
from inference.setups.switch import changed, switch
from inference.states import Status
from profiles.models import Profile
from steering.document import Steering
from steering.fields import FeatureStrengthsField, MoreField
from steering.history import Origin
from steering.models import SAE, SteeringState

if TYPE_CHECKING:
    from inference.models import LanguageModel

KEPT = 5


class SetupManager(models.Manager["Setup"]):
    def now(self) -> "Setup | None":
        """The present setup, not saved; None where no model is current."""
        from inference.models import LanguageModel

        model = LanguageModel.objects.current()
        state = SteeringState.objects.load()
        return Setup.of(model, SAE.objects.all_attached(), Profile.objects.active(), state) if model else None

    def before(self) -> "Setup | None":
        """The setup that was left last and is not the present one."""
        return next(iter(self.others()), None)

    def others(self) -> "list[Setup]":
        """The kept setups that are not the present one, the one that was left last first."""
        return self.other_than(self.now()) if self.exists() else []

    def other_than(self, now: "Setup | None") -> "list[Setup]":
        """The kept setups that are not `now`."""
        return [kept for kept in self.all() if now is None or kept.content != now.content]

    def last_left(self) -> "Setup":
        """`before`. Raises NoSuchSetup."""
        if (found := self.before()) is None:
            raise NoSuchSetup("there is no previous setup: a load or an unload keeps the setup that it ends")
        return found

    def with_id(self, setup_id: int) -> "Setup":
        """The kept setup of that id. Raises NoSuchSetup."""
        # PostgreSQL refuses a number that does not fit the bigint column
        found = self.filter(pk=setup_id).first() if setup_id < 2**63 else None
        if found is None:
            raise NoSuchSetup(f"there is no setup {setup_id}: the last {KEPT} that were left are kept")
        return found

    @contextmanager
    def keeping(self, why: str, *, unless_plain: bool = False) -> Iterator[None]:
        """Keep the present setup if the block changes it, in one transaction; `why` says in a few words what ended it.

        Nothing is kept of a load that failed, where the setup is nothing but its model; `unless_plain` keeps no setup
        that is nothing but a model.
        """
        # Workers are asked before the transaction, which should not wait for Redis.
        worth = not unless_plain and not _has_failed()
        with transaction.atomic():
            SteeringState.objects.lock()
            left = self.now()
            yield
            now = self.now()
            if left and (now is None or now.content != left.content) and (worth or not left.is_plain):
                left.keep(why)


def _has_failed() -> bool:
    from inference.models import LanguageModel

    model = LanguageModel.objects.current()
    return model is not None and model.status == Status.ERROR


class Setup(Origin):
    """A setup as it was when it was left. Its rows are named, since they may be deleted: it says then what is missing.

    Of the live steering it has the values only where they were set by hand: a profile is activated as it is now.
    """

    model_name = models.CharField(max_length=100)
    source = models.CharField(max_length=500)
    revision = models.CharField(max_length=100, blank=True)
    dtype = models.CharField(max_length=20)
    device = models.CharField(max_length=20)
    saes = models.JSONField(default=list, help_text="[{id, also, fingerprint}], the main SAE first.")
    profile_id = models.CharField(max_length=50, blank=True)
    profile_name = models.CharField(max_length=100, blank=True)
    is_by_hand = models.BooleanField(default=False, help_text="Live steering that is not that of the profile.")
    enabled = models.BooleanField(default=False)
    strengths = FeatureStrengthsField(default=dict, blank=True)
    more = MoreField()
    why = models.TextField(help_text="The change that ended it.")
    left_at = models.DateTimeField(default=timezone.now)

    objects = SetupManager()

    class Meta:
        ordering = ["-id"]
        default_permissions = ()  # those of its parts count

    @classmethod
    def of(cls, model: "LanguageModel", saes: list[SAE], profile: Profile | None, state: SteeringState) -> "Setup":
        """The setup of these rows, not saved."""
        differs = profile.differs_from(state) if profile else bool(state.document)
        by_hand: dict[str, Any] = {"is_by_hand": differs}
        if differs:
            by_hand |= {"enabled": state.enabled, "strengths": state.strengths, "more": state.more}
        return cls(
            model_name=model.name,
            source=model.source,
            revision=model.revision,
            dtype=model.dtype,
            device=model.device,
            saes=[{"id": sae.pk, "also": sae.is_also_attached, "fingerprint": sae.fingerprint} for sae in saes],
            profile_id=profile.pk if profile else "",
            profile_name=profile.name if profile else "",
            **by_hand,
        )

    def __str__(self) -> str:
        parts = [*(f"SAE {one['id']}" for one in self.saes)]
        if self.profile_id:
            parts.append(f"profile {self.profile_name}")
        if self.is_by_hand:
            parts.append(f"live steering by hand ({self.steering_in_words})")
        listed = " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
        options = [one for one in (self.dtype, self.device) if one != "auto"]
        named = f"model {self.model_name}" + (f" ({', '.join(options)})" if options else "")
        return named + (f" with {listed}" if parts else "")

    @property
    def in_words(self) -> str:
        """A setup as the beginning of a sentence."""
        return capfirst(str(self))

    @property
    def document(self) -> Steering:
        """The live steering that was set by hand, as one document."""
        return Steering.join(self.strengths, self.more)

    @property
    def steering_in_words(self) -> str:
        count = self.document.number
        return f"{count} feature{'' if count == 1 else 's'}, {'on' if self.enabled else 'off'}"

    @property
    def content(self) -> tuple[Any, ...]:
        """Equal for setups that are the same, whenever they were left."""
        saes = [(one["id"], one["also"]) for one in self.saes]
        options = (self.model_name, self.source, self.revision, self.dtype, self.device)
        return (*options, saes, self.profile_id, self.is_by_hand, self.enabled, self.document)

    @property
    def is_plain(self) -> bool:
        """True where it is nothing but a model."""
        return not (self.saes or self.profile_id or self.is_by_hand)

    @property
    def model(self) -> "LanguageModel | None":
        """Its model; None where it was deleted, or is another one now."""
        from inference.models import LanguageModel

        row = LanguageModel.objects.filter(name=self.model_name, source=self.source, revision=self.revision)
        return row.first()

    @property
    def missing(self) -> list[str]:
        """A sentence for each of its rows that was deleted, or is another one now."""
        gone = [] if self.model else [f"Model {self.model_name} was deleted, or is another one now."]
        here = {sae.pk: sae for sae in SAE.objects.filter(pk__in=[one["id"] for one in self.saes])}
        for kept in self.saes:
            if (sae := here.get(kept["id"])) is None:
                gone.append(f"SAE {kept['id']} was deleted.")
            elif changed(kept, sae):
                gone.append(f"SAE {sae} has other weights now.")
        if self.profile_id and not Profile.objects.filter(pk=self.profile_id).exists():
            gone.append(f"Profile {self.profile_name} was deleted.")
        return gone

    def keep(self, why: str) -> None:
        """Keep this setup as the one that was left last, in place of an equal one; older ones than KEPT are deleted."""
        equal = [kept.pk for kept in Setup.objects.all() if kept.content == self.content]
        Setup.objects.filter(pk__in=equal).delete()
        self.why = why
        self.save(force_insert=True)
        newest = [*Setup.objects.values_list("pk", flat=True)[:KEPT]]
        Setup.objects.exclude(pk__in=newest).delete()

    # --- who may see and restore it ---

    def may_be_seen_by(self, user: Any) -> bool:
        """True where `user` may view each of its parts."""
        return self._may(user, "view", "profiles.view_profile")

    def may_be_restored_by(self, user: Any) -> bool:
        """True where `user` may load a model, and do what the setup has: attach SAEs, activate, set features."""
        return self._may(user, "change", "profiles.activate_profile")

    def _may(self, user: Any, verb: str, of_profile: str) -> bool:
        needed = {
            f"inference.{verb}_languagemodel": True,
            f"steering.{verb}_sae": bool(self.saes),
            of_profile: bool(self.profile_id),
            f"steering.{verb}_steeringstate": self.is_by_hand,
        }
        return bool(user.has_perms([name for name, is_needed in needed.items() if is_needed]))

    # --- the switch ---

    def plan(self) -> list[str]:
        """The sentences on what `restore` could not restore now; changes nothing.

        Raises SetupGone, or what `LanguageModel.check_files` raises.
        """
        model = self._loadable()
        with transaction.atomic():
            SteeringState.objects.lock()
            missing = switch(self, model)
            transaction.set_rollback(True)
        return missing

    def restore(self, *, partly: bool = False) -> list[str]:
        """Load the model, attach the SAEs and activate the profile again, in one transaction; keep the present setup.

        Returns the sentences on what could not be restored. Raises SetupIncomplete where there are any, unless
        `partly`; SetupGone, or what `LanguageModel.check_files` raises. Nothing changes then.
        """
        model = self._loadable()
        with Setup.objects.keeping("an earlier setup was restored"):
            missing = switch(self, model)
            if missing and not partly:
                raise SetupIncomplete(f"not all of the setup can be restored: {' '.join(missing)}", missing=missing)
            if not missing:  # it is the present one now; otherwise it still has what is missing
                Setup.objects.filter(pk=self.pk).delete()
        model.refresh_from_db()
        if model.status == Status.ERROR:
            model.load()
        return missing

    def _loadable(self) -> "LanguageModel":
        if (model := self.model) is None:
            raise SetupGone(
                f"the model {self.model_name} of {self.source} is not registered: it was deleted, or is another one now"
            )
        model.check_files()
        return model
