"""Versions that are not searched any more may have chunks; from here on their rows say so."""

from django.db import migrations, models


def mark(apps, _editor):
    versions = apps.get_model("knowledge", "DocumentVersion").objects
    is_other = models.Q(document__current__isnull=True) | ~models.Q(document__current=models.F("pk"))
    others = versions.filter(is_other, status__in=["ready", "failed"])
    versions.filter(pk__in=others.values("pk")).update(has_leftovers=True)


class Migration(migrations.Migration):
    dependencies = [("knowledge", "0002_embedders_of_providers")]

    operations = [migrations.RunPython(mark, migrations.RunPython.noop)]
