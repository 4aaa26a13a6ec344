"""Patterns on files, as `.gitignore` files and editors write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lsp.session.globs import MAX_ALTERNATIVES, MAX_CHARS, compiled, unfit

FOLDERS = [Path("/p"), Path("/p/inner"), Path("/r")]
HOME = "/home/so[me]body"


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A home folder whose name would be a pattern itself."""
    monkeypatch.setenv("HOME", HOME)
    compiled.cache_clear()


@pytest.mark.parametrize(
    ("patterns", "fitting", "others"),
    [
        # a name, anywhere
        ("*.sql", "/p/a.sql /p/x/a.sql /q/a.sql a.sql", "/p/a.sqlite /p/sql"),
        # a folder, anywhere within the project; what is above the project says nothing
        ("secret/", "/p/secret/a.py /p/x/secret/y/a.py", "/p/secret /p/secrets/a.py"),
        ("p/", "/q/p/a.py", "/p/a.py"),
        ("inner/", "/p/inner/a.py", "/p/a.py"),
        # a path within each folder of the project
        ("secret/*", "/p/secret/a.py /r/secret/a.py /p/inner/secret/a.py /p/secret/x/a.py", "/q/secret/a.py"),
        ("/secret/**", "/p/secret/a.py /r/secret/x/a.py", "/p/x/secret/a.py /q/secret/a.py"),
        ("a/**/b.py", "/p/a/b.py /p/a/x/b.py /p/a/x/y/b.py", "/p/x/a/b.py"),
        ("./a.py", "/p/a.py /r/a.py /p/inner/a.py", "/p/x/a.py /a/b.py"),
        ("./p/", "/p/p/a.py", "/p/a.py /p/x/p/a.py"),
        ("**/*.js", "/p/a.js /p/x/y/a.js", "/p/a.jsx"),
        # braces
        ("*.{pem,key}", "/p/a.pem /p/x/a.key", "/p/a.p /p/a.{pem,key}"),
        ("{a,b{c,d}}.py", "/p/a.py /p/bc.py /p/bd.py", "/p/b.py /p/ac.py"),
        ("{{name}}/", "/p/{{name}}/a.py", "/p/name/a.py"),
        (r"\{a,b\}", "/p/{a,b}", "/p/a"),
        # a whole path
        ("/q/x/**", "/q/x/a.py /q/x/y/a.py", "/q/a.py"),
        ("/p/x", "/p/x/a.py /p/p/x", "/p/y/x"),
        ("~/x/**", f"{HOME}/x/a.py {HOME}/x/y/a.py", "/p/x/a.py /p/~/x/a.py /home/somebody/x/a.py"),
        ("{~/x,y}/", f"{HOME}/x/a.py /p/y/a.py", f"{HOME}/z/a.py"),
        ("~nobody-at-all/x", "/p/~nobody-at-all/x", "/p/x"),
        # the last one decides
        ("*.js !a.js", "/p/b.js", "/p/a.js"),
        ("!a.js *.js", "/p/b.js /p/a.js", "/p/a.py"),
        ("~/x/** !~/x/a.py", f"{HOME}/x/b.py", f"{HOME}/x/a.py"),
        ("/q/** !a.py", "/q/b.py", "/q/a.py"),
        # what no file fits stands in no other's way
        ("../a *.sql", "/p/a.sql", "/a /p/a"),
        # paths that are not tidy
        ("secret/*", "/p/x/../secret/a.py /p//secret/./a.py", "/p/secret/../a.py"),
    ],
)
def test_which_files_patterns_mean(patterns: str, fitting: str, others: str) -> None:
    globs = compiled(tuple(patterns.split()))
    assert [path for path in (fitting + " " + others).split() if globs.fit(path, FOLDERS)] == fitting.split()


def test_spaces_around_a_pattern_are_no_part_of_it() -> None:
    assert compiled((" *.sql ",)).fit("/p/a.sql", FOLDERS)


@pytest.mark.parametrize(
    "pattern",
    [
        "", " ", "/", "!", "# comment", "\\", "a\\", "[abc", "[z-a]", "[[:alpha:]]", "*.{pem,key", "*.pem}", "{,}",
        ".", "..", "../a", "a/../b", "a/./b", "a//b", "//a", "./", "./../a", "!../a", "{a,../b}",
        "{1..99999999}", "{a,b}" * 30, "{" * 1000 + "}" * 1000, "{" * 400 + "}" * 400, "a" * (MAX_CHARS + 1),
    ],
)  # fmt: skip
def test_a_pattern_that_no_file_can_fit_is_known(pattern: str) -> None:
    assert [*unfit(["*.sql", pattern])] == [pattern]


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "**",
        "***",
        "a",
        " a ",
        "/a/",
        "[a-z]?",
        "!a",
        "{{a}}",
        r"\{",
        r"\#a",
        "~",
        "~/",
        "~*",
        ".a",
        "..a",
        "{0..99}",
    ],
)
def test_a_pattern_that_files_can_fit_is_not_complained_of(pattern: str) -> None:
    assert [*unfit([pattern])] == []


pieces = st.sampled_from(
    [*"{}[]()*?!\\/.,~#$^|-+ abA\n\0\t", "..", "**", "{a,b}", "[!", "[:", "{1..9}", "é", "🎈", "\ud800"]
)
texts = st.one_of(st.text(max_size=30), st.lists(pieces, max_size=30).map("".join))


@given(st.lists(texts, max_size=4), texts)
@example(["~\0/x", "~\ud800"], "/p/a")
def test_patterns_never_raise_whatever_text_they_are(patterns: list[str], path: str) -> None:
    bad = [*unfit(patterns)]
    globs = compiled(tuple(patterns))
    globs.fit(path, FOLDERS)
    assert not compiled(tuple(pattern for pattern in bad if "{" not in pattern)).fit(path, FOLDERS)
    assert len(globs.within.patterns) <= MAX_ALTERNATIVES * len(patterns)
