"""The admin of models and SAEs: each page is a `deletion.DeletionAdmin` and a `progress.ProgressAdmin`. The playground.
From outside: `playground`, `consequences`, `progress`. Importing this package registers the pages.
"""

from inference.admin.language_models import LanguageModelAdmin as LanguageModelAdmin
from inference.admin.saes import SAEAdmin as SAEAdmin
