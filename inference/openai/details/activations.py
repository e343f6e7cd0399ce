"""`activations` in a request of /v1: the features that fire in its answer, at `millm.activations` of the response."""

from collections.abc import Mapping, Sequence
from typing import Any

from inference.broker.messages import AnswerReading
from inference.openai.authentication import APIUser
from inference.openai.errors import OpenAIError
from inference.openai.fields.options import AnswerActivations
from inference.openai.selection import Selection
from inference.reading.request import Reading, labelled_texts
from steering.errors import Refused

DEFAULT_TOP_K = 5


class ActivationsOfAnswer:
    """The reading of one request's answers: its part of the message, and its part of the response."""

    def __init__(self, asked: AnswerActivations, reading: Reading, selection: Selection) -> None:
        self._asked, self._reading, self._is_steered = asked, reading, selection.steering is not None

    @classmethod
    def select(cls, user: APIUser, asked: AnswerActivations, selection: Selection) -> "ActivationsOfAnswer":
        """The reading that a request asks for. Raises OpenAIError 400, 403, 404 or 409; changes nothing."""
        if not user.has_perm("steering.view_featurelabel"):
            message = f"{user} may not read activations: the permission steering.view_featurelabel is missing."
            raise OpenAIError(403, message, param="activations", code="permission_denied")
        try:
            reading = Reading.of(asked.sae)
        except Refused as error:
            raise OpenAIError(error.status, str(error), param="activations", code=error.code) from error
        if reading.model.name != selection.served:
            message = f"`{selection.served}` is not the current model: leave out `activations`, or load the model."
            raise OpenAIError(409, message, param="activations", code="not_current_model")
        if asked.features and (largest := max(asked.features)) >= reading.sae.d_sae:
            got = f"feature {largest} is out of range"
            message = f"activations.features: {got}: SAE {reading.sae} has {reading.sae.d_sae} features"
            raise OpenAIError(400, message, param="activations.features", code="invalid_request")
        return cls(asked, reading, selection)

    @property
    def message(self) -> AnswerReading:
        """The part for the worker."""
        asked = self._asked
        return AnswerReading(
            place=self._reading.sae.place,
            skip_special=asked.skip_special,
            top_k=asked.top_k or (len(asked.features) if asked.features else DEFAULT_TOP_K),
            features=asked.features,
            positions=asked.positions,
            stage=asked.stage,
        )

    def response(self, choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """`millm` of the response, of what the worker read in each choice. Reads labels from the database."""
        stage = self._asked.stage if self._is_steered else None
        texts = labelled_texts(self._reading.sae, choices)
        found = [{"index": index, **text} for index, text in enumerate(texts)]
        return {"activations": {**self._reading.describe(), "stage": stage, "choices": found}}
