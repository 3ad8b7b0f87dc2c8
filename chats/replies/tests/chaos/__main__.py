"""Plays scenarios, one after the other, each on a deployment of its own, and prints what was seen.

python -m chats.replies.tests.chaos [--scenario kills ...] [--seed N] [--short]
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from chats.replies.tests.chaos.deployment import deployed
from chats.replies.tests.chaos.report import Report
from chats.replies.tests.chaos.scenarios import SCENARIOS, Scenario, run, warmed_up
from config.tests import servers


def play(scenario: Scenario, folder: Path, *, server_url: str, seed: int, is_short: bool) -> Report:
    database_url = servers.new_database(server_url, f"chaos_{scenario.name}")
    with deployed(folder, database_url=database_url, **scenario.settings) as deployment:
        before = warmed_up(deployment)
        return run(scenario, deployment, before=before, seed=seed, size=scenario.short if is_short else scenario.long)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", nargs="*", choices=[*SCENARIOS], default=[*SCENARIOS], help="all by default")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--short", action="store_true", help="as small as in the suite")
    parser.add_argument("--logs", type=Path, help="keep the logs of all processes in this folder")
    chosen = parser.parse_args()
    reports = []
    with tempfile.TemporaryDirectory(prefix="parley-chaos-") as folder:
        try:
            server_url = servers.start_postgresql(Path(folder) / "postgresql")
            for name in chosen.scenario:
                logs = (chosen.logs or Path(folder)) / name
                logs.mkdir(parents=True, exist_ok=True)
                report = play(SCENARIOS[name], logs, server_url=server_url, seed=chosen.seed, is_short=chosen.short)
                print(report, flush=True)  # noqa: T201 - a command
                reports.append(report)
        finally:
            servers.stop_all()
    sys.exit(any(report.wrongs for report in reports))


if __name__ == "__main__":
    main()
