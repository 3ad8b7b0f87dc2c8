"""The golden questions are answered as well as they were when the figures of docs/knowledge.md were taken."""

import pytest

from chats.knowledge.tests.evaluation import WAYS, evaluate, shelve_golden

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(120)]


def test_most_golden_questions_find_their_passage_and_both_ways_more_than_either(owner, settings):
    settings.UPLOADS_PER_HOUR = 1_000
    assert shelve_golden(owner) >= 30
    text, vector, hybrid = (evaluate(owner, ways) for ways in WAYS.values())
    assert hybrid.recall > max(text.recall, vector.recall)
    assert hybrid.first > max(text.first, vector.first)
    assert hybrid.recall >= 0.88
    assert hybrid.citations >= 0.65
