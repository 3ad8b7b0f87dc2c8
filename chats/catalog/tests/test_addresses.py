"""Which base URLs a provider may have."""

import pytest
from django.core.exceptions import ValidationError
from django.test import override_settings

from chats.catalog.addresses import clean_base_url
from chats.catalog.models import Provider
from chats.catalog.services import save_provider
from chats.errors import Invalid


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        (" https://api.openai.com/v1// ", "https://api.openai.com/v1"),
        ("http://localhost:11434/v1", "http://localhost:11434/v1"),
        ("http://192.168.1.5:8000", "http://192.168.1.5:8000"),
        ("http://[::1]:8000/v1/", "http://[::1]:8000/v1"),
    ],
)
def test_a_sound_address_is_kept_without_its_slash(typed: str, kept: str) -> None:
    assert clean_base_url(typed) == kept


@pytest.mark.parametrize(
    "address",
    [
        *(
            "api.openai.com/v1",
            "ftp://example.org",
            "javascript:alert(1)",
            "http://",
            "https:///v1",
            "file:///etc/passwd",
        ),
        *("http://me:secret@example.org/v1", "http://example.org/v1?key=1", "http://example.org/v1#x"),
        *("http://[::1/v1", "http://example.org:99999/v1", "http://exa mple.org/v1", "http://example.org\\@evil.test"),
        *("http://169.254.169.254/v1", "http://0x7f.1/v1", "http://exämple.org/v1", "http://a\nb/v1"),
    ],
)
def test_other_addresses_are_refused_on_the_field(db: None, address: str) -> None:
    with pytest.raises(Invalid) as caught:
        save_provider("Odd", kind="openai", base_url=address)
    assert list(caught.value.fields) == ["base_url"]


def test_refused_providers_are_not_there(db: None) -> None:
    with pytest.raises(Invalid, match="needs its address"):
        save_provider("Odd", kind="openai")
    assert not Provider.objects.filter(name="Odd").exists()


@override_settings(PROVIDER_ALLOWED_HOSTS=["API.openai.com", "localhost:11434", "plain.example:80"])
@pytest.mark.parametrize(
    ("address", "is_fine"),
    [
        ("https://api.openai.com/v1", True),
        ("https://api.openai.com.:8443/v1", True),
        ("http://localhost:11434/v1", True),
        ("http://plain.example/v1", True),
        ("http://localhost:11435/v1", False),
        ("https://plain.example/v1", False),
        ("https://api.openai.com.evil.test/v1", False),
        ("https://evil.test/api.openai.com", False),
    ],
)
def test_the_operators_list_is_kept_to(address: str, is_fine: bool) -> None:
    if is_fine:
        assert clean_base_url(address) == address
        return
    with pytest.raises(ValidationError, match="PROVIDER_ALLOWED_HOSTS"):
        clean_base_url(address)
