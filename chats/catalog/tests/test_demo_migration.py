"""The migration that installs the demo."""

from decimal import Decimal

from django.utils import timezone

from chats.catalog.models import AIModel


def test_a_fresh_database_has_an_enabled_free_demo(demo_model: AIModel) -> None:
    assert (demo_model.name, demo_model.model_id, demo_model.enabled) == ("Parley demo", "parley-demo", True)
    assert (demo_model.provider.name, demo_model.provider.kind) == ("Demo", "demo")
    assert demo_model.order >= 1000
    price = demo_model.price_at(timezone.now())
    assert price is not None
    assert {price.input_per_million, price.output_per_million, price.per_request} == {Decimal(0)}


def test_it_goes_back_and_forth(migrate) -> None:
    then = migrate("catalog", "0001")
    assert not then.get_model("catalog", "AIModel").objects.filter(model_id="parley-demo").exists()
    assert not then.get_model("catalog", "Provider").objects.filter(kind="demo").exists()
    then = migrate("catalog", "0002")
    assert then.get_model("catalog", "AIModel").objects.filter(model_id="parley-demo").count() == 1


def test_what_staff_have_made_of_it_stays(migrate) -> None:
    then = migrate("catalog", "0001")
    models = then.get_model("catalog", "AIModel").objects
    provider = then.get_model("catalog", "Provider").objects.create(name="Demo", kind="demo")
    models.create(provider=provider, name="Ours", model_id="parley-demo", order=5)
    models.create(provider=provider, name="Another", model_id="another")
    migrate("catalog", "0002")
    assert models.get(model_id="parley-demo").name == "Ours"
    migrate("catalog", "0001")
    assert list(provider.models.values_list("name", flat=True)) == ["Another"]
    provider.models.all().delete()
    provider.delete()
