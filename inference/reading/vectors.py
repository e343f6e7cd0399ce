"""Vectors made of texts: the request to a worker, and the vector set that keeps the result."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from django.conf import settings
from django.utils import timezone
from django.utils.text import slugify
from numpy.typing import NDArray

from inference.broker.messages import Prompt, VectorMessage, VectorMethod, VectorPool
from inference.model_files import model_folder
from inference.models import LanguageModel
from inference.reading import vector_files
from inference.reading.asking import ask
from inference.reading.model import ReadingModel
from steering.architectures import RESID_POST, UnsupportedHookPoint, parse_hook_name
from steering.errors import Refused
from steering.hub.sources import is_folder
from steering.labels.files import clean
from steering.models import SAE


class InvalidVector(Refused):
    """Error: a vector is asked for at no layer of the model, or of texts that are not in pairs."""

    code = "invalid_vector"

    def __init__(self, message: str, field: str) -> None:
        super().__init__(f"{field}: {message}", field=field)


@dataclass(frozen=True)
class Recipe:
    """The texts of a vector, and the way it is made of them: see `inference.engine.reading.vectors`."""

    positive: Sequence[Prompt]
    negative: Sequence[Prompt]
    method: VectorMethod = "difference"
    pool: VectorPool = "mean"
    answer_only: bool = True
    skip_special: bool = True

    def check(self) -> None:
        """Raises InvalidVector."""
        numbers = len(self.positive), len(self.negative)
        if self.method == "pca" and numbers[0] != numbers[1]:
            expected = "expected as many texts as positive ones, since pca is of pairs: or use the method difference"
            raise InvalidVector(f"got {numbers[1]} texts for {numbers[0]}, {expected}", "negative")


@dataclass(frozen=True)
class MadeVector:
    """A vector as a worker made it, with figures: see `inference.engine.reading.vectors.MadeVector`."""

    vector: NDArray[np.float32]
    norm: float
    auc: float | None
    residual_norm: float
    tokens: int

    @property
    def figures(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "vector"}


@dataclass(frozen=True)
class VectorReading(ReadingModel):
    """A model, and the hook point at which it is read."""

    hook_name: str

    @classmethod
    def of(cls, layer: int | None = None, hook_name: str = "") -> Self:
        """The current model at a hook point, which is behind the block `layer` where it is not named.

        Raises NoCurrentModel or InvalidVector.
        """
        field = "hook_name" if hook_name else "layer"
        if (layer is None) == (not hook_name):
            raise InvalidVector("got both or none, expected one of layer and hook_name", field)
        model = cls.current_model()
        name = hook_name or f"blocks.{layer}.{RESID_POST}"
        try:
            at, _ = parse_hook_name(name)
        except UnsupportedHookPoint as error:
            raise InvalidVector(str(error), field) from error
        if at >= model.num_layers:
            raise InvalidVector(f"got layer {at}, expected 0 to {model.num_layers - 1} of {model}", field)
        return cls(model, name)

    def make(self, recipe: Recipe) -> MadeVector:
        """The vector of a recipe. Raises InvalidVector, ReadingFailed, or the error of an outage."""
        recipe.check()
        make = partial(
            VectorMessage,
            prompts=[*recipe.positive, *recipe.negative],
            hook_name=self.hook_name,
            skip_special=recipe.skip_special,
            answer_only=recipe.answer_only,
            positives=len(recipe.positive),
            method=recipe.method,
            pool=recipe.pool,
        )
        [found] = [event.data for event in ask("vector", self, make) if event.kind == "vector"]
        vector = np.frombuffer(base64.b64decode(found["vector"]), "<f4")
        return MadeVector(vector, *(found[name] for name in ("norm", "auc", "residual_norm", "tokens")))

    def make_set(self, recipe: Recipe, *, set_id: str = "", label: str = "") -> tuple[SAE, MadeVector]:
        """Make a vector and keep it as a vector set of one vector, with the label `label` in its files.

        `set_id` is made of the label where it is empty. Raises what `make` raises, InvalidSAE, SAEExists or
        VectorsNotStored.
        """
        label = clean(label)
        set_id = set_id or free_id(slugify(label)[:150] or f"vector-{parse_hook_name(self.hook_name)[0]}")
        SAE(id=set_id, source=str(settings.MILLM_VECTORS_DIR), format=vector_files.FORMAT).check_rules()
        made = self.make(recipe)
        folder = vector_files.store(set_id, made.vector, self._config(recipe, made, label), _texts(recipe))
        try:
            row = SAE.objects.register(str(folder), sae_id=set_id, anywhere=True)
        except BaseException:
            vector_files.remove(folder)
            raise
        SAE.objects.filter(pk=row.pk).update(residual_norm=made.residual_norm)
        row.refresh_from_db()
        return row, made

    def _config(self, recipe: Recipe, made: MadeVector, label: str) -> dict[str, Any]:
        """The content of `cfg.json`."""
        model = {name: getattr(self.model, name) for name in ("name", "source", "dtype")}
        options = {name: getattr(recipe, name) for name in ("method", "pool", "answer_only", "skip_special")}
        return {
            "format": vector_files.FORMAT,
            "hook_name": self.hook_name,
            "model_name": self.model.name,
            **({"labels": [label]} if label else {}),
            "made": {
                **options,
                "model": {**model, "revision": commit_of(self.model)},
                **made.figures,
                "at": timezone.now().isoformat(),
                "by": f"miLLM v{settings.VERSION}",
            },
        }


def free_id(name: str) -> str:
    """`name`, or the first of name-2, name-3 … that no SAE has."""
    taken = set(SAE.objects.filter(pk__startswith=name).values_list("pk", flat=True))
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def commit_of(model: LanguageModel) -> str:
    """The commit of a hub's model where this machine has its files, else the revision of its row."""
    folder = None if is_folder(model.source) else model_folder(model)
    return folder.name if folder else model.revision


def _texts(recipe: Recipe) -> dict[str, Any]:
    """The content of `texts.json`: texts as strings, conversations as lists of messages."""
    return {side: [_plain(prompt) for prompt in getattr(recipe, side)] for side in ("positive", "negative")}


def _plain(prompt: Mapping[str, Any]) -> Any:
    [value] = prompt.values()
    return value
