"""What stands around every page: theme, errors, and the files of others."""

import hashlib
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.test import Client
from django.urls import reverse

from accounts.models import User
from chats.pages.static_files import StaticFiles
from chats.pages.tags import usd

VENDOR = [Path(settings.BASE_DIR) / folder for folder in ("chats/static/chats/vendor", "chats/pages/tests/vendor")]


def test_a_page_that_is_not_there_is_a_page(client: Client, db: None) -> None:
    response = client.get("/no/such/page/")
    assert response.status_code == 404
    assert "There is nothing here" in response.content.decode()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_chosen_theme_is_remembered(client: Client, db: None, theme: str) -> None:
    response = client.post(reverse("pages:theme"), {"theme": theme, "next": "/accounts/login/"})
    assert (response.status_code, response.url) == (302, "/accounts/login/")
    assert f'data-theme="{theme}"' in client.get("/accounts/login/").content.decode()


def test_the_theme_follows_the_person_to_another_browser(visitor: Client, owner: User) -> None:
    visitor.post(reverse("pages:theme"), {"theme": "dark"})
    elsewhere = Client()
    elsewhere.force_login(owner)
    assert 'data-theme="dark"' in elsewhere.get("/").content.decode()


def test_as_the_system_is_the_default_and_what_nonsense_means(visitor: Client) -> None:
    visitor.post(reverse("pages:theme"), {"theme": '"><script>'})
    page = visitor.get("/").content.decode()
    assert '<html lang="en">' in page


@pytest.mark.parametrize("address", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_the_theme_switch_leads_nowhere_else(client: Client, db: None, address: str) -> None:
    assert client.post(reverse("pages:theme"), {"theme": "dark", "next": address}).url == "/"


def test_a_theme_cookie_is_text(visitor: Client) -> None:
    visitor.cookies["theme"] = '"><script>alert(1)</script>'
    assert "<script>alert" not in visitor.get("/").content.decode()


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "cost unknown"),
        ("0", "free"),
        ("12.5", "$12.50"),
        ("0.01", "$0.01"),
        ("0.00123", "$0.0012"),
        ("1234", "$1,234.00"),
    ],
)
def test_dollars_for_people(amount: str | None, shown: str) -> None:
    assert usd(amount) == shown


def test_our_modules_import_each_other_by_names_that_change_with_their_content(tmp_path: Path) -> None:
    source = FileSystemStorage(Path(settings.BASE_DIR) / "chats/static")
    target = StaticFiles(location=tmp_path, base_url="/static/")
    names = [f"chats/js/{name}" for name in source.listdir("chats/js")[1]]
    names += [str(path.relative_to(source.location)) for path in Path(source.location).glob("chats/vendor/*/*.js")]
    for name in names:
        with source.open(name) as file:
            target.save(name, file)
    list(target.post_process({name: (target, name) for name in names}))
    code = (tmp_path / target.stored_name("chats/js/app.js")).read_text()
    assert f'"./{Path(target.stored_name("chats/js/stream.js")).name}"' in code
    lazily = (tmp_path / target.stored_name("chats/js/stream.js")).read_text()
    assert f'import("./{Path(target.stored_name("chats/js/growing.js")).name}")' in lazily


def test_the_files_of_others_are_what_they_were() -> None:
    for folder in VENDOR:
        lines = (folder / "MANIFEST.sha256").read_text().splitlines()
        listed = dict(reversed(line.split("  ")) for line in lines)
        found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert set(listed) == found - {"MANIFEST.sha256", "README.md"}
        for name, digest in listed.items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
