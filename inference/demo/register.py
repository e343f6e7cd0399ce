"""Puts a demo into the database on the first run: its model, its SAE with labels, and its profiles.

All demos have the same names there.
"""

import json
from pathlib import Path

from django.db import transaction

from inference.demo import FEATURES, Demo
from inference.demo.smollm2 import SMOLLM2
from inference.demo.tiny import TINY
from inference.engine.saes.fingerprint import decoder_fingerprint
from inference.measuring.results import read_file, store
from inference.models import LanguageModel
from inference.setups.models import Setup
from profiles.models import Profile
from steering.formats import read_config
from steering.labels.files import LabelFile
from steering.models import SAE, FeatureLabel

MODEL, SAE_ID = "demo", "demo-sae"
DEMOS = {demo.name: demo for demo in (SMOLLM2, TINY)}


def registered() -> Demo | None:
    """The demo whose model is registered; None if the user deleted it, or before the first run."""
    models = LanguageModel.objects.filter(name=MODEL)
    return next((demo for demo in DEMOS.values() if models.filter(source__regex=demo.sources).exists()), None)


def follow_paths() -> None:
    """Let the sources of the demo's rows follow the checkout and MILLM_HOME, which may have moved."""
    for demo in DEMOS.values():
        LanguageModel.objects.filter(name=MODEL, source__regex=demo.sources).update(source=str(demo.model))
        Setup.objects.filter(model_name=MODEL, source__regex=demo.sources).update(source=str(demo.model))
        SAE.objects.filter(pk=SAE_ID, source__regex=demo.sources).update(source=str(demo.files / "sae"))


@transaction.atomic
def register_demo(demo: Demo = TINY, *, with_features: bool = True) -> None:
    """Register `demo` unless a demo is registered: what the user changed since stays so.

    `with_features` also registers what was measured of the SAE's features.
    """
    follow_paths()
    if LanguageModel.objects.filter(name=MODEL).exists():
        return
    model, sae = _register_model(demo), _register_sae(demo)
    if LanguageModel.objects.current() is None:
        model.make_current()
        model.attach(sae)
    with (demo.files / "labels.csv").open("rb") as file:
        FeatureLabel.objects.import_files(sae.pk, [LabelFile(file, source=MODEL)])
    if with_features:
        store(sae.pk, read_file(demo.files / FEATURES))
    for path in sorted((demo.files / "profiles").glob("*.json")):
        _register_profile(path, sae)


def _register_model(demo: Demo) -> LanguageModel:
    return LanguageModel.objects.register(str(demo.model), name=MODEL, anywhere=True)


def _register_sae(demo: Demo) -> SAE:
    config = read_config(demo.files / "sae")
    sae, _ = SAE.objects.get_or_create(
        pk=SAE_ID,
        defaults={
            "source": str(demo.files / "sae"),
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
            more={"positions": profile["positions"]} if "positions" in profile else {},
        )
