from accounts.models import User


def test_the_cast_has_its_password(owner):
    assert owner.check_password("correct horse battery")


def test_every_test_starts_without_people(db):
    assert not User.objects.exists()
