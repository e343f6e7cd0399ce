"""The app of what is miLLM's as a whole."""

from django.apps import AppConfig


class MillmSiteConfig(AppConfig):
    name = "millm_site"
    verbose_name = "Access"

    def ready(self) -> None:
        from millm_site import checks  # noqa: F401  (registers them)
