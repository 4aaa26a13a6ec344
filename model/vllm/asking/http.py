"""A server's OpenAI-compatible HTTP API, spoken from the engine's thread.

The thread blocks, and asks meanwhile whether anybody still wants the answer; the connection lives on an event loop in
a thread of its own. A request that is cancelled or has heard enough closes its stream, and the server stops computing;
the connection that this costs is opened anew behind the caller's back, before the next request needs it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import os
import re
import ssl
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from model.errors import Cancelled, EngineError, KeyturnError, ModelError, RequestError
from model.request import CancelCheck, never_cancelled

logger = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_SECONDS = 3.0
READ_SECONDS = 60.0
"""Longest silence of a server that works: a long prompt in a full queue."""
ASK_SECONDS = 3.0
"""Longest wait for what a server knows without computing."""
POLL_SECONDS = 0.01


class ServerAway(EngineError):
    """The server does not answer, or not now: it may by itself later."""


class ServerRefused(EngineError):
    """The server answers, and refuses: something has to be set right."""


@dataclass(frozen=True)
class Address:
    """Where a server is. `url` with or without the `/v1`; `ca_file` a PEM file of authorities to trust, no others."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    @property
    def base(self) -> str:
        return self.url.strip().rstrip("/").removesuffix("/v1")

    def __str__(self) -> str:
        """As people are shown it: without a user's name and password."""
        return re.sub(r"//[^/]*@", "//", self.base)


class Connection:
    """One server. Proxies are taken from the environment, as httpx does. Used from one thread at a time.

    `read_seconds` is the longest silence of the server unless a call says otherwise.
    """

    def __init__(self, address: Address, *, read_seconds: float = READ_SECONDS) -> None:
        self.address = address
        if not re.match(r"https?://[^/]", address.base):
            raise ModelError("`url` must be a server's address such as http://localhost:8000.")
        key = (address.api_key or "").strip()
        if not re.fullmatch(r"[!-~]*", key):
            raise ModelError("`api_key` has characters that no key has; copy it again.")
        self._read_seconds = read_seconds
        self._loop = asyncio.new_event_loop()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._client = httpx.AsyncClient(
                base_url=address.base,
                headers=headers,
                timeout=httpx.Timeout(read_seconds, connect=CONNECT_SECONDS),
                verify=ssl.create_default_context(cafile=os.path.expanduser(address.ca_file))
                if address.ca_file
                else True,
            )
        except (OSError, httpx.InvalidURL, ValueError) as error:
            self._loop.close()
            raise ModelError(f"`url` or `ca_file` cannot be used: {error}.") from error
        self._thread = threading.Thread(target=self._loop.run_forever, name="keyturn-http", daemon=True)
        self._thread.start()
        self._finalizer = weakref.finalize(self, _stop, self._loop, self._client)

    def close(self) -> None:
        """End the connection and its thread."""
        self._finalizer()

    def is_up(self, seconds: float, cancelled: CancelCheck = never_cancelled) -> bool:
        """Whether anything answers there, within so many seconds."""

        async def ask() -> bool:
            try:
                await self._client.get("/health", timeout=seconds)
            except httpx.HTTPError:
                return False
            return True

        return self._wait(ask(), cancelled)

    def get(self, path: str, cancelled: CancelCheck = never_cancelled, *, seconds: float = ASK_SECONDS) -> Any:
        """The JSON of a GET, None where the server has no such path. Raises `ServerAway` or `ServerRefused`."""

        async def fetch() -> Any:
            response = await self._client.get(path, timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS))
            if response.status_code in (404, 405):
                return None
            await _check(response, self.address, bad_request=ServerRefused)
            try:
                return response.json()
            except ValueError:
                return response.text

        return self._wait(self._retried(fetch), cancelled)

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        cancelled: CancelCheck = never_cancelled,
        *,
        seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON that answers a POST.

        Raises `Cancelled`, `ServerAway`, `ServerRefused`, or `RequestError` where this request is what is wrong.
        """

        async def fetch() -> Any:
            timeout = httpx.Timeout(seconds or self._read_seconds, connect=CONNECT_SECONDS)
            response = await self._client.post(path, json=body, headers=headers, timeout=timeout)
            await _check(response, self.address)
            return response.json()

        return self._wait(self._retried(fetch), cancelled)

    def stream(
        self,
        path: str,
        body: Mapping[str, Any],
        heard: Callable[[dict[str, Any]], bool],
        cancelled: CancelCheck = never_cancelled,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """POST and pass each event of the streamed answer to `heard`, until it answers True: it has heard enough.

        A connection that drops before the first event is tried once more. `heard` runs in the connection's thread while
        this one waits. Raises what `post` raises.
        """
        num_heard = 0

        async def listen() -> bool:
            nonlocal num_heard
            async with self._client.stream("POST", path, json=body, headers=headers) as response:
                await _check(response, self.address)
                async for event in _events(response):
                    num_heard += 1
                    if heard(event):
                        return True
            if not num_heard and "event-stream" not in response.headers.get("content-type", ""):
                what = f"The server at {self.address} does not stream its answers"
                raise ServerRefused(f"{what}; `url` must be an OpenAI-compatible server's.")
            return False

        broke_off = False
        try:
            broke_off = self._wait(self._retried(listen, may_retry=lambda: not num_heard), cancelled)
        except Cancelled:
            broke_off = True
            raise
        finally:
            if broke_off:
                asyncio.run_coroutine_threadsafe(self._warm(), self._loop)

    async def _retried(
        self, call: Callable[[], Coroutine[Any, Any, T]], may_retry: Callable[[], bool] = lambda: True
    ) -> T:
        """Call, and once more if a connection that had stood idle turns out to be dead. Raises our own errors."""
        try:
            try:
                return await call()
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError):
                if not may_retry():
                    raise
                return await call()
        except httpx.HTTPError as error:
            what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "does not answer"
            logger.info("%s: %s", self.address, type(error).__name__)  # its text may hold the key
            raise ServerAway(f"The server at {self.address} {what}.") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            what = f"The server at {self.address} does not answer in JSON"
            raise ServerRefused(f"{what}; `url` must be an OpenAI-compatible server's.") from error

    async def _warm(self) -> None:
        try:
            await self._client.get("/health", timeout=CONNECT_SECONDS)
        except Exception as error:
            logger.debug("No connection ahead: %s", error)

    def _wait(self, work: Coroutine[Any, Any, T], cancelled: CancelCheck) -> T:
        """The outcome of `work` on the loop; `Cancelled` soon after nobody wants it any more."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        while True:
            try:
                return future.result(timeout=POLL_SECONDS)
            except concurrent.futures.TimeoutError:
                if future.done():
                    return future.result()
            if cancelled():
                future.cancel()
                raise Cancelled("The request was withdrawn.")


