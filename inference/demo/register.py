"""Puts the demo model, its SAE with labels and its profiles into the database on the first run."""

import json
from pathlib import Path

from django.db import transaction

from inference.demo import FEATURES, FILES
from inference.engine.saes.fingerprint import decoder_fingerprint
from inference.measuring.results import read_file, store
from inference.models import LanguageModel
from profiles.models import Profile
from steering.formats import read_config
from steering.labels.files import LabelFile
from steering.models import SAE, FeatureLabel

MODEL, SAE_ID = "demo", "demo-sae"


@transaction.atomic
def register_demo(*, with_features: bool = True) -> None:
    """Register the demo unless it is registered; what the user changed or deleted since stays so.

    Only the paths follow the checkout, which may have moved. `with_features` also registers what was measured of the
    SAE's features.
    """
    LanguageModel.objects.filter(name=MODEL).update(source=str(FILES / "model"))
    SAE.objects.filter(pk=SAE_ID).update(source=str(FILES / "sae"))
    if LanguageModel.objects.filter(name=MODEL).exists():
        return
    model, sae = _register_model(), _register_sae()
    if LanguageModel.objects.current() is None:
        model.make_current()
        model.attach(sae)
    with (FILES / "labels.csv").open("rb") as file:
        FeatureLabel.objects.import_files(sae.pk, [LabelFile(file, source=MODEL)])
    if with_features:
        store(sae.pk, read_file(FILES / FEATURES))
    for path in sorted((FILES / "profiles").glob("*.json")):
        _register_profile(path, sae)


def _register_model() -> LanguageModel:
    return LanguageModel.objects.register(str(FILES / "model"), name=MODEL, anywhere=True)


def _register_sae() -> SAE:
    config = read_config(FILES / "sae")
    sae, _ = SAE.objects.get_or_create(
        pk=SAE_ID,
        defaults={
            "source": str(FILES / "sae"),
            "architecture": config.architecture,
            "d_in": config.d_in,
            "d_sae": config.d_sae,
            "layer": config.layer,
            "hook_name": config.hook_name,
            "model_name": config.model_name,
            "fingerprint": decoder_fingerprint(config),
            "status": SAE.Status.READY,
        },
    )
    return sae


def _register_profile(path: Path, sae: SAE) -> None:
    profile = json.loads(path.read_text())["profile"]
    if not Profile.objects.filter(name=profile["name"]).exists():
        Profile.objects.create(
            name=profile["name"],
            description=profile["description"],
            model_id=MODEL,
            sae_id=sae.pk,
            layer=sae.layer,
            sae_fingerprint=sae.fingerprint,
            strengths={int(index): strength for index, strength in profile["steering"].items()},
        )
