"""The admin of models and SAEs."""

from inference.admin.language_models import LanguageModelAdmin as LanguageModelAdmin
from inference.admin.saes import SAEAdmin as SAEAdmin
