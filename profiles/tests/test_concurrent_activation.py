"""200 activations from 16 threads: one active profile at every moment, and the live steering is its."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from inference.models import LanguageModel
from profiles.models import Profile
from steering.models import SAE

SNAPSHOT = """
    SELECT (SELECT count(*) FROM profiles_profile WHERE is_active),
           (SELECT strengths FROM profiles_profile WHERE is_active) = (SELECT strengths FROM steering_steeringstate)
"""


@pytest.mark.django_db(transaction=True)
def test_exactly_one_profile_is_active_and_steers_at_every_moment() -> None:
    model = LanguageModel.objects.create(name="tiny", source="/t", d_model=16, num_layers=4, context_length=512)
    model.make_current()
    sae = SAE.objects.create(
        id="s", source="/s", status="ready", d_in=16, d_sae=100, layer=2, hook_name="blocks.2.hook_resid_post"
    )
    model.attach(sae)
    profiles = [Profile.objects.create_from(name=f"p{i}", strengths={i: 1.0 + i}) for i in range(20)]
    profiles[0].activate()
    done, seen = threading.Event(), []

    def watch() -> None:
        while not done.is_set():
            with connection.cursor() as cursor:
                cursor.execute(SNAPSHOT)
                seen.append(cursor.fetchone())
        connection.close()

    def activate(i: int) -> None:
        Profile.objects.get(pk=profiles[i % 20].pk).activate()
        connection.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(activate, range(200)))
    done.set()
    watcher.join()
    assert len(seen) > 20
    assert set(seen) == {(1, True)}
