"""What goes wrong with a server, as sentences for the user: the same one each time, so that it is said once."""

from __future__ import annotations

import concurrent.futures
import json
import logging
import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from model.errors import EngineError, KeyturnError, RequestError
from model.vllm.asking.address import Address

logger = logging.getLogger(__name__)

_NO_API = "`url` must be an OpenAI-compatible server's"

_OTHER_NAME = "`url` must have a name that it is made for"
_CERTIFICATE_ADVICE = {9: "check the clock", 10: "it has to be renewed", 62: _OTHER_NAME, 64: _OTHER_NAME}
"""By OpenSSL's number of what is wrong with it; else its authority is not known."""


class ServerAway(EngineError):
    """The server does not answer, or not now: it may by itself later.

    `retry_after` is in how many seconds it wants to be asked again, as far as it says. `late` is the request that it
    has not answered in time, as long as that goes on.
    """

    def __init__(
        self, message: str, *, retry_after: float = 0.0, late: concurrent.futures.Future[Any] | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.late = late


class ServerRefused(EngineError):
    """The server answers, and refuses: something has to be set right."""


@dataclass(frozen=True)
class Route:
    """A server, and the proxy that leads to it; None for none."""

    address: Address
    proxy: httpx.Proxy | None

    def __str__(self) -> str:
        return f"The server at {self.address}"

    @property
    def through(self) -> str:
        """Words for behind a sentence that the proxy may be to blame for."""
        return f" through the proxy {self.proxy.url.copy_with(username=None, password=None)}" if self.proxy else ""

    def failure(self, error: Exception) -> KeyturnError:
        """What it means that a request was not answered, or not in a way that can be read."""
        logger.info("%s: %s", self.address, type(error).__name__)  # its text may hold the key
        if isinstance(error, httpx.ConnectError | httpx.ProxyError) and (found := _ssl_error(error)) is not None:
            return self._no_tls(found)
        if self.proxy is not None and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
            return self._proxy_fails(str(error) if isinstance(error, httpx.ProxyError) else "it cannot be reached")
        if isinstance(error, httpx.HTTPError | TimeoutError):
            return ServerAway(f"{self} does not answer; start it, or check `url`.")
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
            return ServerRefused(f"{self} does not answer in JSON; {_NO_API}.")
        logger.warning("%s cannot be asked.", self, exc_info=error)
        return ServerAway(f"{self} cannot be asked ({type(error).__name__}).")

    def _proxy_fails(self, reason: str) -> ServerAway:
        advice = f"mend {self.address.scheme.upper()}_PROXY, or name {self.address.host} in NO_PROXY"
        return ServerAway(f"{self} does not answer{self.through} ({reason}); {advice}.")

    def _no_tls(self, error: ssl.SSLError) -> ServerRefused:
        if not isinstance(error, ssl.SSLCertVerificationError):
            reason = (error.reason or "no TLS").replace("_", " ").lower()
            what = f"{self} does not speak HTTPS as it should ({reason})"
            return ServerRefused(f"{what}; if it speaks HTTP, begin `url` with http://.")
        authority = "`ca_file` must have its authority" if self.address.ca_file else "set `ca_file` to its authority's"
        advice = _CERTIFICATE_ADVICE.get(error.verify_code, authority)
        return ServerRefused(f"{self} has a certificate that is not trusted ({error.verify_message}); {advice}.")

    def speaks_https(self) -> ServerRefused:
        return ServerRefused(f"{self} speaks HTTPS; begin `url` with https://.")

    def is_late(self, seconds: float, late: concurrent.futures.Future[Any]) -> ServerAway:
        what = f"did not begin to answer within {seconds:g} seconds"
        return ServerAway(f"{self} {what}; if it is only slow, raise `server_timeout_seconds`.", late=late)

    def fell_silent(self) -> ServerAway:
        return ServerAway(f"{self} fell silent in the middle of an answer; it is asked again in a while.")

    def could_not(self, message: str) -> ServerRefused:
        return ServerRefused(f"{self} could not answer: {message}")

    def does_not_stream(self) -> ServerRefused:
        return ServerRefused(f"{self} does not stream its answers; {_NO_API}.")

    def refusal(self, response: httpx.Response, bad_request: type[KeyturnError] = RequestError) -> KeyturnError | None:
        """What the status of a response means, whose body was read; None if that is good.

        `bad_request` is what it means that a request was bad.
        """
        status = response.status_code
        if status < 300:
            return None
        if status < 400:
            target = response.url.join(response.headers.get("location", ""))
            origin = f"{target.scheme}://{target.netloc.decode()}"
            return ServerRefused(f"{self} sends requests on to {origin}; set `url` to that.")
        if status in (401, 403):
            what = "refuses the API key" if self.address.api_key else "wants an API key"
            return ServerRefused(f"{self} {what}; set `api_key`.")
        if status == 407 and self.proxy is not None:
            return self._proxy_fails("status 407, it wants a name and a password")
        if status in (429, 502, 503, 504):
            what = f"is busy (status {status}){self.through}"
            return ServerAway(f"{self} {what}; it is asked again in a while.", retry_after=_retry_after(response))
        kind = bad_request if status in (400, 413, 422) else ServerRefused
        return kind(f"{self} refuses the request (status {status}): {_reason(response)}")


def error_in(event: Any) -> str | None:
    """What a server says went wrong, None where it says nothing: a field without a value is not there."""
    if not isinstance(event, dict):
        return None
    if _has_value(event.get("error")):
        return _message(event["error"]) or _message(event) or _one_line(str(event["error"]))
    return _message(event) if event.get("object") == "error" else None


def _has_value(found: Any) -> bool:
    return any(map(_has_value, found.values())) if isinstance(found, dict) else bool(found)


def _message(found: Any) -> str | None:
    """The message of an error in the shapes that servers give it."""
    if isinstance(found, str):
        return _one_line(found)
    if isinstance(found, list):
        return next(filter(None, map(_message, found)), None)
    if isinstance(found, dict):
        return next(filter(None, (_message(found.get(name)) for name in ("message", "msg", "detail", "error"))), None)
    return None


def _one_line(text: str) -> str | None:
    return (text.strip().splitlines() or [""])[0][:200] or None


def _reason(response: httpx.Response) -> str:
    try:
        found = _message(response.json())
    except ValueError:
        found = _one_line(response.text)
    return found or "no reason given"


def _retry_after(response: httpx.Response) -> float:
    """Seconds, as the server says them, or from its own clock to the time that it says; 0 where it says nothing."""
    value = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", value):
        return float(value)
    until, now = _moment(value), _moment(response.headers.get("date", ""))
    return 0.0 if until is None else until - (time.time() if now is None else now)


def _moment(date: str) -> float | None:
    try:
        found = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _ssl_error(error: BaseException) -> ssl.SSLError | None:
    return next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
