"""Where the store is: which URLs can be used, and how one may be shown."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from alpharay.serve.errors import ConfigError

# For `postgresql://` the first of these that is installed.
_POSTGRES = {"psycopg": "psycopg", "pg8000": "pg8000", "psycopg2": "psycopg2"}


def default_url(cache: Path) -> str:
    """A file in the cache folder, for configurations that name no store: nothing is left in the folder one is in."""
    return URL.create("sqlite", database=str((cache / "store.db").absolute())).render_as_string()


def resolved(url: str, folder: Path) -> str:
    """The URL with a relative SQLite path made absolute (it counts from `folder`), and a driver named.

    Raises ConfigError: it is no database URL, or its driver is not installed. No secret is quoted.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            parsed = parsed.set(database=str((folder / Path(parsed.database).expanduser()).resolve()))
        else:
            raise ConfigError("store: SQLite needs a file, such as sqlite:///alpharay.db")
    elif parsed.get_backend_name() == "postgresql" and "+" not in parsed.drivername:
        drivers = [driver for module, driver in _POSTGRES.items() if importlib.util.find_spec(module)]
        if not drivers:
            raise ConfigError(
                "store: no driver for PostgreSQL is installed; `pip install 'alpharay[postgres]'` or psycopg"
            )
        parsed = parsed.set(drivername=f"postgresql+{drivers[0]}")
    check_url(parsed.render_as_string(hide_password=False))
    return parsed.render_as_string(hide_password=False)


def check_url(url: str) -> None:
    """Raises ConfigError: not a URL, an unknown database, or a driver that is not installed."""
    parsed = _parsed(url)
    try:
        parsed.get_dialect().import_dbapi()
    except NoSuchModuleError as error:
        raise ConfigError(
            f"store: {parsed.drivername!r} is no database that can be used; write sqlite:///FILE or "
            "postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from error
    except ImportError as error:
        raise ConfigError(f"store: the driver of {parsed.drivername!r} is not installed: {error}") from error


def shown_url(url: str) -> str:
    """The URL without its password, nor any option that could hold one."""
    parsed = _parsed(url)
    return parsed.set(query={}).render_as_string(hide_password=True)


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError as error:
        raise ConfigError(
            "store: must be a database URL, such as sqlite:///alpharay.db or postgresql://USER@HOST/DATABASE"
        ) from error
