from django.db import migrations, models

FILL = "UPDATE steering_sae SET layers = jsonb_build_array(layer)"


class Migration(migrations.Migration):

    dependencies = [
        ('steering', '0003_edited_labels'),
    ]

    operations = [
        migrations.AddField(
            model_name='sae',
            name='is_also_attached',
            field=models.BooleanField(db_default=False, default=False, editable=False, help_text='Attached beside the main attached SAE.'),
        ),
        migrations.AddField(
            model_name='sae',
            name='layers',
            field=models.JSONField(db_default=models.Value([], models.JSONField()), default=list, editable=False, help_text='The layers that it spans, in order: one, except for a vector set of several.'),
        ),
        migrations.AlterField(
            model_name='sae',
            name='hook_name',
            field=models.CharField(blank=True, help_text='Its hook point in the first of its layers.', max_length=100),
        ),
        migrations.AlterField(
            model_name='sae',
            name='layer',
            field=models.PositiveIntegerField(default=0, help_text='Zero-based decoder block of its hook point, the first.'),
        ),
        migrations.AlterField(
            model_name='sae',
            name='path',
            field=models.CharField(blank=True, help_text="A folder in the source, or a control vector's file.", max_length=500),
        ),
        migrations.AddConstraint(
            model_name='sae',
            constraint=models.CheckConstraint(condition=models.Q(('is_also_attached', True), ('is_attached', True), _negated=True), name='attached_as_main_or_beside_it'),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
