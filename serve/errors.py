"""Everything that serving raises on purpose.

ServeError
├── ConfigError          the configuration cannot be used; the message names the key
├── EngineMissing        no vLLM or no Ray in this environment
├── StartFailed          something that serving needs did not come up
│   └── PortInUse        another process listens where we should
├── OutcomesError        an outcomes file cannot be read, written or used for what was asked
└── RequestError         one HTTP request is answered with an error
"""

from __future__ import annotations

from collections.abc import Mapping

from alpharay.errors import AlpharayError


class ServeError(AlpharayError):
    """Base of what `alpharay.serve` raises on purpose: one clear line, no traceback."""


class ConfigError(ServeError):
    """The configuration cannot be used as it is."""


class EngineMissing(ServeError):
    """vLLM or Ray is not installed here."""


class StartFailed(ServeError):
    """A part that serving needs did not come up."""


class PortInUse(StartFailed):
    """The address that serving should listen on is taken."""


class OutcomesError(ServeError):
    """An outcomes file cannot be used; the message names the file and the column, row or option at fault."""


class RequestError(ServeError):
    """One request is answered with an error.

    status: the HTTP status. param: the field at fault, where there is one.
    code: the error object's own. retry_after_s: sent as `Retry-After` (429 and 503).
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> Mapping[str, str]:
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def malformed(message: str, *, param: str | None = None) -> RequestError:
    """400: the request cannot be understood, or asks for what cannot be."""
    return RequestError(400, message, param=param)


def no_capacity(message: str, *, retry_after_s: int = 5) -> RequestError:
    """503: nothing is wrong with the request, try again."""
    return RequestError(503, message, code="no_capacity", retry_after_s=retry_after_s)
