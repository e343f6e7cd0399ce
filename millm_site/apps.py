"""The Django app of the project itself: accounts and API keys."""

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class MillmSiteConfig(AppConfig):
    name = "millm_site"
    verbose_name = "Access"

    def ready(self) -> None:
        from millm_site import checks, schema  # noqa: F401  (importing registers their contents)
        from millm_site.accounts.groups import make_groups

        apps.get_app_config("auth").verbose_name = self.verbose_name
        # The last app of all, so that the other apps' permissions exist.
        post_migrate.connect(make_groups, sender=self)
