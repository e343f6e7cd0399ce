"""A reading through an SAE: the SAE and the steering in the database, and the request to a worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from inference.broker.messages import ActivationsMessage, ContrastMessage, FeatureMessage, Pool, Prompt, Stage
from inference.reading.asking import ask
from inference.reading.model import ReadingModel
from profiles.composition import composed
from profiles.models import Profile
from steering.document import Composition
from steering.errors import NoSAEAttached
from steering.labels.models import FeatureLabel
from steering.models import SAE, Feature
from steering.saes import NoSuchSAE
from steering.spec import SteeringSpec


@dataclass(frozen=True)
class Reading(ReadingModel):
    """A model, and the SAE that reads it."""

    sae: SAE

    @classmethod
    def of(cls, sae_id: str = "", *, with_encoder: bool = True) -> Self:
        """The current model with an SAE, the main attached one where `sae_id` is empty.

        `with_encoder` is False for what the directions alone say, as those of a vector set. Raises NoCurrentModel,
        NoSuchSAE, NoSAEAttached, NoEncoder, SAENotReady or SAEDoesNotFit.
        """
        model = cls.current_model()
        sae = SAE.objects.filter(pk=sae_id).first() if sae_id else SAE.objects.attached()
        if sae is None and sae_id:
            raise NoSuchSAE(f"there is no SAE {sae_id}")
        if sae is None:
            raise NoSAEAttached("no SAE is attached: attach one, or name one as `sae`")
        if with_encoder:
            sae.check_encoder()
        model.check_fits(sae)
        return cls(model, sae)

    def spec(
        self, steering: Mapping[str, Any] | None, profile: str | None, intensity: float = 1.0
    ) -> SteeringSpec | None:
        """The steering under which texts are read: a document whose features are of this SAE, or a profile's.

        Activates none. Raises InvalidSteering, SteeringUnavailable, ProfileNotFound, IncompatibleProfile, or what
        `steering.document.resolution.resolve` raises.
        """
        if profile is not None:
            return Profile.objects.named(profile).spec(intensity)
        if steering is None:
            return None
        return composed(Composition.parse(steering, d_sae=self.sae.d_sae), self.sae, intensity).spec

    def describe(self) -> dict[str, Any]:
        return {"model": self.model.name, "sae": self.sae.pk, "hook_name": self.sae.hook_name}

    # --- the requests to a worker; each raises ReadingFailed, or the error of an outage ---

    def activations(
        self,
        prompts: Sequence[Prompt],
        *,
        top_k: int,
        features: Sequence[int] | None = None,
        skip_special: bool = True,
        answer_only: bool = False,
        steering: SteeringSpec | None = None,
        stage: Stage = "after",
    ) -> dict[str, Any]:
        """The features that fire on each token of each prompt, with their labels."""
        make = partial(
            ActivationsMessage,
            prompts=[*prompts],
            place=self.sae.place,
            top_k=top_k,
            features=None if features is None else [*features],
            skip_special=skip_special,
            answer_only=answer_only,
            steering=steering,
            stage=stage,
            answer_form=self.model.answer_form,
        )
        texts = {event.data["text"]: event.data for event in ask("activations", self, make) if event.kind == "read"}
        return {
            **self.describe(),
            "steering": steering.fingerprint if steering else "none",
            "stage": stage if steering else None,
            "texts": labelled_texts(self.sae, [texts[index] for index in range(len(prompts))]),
        }

    def contrast(
        self,
        positive: Sequence[Prompt],
        negative: Sequence[Prompt],
        *,
        pool: Pool = "mean",
        answer_only: bool = True,
        max_density: float = 1.0,
        top: int = 20,
        skip_special: bool = True,
    ) -> dict[str, Any]:
        """The features that tell the positive prompts from the negative ones, with labels and largest activations."""
        make = partial(
            ContrastMessage,
            prompts=[*positive, *negative],
            place=self.sae.place,
            skip_special=skip_special,
            answer_only=answer_only,
            positives=len(positive),
            pool=pool,
            max_density=max_density,
            top=top,
        )
        [found] = [event.data for event in ask("contrast", self, make) if event.kind == "contrast"]
        sides = {side: found[side] for side in ("features", "opposed")}
        indices = [one["index"] for side in sides.values() for one in side]
        labels, maxima = FeatureLabel.objects.of(self.sae.pk, indices), Feature.objects.maxima(self.sae.pk, indices)

        def known(one: dict[str, Any]) -> dict[str, Any]:
            return {**one, "label": labels.get(one["index"], ""), "maximum": maxima.get(one["index"])}

        return {
            **self.describe(),
            "pool": pool,
            "positive": len(positive),
            "negative": len(negative),
            "residual_auc": found["residual_auc"],
            **{side: [known(one) for one in ones] for side, ones in sides.items()},
        }

    def feature(self, index: int, top: int) -> Mapping[str, Any]:
        """`promoted` and `suppressed`, (token text, logit) pairs, and `nearest`, (feature, cosine) pairs."""
        make = partial(FeatureMessage, prompts=[], place=self.sae.place, index=index, top=top)
        [found] = [event.data for event in ask("feature", self, make) if event.kind == "feature"]
        return found


def labelled_texts(sae: SAE, texts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Texts as `inference.worker.reading.readings.read_text` makes them, as objects with labels."""
    indices = {one[0] for text in texts for one in text["features"]}
    labels = FeatureLabel.objects.of(sae.pk, indices)
    return [_labelled(text, labels) for text in texts]


def _labelled(text: Mapping[str, Any], labels: Mapping[int, str]) -> dict[str, Any]:
    return {
        "tokens": [
            {
                "position": position,
                "id": token,
                "text": piece,
                "special": special,
                "features": [
                    {"index": index, "activation": value, "label": labels.get(index, "")} for index, value in features
                ],
            }
            for position, (token, piece, special, features) in enumerate(text["tokens"], text.get("start", 0))
        ],
        "features": [
            {"index": index, "label": labels.get(index, ""), "maximum": maximum, "position": position, "sum": total}
            for index, maximum, position, total in text["features"]
        ],
    }
