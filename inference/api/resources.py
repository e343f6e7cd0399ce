"""Models and SAEs under /api/models and /api/saes: register, load, attach, follow the progress."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from inference.api import examples
from inference.api.serializers import (
    AttachSerializer,
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
from steering.api.schema import answer_example, errors, request_example
from steering.hub.sources import is_folder, local_folder
from steering.models import SAE


class ActionPermissions(ModelPermissions):
    """Registering and the catalogue need the permission to add; every other action needs the permission to change."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if view.action == "catalogue":  # the server's token lists private repositories too
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
        """Register a model or an SAE. Its description is read now, its files are downloaded later."""
        body = self.register_serializer(data=request.data)
        body.is_valid(raise_exception=True)
        return self.answer(body.save(), status.HTTP_201_CREATED)

    def answer(self, row: Any, code: int = status.HTTP_200_OK) -> Response:
        """The row, or only its name and status if the user may not view it."""
        data = self.get_serializer(row).data
        return Response(visible(self.request.user, type(row), data, "id", "name", "status"), status=code)


MODEL = {200: ModelSerializer}
HUB_ERRORS = (400, 403, 404, 409, 502, 503, 507)


@extend_schema_view(
    list=extend_schema(summary="List the models", responses={200: ModelSerializer(many=True), **errors(400, 404)}),
    create=extend_schema(
        summary="Register a model",
        request=RegisterModelSerializer,
        responses={201: ModelSerializer, **errors(*HUB_ERRORS)},
    ),
    retrieve=extend_schema(summary="Get a model", responses={**MODEL, **errors(404)}),
    destroy=extend_schema(summary="Delete a model", responses={204: None, **errors(404, 409)}),
)
class ModelViewSet(_Resource):
    """Language models. At most one is current: workers serve it unless they are pinned to another."""

    queryset: QuerySet[LanguageModel] = LanguageModel.objects.all()
    serializer_class = ModelSerializer
    register_serializer = RegisterModelSerializer
    lookup_value_regex = r"[0-9]{1,9}"

    @extend_schema(request=LoadOptionsSerializer, responses={**MODEL, **errors(400, 404)})
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change the load options. If the model is served, workers load it again."""
        body = LoadOptionsSerializer(self.get_object(), data=request.data)
        body.is_valid(raise_exception=True)
        return self.answer(body.save())

    @extend_schema(request=None, responses={**MODEL, **errors(400, 404, 409)})
    @action(detail=True, methods=["post"])
    def load(self, request: Request, pk: str) -> Response:
        """Make the model current: workers download and load it. `status` and `progress` show how far they are.

        A model whose files on this machine cannot be loaded is refused, and the model that is served now stays.
        """
        model = self.get_object()
        model.load()
        return self.answer(model)

    @extend_schema(request=None, responses={**MODEL, **errors(404)})
    @action(detail=True, methods=["post"])
    def unload(self, request: Request, pk: str) -> Response:
        """Stop serving the model. A download or a load in progress is cancelled."""
        model = self.get_object()
        model.unload()
        return self.answer(model)

    @extend_schema(request=None, responses={**MODEL, **errors(404, 409)})
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancel the load in progress; no model is current then. Downloaded bytes are kept."""
        model = self.get_object()
        model.cancel()
        return self.answer(model)


SAE_ANSWER = {200: SAESerializer}


@extend_schema_view(
    list=extend_schema(summary="List the SAEs", responses={200: SAESerializer(many=True), **errors(400, 404)}),
    create=extend_schema(
        summary="Register an SAE", request=RegisterSAESerializer, responses={201: SAESerializer, **errors(*HUB_ERRORS)}
    ),
    retrieve=extend_schema(summary="Get an SAE", responses={**SAE_ANSWER, **errors(404)}),
    destroy=extend_schema(summary="Delete an SAE", responses={204: None, **errors(404, 409)}),
)
class SAEViewSet(_Resource):
    """SAEs and vector sets. One is the main attached SAE; others are attached in addition, so that they steer."""

    queryset: QuerySet[SAE] = SAE.objects.all()
    serializer_class = SAESerializer
    register_serializer = RegisterSAESerializer
    lookup_value_regex = r"[-a-zA-Z0-9_]{1,200}"

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete the SAE with its labels, which needs the permission to delete labels too. Its files are kept."""
        sae = self.get_object()
        if not sae.may_be_deleted_by(request.user):
            message = "The SAE has labels: deleting it needs the permission steering.delete_featurelabel too."
            raise PermissionDenied(message)
        sae.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        request=AttachSerializer,
        responses={**SAE_ANSWER, **errors(400, 404, 409)},
        examples=request_example({"also": True}, "in addition") + answer_example(examples.SAE, "the demo's SAE"),
    )
    @action(detail=True, methods=["post"])
    def attach(self, request: Request, pk: str) -> Response:
        """Attach the SAE to the current model.

        It replaces the main attached SAE, and ends the active profile and the live steering. With `also` it is attached
        in addition, and nothing else changes.
        """
        sae = self.get_object()
        body = AttachSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        attach_sae(sae, **body.validated_data)
        return self.answer(sae)

    @extend_schema(request=None, responses={**SAE_ANSWER, **errors(404)})
    @action(detail=True, methods=["post"])
    def detach(self, request: Request, pk: str) -> Response:
        """Detach the SAE; the active profile and the live steering end where they steer by it.

        Does nothing if the SAE is not attached.
        """
        sae = self.get_object()
        detach_sae(sae)
        sae.refresh_from_db()
        return self.answer(sae)

    @extend_schema(request=None, responses={**SAE_ANSWER, **errors(404, 503)})
    @action(detail=True, methods=["post"])
    def download(self, request: Request, pk: str) -> Response:
        """Make a worker download the SAE and compute its fingerprint. `status` and `progress` show how far it is."""
        sae = self.get_object()
        sae.prepare()
        return self.answer(sae)

    @extend_schema(request=None, responses={**SAE_ANSWER, **errors(404, 409)})
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancel the download. Downloaded bytes are kept, and the next download continues there."""
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
        """List the SAEs of a repository or a folder by their paths. Nothing is downloaded."""
        query = CatalogueQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        found = catalogue_of(**query.validated_data)
        return Response(FoundSAESerializer(found, many=True).data)


def catalogue_of(source: str, revision: str = "", *, anywhere: bool = False) -> list[Any]:
    """The SAEs inside a repository or a folder; `anywhere` allows folders outside MILLM_MODEL_DIRS.

    Raises BadSource, or the errors of `steering.hub.client`.
    """
    from steering.hub import catalogue

    if is_folder(source):
        return catalogue.list_folder(local_folder(source, anywhere=anywhere))
    return catalogue.list_repository(source, revision or "main")
