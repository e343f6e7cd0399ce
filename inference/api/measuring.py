"""GET and POST /api/saes/{id}/measure: the measuring of an SAE over a corpus."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from inference.api import examples
from inference.measuring.corpus import CorpusFile
from inference.measuring.models import Measurement
from steering.api.parameters import known_parameters, sae_of
from steering.api.permissions import ChangePermissions, visible
from steering.api.schema import answer_example, errors
from steering.api.uploads import UPLOAD, TakesFile, uploaded
from steering.models import SAE


@extend_schema_serializer(examples=answer_example(examples.MEASUREMENT, "in progress"))
class MeasurementSerializer(serializers.ModelSerializer[Measurement]):
    """A measuring; `waits` is true while no worker has it."""

    sae = serializers.CharField(source="sae_id")
    model = serializers.CharField(source="model_name", help_text="The model that reads the texts.")
    waits = serializers.BooleanField(help_text="True while no worker measures: none serves the model, or all are busy.")
    texts = serializers.IntegerField(source="lines", help_text="Texts of the corpus.")
    tokens = serializers.IntegerField(help_text="Tokens that were measured so far.")

    class Meta:
        model = Measurement
        fields = ["sae", "model", "status", "waits", "progress", "error", "texts", "tokens", "asked_by", "created_at"]
        read_only_fields = fields


ANSWER = {200: MeasurementSerializer}


class MeasuringViewSet(TakesFile, GenericViewSet[Any]):
    """The measuring of an SAE: statistics, promoted tokens and examples of all its features."""

    queryset: QuerySet[SAE] = SAE.objects.all()
    serializer_class = MeasurementSerializer
    permission_classes = [ChangePermissions]

    @extend_schema(responses={**ANSWER, **errors(404)}, operation_id="saes_measure_retrieve")
    def retrieve(self, request: Request, id: str) -> Response:
        """Get the last measuring of the SAE, in progress or ended."""
        known_parameters(request)
        return self._answer(Measurement.objects.of(sae_of(id)))

    @extend_schema(
        request=UPLOAD, responses={202: MeasurementSerializer, **errors(400, 404, 409)}, operation_id="saes_measure"
    )
    def create(self, request: Request, id: str) -> Response:
        """Measure the SAE over the texts of a file with the current model. A worker of the model begins soon.

        The file is text, one per line, or JSON lines: `{"text": "…"}` or `{"messages": […]}`. It may be gzipped. It
        is the body, of any media type, or the part `file` of a form. A bad line is refused by its number, and nothing
        is stored then. The results replace those of an earlier measuring.
        """
        known_parameters(request)
        upload = uploaded(request)
        measurement = Measurement.objects.start(sae_of(id), [CorpusFile(upload.file, upload.name)])
        return self._answer(measurement, status.HTTP_202_ACCEPTED)

    @extend_schema(request=None, responses={**ANSWER, **errors(404, 409)}, operation_id="saes_measure_retry")
    def retry(self, request: Request, id: str) -> Response:
        """Resume a measuring that ended with an error, after the texts that are measured already."""
        measurement = Measurement.objects.of(sae_of(id))
        measurement.retry()
        return self._answer(measurement)

    @extend_schema(request=None, responses={**ANSWER, **errors(404, 409)}, operation_id="saes_measure_cancel")
    def cancel(self, request: Request, id: str) -> Response:
        """Cancel the measuring in progress, or drop one that failed. The SAE keeps its earlier statistics."""
        measurement = Measurement.objects.of(sae_of(id))
        measurement.cancel()
        return self._answer(measurement)

    def _answer(self, measurement: Measurement, code: int = status.HTTP_200_OK) -> Response:
        data: Any = self.get_serializer(measurement).data
        return Response(visible(self.request.user, SAE, data, "sae", "status", "progress", "error"), status=code)
