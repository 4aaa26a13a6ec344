"""Carets, edits before them, metrics and baselines: what the model is measured with."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ast_tools.traced import TracedText
from model.errors import ModelError
from model.training import shards
from model.training.baselines import NGrams, copy_line
from model.training.carets import KINDS, MAX_ABOVE, Caret, draw_carets, edit_before
from model.training.corpus import CorpusFile
from model.training.evaluate import BUDGETS, Score, chars_saved, evaluate
from model.training.report import whole
from model.training.tokenizer import load_tokenizer
from model.unfinished import keep, part_of
from tests.model.tiny import raw_tokenizer, save_checkpoint

TEXT = '''\
"""A module; import nothing = here (or there)."""

import os
from typing import Any, Callable

NAME = "import x = y"  # a comment = with (marks).


def first(path, count=2, *, größe=None):
    """Nothing = in here."""
    if os.path.exists(path):
        return open(path).read(count)
    for number in range(count):
        path = path.parent
    return None


def second(path, count=3):
    if os.path.exists(path):
        return open(path).read(count)
    return None
'''
FILES = [
    CorpusFile(package, f"{package}/mod{i}.py", TEXT.replace("first", f"first{i}"))
    for package in ("click", "rich")
    for i in range(3)
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def before_caret(caret: Caret) -> str:
    return caret.data[caret.data.rfind(b"\n", 0, caret.offset) + 1 : caret.offset].decode()


def test_carets_stand_where_people_complete_code() -> None:
    """Of every kind, in code only, each once, and the same ones for the same seed."""
    carets = draw_carets(FILES, 120)
    assert {caret.kind for caret in carets} == set(KINDS)
    assert len({(caret.file.path, caret.offset) for caret in carets}) == 120
    assert [caret.offset for caret in carets] == [caret.offset for caret in draw_carets(FILES, 120)]
    assert [caret.offset for caret in carets] != [caret.offset for caret in draw_carets(FILES, 120, seed=1)]
    endings = {"after .": ".", "after (": "(", "after import": "import "}
    for caret in carets:
        line = before_caret(caret)
        assert caret.truth
        assert "\n" not in caret.truth
        assert "Nothing" not in caret.truth
        assert "module" not in caret.truth
        assert "comment" not in caret.truth or "NAME" in line + caret.truth
        if caret.kind in endings:
            assert line.endswith(endings[caret.kind])
        elif caret.kind == "after =":
            assert line.rstrip().endswith("=")
        else:
            assert not line.strip()
            previous = caret.data[: caret.offset].decode().rstrip().split("\n")[-1]
            assert caret.kind != "block start" or previous.endswith((":", '"""'))


def test_too_few_places_are_an_error() -> None:
    with pytest.raises(ModelError, match="ask for fewer"):
        draw_carets(FILES[:1], 5000)


def test_an_edit_leads_to_the_file_of_today() -> None:
    """Whatever its kind, it lies above the caret's line and near it."""
    kinds = set()
    for seed in range(60):
        rng = random.Random(seed)
        for caret in draw_carets(FILES, 20):
            past = edit_before(caret, rng)
            kinds.add(past.kind)
            assert past.edit.apply_to(past.data) == caret.data
            assert past.data[past.caret :] == caret.data[caret.offset :]
            assert past.edit.end <= past.caret
            assert past.data != caret.data
            assert past.data[past.edit.start : past.caret].count(b"\n") <= MAX_ABOVE + 8
    assert kinds == {"insertion", "deletion", "replacement"}


def test_an_edit_gives_nothing_away() -> None:
    """What stands at the caret never stood above it, whether or not it was taken out again."""
    lines = [f"line_{number} = {number}\n" for number in range(6)]
    for number in range(6):
        file = CorpusFile("some", "some.py", "".join(lines))
        start = sum(map(len, lines[:number]))
        caret = Caret(file, file.text.encode(), start, start + len(lines[number]) - 1, "line start")
        for seed in range(60):
            assert edit_before(caret, random.Random(seed)).data.count(caret.truth.encode()) == 1


@pytest.mark.parametrize(
    ("before", "copied"),
    [
        ("if os.path.exists(a):\n    pass\nif os.path.", "exists(a):"),
        ("x = call(1)\ny = call(2)\nx = c", "all(1)"),
        ("\nx = 1\n", "x = 1"),
        ("abc", ""),
        ("", ""),
    ],
)
def test_the_copy_goes_on_like_the_most_similar_line(before: str, copied: str) -> None:
    assert copy_line(before.encode()) == copied


