"""Models and SAEs under /api/models and /api/saes: register, load, attach, watch."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from inference.api.serializers import (
    CatalogueQuerySerializer,
    FoundSAESerializer,
    LoadOptionsSerializer,
    ModelSerializer,
    RegisterModelSerializer,
    RegisterSAESerializer,
    SAESerializer,
)
from inference.models import LanguageModel
from profiles.current import attach_sae, detach_sae
from steering.api.permissions import ModelPermissions, visible
from steering.api.schema import errors
from steering.hub.sources import is_folder, local_folder
from steering.models import SAE


class ActionPermissions(ModelPermissions):
    """To create, and to look for what to create, needs the permission to add; every other action that to change."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if view.action == "catalogue":  # the hub is asked with our token, and lists what is private too
            return self._may(request, view, "add")
        if request.method == "POST" and view.action != "create":
            return self._may(request, view, "change")
        return super().has_permission(request, view)

    def _may(self, request: Request, view: Any, action: str) -> bool:
        model = view.get_queryset().model._meta
        allowed = bool(request.user and request.user.is_authenticated)
        return allowed and request.user.has_perm(f"{model.app_label}.{action}_{model.model_name}")


class _Resource(mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.DestroyModelMixin, GenericViewSet[Any]):
    permission_classes = [ActionPermissions]
    register_serializer: type[Any]

    def create(self, request: Request) -> Response:
        """Register one; its description is read at once, its files come later."""
        body = self.register_serializer(data=request.data)
        body.is_valid(raise_exception=True)
        return self.answer(body.save(), status.HTTP_201_CREATED)

    def answer(self, row: Any, code: int = status.HTTP_200_OK) -> Response:
        """The row; for who may not view it what it is called, and how far it is."""
        data = self.get_serializer(row).data
        return Response(visible(self.request.user, type(row), data, "id", "name", "status"), status=code)


MODEL = {200: ModelSerializer}
HUB_ERRORS = (400, 403, 404, 409, 502, 503, 507)


@extend_schema_view(
    list=extend_schema(responses={200: ModelSerializer(many=True), **errors(400, 404)}),
    create=extend_schema(request=RegisterModelSerializer, responses={201: ModelSerializer, **errors(*HUB_ERRORS)}),
    retrieve=extend_schema(responses={**MODEL, **errors(404)}),
    destroy=extend_schema(responses={204: None, **errors(404, 409)}),
)
class ModelViewSet(_Resource):
    """Language models. One is current at most: it is what workers serve, unless they are pinned to another."""

    queryset: QuerySet[LanguageModel] = LanguageModel.objects.all()
    serializer_class = ModelSerializer
    register_serializer = RegisterModelSerializer
    lookup_value_regex = r"[0-9]{1,9}"

    @extend_schema(request=LoadOptionsSerializer, responses={**MODEL, **errors(400, 404)})
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change how it is loaded; where it is being served, workers load it anew."""
        body = LoadOptionsSerializer(self.get_object(), data=request.data)
        body.is_valid(raise_exception=True)
        return self.answer(body.save())

    @extend_schema(request=None, responses={**MODEL, **errors(400, 404, 409)})
    @action(detail=True, methods=["post"])
    def load(self, request: Request, pk: str) -> Response:
        """Make it current: workers download and load it; `status` and `progress` tell how far they are.

        Files on this machine that cannot be loaded are refused, and what is served now stays.
        """
        model = self.get_object()
        model.load()
        return self.answer(model)

    @extend_schema(request=None, responses={**MODEL, **errors(404)})
    @action(detail=True, methods=["post"])
    def unload(self, request: Request, pk: str) -> Response:
        """Serve it no more. A download or a load that is under way is cancelled."""
        model = self.get_object()
        model.unload()
        return self.answer(model)

    @extend_schema(request=None, responses={**MODEL, **errors(404, 409)})
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """End the load that is under way, and serve no model; what was downloaded is kept."""
        model = self.get_object()
        model.cancel()
        return self.answer(model)


SAE_ANSWER = {200: SAESerializer}


@extend_schema_view(
    list=extend_schema(responses={200: SAESerializer(many=True), **errors(400, 404)}),
    create=extend_schema(request=RegisterSAESerializer, responses={201: SAESerializer, **errors(*HUB_ERRORS)}),
    retrieve=extend_schema(responses={**SAE_ANSWER, **errors(404)}),
    destroy=extend_schema(responses={204: None, **errors(404, 409)}),
)
class SAEViewSet(_Resource):
    """SAEs. One is attached at most: it is the one whose decoder directions steer."""

    queryset: QuerySet[SAE] = SAE.objects.all()
    serializer_class = SAESerializer
    register_serializer = RegisterSAESerializer
    lookup_value_regex = r"[-a-zA-Z0-9_]{1,200}"

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete it with its labels, which needs the permission to delete these too; its files stay."""
        sae = self.get_object()
        if not sae.may_be_deleted_by(request.user):
            raise PermissionDenied("It has labels: to delete it needs the permission steering.delete_featurelabel too.")
        sae.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses={**SAE_ANSWER, **errors(404, 409)})
    @action(detail=True, methods=["post"])
    def attach(self, request: Request, pk: str) -> Response:
        """Attach it to the current model, in place of the one attached before, whose active profile ends."""
        sae = self.get_object()
        attach_sae(sae)
        return self.answer(sae)

    @extend_schema(request=None, responses={**SAE_ANSWER, **errors(404)})
    @action(detail=True, methods=["post"])
    def detach(self, request: Request, pk: str) -> Response:
        """Detach it, with the active profile and the live steering; where it is not attached, nothing changes."""
        sae = self.get_object()
        detach_sae(sae)
        sae.refresh_from_db()
        return self.answer(sae)

    @extend_schema(request=None, responses={**SAE_ANSWER, **errors(404, 503)})
    @action(detail=True, methods=["post"])
    def download(self, request: Request, pk: str) -> Response:
        """Have a worker bring its files here and compute its fingerprint; `status` and `progress` tell how far."""
        sae = self.get_object()
        sae.prepare()
        return self.answer(sae)

    @extend_schema(request=None, responses={**SAE_ANSWER, **errors(404, 409)})
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """End its download; what has come is kept, and the next download continues there."""
        sae = self.get_object()
        sae.cancel()
        return self.answer(sae)

    @extend_schema(
        parameters=[OpenApiParameter("source", str, required=True), OpenApiParameter("revision", str)],
        responses={200: FoundSAESerializer(many=True), **errors(*HUB_ERRORS)},
        filters=False,
    )
    @action(detail=False, pagination_class=None)
    def catalogue(self, request: Request) -> Response:
        """What SAEs a repository or a folder holds, by their paths; nothing is downloaded."""
        query = CatalogueQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        found = catalogue_of(**query.validated_data)
        return Response(FoundSAESerializer(found, many=True).data)


def catalogue_of(source: str, revision: str = "", *, anywhere: bool = False) -> list[Any]:
    """The SAEs inside a repository or a folder, which may be `anywhere` for those who have a shell here.

    Raises BadSource, or what `steering.hub.client` raises.
    """
    from steering.hub import catalogue

    if is_folder(source):
        return catalogue.list_folder(local_folder(source, anywhere=anywhere))
    return catalogue.list_repository(source, revision or "main")
