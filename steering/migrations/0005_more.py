import steering.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('steering', '0004_several_saes'),
    ]

    operations = [
        migrations.AddField(
            model_name='historicalsteeringstate',
            name='more',
            field=steering.fields.MoreField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, editable=False),
        ),
        migrations.AddField(
            model_name='steeringstate',
            name='more',
            field=steering.fields.MoreField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, editable=False),
        ),
    ]
