"""Every page of the admin with 100,000 profiles of many models: the server's time, through Django's test client."""

import random
import statistics
import time
from typing import Any

from bench.setup import report, start_django

ROWS, ROUNDS, LIMIT_MS = 100_000, 20, 300
PER_PAGE = 25
MODELS, SAES, FEATURES = 500, 2_000, 65_536
LIST = "/admin/profiles/profile/"
PAGES = {
    "dashboard": "/admin/",
    "profiles": LIST,
    "profiles, search in names": f"{LIST}?q=number+77777",
    "profiles, search for what all have": f"{LIST}?q=topic",
    "profiles, feature": f"{LIST}?q=feature:777",
    "profiles, feature that none has": f"{LIST}?q=feature:65536",
    "profiles, of a model": f"{LIST}?model_id__icontains=model-123",
    "profiles, of an SAE": f"{LIST}?sae_id__icontains=sae-1999",
    "profiles, of a layer": f"{LIST}?layer=7",
    "profiles, that fit here": f"{LIST}?fits=yes",
    "profiles, that do not fit": f"{LIST}?fits=no",
    "profiles, not active": f"{LIST}?is_active__exact=0",
    "profiles, page 1000": f"{LIST}?p=1000",
    "profiles, last page": f"{LIST}?p={ROWS // PER_PAGE}",
    "profiles, latest first": f"{LIST}?o=-5",
    "profile": f"{LIST}{{profile}}/change/",
    "new profile": f"{LIST}add/",
    "profile's history": f"{LIST}{{profile}}/history/",
    "deleting a profile": f"{LIST}{{profile}}/delete/",
    "deleted profiles": f"{LIST}deleted/",
    "import": f"{LIST}import/",
    "blend": f"{LIST}blend/",
    "live steering": "/admin/steering/steeringstate/",
    "feature labels": "/admin/steering/featurelabel/",
    "feature labels, search": "/admin/steering/featurelabel/?q=tides",
    "feature": "/admin/steering/sae/sae-0/features/7/",
    "explore": "/admin/explore/",
    "playground": "/admin/playground/",
    "sweeps": "/admin/inference/sweep/",
    "models": "/admin/inference/languagemodel/",
    "model": "/admin/inference/languagemodel/{model}/change/",
    "SAEs": "/admin/steering/sae/",
    "SAE": "/admin/steering/sae/sae-0/change/",
    "API keys": "/admin/millm_site/apikey/",
    "users": "/admin/auth/user/",
    "groups": "/admin/auth/group/",
}
"""What is asked for; {profile} and {model} are ids."""


def fill() -> dict[str, Any]:
    """The rows, and the ids that PAGES has places for."""
    from django.contrib.admin.utils import quote
    from django.db import connection

    from inference.models import LanguageModel
    from profiles.models import Profile
    from steering.models import SAE, FeatureLabel

    shape = {"d_model": 16, "num_layers": 8, "context_length": 512}
    model = LanguageModel.objects.create(name="model-0", source="/m", **shape)
    model.make_current()
    hook = {"d_in": 16, "d_sae": FEATURES, "hook_name": "blocks.0.hook_resid_post"}
    saes = [SAE(id=f"sae-{i}", source="/s", status=SAE.Status.READY, **hook) for i in range(200)]
    SAE.objects.bulk_create(saes)
    model.attach(saes[0])
    labels = (
        FeatureLabel(sae_id=f"sae-{i % 200}", index=i // 200, label="tides and waves", source="b") for i in range(ROWS)
    )
    FeatureLabel.objects.bulk_create(labels, batch_size=5000)
    choose = random.Random(0)
    profiles = (
        Profile(
            name=f"profile number {i}",
            description=f"Talks about topic {i % 100}, as a researcher would describe it in a sentence or two.",
            model_id=f"model-{0 if i % 4 == 0 else i % MODELS}",
            sae_id=f"sae-{0 if i % 4 == 0 else i % SAES}",
            layer=0 if i % 4 == 0 else i % 40,
            strengths={choose.randrange(FEATURES): round(choose.uniform(-9, 9), 2) for _ in range(8)},
        )
        for i in range(ROWS)
    )
    Profile.objects.bulk_create(profiles, batch_size=2000)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")  # as PostgreSQL does by itself after a while
    profile = Profile.objects.get(name="profile number 0")
    profile.activate()
    for i in range(30):
        profile.description = f"edit {i}"
        profile.save()
    return {"profile": quote(profile.pk), "model": model.pk}


def measure(client: Any, urls: dict[str, str]) -> dict[str, dict[str, float]]:
    """Each page once in every round, so that what else the machine does slows all of them."""
    times: dict[str, list[float]] = {name: [] for name in urls}
    for done in range(ROUNDS + 2):
        for name, url in urls.items():
            began = time.perf_counter()
            answer = client.get(url)
            if done > 1:  # the first rounds warm up
                times[name].append(1000 * (time.perf_counter() - began))
            assert answer.status_code == 200, (url, answer.status_code)
    return {name: summary(taken) for name, taken in times.items()}


def summary(taken: list[float]) -> dict[str, float]:
    p95 = statistics.quantiles(taken, n=20, method="inclusive")[-1]
    return {"median ms": round(statistics.median(taken), 1), "p95 ms": round(p95, 1)}


def main() -> None:
    start_django()
    ids = fill()
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client(SERVER_NAME="localhost")
    client.force_login(get_user_model().objects.create_superuser("root"))
    figures = measure(client, {name: url.format(**ids) for name, url in PAGES.items()})
    slow = [name for name, times in figures.items() if times["p95 ms"] >= LIMIT_MS]
    report("admin", str(__doc__), {"rows": ROWS, **figures, f"slower than {LIMIT_MS} ms": ", ".join(slow) or "none"})


if __name__ == "__main__":
    main()
