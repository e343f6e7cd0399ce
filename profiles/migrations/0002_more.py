import steering.fields
from django.db import migrations, models

# Attached SAEs have all parts and conditions of `more`. The version before inserts SAEs without `layers`.
MAKE = """
CREATE FUNCTION parts_fit(more jsonb) RETURNS boolean LANGUAGE sql STABLE STRICT PARALLEL SAFE
AS $$
    WITH attached AS (SELECT * FROM steering_sae WHERE is_attached OR is_also_attached)
    SELECT coalesce(more->'when'->>'sae' IN (SELECT id FROM attached), true) AND NOT EXISTS (
        SELECT FROM jsonb_array_elements(coalesce(more->'also', '[]')) AS part
        LEFT JOIN attached ON attached.id = part->>'sae'
        WHERE attached.id IS NULL
        OR NOT (CASE layers WHEN '[]' THEN jsonb_build_array(layer) ELSE layers END) @> (part->'layer')
        OR fingerprint NOT IN ('', part->>'sae_fingerprint')
        OR highest_feature(part->'features') >= d_sae
        OR part->'when'->>'sae' NOT IN (SELECT id FROM attached)
    )
$$
"""


class Migration(migrations.Migration):

    dependencies = [
        ('profiles', '0001_initial'),
        ('steering', '0004_several_saes'),
    ]

    operations = [
        migrations.AddField(
            model_name='historicalprofile',
            name='more',
            field=steering.fields.MoreField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, editable=False),
        ),
        migrations.AddField(
            model_name='profile',
            name='more',
            field=steering.fields.MoreField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, editable=False),
        ),
        migrations.RunSQL(MAKE, "DROP FUNCTION parts_fit(jsonb)"),
    ]
