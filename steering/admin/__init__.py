"""The admin of features and labels, and parts of every admin page: `actions`, `search`, `selections`, `widgets`.
From outside: these parts. SAEs have their pages in inference, the live steering has its page in profiles.
"""

from steering.admin.features import FeatureAdmin as FeatureAdmin
from steering.admin.labels import FeatureLabelAdmin as FeatureLabelAdmin
