"""The admin of feature labels. That of SAEs is in inference, that of the live steering in profiles."""

from steering.admin.labels import FeatureLabelAdmin as FeatureLabelAdmin
