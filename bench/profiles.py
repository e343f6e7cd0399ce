"""Pages of 50 out of 100,000 profiles through REST, and activation, on the embedded PostgreSQL; medians."""

import random
from functools import partial
from typing import Any

from bench.setup import median_ms, report, start_django

ROWS = 100_000
QUERIES = {
    "first page": "",
    "page 1000": "page=1000",
    "last page": "page=2000",
    "is_active": "is_active=true",
    "model": "model_id=m1",
    "SAE and layer": "sae_id=s3&layer=2",
    "feature": "feature=777",
    "rare feature": "feature=12345",
    "latest first": "ordering=-updated_at",
    "search, rare": "search=profile+number+77777",
    "search, common": "search=number",
}


def fill() -> None:
    from django.db import connection

    from inference.models import LanguageModel
    from profiles.models import Profile
    from steering.models import SAE

    model = LanguageModel.objects.create(name="m0", source="/m", d_model=16, num_layers=8, context_length=512)
    model.make_current()
    sae = SAE.objects.create(id="s0", source="/s", d_in=16, d_sae=16384, layer=0, hook_name="blocks.0.hook_resid_post")
    model.attach(sae)
    choose = random.Random(0)
    rows = (
        Profile(
            name=f"profile number {i}",
            description=f"Talks about topic {i % 100}, as a researcher would describe it in a sentence or two.",
            model_id=f"m{i % 10}",
            sae_id=f"s{i % 10}",
            layer=i % 10,
            strengths={choose.randrange(16384): round(choose.uniform(-9, 9), 2) for _ in range(8)},
        )
        for i in range(ROWS)
    )
    Profile.objects.bulk_create(rows, batch_size=2000)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE profiles_profile")  # as PostgreSQL does by itself after a while


def main() -> None:
    start_django()
    fill()
    from django.contrib.auth import get_user_model
    from rest_framework.test import APIClient

    from profiles.models import Profile

    client: Any = APIClient(SERVER_NAME="localhost")

    def ask(method: Any, url: str) -> None:
        answer = method(url)
        assert answer.status_code == 200, (url, answer.content)

    client.force_authenticate(get_user_model().objects.create_superuser("root"))
    profiles = list(Profile.objects.filter(model_id="m0")[:200])
    profiles[0].activate()
    pages = {name: median_ms(partial(ask, client.get, f"/api/profiles?{query}"), 15) for name, query in QUERIES.items()}
    turn = iter(profiles * 10)
    activation = median_ms(lambda: next(turn).activate(), 200)
    by_rest = median_ms(lambda: ask(client.post, f"/api/profiles/{next(turn).pk}/activate"), 200)
    figures = {"page_ms": pages, "activation_ms": activation, "activation_by_rest_ms": by_rest}
    report("profiles", str(__doc__), {"rows": ROWS, **figures})


if __name__ == "__main__":
    main()
