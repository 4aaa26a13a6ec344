"""A server's OpenAI-compatible HTTP API, spoken from the engine's thread.

The thread blocks, and asks meanwhile whether anybody still wants the answer; the connection lives on an event loop in
a thread of its own. A request that is cancelled or has heard enough closes its stream, and the server stops computing;
the connection that this costs is opened anew behind the caller's back, before the next request needs it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import logging
import os
import re
import ssl
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import httpx

from model.errors import Cancelled, KeyturnError, ModelError, RequestError
from model.request import CancelCheck, never_cancelled
from model.vllm.asking.address import Address, proxy_for
from model.vllm.asking.events import events
from model.vllm.asking.failures import Route, ServerRefused, error_in

logger = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
"""Longest silence of a server that is at work on an answer, unless it is set."""
LATE_SECONDS = 60.0
"""An answer that nobody waits for any more may take so long to begin: a model that loads, a long prompt."""
ASK_SECONDS = 3.0
"""Longest wait for what a server knows without computing."""
POLL_SECONDS = 0.01
KEPT_BYTES = 65536
"""Of an answer that may turn out to be no stream."""


class Connection:
    """One server. Proxies are taken from the environment. Used from one thread at a time.

    `answer_seconds` is the longest silence of a server that is at work on an answer.
    """

    def __init__(self, address: Address, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        """Asks nothing yet. Raises `ModelError` where the settings or the environment make no connection."""
        self.address = address
        self._answer_seconds = answer_seconds
        if not re.match(r"https?://[^/]", address.base, re.IGNORECASE):
            raise ModelError("`url` must be a server's address such as http://localhost:8000.")
        key = (address.api_key or "").strip()
        if not re.fullmatch(r"[!-~]*", key):
            raise ModelError("`api_key` has characters that no key has; copy it again.")
        try:
            url = httpx.URL(address.base)
        except httpx.InvalidURL as error:
            raise ModelError(f"`url` cannot be used: {error}.") from error
        if (url.port or 0) > 65535:
            raise ModelError(f"`url` cannot be used: there is no port {url.port}.")
        self.route = Route(address, proxy_for(url))
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._client = httpx.AsyncClient(
                base_url=url,
                params=httpx.QueryParams(address.query),
                headers=headers,
                timeout=httpx.Timeout(max(answer_seconds, LATE_SECONDS), connect=CONNECT_SECONDS),
                transport=httpx.AsyncHTTPTransport(verify=_trusted(address), proxy=self.route.proxy),
            )
        except KeyturnError:
            raise
        except Exception as error:
            logger.warning("No connection to %s.", address, exc_info=error)
            raise ModelError(f"No connection to {address} can be made ({type(error).__name__}: {error}).") from error
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="keyturn-http", daemon=True)
        self._thread.start()
        self._finalizer = weakref.finalize(self, _stop, self._loop, self._client)

    def close(self) -> None:
        """End the connection and its thread."""
        self._finalizer()

    def check(self, seconds: float, cancelled: CancelCheck = never_cancelled) -> None:
        """Raises `ServerAway` or `ServerRefused` unless it answers, within so many seconds, with whatever status."""

        async def ask() -> None:
            try:
                response = await self._client.get("/health", timeout=seconds)
            except (httpx.RemoteProtocolError, httpx.ReadError):
                if not await self._is_https(seconds):
                    raise
                raise self.route.speaks_https() from None
            if response.status_code == 400 and await self._is_https(seconds):
                raise self.route.speaks_https()

        self._wait(self._retried(ask), cancelled)

    async def _is_https(self, seconds: float) -> bool:
        """Whether a server that was asked in HTTP and did not understand speaks HTTPS."""
        if self.address.scheme == "https" or self.route.proxy is not None:
            return False
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent
        url = self._client.base_url
        try:
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(url.host, url.port or 80, ssl=context)
        except (OSError, TimeoutError):
            return False
        writer.transport.abort()
        return True

    def get(self, path: str, cancelled: CancelCheck = never_cancelled, *, seconds: float = ASK_SECONDS) -> Any:
        """The JSON of a GET, None where the server has no such path. Raises `ServerAway` or `ServerRefused`."""

        async def fetch() -> Any:
            response = await self._client.get(path, timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS))
            if response.status_code in (404, 405, 501):
                return None
            await self._check(response, bad_request=ServerRefused)
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
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON that answers a POST.

        Raises `Cancelled`, `ServerAway`, `ServerRefused`, or `RequestError` where this request is what is wrong.
        """

        async def fetch() -> Any:
            async with asyncio.timeout(max(self._answer_seconds, LATE_SECONDS)):
                response = await self._client.post(path, json=body, headers=headers)
            await self._check(response)
            return response.json()

        return self._wait(self._retried(fetch), cancelled, _Progress(self._answer_seconds))

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
        progress = _Progress(self._answer_seconds)
        beginning = bytearray()

        async def listen() -> bool:
            async with (
                asyncio.timeout(max(self._answer_seconds, LATE_SECONDS)) as limit,
                self._client.stream("POST", path, json=body, headers=headers) as response,
            ):
                await self._check(response)
                async for event in events(_kept(response.aiter_bytes(), beginning)):
                    if not progress.step():
                        return True  # nobody listens any more
                    limit.reschedule(None)
                    if heard(event):
                        return True
            if not progress.num_steps:
                self._check_silence(response, bytes(beginning))
            return False

        broke_off = False
        try:
            broke_off = self._wait(self._retried(listen, may_retry=progress.is_untouched), cancelled, progress)
        except Cancelled:
            broke_off = True
            raise
        finally:
            if broke_off:
                asyncio.run_coroutine_threadsafe(self._warm(), self._loop)

    async def _check(self, response: httpx.Response, bad_request: type[KeyturnError] = RequestError) -> None:
        """Raise what the status of a response means, if it is no good one."""
        if response.status_code >= 300:
            await response.aread()
        if (refusal := self.route.refusal(response, bad_request)) is not None:
            raise refusal

    def _check_silence(self, response: httpx.Response, body: bytes) -> None:
        """Raise what it means that an answer had no event, unless it is an empty one."""
        with contextlib.suppress(ValueError):
            if (message := error_in(json.loads(body))) is not None:
                raise self.route.could_not(message)
        if "event-stream" not in response.headers.get("content-type", ""):
            raise self.route.does_not_stream()

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
        except KeyturnError:
            raise
        except Exception as error:
            raise self.route.failure(error) from error

    async def _warm(self) -> None:
        try:
            await self._client.get("/health", timeout=CONNECT_SECONDS)
        except Exception as error:
            logger.debug("No connection ahead: %s", type(error).__name__)

    def _wait(self, work: Coroutine[Any, Any, T], cancelled: CancelCheck, progress: _Progress | None = None) -> T:
        """The outcome of `work` on the loop; `Cancelled` soon after nobody wants it any more.

        Work that makes no progress is given up. If it has made none at all it goes on: the server may be loading its
        model, or reading a long prompt, and is ready once it has.
        """
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
            if progress is not None and progress.is_stuck():
                if progress.num_steps:
                    future.cancel()
                    raise self.route.fell_silent()
                raise self.route.is_late(progress.seconds, future)


