"""The search of profiles that the dashboard and the playground offer."""

from typing import Any

from profiles.models import Profile
from steering.models import SAE


def fitting_names(
    search: str, model: Any, sae: SAE | None, *, most: int, with_active: bool = False
) -> tuple[list[str], bool]:
    """The first `most` names of profiles that fit `model` and `sae` and contain `search`; True if there are more.

    The active profile is left out, or with `with_active` comes first.
    """
    fitting = Profile.objects.filter(name__icontains=search).fitting(model, sae).order_by("name")
    names = fitting.values_list("name", flat=True)
    active = names.filter(is_active=True) if with_active else []
    found = [*active, *names.filter(is_active=False)[: most + 1]]
    return found[:most], len(found) > most