def _stop(loop: asyncio.AbstractEventLoop, client: httpx.AsyncClient) -> None:
    async def close() -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.aclose()
        loop.stop()

    if loop.is_running():
        asyncio.run_coroutine_threadsafe(close(), loop)


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a server-sent event stream, up to its `[DONE]`.

    Lines end with a newline only: JSON may hold U+2028 and its like, which other line splitters take for one.
    """
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            data = line.removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
            if data == b"[DONE]":
                return
            event = json.loads(data) if data else None
            if isinstance(event, dict):
                yield event


async def _check(response: httpx.Response, address: Address, bad_request: type[KeyturnError] = RequestError) -> None:
    """Raise what a status means, in a sentence for the user; the same sentence each time, so that it is said once.

    `bad_request` is what it means that a request was bad: where nothing but a path was asked for, the server is.
    """
    status = response.status_code
    if status < 400:
        return
    await response.aread()
    if status in (401, 403):
        what = "refuses the API key" if address.api_key else "wants an API key"
        raise ServerRefused(f"The server at {address} {what}; set `api_key`.")
    if status in (429, 502, 503, 504):
        raise ServerAway(f"The server at {address} is busy (status {status}); it is asked again in a while.")
    kind = bad_request if status in (400, 413, 422) else ServerRefused
    raise kind(f"The server at {address} refuses the request (status {status}): {_reason(response)}")


def _reason(response: httpx.Response) -> str:
    try:
        found = response.json()
        error = found.get("error", found)
        message = error.get("message") if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        message = response.text
    return (str(message).strip().splitlines() or ["no reason given"])[0][:200]
