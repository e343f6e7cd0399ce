"""Models and SAEs as JSON."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from inference.api import examples
from inference.interface import request_tokens
from inference.models import LanguageModel
from steering.api.schema import answer_example, request_example
from steering.api.serializers import StrictMixin
from steering.language_models import ANSWER_FORMS, DTYPES
from steering.models import SAE

ANSWER_FORM = "How calls of tools and reasoning are found in answers. Empty: by the model's chat template."
STATE = ["status", "progress", "error", "created_at", "updated_at"]


@extend_schema_serializer(examples=answer_example(examples.MODEL, "the demo"))
class ModelSerializer(serializers.ModelSerializer[LanguageModel]):
    status = serializers.ChoiceField(choices=LanguageModel.Status.choices, read_only=True)
    progress = serializers.FloatField(allow_null=True, help_text="Share of a download, from 0 to 1.")
    request_tokens = serializers.SerializerMethodField(help_text="Most tokens of prompt and answer together.")
    error = serializers.CharField(read_only=True)
    still_served = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text="Names of other models that answer, unsteered, while the load of this one goes on or has failed.",
    )

    class Meta:
        model = LanguageModel
        fields = [
            *("id", "name", "source", "revision", "dtype", "device", "answer_form"),
            *("model_type", "is_current"),
            *("d_model", "num_layers", "context_length", "request_tokens", "sampling_defaults", *STATE),
            "still_served",
        ]
        read_only_fields = fields

    def get_request_tokens(self, model: LanguageModel) -> int:
        return request_tokens(model.context_length, settings.INFERENCE_CACHE_TOKENS)


@extend_schema_serializer(examples=request_example(examples.NEW_MODEL, "from the hub"))
class RegisterModelSerializer(StrictMixin):
    """The fields that register a model; the other fields are read from its `config.json`."""

    source = serializers.CharField(max_length=500, help_text="A hub id, or a folder below MILLM_MODEL_DIRS.")  # type: ignore[assignment]
    name = serializers.CharField(
        max_length=100, default="", allow_blank=True, help_text="Empty: the source's last part."
    )
    revision = serializers.CharField(max_length=100, default="", allow_blank=True)
    dtype = serializers.ChoiceField(choices=DTYPES, default="auto")
    device = serializers.CharField(max_length=20, default="auto")
    answer_form = serializers.ChoiceField(choices=[*ANSWER_FORMS.items()], default="", help_text=ANSWER_FORM)

    def create(self, validated_data: dict[str, Any]) -> LanguageModel:
        return LanguageModel.objects.register(**validated_data)


@extend_schema_serializer(examples=request_example({"dtype": "float16", "device": "cuda:0"}, "on the first GPU"))
class LoadOptionsSerializer(StrictMixin):
    """The load options of a model, and the form of its answers. If the model is served, workers load it again after a
    change of a load option."""

    dtype = serializers.ChoiceField(choices=DTYPES, required=False)
    device = serializers.CharField(max_length=20, required=False)
    answer_form = serializers.ChoiceField(choices=[*ANSWER_FORMS.items()], required=False, help_text=ANSWER_FORM)

    def update(self, instance: LanguageModel, validated_data: dict[str, Any]) -> LanguageModel:
        instance.change_options(**validated_data)
        return instance


@extend_schema_serializer(examples=answer_example(examples.SAE, "the demo's SAE"))
class SAESerializer(serializers.ModelSerializer[SAE]):
    progress = serializers.FloatField(allow_null=True, help_text="Of the download or the fingerprint, from 0 to 1.")
    layers = serializers.ListField(child=serializers.IntegerField(min_value=0), help_text="The layers that it spans.")

    class Meta:
        model = SAE
        fields = [
            *("id", "source", "revision", "path", "format", "architecture", "d_in", "d_sae", "layer", "hook_name"),
            *("model_name", "fingerprint", "is_attached", "is_also_attached", "layers", *STATE),
        ]
        read_only_fields = fields


@extend_schema_serializer(examples=request_example(examples.NEW_SAE, "from the hub"))
class RegisterSAESerializer(StrictMixin):
    """The fields that register an SAE; the other fields are read from its files."""

    source = serializers.CharField(max_length=500, help_text="A hub id, or a folder below MILLM_MODEL_DIRS.")  # type: ignore[assignment]
    path = serializers.CharField(max_length=500, default="", allow_blank=True, help_text="Its path in the source.")
    id = serializers.SlugField(max_length=200, default="", allow_blank=True, help_text="Empty: made from the source.")
    revision = serializers.CharField(max_length=100, default="", allow_blank=True)

    def create(self, validated_data: dict[str, Any]) -> SAE:
        return SAE.objects.register(sae_id=validated_data.pop("id"), **validated_data)


class AttachSerializer(StrictMixin):
    also = serializers.BooleanField(
        default=False, help_text="Attach it in addition to the main attached SAE, which stays."
    )


class CatalogueQuerySerializer(StrictMixin):
    source = serializers.CharField(max_length=500, help_text="A hub id, or a folder below MILLM_MODEL_DIRS.")  # type: ignore[assignment]
    revision = serializers.CharField(max_length=100, default="", allow_blank=True)


@extend_schema_serializer(examples=answer_example(examples.FOUND, "Gemma Scope"))
class FoundSAESerializer(serializers.Serializer[Any]):
    """An SAE inside a repository or a folder. A property that its path does not name is null."""

    path = serializers.CharField()
    format = serializers.CharField()
    layer = serializers.IntegerField(allow_null=True)
    hook_point = serializers.CharField(allow_null=True)
    width = serializers.IntegerField(allow_null=True)
    sparsity = serializers.FloatField(allow_null=True)
    size = serializers.IntegerField(allow_null=True, help_text="The bytes of its files.")
