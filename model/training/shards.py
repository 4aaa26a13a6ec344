"""The corpus as token ids, in compressed files that are small enough to carry to another machine.

A shard is a NumPy archive in xz. Everything that training reads is in it; texts are the tokens' bytes, one after the
other. The tokenizer starts a new piece at every line's end, so a text cut there is tokenised as the whole was: a
sample takes most of its tokens from here and encodes the line of its cut only.
"""

from __future__ import annotations

import io
import lzma
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tree_sitter
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ast_tools.languages import language_for
from model.errors import ModelError
from model.tokenizer import HubTokenizer
from model.training.corpus import CorpusFile
from model.training.tokenizer import FILE, PATH, special_id

SHARD_TEXT = 80_000_000
"""Bytes of text in one shard; compressed it takes less than a third."""

MAX_SHARD = 60_000_000
"""Bytes of a compressed shard."""

HELD_OUT_SHARD = "held_out.npz.xz"

NODE_BYTES = (8, 600)
"""Smallest and largest syntax node that is remembered, as a middle to cut out."""

BYTES_PER_NODE = 64
"""Of each file one node per so many bytes is remembered, chosen at random."""


@dataclass(frozen=True)
class TokenFiles:
    """Tokenised files, one after the other.

    tokens      [n] uint16
    token_ends  [files] int64, where each file's tokens end
    headers     [m] uint16, the tokens that name each file: <|file_sep|><|path|> and its path
    header_ends [files] int64
    nodes       [k, 2] uint32, byte spans of syntax nodes in their file
    node_ends   [files] int64
    """

    tokens: NDArray[np.uint16]
    token_ends: NDArray[np.int64]
    headers: NDArray[np.uint16]
    header_ends: NDArray[np.int64]
    nodes: NDArray[np.uint32]
    node_ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.token_ends)

    def text(self, index: int) -> NDArray[np.uint16]:
        """One file's tokens."""
        return self.tokens[_range(self.token_ends, index)]

    def header(self, index: int) -> NDArray[np.uint16]:
        """The tokens that name it."""
        return self.headers[_range(self.header_ends, index)]

    def spans(self, index: int) -> NDArray[np.uint32]:
        """[k, 2] byte spans of its syntax nodes."""
        return self.nodes[_range(self.node_ends, index)]


