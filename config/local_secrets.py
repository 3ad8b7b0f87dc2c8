"""Secrets of a local installation: made once, kept in DATA_DIR, never committed or printed."""

import base64
import json
import os
import secrets
from pathlib import Path


def read_or_create(path: Path) -> dict[str, str]:
    """Return `{"SECRET_KEY", "ENCRYPTION_KEY"}`, creating the file (mode 0600) on first use.

    Two processes that start at once agree: the file appears whole under its name, and only once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        fresh = {
            "SECRET_KEY": secrets.token_urlsafe(64),
            "ENCRYPTION_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            json.dump(fresh, handle)
        try:
            # link() refuses to replace, so the first process wins and the other reads its file.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    with path.open() as handle:
        return json.load(handle)