class _Progress:
    """How an answer comes on. Noted in the connection's thread, looked at in the caller's."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.num_steps = 0
        self._latest = time.monotonic()
        self._is_given_up = False
        self._lock = threading.Lock()

    def step(self) -> bool:
        """Note that something came; False if nobody waits any more."""
        with self._lock:
            self._latest = time.monotonic()
            self.num_steps += not self._is_given_up
            return not self._is_given_up

    def is_stuck(self) -> bool:
        """Whether nothing has come for too long; then it is given up."""
        with self._lock:
            self._is_given_up = time.monotonic() - self._latest > self.seconds
            return self._is_given_up

    def is_untouched(self) -> bool:
        return not self.num_steps and not self._is_given_up


def _trusted(address: Address) -> ssl.SSLContext:
    """Whose certificates are trusted."""
    if address.scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # is not used
    if address.ca_file is None:
        try:
            return httpx.create_ssl_context()
        except OSError as error:
            what = "SSL_CERT_FILE or SSL_CERT_DIR in the environment"
            raise ModelError(f"{what} names no certificates; unset it, or set `ca_file`.") from error
    try:
        return ssl.create_default_context(cafile=os.path.expanduser(address.ca_file))
    except (OSError, ValueError) as error:
        raise ModelError(f"`ca_file` must be a PEM file of certificates; {address.ca_file} is none.") from error


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


async def _kept(pieces: AsyncIterator[bytes], beginning: bytearray) -> AsyncIterator[bytes]:
    """The pieces as they are, the first of them also in `beginning`."""
    async for piece in pieces:
        if len(beginning) < KEPT_BYTES:
            beginning += piece
        yield piece
