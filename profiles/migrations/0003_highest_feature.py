from django.db import migrations, models

import profiles.managers

MAKE = """
CREATE FUNCTION highest_feature(strengths jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT coalesce(max(index::bigint), -1) FROM jsonb_object_keys(strengths) AS index $$
"""


class Migration(migrations.Migration):
    dependencies = [("profiles", "0002_history_and_indexes")]
    operations = [
        migrations.RunSQL(MAKE, "DROP FUNCTION highest_feature(jsonb)"),
        migrations.RemoveIndex(model_name="profile", name="profile_made_for"),
        migrations.AddIndex(
            model_name="profile",
            index=models.Index(
                "model_id",
                "sae_id",
                "layer",
                profiles.managers.HighestFeature("steering"),
                name="profile_made_for",
            ),
        ),
    ]
