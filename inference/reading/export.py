"""The export of a feature, or of a vector, as a control vector in GGUF for llama.cpp. A worker makes the file."""

import base64
from functools import partial

from inference.broker.messages import ExportMessage
from inference.models import LanguageModel
from inference.reading.asking import ask
from inference.reading.request import Reading
from steering.errors import Refused
from steering.formats.control_vector import SUFFIX, block_of
from steering.language_models import SAENotReady
from steering.models import SAE


def control_vector_file(sae: SAE, index: int) -> bytes:
    """The GGUF file of feature `index` of `sae`: its direction, of a set that spans layers the directions at all.

    A worker of the current model makes it, whichever model `sae` is for. Raises FeaturesUnknown, NoSuchFeature,
    SAENotReady, NoControlVector, NoCurrentModel, or what `ask` raises.
    """
    sae.check_feature(index)
    if sae.status != SAE.Status.READY:
        raise SAENotReady(f"SAE {sae} is {sae.status}: expected ready")
    block_of(sae.hook_name)
    model = Reading.current_model()
    make = partial(ExportMessage, prompts=[], place=sae.place, index=index, model_hint=_hint(model, sae))
    pieces = [event.data["base64"] for event in ask("export", Reading(model, sae), make) if event.kind == "piece"]
    return b"".join(map(base64.b64decode, pieces))


def _hint(model: LanguageModel, sae: SAE) -> str:
    """The type of the model that `sae` is for, as far as it is known."""
    try:
        model.check_fits(sae)
    except Refused:
        return sae.model_name
    return model.model_type


def file_name(sae: SAE, index: int) -> str:
    """The file name of the export."""
    return f"{sae.pk}-{index}{SUFFIX}"


def is_exportable(sae: SAE) -> bool:
    """True where its hook point is one of which a control vector can be made."""
    try:
        block_of(sae.hook_name)
    except Refused:
        return False
    return True


def is_refused_by_llama_cpp(sae: SAE) -> bool:
    """True where the file has a direction behind block 0, for which llama.cpp has no place."""
    return block_of(sae.hook_name) == 0
