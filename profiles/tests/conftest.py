"""A current model and an attached SAE for profiles to fit, and a client of the REST API."""

import pytest
from django.contrib.auth import get_user_model
from rest_framework.test import APIClient

from inference.models import LanguageModel
from profiles.models import Profile
from steering.models import SAE

FINGERPRINT = "a" * 64


@pytest.fixture
def model(db: None) -> LanguageModel:
    made = LanguageModel.objects.create(name="tiny", source="/tiny", d_model=16, num_layers=4, context_length=512)
    made.make_current()
    return made


@pytest.fixture
def sae(model: LanguageModel) -> SAE:
    """Layer 2, 100 features, attached."""
    made = SAE.objects.create(
        id="tiny-sae",
        source="/sae",
        status="ready",
        d_in=16,
        d_sae=100,
        layer=2,
        hook_name="blocks.2.hook_resid_post",
        fingerprint=FINGERPRINT,
    )
    model.attach(made)
    return made


@pytest.fixture
def other(sae: SAE) -> SAE:
    """Layer 1, 50 features, attached beside the main one."""
    return SAE.objects.create(
        id="other",
        source="/other",
        status="ready",
        d_in=16,
        d_sae=50,
        layer=1,
        hook_name="blocks.1.hook_resid_post",
        fingerprint="b" * 64,
        is_also_attached=True,
    )


@pytest.fixture
def profile(sae: SAE) -> Profile:
    return Profile.objects.create_from(name="ocean", strengths={3: 4.0, 7: -1.5})


@pytest.fixture
def client(db: None) -> APIClient:
    """Signed in as a user who may do everything."""
    client = APIClient()
    client.force_authenticate(get_user_model().objects.create_superuser("root", password="x"))
    return client