def test_the_copy_is_the_latest_of_the_longest() -> None:
    """Found by bisection; a plain search over all lengths finds the same."""
    rng = random.Random(1)
    for _ in range(200):
        text = "".join(rng.choice("ab\n ") for _ in range(rng.randint(1, 60))).encode()
        length = max(
            (n for n in range(1, len(text)) if text.rfind(text[len(text) - n :], 0, len(text) - 1) >= 0), default=0
        )
        if not length:
            assert copy_line(text) == ""
            continue
        at = text.rfind(text[len(text) - length :], 0, len(text) - 1) + length
        assert copy_line(text) == text[at:].split(b"\n")[0].decode().rstrip()


def test_n_grams_write_what_the_corpus_writes(tmp_path: Path) -> None:
    from model.training.tokenizer import save_tokenizer, train_tokenizer

    text = (
        "def f(self):\n    return self.value\n" * 5 + "def g(x):\n    return x\n" + "import os\nfrom a import b\n" * 4
    )
    corpus = [CorpusFile("a", "a.py", text)]
    save_tokenizer(train_tokenizer((file.text for file in corpus), 300), tmp_path, 100)
    tokenizer = load_tokenizer(tmp_path)
    grams = NGrams.count(shards.tokenise(corpus, tokenizer), tokenizer)
    assert grams.complete_line(b"def f(self):\n    return") == " self.value"
    assert grams.complete_line(b"def g(x):\n    return") == " x"
    assert grams.complete_line(b"def f(self):") == ""
    assert grams.complete_line(b"import ") == "os"  # one token, " os"
    assert grams.complete_line(b"def f(self):\n    return ") == "self.value"


@pytest.mark.parametrize(
    ("suggestions", "saved"),
    [
        (["path.join(a)"], 11),  # right at once: one key instead of twelve characters
        (["path.exists(a)", "oin(a)"], 5),  # wrong from the sixth character on, right once `j` is typed
        (["", "ath.join(a)"], 10),
        (["path.join(a))", ""], 0),
        ([""] * 20, 0),
    ],
)
def test_characters_are_saved_by_right_suggestions_only(suggestions: list[str], saved: int) -> None:
    answers = iter([*suggestions, *[""] * 20])
    typed: list[str] = []

    def ask(so_far: str) -> str:
        typed.append(so_far)
        return next(answers)

    assert chars_saved("path.join(a)", ask) == saved
    assert all("path.join(a)".startswith(part) for part in typed)
    assert typed == sorted(set(typed), key=len)


def test_a_score_is_what_its_carets_are() -> None:
    carets = draw_carets(FILES, 10)
    right, wrong = Score(), Score()
    for caret in carets:
        right.add(caret, caret.truth + "  ")
        wrong.add(caret, caret.truth + "!")
    assert right.summary() == {"carets": 10, "exact_match": 100.0, "edit_similarity": 100.0}
    assert wrong.summary()["exact_match"] == 0.0
    assert 50 < wrong.summary()["edit_similarity"] < 100


def test_a_stopped_evaluation_goes_on(tmp_path: Path) -> None:
    """From the condition where it was stopped, to the same figures; what was measured of other carets is not used."""
    save_checkpoint(tmp_path, "llama")
    (tmp_path / "tokenizer.json").write_text(raw_tokenizer("ours"))
    output = tmp_path / "result.json"
    asked: list[tuple[str, int]] = []

    def stop(what: str, done: int, total: int) -> None:
        if (what, done) == ("4096 tokens of context", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path, FILES, 6, output, report=stop)
    found = evaluate(tmp_path, FILES, 6, output, report=lambda what, done, total: asked.append((what, done)))
    assert asked[0] == ("4096 tokens of context", 0)
    assert found == evaluate(tmp_path, FILES, 6, tmp_path / "again.json") == json.loads(output.read_text())
    assert not part_of(output).exists()
    keep(output, found | {"carets": 5, "results": {"context 512": {}}})
    assert evaluate(tmp_path, FILES, 6, output) == found


