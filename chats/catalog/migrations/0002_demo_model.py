"""The demo provider and its model, so that the first chat works without a key or a network."""

from datetime import UTC, datetime
from typing import Any

from django.db import migrations

PROVIDER_NAME = "Demo"
MODEL_ID = "parley-demo"


def install(apps: Any, _schema_editor: Any) -> None:
    provider, _ = apps.get_model("catalog", "Provider").objects.get_or_create(
        name=PROVIDER_NAME, defaults={"kind": "demo"}
    )
    model, created = apps.get_model("catalog", "AIModel").objects.get_or_create(
        provider=provider,
        model_id=MODEL_ID,
        defaults={
            "name": "Parley demo",
            "description": "Not an AI: a built-in program that answers from a script, to try Parley out.",
            "enabled": True,
            "order": 1000,
        },
    )
    if created:
        apps.get_model("catalog", "Price").objects.create(
            model=model,
            # Runs in this process and costs nobody anything, at any time.
            valid_from=datetime(2026, 1, 1, tzinfo=UTC),
            input_per_million=0,
            output_per_million=0,
            reason="Built in",
        )


def remove(apps: Any, _schema_editor: Any) -> None:
    models = apps.get_model("catalog", "AIModel").objects
    models.filter(provider__name=PROVIDER_NAME, provider__kind="demo", model_id=MODEL_ID).delete()
    providers = apps.get_model("catalog", "Provider").objects
    providers.filter(name=PROVIDER_NAME, kind="demo", models__isnull=True).delete()


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial")]
    operations = [migrations.RunPython(install, remove)]
