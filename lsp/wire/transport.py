"""Moves bytes between the client and the protocol: standard input and output, or one TCP connection.

pygls' own transports are not used. Its reader blocks a thread of the pool that handlers share, allocates whatever a
header promises and never notices a client that hangs up without `shutdown`; its writer blocks the event loop when the
client does not read. Here one thread reads, one writes, and the event loop does neither.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

from lsp.wire.framing import FrameDecoder, LostStreamError

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 1024
_MAX_CHUNKS_AHEAD = 32
_POLL_PARENT_SECONDS = 2.0


class Reader(Protocol):
    """What `asyncio.StreamReader` and `StdinReader` have in common."""

    async def read(self, n: int) -> bytes:
        """At most `n` bytes, none at the end of the stream."""
        ...


class Writer(Protocol):
    """Takes messages without ever waiting for the client."""

    @property
    def unread_bytes(self) -> int:
        """What the client has been sent and has not taken."""
        ...

    def write(self, data: bytes) -> None: ...

    async def finish(self) -> None:
        """Hand over what is still queued, within reason, and close."""
        ...


class Peer(Protocol):
    """The protocol's side of a connection."""

    @property
    def exit_code(self) -> asyncio.Future[int]:
        """Resolves when the client says `exit` or is found dead."""
        ...

    @property
    def has_shut_down(self) -> bool: ...

    def receive(self, body: bytes) -> None:
        """Handle one message; never raises."""
        ...

    def connect(self, writer: Writer) -> None: ...


async def converse(peer: Peer, reader: Reader, writer: Writer) -> int:
    """Run one connection to its end; the process's exit status as LSP defines it."""
    peer.connect(writer)
    pump = asyncio.create_task(_pump(peer, reader))
    ends: set[asyncio.Future[Any]] = {pump, peer.exit_code}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if peer.exit_code.done():
        code = peer.exit_code.result()
        pump.cancel()
    else:
        code = 0 if pump.result() and peer.has_shut_down else 1
    await writer.finish()
    return code


async def _pump(peer: Peer, reader: Reader) -> bool:
    """Hand every message to the peer until the stream ends; False when it ended in garbage."""
    decoder = FrameDecoder()
    while data := await _read(reader):
        try:
            for body in decoder.feed(data):
                peer.receive(body)
                if peer.exit_code.done():
                    return True
                # Lets the handler of this message take its snapshot before the next message changes anything.
                await asyncio.sleep(0)
        except LostStreamError as error:
            logger.error("Giving up on the client: %s.", error)
            return False
    logger.info("The client closed the connection.")
    return decoder.pending_bytes == 0


async def _read(reader: Reader) -> bytes:
    """The next bytes; none when the stream has ended, in whatever way."""
    try:
        return await reader.read(CHUNK_BYTES)
    except OSError as error:  # A socket whose client left with messages unread.
        logger.info("The connection broke: %s", error)
        return b""


