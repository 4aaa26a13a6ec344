"""Cuts a byte stream into the bodies of JSON-RPC messages, and finds its way back after garbage.

Knows no sockets: bytes go in, bodies come out. The framing is LSP's base protocol: header lines, an empty line, a body
of `Content-Length` bytes.

    Content-Length: 17\\r\\n
    \\r\\n
    {"jsonrpc":"2.0"}
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 128 * 1024 * 1024
"""A longer message is taken for a corrupt header. Nothing is allocated on a header's word alone."""

MAX_GARBAGE_BYTES = 1024 * 1024
"""So many bytes in a row without a usable header, and the stream is given up."""

_MAX_HEADER_BYTES = 8 * 1024

_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
# Not anchored at a line's start: after a body of the wrong length the next header follows on the same line.
_CONTENT_LENGTH = re.compile(rb"content-length:[ \t]*(\d{1,18})[ \t]*(?:\r?\n|$)", re.IGNORECASE)


class LostStreamError(Exception):
    """The stream holds no message any more; the connection is of no further use."""


class FrameDecoder:
    """Collects bytes and yields the body of each complete message.

    Garbage between messages is skipped, with one log line for each stretch. `LostStreamError` after
    `MAX_GARBAGE_BYTES` of it in a row.
    """

    def __init__(self, max_body_bytes: int = MAX_BODY_BYTES, max_garbage_bytes: int = MAX_GARBAGE_BYTES) -> None:
        self._buffer = bytearray()
        self._body_length: int | None = None
        self._garbage_bytes = 0
        self._max_body_bytes = max_body_bytes
        self._max_garbage_bytes = max_garbage_bytes

    @property
    def pending_bytes(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every body that `data` completes."""
        self._buffer += data
        while True:
            if self._body_length is None and not self._take_headers():
                return
            assert self._body_length is not None
            if len(self._buffer) < self._body_length:
                return
            body = bytes(self._buffer[: self._body_length])
            del self._buffer[: self._body_length]
            self._body_length = None
            yield body

    def _take_headers(self) -> bool:
        """Consume header blocks until one names a usable length; False when more bytes are needed."""
        while (end := _END_OF_HEADERS.search(self._buffer)) is not None:
            block = bytes(self._buffer[: end.end()])
            del self._buffer[: end.end()]
            lengths = _CONTENT_LENGTH.findall(block)
            length = int(lengths[-1]) if lengths else -1
            if 0 <= length <= self._max_body_bytes:
                self._body_length = length
                self._garbage_bytes = 0
                return True
            self._skip(len(block), "no Content-Length" if length < 0 else f"Content-Length {length} is too large")
        if len(self._buffer) > 2 * _MAX_HEADER_BYTES:
            # The tail may hold the beginning of a real header.
            excess = len(self._buffer) - _MAX_HEADER_BYTES
            del self._buffer[:excess]
            self._skip(excess, "no end of headers")
        return False

    def _skip(self, num_bytes: int, reason: str) -> None:
        if self._garbage_bytes == 0:
            logger.warning("The client's stream is garbled (%s); looking for the next message.", reason)
        self._garbage_bytes += num_bytes
        if self._garbage_bytes > self._max_garbage_bytes:
            raise LostStreamError(f"no message in {self._garbage_bytes} bytes of input")