def write_shards(
    files: Sequence[CorpusFile],
    held_out: Sequence[CorpusFile],
    tokenizer: Tokenizer,
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """Tokenise the files into `shard-00.npz.xz`, …, the held-out ones into `held_out.npz.xz`; all appear or none."""
    if tokenizer.get_vocab_size() > 1 << 16:
        raise ModelError("A shard holds ids of 16 bits; the tokenizer has more entries.")
    parts = {f"shard-{i:02}.npz.xz": part for i, part in enumerate(_parts(files))}
    if held_out:
        parts[HELD_OUT_SHARD] = list(held_out)
    temporary = []
    for name, part in parts.items():
        say(f"Tokenising {len(part)} files into {name}.")
        archive = io.BytesIO()
        np.savez(archive, **vars(tokenise(part, tokenizer)))
        path = folder / (name + ".part")
        path.write_bytes(lzma.compress(archive.getvalue(), preset=6))
        if path.stat().st_size > MAX_SHARD:
            raise ModelError(f"{path} is larger than {MAX_SHARD} bytes; lower SHARD_TEXT.")
        temporary.append(path)
    for path in reversed(temporary):  # the first one tells that all are there
        path.rename(path.with_suffix(""))


def has_shards(folder: Path) -> bool:
    """Whether the folder can be trained from."""
    return (folder / "shard-00.npz.xz").is_file()


def read_held_out(folder: Path) -> TokenFiles | None:
    """The held-out files, which a run is watched on; None where there are none."""
    path = folder / HELD_OUT_SHARD
    return _read([path]) if path.is_file() else None


def read_shards(folder: Path) -> TokenFiles:
    """All shards of a folder as one; raises `ModelError` for a shard that cannot be read."""
    paths = sorted(folder.glob("shard-*.npz.xz"))
    if not paths:
        raise ModelError(f"{folder} has no shards; run `keyturn model train` where the corpus is.")
    return _read(paths)


def _read(paths: Sequence[Path]) -> TokenFiles:
    shards = []
    for path in paths:
        try:
            with np.load(io.BytesIO(lzma.decompress(path.read_bytes()))) as archive:
                shards.append(dict(archive))
        except (OSError, ValueError, lzma.LZMAError) as error:
            raise ModelError(f"{path} cannot be read ({error}); delete the shards and run again.") from error
    joined = {}
    for name in shards[0]:
        parts, shift = [], 0
        for shard in shards:
            parts.append(shard[name] + shift if name.endswith("_ends") else shard[name])
            shift += int(shard[name][-1]) if name.endswith("_ends") else 0
        joined[name] = np.concatenate(parts)
    return TokenFiles(**joined)


def tokenise(files: Sequence[CorpusFile], tokenizer: Tokenizer) -> TokenFiles:
    """The files' tokens, names and syntax nodes. A few get tabs or \\r\\n: editors show such files, too."""
    marks = [special_id(tokenizer, name) for name in (FILE, PATH)]
    tokens, headers, nodes = [], [], []
    for file in files:
        rng = random.Random(file.path)
        text = vary(file.text, rng)
        tokens.append(np.array(tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.uint16))
        path = tokenizer.encode(file.path + "\n", add_special_tokens=False).ids
        headers.append(np.array([*marks, *path], dtype=np.uint16))
        nodes.append(_some_nodes(text.encode(), rng))
    return TokenFiles(
        np.concatenate(tokens),
        _ends(tokens),
        np.concatenate(headers),
        _ends(headers),
        np.concatenate(nodes),
        _ends(nodes),
    )


def _range(ends: NDArray[np.int64], index: int) -> slice:
    return slice(int(ends[index - 1]) if index else 0, int(ends[index]))


def _ends(parts: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    return np.cumsum([len(part) for part in parts], dtype=np.int64)


def vary(text: str, rng: random.Random) -> str:
    """Some files get tabs for their indentation, some \\r\\n for their line ends."""
    luck = rng.random()
    if luck < 0.05:
        lines = text.split("\n")
        return "\n".join(
            "\t" * ((n := len(line) - len(line.lstrip(" "))) // 4) + " " * (n % 4) + line[n:] for line in lines
        )
    if luck < 0.08:
        return text.replace("\n", "\r\n")
    return text


def vocabulary_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """What each token writes; nothing for a marker."""
    known = HubTokenizer(tokenizer)
    return [known.token_bytes(i) for i in range(tokenizer.get_vocab_size())]


def _parts(files: Sequence[CorpusFile]) -> Iterator[list[CorpusFile]]:
    part: list[CorpusFile] = []
    size = 0
    for file in files:
        part.append(file)
        size += len(file.text)
        if size >= SHARD_TEXT:
            yield part
            part, size = [], 0
    if part:
        yield part


def _some_nodes(data: bytes, rng: random.Random) -> NDArray[np.uint32]:
    """[n, 2] spans of named syntax nodes, rising."""
    language = language_for("corpus.py")
    assert language is not None
    parser = tree_sitter.Parser(language.grammar())
    found: list[tuple[int, int]] = []
    waiting = [parser.parse(data).root_node]
    while waiting:
        node = waiting.pop()
        if node.end_byte - node.start_byte < NODE_BYTES[0]:
            continue
        if node.is_named and node.end_byte - node.start_byte <= NODE_BYTES[1]:
            found.append((node.start_byte, node.end_byte))
        waiting += node.children
    chosen = rng.sample(found, min(len(found), len(data) // BYTES_PER_NODE + 1))
    return np.array(sorted(chosen), dtype=np.uint32).reshape(-1, 2)
