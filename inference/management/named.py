"""The model or the SAE that a command's argument names."""

from django.core.management.base import CommandError

from inference.models import LanguageModel
from steering.models import SAE

SHOWN = 20  # known names in an error


def model_named(name: str) -> LanguageModel:
    """The model with this name. Raises CommandError."""
    found = LanguageModel.objects.filter(name=name).first()
    if found is None:
        raise CommandError(f"there is no model {name!r}: known are {_known(LanguageModel, 'name')}")
    return found


def sae_named(sae_id: str) -> SAE:
    """The SAE with this id. Raises CommandError."""
    found = SAE.objects.filter(pk=sae_id).first()
    if found is None:
        raise CommandError(f"there is no SAE {sae_id!r}: known are {_known(SAE, 'pk')}")
    return found


def _known(rows: type[LanguageModel] | type[SAE], field: str) -> str:
    names = [*rows._default_manager.values_list(field, flat=True)[: SHOWN + 1]]
    return ", ".join(names[:SHOWN] + (["…"] if len(names) > SHOWN else [])) or "none"
