"""Every scenario of `make chaos`, as small as it can be: one deployment, one after the other, a new seed each time.

A failure names the seed; `make chaos SCENARIO=… SEED=… SHORT=1` plays it again.
"""

import random
from collections.abc import Iterator

import pytest
from django.conf import settings

from chats.replies.tests.chaos.deployment import Costs, Deployment, deployed
from chats.replies.tests.chaos.scenarios import MANY_ATTEMPTS, SCENARIOS, Scenario, run, warmed_up
from config.tests.prepared import new_database, prepared_cluster

pytestmark = [
    pytest.mark.skipif(settings.IS_SQLITE, reason="an SQLite file belongs to one process"),
    pytest.mark.timeout(300),  # a turn that hangs is reported by the scenario itself, with its seed
]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, Costs]]:
    folder = tmp_path_factory.mktemp("chaos")
    with deployed(folder, database_url=new_database("chaos"), make=prepared_cluster, **MANY_ATTEMPTS) as made:
        yield made, warmed_up(made)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_nothing_is_lost_doubled_or_left_over(deployment: tuple[Deployment, Costs], scenario: Scenario) -> None:
    made, before = deployment
    report = run(scenario, made, before=before, seed=random.SystemRandom().randrange(1_000_000), size=scenario.short)
    assert not report.wrongs, str(report)
