from django.core.validators import MaxLengthValidator
from django.db import migrations, models

MOST = {"max_length": 4000, "validators": [MaxLengthValidator(4000)]}


class Migration(migrations.Migration):
    """A limit that forms and models check: PostgreSQL's column stays as it is."""

    dependencies = [("profiles", "0003_highest_feature")]
    operations = [
        migrations.AlterField(name, "description", models.TextField(null=True, blank=True, **MOST))
        for name in ("historicalprofile", "profile")
    ]
