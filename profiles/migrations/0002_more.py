import steering.fields
from django.db import migrations, models

# The attached SAEs, {id: {layers, fingerprint, d_sae}}, have all parts and conditions of `more`.
MAKE = """
CREATE FUNCTION parts_fit(more jsonb, attached jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT coalesce(attached ? (more->'when'->>'sae'), true) AND coalesce(bool_and(
        attached ? (part->>'sae')
        AND coalesce(attached->(part->>'sae')->'layers' @> (part->'layer'), true)
        AND coalesce(attached->(part->>'sae')->>'fingerprint' IN ('', part->>'sae_fingerprint'), true)
        AND highest_feature(part->'features') < (attached->(part->>'sae')->>'d_sae')::bigint
        AND coalesce(attached ? (part->'when'->>'sae'), true)
    ), true) FROM jsonb_array_elements(coalesce(more->'also', '[]')) AS part
$$
"""


class Migration(migrations.Migration):

    dependencies = [
        ('profiles', '0001_initial'),
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
        migrations.RunSQL(MAKE, "DROP FUNCTION parts_fit(jsonb, jsonb)"),
    ]
