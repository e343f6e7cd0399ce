"""What the weights say of a feature: a worker computes it once, and its row keeps it."""

from inference.outages import outage_of
from inference.reading.request import Reading
from steering.errors import Refused
from steering.models import SAE, Feature

DETAILS = ("promoted", "suppressed", "nearest")
TOP = 10
"""Promoted tokens, suppressed tokens and nearest features that a row keeps."""


def ensure_details(sae: SAE, index: int) -> str:
    """Have promoted, suppressed and nearest of the feature in its row; return "", or the reason why they are not known,
    without a full stop.

    Raises the error of an outage of PostgreSQL.
    """
    known = Feature.objects.filter(sae=sae, index=index, promoted__isnull=False, nearest__isnull=False)
    if known.exists():
        return ""
    try:
        found = Reading.of(sae.pk, with_encoder=False).feature(index, TOP)
    except Refused as error:
        return str(error)
    except Exception as error:
        if (outage := outage_of(error)) is None or outage.service == "PostgreSQL":
            raise
        return outage.message.removesuffix(".")
    row, _ = Feature.objects.get_or_create(sae=sae, index=index)
    missing = [name for name in DETAILS if getattr(row, name) is None]  # an import may have brought the others
    for name in missing:
        setattr(row, name, found[name])
    row.save(update_fields=missing)
    return ""
