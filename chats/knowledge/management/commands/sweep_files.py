"""`manage.py sweep_files`: deletes uploaded files that no document has any more."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from chats.knowledge.sweeping import sweep_files


class Command(BaseCommand):
    help = (
        "Deletes uploaded files that no document has any more, but for those of the last hour. Servers do it by "
        "themselves, unless more than half of all files would go."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only say how many there are.")

    def handle(self, *_: Any, **options: Any) -> None:
        swept = sweep_files(share_max=-1 if options["dry_run"] else 1)
        verb = "deleted" if swept.is_done else "to be deleted"
        self.stdout.write(f"{swept.unnamed:,} of {swept.files:,} files {verb}.")
