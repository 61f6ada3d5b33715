"""Stores to test: SQLite always, PostgreSQL where its server is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pg8000.dbapi as pg8000
import pytest
from hypothesis import settings

from alpharay.serve.learn.store import Store

settings.register_profile("patient", deadline=None, max_examples=50)
settings.load_profile("patient")

_PLACES = ("/usr/local/bin", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True))


def _binary(name):
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_PLACES]))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """The URL of a real PostgreSQL server, started for the tests and stopped with them."""
    if _binary("initdb") is None or _binary("postgres") is None:
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("postgres")
    as_user = []
    if os.geteuid() == 0:  # it refuses to run as root
        if shutil.which("setpriv") is None:
            pytest.skip("PostgreSQL does not run as root, and setpriv is not installed")
        as_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        os.chown(folder, 65534, 65534)
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o111)
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    make = [_binary("initdb"), "-D", str(data), "-U", "alpharay", "-A", "trust", "-N", "-E", "UTF8"]
    subprocess.run([*as_user, *make], check=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, **quiet)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-c", "fsync=off"]
    server = subprocess.Popen([*as_user, _binary("postgres"), "-D", str(data), *options], **quiet)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                # It listens before it answers: only a connection of its own protocol shows that it is up.
                pg8000.connect("alpharay", host="127.0.0.1", port=port, database="postgres").close()
                break
            except (OSError, pg8000.Error):
                assert server.poll() is None, "PostgreSQL ended while it started"
                assert time.monotonic() < deadline, "PostgreSQL did not start"
                time.sleep(0.05)  # between two looks
        yield f"postgresql+pg8000://alpharay:secret@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """The URL of an empty store."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    where = request.getfixturevalue("postgres")
    yield where
    from sqlalchemy import create_engine

    from alpharay.serve.learn.store.schema import metadata

    engine = create_engine(where)
    metadata.drop_all(engine)
    engine.dispose()


@pytest.fixture
def store(url):
    opened = Store(url)
    opened.open()
    yield opened
    opened.close()
