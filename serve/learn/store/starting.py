"""The store before a server starts: found, opened and brought up to date, or the one line that says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
        whole = default_url(cache)
    else:
        whole = resolved(url, folder)
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
