"""What workers do for SAEs beside answering requests."""

from celery import shared_task


@shared_task(name="steering.prepare_sae")
def prepare_sae(sae_id: str) -> None:
    """Download what is missing and compute the fingerprint: see `steering.preparation`."""
    from steering.preparation import prepare

    prepare(sae_id)
