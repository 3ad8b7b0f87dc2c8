"""A query that was written once answers each call with its own ids."""

import pytest
from django.db.models import Q

from accounts.models import User
from accounts.queries import Prepared

pytestmark = pytest.mark.django_db


def test_each_call_is_answered_for_its_own_ids(owner: User, stranger: User) -> None:
    active = Prepared(lambda pk: User.objects.filter(pk=pk, is_active=True))
    assert active.first(owner.pk) == owner
    assert active.first(stranger.pk) == stranger
    User.objects.filter(pk=owner.pk).update(is_active=False)
    assert active.first(owner.pk) is None


def test_an_id_may_stand_as_text_beside_itself(owner: User, stranger: User) -> None:
    User.objects.filter(pk=stranger.pk).update(email=str(owner.pk))
    either = Prepared(lambda pk: User.objects.filter(Q(pk=pk) | Q(email=str(pk))).order_by("-email"))
    assert either.first(owner.pk) == owner
    assert either.first(stranger.pk) == stranger
    User.objects.filter(pk=owner.pk).delete()
    assert either.first(owner.pk) == stranger


def test_several_ids_keep_their_places(owner: User, stranger: User) -> None:
    both = Prepared(lambda one, other: User.objects.filter(pk=one).exclude(pk=other))
    assert both.first(owner.pk, stranger.pk) == owner
    assert both.first(owner.pk, owner.pk) is None
