"""Keeps one syntax tree a document, following its edits."""

from __future__ import annotations

from collections import OrderedDict

from ast_tools.languages import Language
from ast_tools.tree import SyntaxTree
from model.snapshot import Snapshot


class SyntaxTrees:
    """The latest syntax tree of each document, parsed when first asked for and incrementally from then on.

    Used from one thread, the engine's: parsing a large file takes a while, and typing must not wait for it.
    """

    def __init__(self, max_trees: int = 32) -> None:
        self._trees: OrderedDict[str, tuple[int, SyntaxTree]] = OrderedDict()
        self._max_trees = max_trees

    def of(self, snapshot: Snapshot) -> SyntaxTree | None:
        """The tree of exactly this snapshot's text; None when it has no grammar or is too large."""
        language = snapshot.language
        if language is None:
            return None
        tree = self._follow(snapshot, language) or SyntaxTree.parse(snapshot.text, language)
        if tree is None:
            self.forget(snapshot.document)
            return None
        self._trees[snapshot.document] = (snapshot.revision, tree)
        self._trees.move_to_end(snapshot.document)
        while len(self._trees) > self._max_trees:
            self._trees.popitem(last=False)
        return tree

    def forget(self, document: str) -> None:
        self._trees.pop(document, None)

    def _follow(self, snapshot: Snapshot, language: Language) -> SyntaxTree | None:
        """The known tree brought up to the snapshot by the logged edits, if they reach back far enough."""
        revision, tree = self._trees.get(snapshot.document, (0, None))
        if tree is None or tree.language is not language:
            return None
        num_edits = snapshot.revision - revision
        if num_edits == 0 and tree.text.data == snapshot.text.data:
            return tree
        if not 0 < num_edits <= len(snapshot.edits):
            return None
        return tree.apply(snapshot.edits[-num_edits:], snapshot.text)
