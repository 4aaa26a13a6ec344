"""The JSON objects of a server-sent event stream, also of one that keeps the format loosely."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


async def events(pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """The objects of the stream, up to its `[DONE]`. Raises `ValueError` for an event that is no JSON.

    An object ends where its JSON does, be it in the middle of an event or after several of its `data:` lines. Some
    servers write `error:` in place of `data:`.
    """
    data = b""
    async for line in _lines(pieces):
        name, _, value = line.partition(b":")
        value = value.strip()
        if name in (b"data", b"error"):
            if value == b"[DONE]":
                break
            data = data + b"\n" + value if data else value
            try:
                found = json.loads(data)
            except ValueError:
                continue  # more of it follows
            data = b""
            if name == b"error":
                yield {"error": found}
            elif isinstance(found, dict):
                yield found
        elif not line and data:
            break
    if data:
        json.loads(data)


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines end with a newline only: JSON may hold U+2028 and its like, which other line splitters take for one."""
    rest, is_first = b"", True
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield (line.removeprefix(_BYTE_ORDER_MARK) if is_first else line).rstrip(b"\r")
            is_first = False
    yield rest.removeprefix(_BYTE_ORDER_MARK) if is_first else rest
