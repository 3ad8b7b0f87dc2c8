"""A query that was written once answers each call with its own ids."""

from datetime import timedelta

import pytest
from django.db.models import Q
from django.forms import model_to_dict
from pytest_django import DjangoAssertNumQueries

from accounts.models import ApiKey, User
from accounts.queries import Prepared
from accounts.services import create_api_key

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


def test_a_row_is_read_as_the_orm_reads_it_with_those_it_refers_to(
    owner: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    key, _ = create_api_key(owner, name="laptop")
    recent = Prepared(lambda pk, moment: ApiKey.objects.filter(pk=pk, created_at__gt=moment).select_related("user"))
    plain = ApiKey.objects.select_related("user").get(pk=key.pk)
    for _ in range(2):
        with django_assert_num_queries(1):
            row = recent.first(key.pk, key.created_at - timedelta(seconds=1))
            assert row is not None
            assert row.user == owner
        assert model_to_dict(row) == model_to_dict(plain)
        assert model_to_dict(row.user) == model_to_dict(plain.user)
    assert recent.first(key.pk, key.created_at + timedelta(seconds=1)) is None


def test_what_is_left_out_is_fetched_when_it_is_asked_for(owner: User) -> None:
    named = Prepared(lambda pk: User.objects.filter(pk=pk).only("name"))
    row = named.first(owner.pk)
    assert row is not None
    assert row.get_deferred_fields()
    assert row.email == owner.email
