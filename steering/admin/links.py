"""Links to the page of a feature, which the inference app has."""

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString


def feature_url(sae_id: str, index: int) -> str:
    return reverse("admin:steering_sae_feature", args=[sae_id, index])


def feature_url_pattern() -> str:
    """The URL with SAE and INDEX in the place of the id and the index, for scripts."""
    return f"{feature_url('SAE', 0).removesuffix('0/')}INDEX/"


def feature_link(sae_id: str, index: int) -> SafeString:
    url = feature_url(sae_id, index)
    return format_html('<a class="text-link" href="{}" title="The page of this feature">{}</a>', url, index)
