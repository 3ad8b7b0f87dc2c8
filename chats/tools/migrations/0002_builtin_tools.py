"""The tools that Parley brings itself, as rows, so that each person may say what they let them do."""

from typing import Any

from django.db import migrations

from chats.tools.builtin import PREFIX, SERVER_NAME, SPECS


def install(apps: Any, _schema_editor: Any) -> None:
    server, _ = apps.get_model("tools", "McpServer").objects.get_or_create(
        user=None, transport="builtin", defaults={"name": SERVER_NAME, "prefix": PREFIX, "status": "ready"}
    )
    for spec in SPECS:
        apps.get_model("tools", "Tool").objects.update_or_create(
            server=server,
            name=spec.name,
            defaults={
                "called": f"{PREFIX}__{spec.name}",
                "title": spec.title,
                "description": spec.description,
                "input_schema": spec.input_schema,
                "annotations": spec.annotations,
                "is_read_only": True,
            },
        )


def remove(apps: Any, _schema_editor: Any) -> None:
    apps.get_model("tools", "McpServer").objects.filter(user=None, transport="builtin").delete()


class Migration(migrations.Migration):
    dependencies = [("tools", "0001_initial")]
    operations = [migrations.RunPython(install, remove)]
