"""What a worker process keeps resident: the current model and its engine."""

import logging

from inference.models import LanguageModel
from inference.serving import Serving

logger = logging.getLogger(__name__)

_serving: Serving | None = None


def start(hostname: str) -> None:
    """Load the current model and make its engine. The row says how far it is, and what went wrong."""
    global _serving
    model = LanguageModel.objects.current()
    if model is None:
        raise RuntimeError("no language model is current: register one and make it current")
    rows = LanguageModel.objects.filter(pk=model.pk)
    rows.update(status=LanguageModel.Status.LOADING, error="")
    logger.info("loading %s from %s", model, model.source)
    try:
        _serving = Serving(hostname, model)
    except Exception as error:
        rows.update(status=LanguageModel.Status.ERROR, error=f"{model.source} cannot be served: {error}")
        raise
    rows.update(status=LanguageModel.Status.READY, progress=1.0)
    logger.info("%s is ready on %s", model, _serving.device)


def stop() -> None:
    global _serving
    if _serving is not None:
        _serving.close()
        _serving = None


def serving() -> Serving:
    """What this process serves; only an inference worker serves something."""
    assert _serving is not None, "inference.generate runs in an inference worker only"
    return _serving
