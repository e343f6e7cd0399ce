import django.contrib.postgres.indexes
import django.core.validators
import profiles.managers
import profiles.tags
from django.db import migrations, models

# The generated column `strongest` is made by this function. Values of all modes are compared by their numbers.
MAKE = """
CREATE FUNCTION strongest_strength(strengths jsonb) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT coalesce(max(abs((CASE
        WHEN jsonb_typeof(value) <> 'object' THEN value
        WHEN value ? 'value' THEN value->'value'
        WHEN value->>'mode' = 'project' THEN '1'::jsonb
        ELSE '0'::jsonb
    END)::double precision)), 0) FROM jsonb_each(strengths)
$$
"""


class Migration(migrations.Migration):

    dependencies = [
        ('profiles', '0002_more'),
    ]

    operations = [
        migrations.AddField(
            model_name='historicalprofile',
            name='notes',
            field=models.TextField(blank=True, db_default='', default='', max_length=10000, validators=[django.core.validators.MaxLengthValidator(10000)]),
        ),
        migrations.AddField(
            model_name='historicalprofile',
            name='tags',
            field=profiles.tags.TagsField(base_field=models.CharField(max_length=40), blank=True, db_default=[], default=list, help_text='With a comma between two tags.', size=20),
        ),
        migrations.AddField(
            model_name='profile',
            name='notes',
            field=models.TextField(blank=True, db_default='', default='', max_length=10000, validators=[django.core.validators.MaxLengthValidator(10000)]),
        ),
        migrations.AddField(
            model_name='profile',
            name='tags',
            field=profiles.tags.TagsField(base_field=models.CharField(max_length=40), blank=True, db_default=[], default=list, help_text='With a comma between two tags.', size=20),
        ),
        migrations.AddIndex(
            model_name='profile',
            index=django.contrib.postgres.indexes.GinIndex(fields=['tags'], name='profile_tags'),
        ),
        migrations.RunSQL(MAKE, "DROP FUNCTION strongest_strength(jsonb)"),
        migrations.AddField(
            model_name='profile',
            name='strongest',
            field=models.GeneratedField(db_persist=True, editable=False, expression=profiles.managers.Strongest('strengths'), output_field=models.FloatField()),
        ),
        migrations.AddIndex(
            model_name='profile',
            index=models.Index(fields=['strongest'], name='profile_strongest'),
        ),
    ]
