"""What this app does with what happens in the others."""

from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "inference"

    def ready(self) -> None:
        from inference.broker.counters import profile_activated
        from profiles.models import activated

        activated.connect(profile_activated)