class StdinReader:
    """Reads a file descriptor in a thread of its own; at most a few chunks ahead of the event loop."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._slots = threading.Semaphore(_MAX_CHUNKS_AHEAD)
        # A daemon, because nothing can interrupt its read.
        threading.Thread(target=self._read_all, name="keyturn-stdin", daemon=True).start()

    async def read(self, n: int) -> bytes:
        chunk = await self._chunks.get()
        self._slots.release()
        return chunk

    def _read_all(self) -> None:
        chunk = b"more"
        while chunk:
            self._slots.acquire()
            try:
                chunk = os.read(self._fd, CHUNK_BYTES)
            except OSError:
                chunk = b""
            try:
                self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)
            except RuntimeError:  # The loop has closed: the server is ending.
                return


class StdoutWriter:
    """Writes in a thread of its own, so that a client that does not read cannot stop the event loop."""

    def __init__(self, stream: BinaryIO, on_broken: Callable[[], None]) -> None:
        self._stream = stream
        self._on_broken = on_broken
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._finished = asyncio.Event()
        self._bytes_in = self._bytes_out = 0
        threading.Thread(target=self._write_all, name="keyturn-stdout", daemon=True).start()

    @property
    def unread_bytes(self) -> int:
        return self._bytes_in - self._bytes_out

    def write(self, data: bytes) -> None:
        self._bytes_in += len(data)
        self._queue.put(data)

    async def finish(self, timeout: float = 2.0) -> None:
        self._queue.put(None)
        try:
            await asyncio.wait_for(self._finished.wait(), timeout)
        except TimeoutError:
            logger.warning("The client does not read; its last messages are dropped.")

    def _write_all(self) -> None:
        broken = False
        while (data := self._queue.get()) is not None:
            self._bytes_out += len(data)
            if broken:
                continue
            try:
                self._stream.write(data)
                self._stream.flush()
            except (OSError, ValueError):
                broken = True
                self._tell(self._on_broken)
        self._tell(self._finished.set)

    def _tell(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # The loop has closed: nobody is left to be told.
            return


class SocketWriter:
    """An `asyncio.StreamWriter`, whose `write` only ever fills a buffer."""

    def __init__(self, stream: asyncio.StreamWriter) -> None:
        self._stream = stream

    @property
    def unread_bytes(self) -> int:
        return self._stream.transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        if not self._stream.is_closing():
            self._stream.write(data)

    async def finish(self) -> None:
        try:
            await asyncio.wait_for(self._stream.drain(), 2.0)
            self._stream.close()
            await asyncio.wait_for(self._stream.wait_closed(), 2.0)
        except (OSError, TimeoutError):
            logger.info("The client left before its last messages.")


async def converse_over_stdio(peer: Peer, stdin_fd: int, stdout: BinaryIO) -> int:
    """Serve the client at the other end of standard input and output."""

    def on_broken() -> None:
        if not peer.exit_code.done():
            peer.exit_code.set_result(1)

    return await converse(peer, StdinReader(stdin_fd), StdoutWriter(stdout, on_broken))


async def converse_over_tcp(peer: Peer, host: str, port: int) -> int:
    """Listen, serve the first client that connects, and return when it leaves."""
    accepted: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    accepted = asyncio.get_running_loop().create_future()

    def on_connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if accepted.done():
            writer.close()
        else:
            accepted.set_result((reader, writer))

    listener = await asyncio.start_server(on_connected, host, port)
    address = listener.sockets[0].getsockname()
    # A client that asked for port 0 reads the real one here, whatever the log level.
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    sys.stderr.write(f"keyturn: listening on {shown}:{address[1]}\n")
    sys.stderr.flush()
    reader, writer = await accepted
    listener.close()
    return await converse(peer, reader, SocketWriter(writer))


def claim_stdio() -> tuple[int, BinaryIO]:
    """Take standard input and output for the protocol alone.

    Afterwards file descriptor 1 is standard error and descriptor 0 is empty, so that a stray `print`, or a library
    written in C, can neither break the stream of messages nor eat from it.
    """
    stdin_fd = os.dup(0)
    stdout_fd = os.dup(1)
    null_fd = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null_fd, 0)
    os.close(null_fd)
    sys.stdout.flush()
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        for fd in (stdin_fd, stdout_fd):
            msvcrt.setmode(fd, os.O_BINARY)
    return stdin_fd, os.fdopen(stdout_fd, "wb")


async def watch_parent(process_id: int, on_death: Callable[[], None]) -> None:
    """Call `on_death` once the editor's process is gone, for the case that its pipe stays open in a child of it."""
    while is_alive(process_id):
        await asyncio.sleep(_POLL_PARENT_SECONDS)
    logger.info("The editor's process %d has ended.", process_id)
    on_death()


def is_alive(process_id: int) -> bool:
    """Whether a process exists. Always True where asking would harm it (Windows: `os.kill` ends a process)."""
    if process_id <= 0 or sys.platform == "win32":
        return process_id > 0
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
