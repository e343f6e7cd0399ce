from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('steering', '0006_names'),
    ]

    operations = [
        migrations.AddField(
            model_name='languagemodel',
            name='sampling_defaults',
            field=models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict, editable=False, help_text="The sampling of requests that name none, from the model's own files."),
        ),
    ]
