"""API keys: who may ask, and how much.

The file holds no key, only SHA-256 digests. Keys are random and long (`alpharay keys` makes them), so that a
digest needs no salt and no slow hash: there is nothing to guess.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import logging
import secrets
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from alpharay.serve.errors import ConfigError, RequestError

log = logging.getLogger("ray.serve")

_PREFIX = "ar-"


class Key(BaseModel):
    """One key's entry. Limits are per key over the whole server; None is no limit.

    sha256: of the key. requests_per_minute: over any 60 s. samples_per_day: drawn from midnight UTC on.
    max_budget: samples of one request. concurrent: requests at the same time. admin: may change what is served.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w.@-]{1,64}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    requests_per_minute: int | None = Field(None, ge=1)
    samples_per_day: int | None = Field(None, ge=1)
    max_budget: int | None = Field(None, ge=1)
    concurrent: int | None = Field(None, ge=1)
    admin: bool = False

    @property
    def cache_salt(self) -> str:
        """Differs between keys, so that timing does not reveal whether another key sent the same prompt."""
        return hashlib.sha256(b"alpharay prefix cache " + self.sha256.encode()).hexdigest()


_ENTRIES = TypeAdapter(list[Key])


def make(name: str, *, admin: bool = False, **limits: int | None) -> tuple[str, Key]:
    """A new random key and its entry."""
    key = _PREFIX + secrets.token_urlsafe(32)
    chosen = {limit: value for limit, value in limits.items() if value is not None}
    return key, Key.model_validate({"name": name, "sha256": _digest(key), "admin": admin, **chosen})


def load(path: Path) -> tuple[Key, ...]:
    """The entries of a keys file (YAML, of which JSON is a part): a list.

    Raises ConfigError, which never quotes what the file holds.
    """
    try:
        entries = _ENTRIES.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")) or [])
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: entry {where or 'list'}: {first['msg']}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"{path}: is not YAML or JSON text") from None
    for field in ("name", "sha256"):
        twice = [value for value, times in Counter(getattr(e, field) for e in entries).items() if times > 1]
        if twice:
            raise ConfigError(f"{path}: two entries have the same {field}")
    return tuple(entries)


class KeyRing:
    """The keys file as it is now. A change that cannot be used leaves the keys as they were."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._stamp()
        self._keys = load(path)

    def look(self) -> None:
        """Reads the file again if it has changed."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._keys = load(self._path)
        except ConfigError as error:
            log.error("the keys stay as they were: %s", error)  # noqa: TRY400 - a traceback would quote the file
        else:
            log.warning("%s was read again: %d keys", self._path, len(self._keys))

    def find(self, headers: Iterable[tuple[str, str]]) -> Key:
        """The key that a request brings, as `Authorization: Bearer …`, as `x-api-key: …` or as Basic's password.

        headers: names in lower case. Raises RequestError (401).
        """
        brought = [secret for name, value in headers if (secret := _secret(name, value))]
        match = None
        for secret in brought:
            digest = _digest(secret)
            for key in self._keys:  # compares all keys in constant time: the duration reveals nothing
                if hmac.compare_digest(key.sha256, digest):
                    match = key
        if match is None:
            problem = "the API key is not known" if brought else "an API key is needed"
            raise RequestError(
                401,
                f"{problem}: send one as `Authorization: Bearer KEY` or as `x-api-key: KEY`",
                code="invalid_api_key",
            )
        return match

    def named(self, name: str) -> Key:
        """Raises RequestError (401): there is no such key any more."""
        for key in self._keys:
            if key.name == name:
                return key
        raise RequestError(401, f"the API key {name!r} is not known any more", code="invalid_api_key")

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def _secret(name: str, value: str) -> str:
    if name == "x-api-key":
        return value.strip()
    scheme, _, secret = value.partition(" ")
    if name == "authorization" and scheme.lower() == "basic":
        # What clients make of an address with a key in it: http://any:KEY@host.
        with contextlib.suppress(ValueError):
            return base64.b64decode(secret).decode().partition(":")[2]
        return ""
    return secret.strip() if name == "authorization" and scheme.lower() == "bearer" else ""


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
