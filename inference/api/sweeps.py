"""Sweeps under /api/sweeps: made, followed, cancelled, resumed, downloaded and deleted."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from inference.api import examples
from inference.api.sweep_serializers import SweepDetailSerializer, SweepRequestSerializer, SweepSerializer
from inference.sweeps.export import csv_text, file_name
from inference.sweeps.models import Sweep
from steering.api.parameters import known_parameters
from steering.api.permissions import ModelPermissions
from steering.api.schema import answer_example, errors, request_example

LOOK, MAKE = "profiles.view_profile", "profiles.change_profile"
"""The permissions to see sweeps, and to make, cancel, resume and delete them."""
CSV = "text/csv"
ID = OpenApiParameter("id", int, "path", description="The sweep.")
ANSWER = {200: SweepSerializer}


class SweepPermissions(ModelPermissions):
    """Sweeps show what profiles do: the permissions of profiles count."""

    perms_map = {
        **ModelPermissions.perms_map,
        **{method: [LOOK] for method in ("GET", "HEAD")},
        **{method: [LOOK, MAKE] for method in ("POST", "DELETE")},
    }


class SweepViewSet(GenericViewSet[Any]):
    """Sweeps: answers over values of a profile's intensity or of a feature's strength, with the effects on them."""

    queryset: QuerySet[Sweep] = Sweep.objects.all()
    serializer_class = SweepSerializer
    permission_classes = [SweepPermissions]

    @extend_schema(responses={200: SweepSerializer(many=True), **errors(400, 404)}, operation_id="sweeps_list")
    def list(self, request: Request) -> Response:
        """List the sweeps, newest first, without their answers."""
        known_parameters(request, "page", "page_size")
        page = self.paginate_queryset(self.get_queryset().defer("document", "prompts"))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(
        request=SweepRequestSerializer,
        responses={202: SweepSerializer, **errors(400, 404, 409)},
        examples=request_example(examples.NEW_SWEEP, "the intensity of a profile")
        + request_example(examples.NEW_SWEEP_OF_FEATURE, "the strength of a feature")
        + answer_example(examples.SWEEP, "in progress"),
        operation_id="sweeps_create",
    )
    def create(self, request: Request) -> Response:
        """Sweep a profile's intensity or a feature's strength: an answer for each value, prompt and seed.

        The steering of each value is fixed now. A worker of the current model answers behind all other requests. At
        most 50 values, 50 prompts, 20 seeds and 20 words, and 1,000 answers or 500,000 new tokens in all.
        """
        known_parameters(request)
        body = SweepRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(self.get_serializer(body.save()).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        parameters=[ID], responses={200: SweepDetailSerializer, **errors(404)}, operation_id="sweeps_retrieve"
    )
    def retrieve(self, request: Request, id: int) -> Response:
        """Get a sweep with its plan, the effects of each value, and all answers so far."""
        known_parameters(request)
        return Response(SweepDetailSerializer(Sweep.objects.with_id(id)).data)

    @extend_schema(parameters=[ID], responses={204: None, **errors(404)}, operation_id="sweeps_destroy")
    def destroy(self, request: Request, id: int) -> Response:
        """Delete a sweep with its answers. A sweep in progress ends."""
        known_parameters(request)
        Sweep.objects.with_id(id).delete()
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        parameters=[ID], request=None, responses={**ANSWER, **errors(404, 409)}, operation_id="sweeps_cancel"
    )
    def cancel(self, request: Request, id: int) -> Response:
        """Cancel the sweep in progress; its answers so far are kept."""
        return self._changed(id, Sweep.cancel)

    @extend_schema(
        parameters=[ID], request=None, responses={**ANSWER, **errors(404, 409)}, operation_id="sweeps_resume"
    )
    def resume(self, request: Request, id: int) -> Response:
        """Resume a sweep that was cancelled or failed: make the answers that are missing or have an error."""
        return self._changed(id, Sweep.resume)

    def _changed(self, id: int, change: Any) -> Response:
        sweep = Sweep.objects.with_id(id)
        change(sweep)
        return Response(self.get_serializer(sweep).data)


class SweepFileViewSet(GenericViewSet[Any]):
    """The answers of a sweep as files."""

    queryset: QuerySet[Sweep] = Sweep.objects.all()
    permission_classes = [SweepPermissions]

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Errors are JSON, whichever type of file the client accepts."""
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(
        parameters=[ID],
        responses={(200, CSV): OpenApiTypes.STR, **errors(400, 404)},
        operation_id="sweeps_cells_csv_retrieve",
    )
    def cells_csv(self, request: Request, id: int) -> HttpResponse:
        """Download the answers so far as CSV, a line for each value, prompt and seed."""
        known_parameters(request)
        sweep = Sweep.objects.with_id(id)
        return HttpResponse(csv_text(sweep), content_type=f"{CSV}; charset=utf-8", headers=_as_file(sweep, "csv"))

    @extend_schema(
        parameters=[ID],
        responses={200: SweepDetailSerializer, **errors(400, 404)},
        operation_id="sweeps_cells_json_retrieve",
    )
    def cells_json(self, request: Request, id: int) -> Response:
        """Download the sweep and its answers so far as JSON, the same as `GET /api/sweeps/{id}`."""
        known_parameters(request)
        sweep = Sweep.objects.with_id(id)
        return Response(SweepDetailSerializer(sweep).data, headers=_as_file(sweep, "json"))


def _as_file(sweep: Sweep, ending: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{file_name(sweep, ending)}"'}
