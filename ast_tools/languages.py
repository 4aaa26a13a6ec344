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
    comment to the end of the line; `quotes` are the marks that enclose strings on one line.
    """

    name: str
    extensions: tuple[str, ...]
    lsp_ids: tuple[str, ...]
    grammar_module: str
    grammar_function: str = "language"
    line_comment: str = "//"
    quotes: str = "\"'"
    blocks_by_indentation: bool = False
    file_names: tuple[str, ...] = ()

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
        blocks_by_indentation=True,
        file_names=("SConstruct", "SConscript"),
    ),
    Language(
        "javascript",
        (".js", ".jsx", ".mjs", ".cjs"),
        ("javascript", "javascriptreact"),
        "tree_sitter_javascript",
        quotes="\"'`",
    ),
    Language(
        "typescript",
        (".ts", ".mts", ".cts"),
        ("typescript",),
        "tree_sitter_typescript",
        "language_typescript",
        quotes="\"'`",
    ),
    Language("tsx", (".tsx",), ("typescriptreact", "tsx"), "tree_sitter_typescript", "language_tsx", quotes="\"'`"),
    Language("java", (".java",), ("java",), "tree_sitter_java"),
    Language("go", (".go",), ("go",), "tree_sitter_go", quotes="\"'`"),
    Language("rust", (".rs",), ("rust",), "tree_sitter_rust", quotes='"'),
    Language("c", (".c", ".h"), ("c",), "tree_sitter_c"),
    Language(
        "cpp",
        (".cpp", ".cc", ".cxx", ".c++", ".hpp", ".hh", ".hxx", ".h++", ".inl"),
        ("cpp", "cuda-cpp"),
        "tree_sitter_cpp",
    ),
)
"""Rust's single quote is left out of `quotes`: it also begins lifetimes, which have no end."""

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
