"""The store before a server starts: found, opened and brought up to date, or the one line that says why not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import make_url

from alpharay.serve.errors import StartFailed
from alpharay.serve.learn.store.database import Store, StoreDown
from alpharay.serve.learn.store.place import default_url, resolved, shown_url


def ready_store(url: str | None, folder: Path, cache: Path, say: Callable[[str], None]) -> str:
    """The URL that every ingress replica uses, whatever folder it runs in.

    url: the configuration's; None: a file in the cache folder. folder: what a relative path counts from.

    Raises ConfigError: the URL cannot be used. Raises StartFailed: a file cannot be opened, or the store is of a
    later version. A database server that cannot be reached is only told: it may come back.
    """
    if url is None:
        cache.mkdir(parents=True, exist_ok=True)
    whole = _whole(url, folder, cache)
    store = Store(whole)
    try:
        store.open()
    except StoreDown as error:
        if whole.startswith("sqlite"):
            raise StartFailed(f"store: {error}; name a file that can be written") from error
        say(f"warning: the store cannot be reached, learning is paused until it can: {error}")
    finally:
        store.close()
    say(f"store {shown_url(whole)}")
    return whole


def ready_folder(folder: Path | None, url: str, cache: Path) -> Path:
    """Where files of the Batch API lie: the configuration's folder, else beside the store's file, else in the cache folder.

    url: as `ready_store` gives it. Raises StartFailed: nothing can be written there.
    """
    if folder is None:
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        folder = Path(f"{parsed.database}.files") if sqlite else cache / "store.files"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StartFailed(
            f"server.batches.folder: {folder} cannot be written: {error.strerror}; name another"
        ) from error
    return folder.absolute()


def existing_store(url: str | None, folder: Path, cache: Path) -> Store:
    """The store that a server uses, for a command that only reads: nothing is made, and nothing brought up to date.

    Arguments as of `ready_store`. Raises ConfigError: the URL cannot be used. Raises StartFailed: there is no such file.
    """
    whole = _whole(url, folder, cache)
    parsed = make_url(whole)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise StartFailed(
            f"store: there is no {parsed.database}; name the configuration that the server was started with, or --store"
        )
    return Store(whole)


def _whole(url: str | None, folder: Path, cache: Path) -> str:
    return default_url(cache) if url is None else resolved(url, folder)
