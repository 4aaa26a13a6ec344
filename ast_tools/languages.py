"""The languages that keyturn knows by syntax, as one table. A file in any other language is served by indentation."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tree_sitter


@dataclass(frozen=True)
class Language:
    """What differs between languages.

    `grammar_module` and `grammar_function` name the official tree-sitter package and its entry. Blocks are opened by a
    colon and end by indentation where `blocks_by_indentation`, else they stand in braces. `line_comment` begins a
    comment to the end of the line, `block_comment` are the marks around one of many lines. `quotes` enclose strings on
    one line, `long_quotes` strings of many; with `has_char_literals` a `'` encloses one character, else it is a quote
    only if it is among them. `indentation` is one level's in files that do not show theirs yet, "" for the model's own.
    """

    name: str
    extensions: tuple[str, ...]
    lsp_ids: tuple[str, ...]
    grammar_module: str
    grammar_function: str = "language"
    line_comment: str = "//"
    block_comment: tuple[str, str] | None = ("/*", "*/")
    quotes: str = '"'
    long_quotes: tuple[str, ...] = ()
    has_char_literals: bool = False
    blocks_by_indentation: bool = False
    file_names: tuple[str, ...] = ()
    indentation: str = ""

    def grammar(self) -> tree_sitter.Language:
        """The grammar, loaded when first asked for."""
        return _grammar(self.grammar_module, self.grammar_function)


@cache
def _grammar(module: str, function: str) -> tree_sitter.Language:
    import tree_sitter

    return tree_sitter.Language(getattr(importlib.import_module(module), function)())


LANGUAGES = (
    Language(
        "python",
        (".py", ".pyi", ".pyw"),
        ("python",),
        "tree_sitter_python",
        line_comment="#",
        block_comment=None,
        quotes="\"'",
        long_quotes=('"""', "'''"),
        blocks_by_indentation=True,
        file_names=("SConstruct", "SConscript"),
    ),
    Language(
        "javascript",
        (".js", ".jsx", ".mjs", ".cjs"),
        ("javascript", "javascriptreact"),
        "tree_sitter_javascript",
        quotes="\"'",
        long_quotes=("`",),
    ),
    Language(
        "typescript",
        (".ts", ".mts", ".cts"),
        ("typescript",),
        "tree_sitter_typescript",
        "language_typescript",
        quotes="\"'",
        long_quotes=("`",),
    ),
    Language(
        "tsx",
        (".tsx",),
        ("typescriptreact", "tsx"),
        "tree_sitter_typescript",
        "language_tsx",
        quotes="\"'",
        long_quotes=("`",),
    ),
    Language("java", (".java",), ("java",), "tree_sitter_java", long_quotes=('"""',), has_char_literals=True),
    Language(
        "go",
        (".go",),
        ("go",),
        "tree_sitter_go",
        long_quotes=("`",),
        has_char_literals=True,
        indentation="\t",
    ),
    Language("rust", (".rs",), ("rust",), "tree_sitter_rust", quotes="", long_quotes=('"',), has_char_literals=True),
    Language("c", (".c", ".h"), ("c",), "tree_sitter_c", has_char_literals=True),
    Language(
        "cpp",
        (".cpp", ".cc", ".cxx", ".c++", ".hpp", ".hh", ".hxx", ".h++", ".inl"),
        ("cpp", "cuda-cpp"),
        "tree_sitter_cpp",
        has_char_literals=True,
    ),
)

_BY_LSP_ID = {lsp_id: language for language in LANGUAGES for lsp_id in language.lsp_ids}
_BY_EXTENSION = {extension: language for language in LANGUAGES for extension in language.extensions}
_BY_FILE_NAME = {name: language for language in LANGUAGES for name in language.file_names}


def language_for(path: str | None, lsp_id: str | None = None) -> Language | None:
    """The language that the client names, else the one of the file's name; None for any that is not in the table."""
    if lsp_id in _BY_LSP_ID:
        return _BY_LSP_ID[lsp_id]
    if path is None:
        return None
    name = PurePath(path)
    return _BY_FILE_NAME.get(name.name) or _BY_EXTENSION.get(name.suffix.lower())
