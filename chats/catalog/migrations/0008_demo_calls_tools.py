"""The demo calls a tool when it is told to, so that tools can be tried without a model."""

from typing import Any

from django.db import migrations


def let_call(apps: Any, _schema_editor: Any) -> None:
    models = apps.get_model("catalog", "AIModel").objects
    models.filter(provider__kind="demo", model_id="parley-demo").update(supports_tools=True)


class Migration(migrations.Migration):
    dependencies = [("catalog", "0007_models_use_tools")]
    operations = [migrations.RunPython(let_call, migrations.RunPython.noop)]
