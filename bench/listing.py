"""GET /v1/models with 100,000 profiles: the server's time, through Django's test client; medians."""

from typing import Any

from bench.setup import median_ms, report, start_django

ROWS, FITTING = 100_000, 10_000


def fill() -> None:
    from django.db import connection

    from inference.models import LanguageModel
    from profiles.models import Profile
    from steering.models import SAE

    model = LanguageModel.objects.create(name="m", source="/m", d_model=16, num_layers=8, context_length=512)
    model.make_current()
    hook = {"d_in": 16, "d_sae": 16_384, "layer": 0, "hook_name": "blocks.0.hook_resid_post", "status": "ready"}
    model.attach(SAE.objects.create(id="s", source="/s", **hook))
    rows = (
        Profile(
            name=f"profile number {i}",
            description=f"Talks about topic {i % 100}, as a researcher would describe it in a sentence or two.",
            model_id="m" if i % (ROWS // FITTING) == 0 else "another",
            sae_id="s",
            layer=0,
            strengths={(i * 31 + k * 977) % 16_384: 1.0 + k for k in range(8)},
        )
        for i in range(ROWS)
    )
    Profile.objects.bulk_create(rows, batch_size=2000)
    vacuum(connection)


def vacuum(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE profiles_profile")  # as PostgreSQL does by itself after a while


def main() -> None:
    start_django()
    fill()
    from django.contrib.auth import get_user_model
    from django.db import connection
    from django.test import Client

    from millm_site.models import APIKey
    from profiles.models import Profile

    key = APIKey.objects.create(get_user_model().objects.create_superuser("root"), name="bench")[1]
    client = Client(SERVER_NAME="localhost", headers={"Authorization": f"Bearer {key}"})

    def ask() -> None:
        answer = client.get("/v1/models")
        assert answer.status_code == 200, answer.content
        sizes.append((len(answer.json()["data"]), len(answer.content)))

    sizes: list[tuple[int, int]] = []
    some = median_ms(ask, 20)
    Profile.objects.update(model_id="m")
    vacuum(connection)
    every = median_ms(ask, 20)
    listed, size = sizes[-1]
    figures = {f"ms, {FITTING} fit": some, "ms, all fit": every, "models listed": listed, "answer (kB)": size // 1000}
    report("listing", str(__doc__), {"profiles": ROWS, **figures})


if __name__ == "__main__":
    main()
