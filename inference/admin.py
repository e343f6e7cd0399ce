"""The admin of models and SAEs."""

from inference.model_admin import LanguageModelAdmin as LanguageModelAdmin
from inference.sae_admin import SAEAdmin as SAEAdmin
