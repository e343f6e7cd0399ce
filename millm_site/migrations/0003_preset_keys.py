"""Which keys were preset once: those that were revoked are not made again."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("millm_site", "0002_key_use_and_limits"),
    ]

    operations = [
        migrations.CreateModel(
            name="PresetKey",
            fields=[("digest", models.CharField(max_length=128, primary_key=True, serialize=False))],
            options={"default_permissions": ()},
        ),
    ]
