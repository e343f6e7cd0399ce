"""The model that a reading asks."""

from dataclasses import dataclass

from inference.models import LanguageModel
from profiles.current import NoCurrentModel


@dataclass(frozen=True)
class ReadingModel:
    """The model of a reading; see `inference.broker.exchange.Destination`."""

    model: LanguageModel

    @staticmethod
    def current_model() -> LanguageModel:
        """The current model. Raises NoCurrentModel."""
        model = LanguageModel.objects.current()
        if model is None:
            raise NoCurrentModel("no model is loaded, so nothing can be read: load a model")
        return model

    @property
    def served(self) -> str:
        return self.model.name

    @property
    def version(self) -> str:
        return self.model.version

    @property
    def queue(self) -> str:
        return self.model.queue

    @property
    def profile(self) -> None:
        return None

    def why_unserved(self) -> str:
        return self.model.why_unserved
