import json
from pathlib import Path

from django.conf import settings
from django.db import migrations, models

from worker.nlp.families import shape_of


def read_shapes(apps, schema_editor):
    """From each model's configuration; from the name of its family where the files are gone."""
    ModelVersion = apps.get_model("catalog", "ModelVersion")
    for model in ModelVersion.objects.iterator():
        try:
            config = json.loads((Path(settings.FILES) / model.folder / "config.json").read_text(encoding="utf-8"))
            shape = shape_of(config)
        except (OSError, ValueError, AttributeError):
            shape = shape_of({"model_type": model.family})
        ModelVersion.objects.filter(pk=model.pk).update(shape=shape)


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="modelversion",
            name="shape",
            field=models.CharField(default="encoder", max_length=20),
        ),
        migrations.RunPython(read_shapes, migrations.RunPython.noop, elidable=True),
    ]