def test_a_checkpoint_is_evaluated_in_every_way(tmp_path: Path) -> None:
    """With random weights nothing is right, and every figure is there."""
    save_checkpoint(tmp_path, "llama")
    (tmp_path / "tokenizer.json").write_text(raw_tokenizer("ours"))
    asked: list[str] = []
    output = tmp_path / "result.json"
    found = evaluate(tmp_path, FILES, 6, output, report=lambda what, done, total: asked.append(what))
    assert found["carets"] == 6
    assert found["packages"] == ["click", "rich"]
    names = [
        *(f"context {budget}" for budget in BUDGETS),
        "as shown",
        "no suffix",
        "after an edit, exact",
        "after an edit, pie",
    ]
    assert [*found["results"]] == [*names, "copy of the most similar line"]
    assert all(found["results"][name]["exact_match"] <= 50 for name in names)
    assert found["results"]["context 2048"]["bits_per_byte"] > 1
    assert found["results"]["after an edit, pie"]["stale_tokens"] > 0
    assert "stale_tokens" not in found["results"]["after an edit, exact"]
    assert sum(kind["carets"] for kind in found["by_kind"].values()) == 6
    assert len(asked) == 42
    some = evaluate(tmp_path, FILES, 6, tmp_path / "edits.json", only="edit")
    assert some["results"] == {name: found["results"][name] for name in names[-2:]}
    assert whole(some).count("\n|---|") == 1
    assert whole(found).count("\n|---|") == 2


def test_as_shown_is_what_the_server_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break what finishes suggestions, and this figure moves, and no other."""
    save_checkpoint(tmp_path, "llama")
    (tmp_path / "tokenizer.json").write_text(raw_tokenizer("ours"))

    def similarities(name: str) -> dict[str, float]:
        found = evaluate(tmp_path, FILES, 6, tmp_path / f"{name}.json")["results"]
        return {row: found[row]["edit_similarity"] for row in ("context 2048", "as shown")}

    whole_pipeline = similarities("whole")
    monkeypatch.setattr("model.assistant.assistant.finish", lambda context, generated, **more: TracedText.of(""))
    broken = similarities("broken")
    assert broken["context 2048"] == whole_pipeline["context 2048"]
    assert broken["as shown"] == 0 < whole_pipeline["as shown"]


def test_lines_are_asked_for_at_column_0_too(tmp_path: Path) -> None:
    """The same ones as behind their indentation, which is then a part of what is right."""
    indented = [caret for caret in draw_carets(FILES, 40) if caret.is_behind_indentation]
    assert {caret.kind for caret in indented} == {"line start", "block start"}
    for caret in indented:
        whole_line = caret.at_column_0()
        assert before_caret(whole_line) == "" != before_caret(caret)
        assert whole_line.truth == before_caret(caret) + caret.truth
    save_checkpoint(tmp_path, "llama")
    (tmp_path / "tokenizer.json").write_text(raw_tokenizer("ours"))
    found = evaluate(tmp_path, FILES, 40, tmp_path / "result.json", only=", as shown")["results"]
    assert [*found] == ["behind the indentation, as shown", "at column 0, as shown"]
    assert all(row["carets"] == len(indented) > 5 for row in found.values())


def test_some_figures_are_measured_again(tmp_path: Path) -> None:
    """The others stay and tell their commit; not those of other carets, and a name that nothing has is refused."""
    save_checkpoint(tmp_path, "llama")
    (tmp_path / "tokenizer.json").write_text(raw_tokenizer("ours"))
    output = tmp_path / "result.json"
    before = evaluate(tmp_path, FILES, 6, output)
    recorded = json.loads(output.read_text())
    recorded["machine"]["commit"] = "before"
    recorded["results"]["after an edit, pie"]["exact_match"] = -1
    output.write_text(json.dumps(recorded))
    found = evaluate(tmp_path, FILES, 6, output, only="edit")
    assert [*found["results"]] == [*before["results"]]
    for name, row in found["results"].items():
        assert row == before["results"][name] | ({} if "edit" in name else {"commit": "before"})
    assert found["by_kind"] == before["by_kind"]
    assert "; at before: context 512, context 2048" in whole(found)
    with pytest.raises(ModelError, match="differs in weights, carets"):
        evaluate(tmp_path, FILES, 5, output, only="edit")
    with pytest.raises(ModelError, match="'moon' in its name"):
        evaluate(tmp_path, FILES, 6, output, only="moon")
