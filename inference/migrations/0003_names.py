from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('inference', '0002_measurements'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='languagemodel',
            options={'verbose_name': 'model'},
        ),
    ]
