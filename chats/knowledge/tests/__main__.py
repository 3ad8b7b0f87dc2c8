"""`make eval-rag`: the golden documents into a database of their own, and how well their questions are answered."""

import django

django.setup()

from django.core.management import call_command  # noqa: E402 - Django must be set up first

from accounts.models import User  # noqa: E402
from chats.knowledge.tests.evaluation import WAYS, evaluate, shelve_golden  # noqa: E402


def main() -> None:
    call_command("migrate", verbosity=0)
    user, is_new = User.objects.get_or_create(email="evaluation@example.org")
    if is_new:
        print(f"{shelve_golden(user)} documents read")  # noqa: T201 - it is a command
    print(f"{'':12} recall@5  first  citations")  # noqa: T201
    for name, ways in WAYS.items():
        score = evaluate(user, ways)
        print(f"{name:12} {score.recall:8.3f} {score.first:6.3f} {score.citations:10.3f}")  # noqa: T201
    print(f"missed by both together: {', '.join(score.missed)}")  # noqa: T201


main()
