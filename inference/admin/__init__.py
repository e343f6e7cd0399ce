"""The admin of models, SAEs and sweeps, each a `deletion.DeletionAdmin` and a `progress.ProgressAdmin`; that of stored
responses, and the playground.

From outside: `playground`, `consequences`, `progress`. Importing this package registers the pages.
"""

from inference.admin.language_models import LanguageModelAdmin as LanguageModelAdmin
from inference.admin.responses import StoredResponseAdmin as StoredResponseAdmin
from inference.admin.saes import SAEAdmin as SAEAdmin
from inference.admin.sweeps import SweepAdmin as SweepAdmin
