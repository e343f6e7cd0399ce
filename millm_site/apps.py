"""The app of what is miLLM's as a whole."""

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class MillmSiteConfig(AppConfig):
    name = "millm_site"
    verbose_name = "Access"

    def ready(self) -> None:
        from millm_site import checks, schema  # noqa: F401  (registers what is in them)
        from millm_site.accounts.groups import make_groups

        apps.get_app_config("auth").verbose_name = self.verbose_name
        # The last app of all: the permissions of the others are there then.
        post_migrate.connect(make_groups, sender=self)
