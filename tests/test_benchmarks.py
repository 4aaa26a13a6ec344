"""Each benchmark runs, at a size that says nothing of time."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from benchmarks import reuse_quality
from benchmarks.apart import DEFAULT_SPINS, Apart
from benchmarks.edit_latency import measure, rows_of_others
from benchmarks.peers import Transformers, taken_up
from benchmarks.plots import PLOTS
from benchmarks.typing_session import busy_seconds
from model.cache.reuse import plan_reuse
from model.cache.rope import RotaryTable, inverse_frequencies
from model.embedded.checkpoint import native_dtype
from model.embedded.kv_cache import CacheShape
from model.errors import ModelError
from model.factory import DEFAULT_MODEL
from model.prompts.prompt import Prompt
from model.tokens import new_serials
from model.training.corpus import CorpusFile

REPOSITORY = Path(__file__).parents[1]


def run(tmp_path: Path, name: str, *arguments: str) -> Any:
    """What the benchmark wrote."""
    output = tmp_path / "result.json"
    command = [sys.executable, str(REPOSITORY / "benchmarks" / f"{name}.py"), *arguments, "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text())


def test_edit_latency(tmp_path: Path) -> None:
    arguments = ("--sizes", "300", "--repeats", "1", "--peers", "keyturn", "--model", "model/weights")
    rows = run(tmp_path, "edit_latency", *arguments)["rows"]
    assert {row["peer"] for row in rows} == {"keyturn", "keyturn, prefix cache", "keyturn, no cache"}
    assert len({(row["edit"], row["place"]) for row in rows}) == 2 + 5 * 3
    assert all(0 < row["first_token_ms"]["median"] <= row["line_ms"]["median"] for row in rows)
    assert all(0 < row["edit_ms"]["median"] < row["first_token_ms"]["median"] for row in rows)
    # A run that was stopped goes on with what it had not measured.
    [row] = measure(DEFAULT_MODEL, 300, "keyturn", 1, tmp_path, rows[1:])
    assert (row["peer"], row["edit"]) == (rows[0]["peer"], rows[0]["edit"])


def test_rows_of_peers_that_are_not_measured_again(tmp_path: Path) -> None:
    """They stay, as do other sizes and edits, with the commit they were measured at, if model and machine are same."""
    result = tmp_path / "result.json"
    peers = {"keyturn, no cache": {}, "vLLM, prefix cache": {}, "llama.cpp BF16": {"commit": "a"}}
    rows = [{"tokens": 500, "peer": peer, "edit": "line in", **told} for peer, told in peers.items()]
    rows.append({"tokens": 1000, "peer": "keyturn", "edit": "line in"})
    rows.append({"tokens": 500, "peer": "keyturn", "edit": "append"})
    asked = {"peers": "keyturn,transformers", "sizes": [500, 2000], "edits": ["line in"]}
    same = {"model": "38M", "line_tokens": 16}
    result.write_text(json.dumps({**same, "machine": {"cores": 2, "commit": "b"}, "rows": rows}))
    now = {**same, "machine": {"cores": 2, "commit": "c"}, "asked": asked}
    assert rows_of_others(result, now) == [{"commit": "b", **row} for row in rows[1:]]
    with pytest.raises(ModelError, match="differs in model"):
        rows_of_others(result, {**now, "machine": {"cores": 4, "commit": "c"}})


def test_the_rule_of_llama_cpp() -> None:
    """What is taken up is the prompt's beginning, in runs that are long enough; none behind something put in."""
    rng = random.Random(0)
    for _ in range(300):
        held = [rng.randrange(3) for _ in range(rng.randint(0, 40))]
        place, size = rng.randint(0, len(held)), rng.randint(0, 4)
        wanted = held[:place] + [rng.randrange(3)] * rng.randint(0, 2) + held[place + size :]
        kept, runs = taken_up(np.array(held), np.array(wanted), 4)
        cache = dict(enumerate(held))
        for start, end, target in runs:
            assert end - start >= 4
            for i in range(end - start):
                cache[target + i] = cache[start + i]
        assert [cache[i] for i in range(kept)] == wanted[:kept]
    text = np.arange(100)
    assert taken_up(text, np.delete(text, 10), 16) == (99, [(11, 100, 10)])
    assert taken_up(text, np.delete(text, 10), 0) == (10, [])
    assert taken_up(text, np.insert(text, 10, 7), 16) == (10, [])


def test_a_peer_apart() -> None:
    """It answers what it would answer here, in a process whose OpenMP waits as it does by default."""
    with Apart(partial(Transformers, DEFAULT_MODEL, keeps_prefix=True)) as peer:
        for length in (30, 20):  # the second takes up twenty tokens of the first one's cache
            first, whole = peer.ask("answer", np.arange(length, dtype=np.int32), 3)
            assert 0 < first < whole
    with Apart(environment) as there:
        assert there.ask("get", "GOMP_SPINCOUNT") == DEFAULT_SPINS
    assert not multiprocessing.active_children()


def environment() -> Any:
    return os.environ


def test_speed(tmp_path: Path) -> None:
    rows = run(tmp_path, "speed", "--contexts", "64", "--peers", "", "--model", "model/weights")["rows"]
    assert [row["engine"] for row in rows] == ["keyturn", f"keyturn, {native_dtype()} alone"]
    assert all(row["prefill_ms"] > 0 and row["step_ms"] > 0 for row in rows)


def test_footprint(tmp_path: Path) -> None:
    found = run(tmp_path, "footprint", "--runs", "1", "--contexts", "256")
    assert 0 < found["initialize_ms"]["median"] < found["first_suggestion_ms"]["median"]
    [memory] = found["memory"]
    assert 0 < memory["caches_mb"] < memory["ten_files_mb"]


def test_soak(tmp_path: Path) -> None:
    """Memory stays within bounds while one file is worked on, and that of closed files is given back."""
    found = run(tmp_path, "soak", "--completions", "200", "--files", "4")
    assert found["growth_mb"] < 20
    assert len(found["held_mb"]) == 20
    for files in found["files"]:
        assert files["closed_mb"] < files["open_mb"] - 10
        assert files["closed_mb"] < found["last_mb"] + 25


def test_typing_session(tmp_path: Path) -> None:
    found = run(tmp_path, "typing_session", "--keystrokes", "12")
    assert found["answered"] + found["withdrawn"] == found["latency_at_least_ms"]["count"] == 12
    assert 0 < found["answered_by_the_model"] <= found["answered"]
    tokens = found["tokens"]
    assert tokens["kept"] > tokens["encoded"] > 0
    assert tokens["kept"] + tokens["turned"] + tokens["encoded"] == tokens["prompt"]


def test_seconds_of_a_process_and_its_children() -> None:
    """A child's work counts while it runs."""
    work = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    before = busy_seconds(psutil.Process())
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert busy_seconds(psutil.Process()) - before >= 0.25
        child.communicate(b"\n")


def test_plots(tmp_path: Path) -> None:
    """Every picture is drawn, and stands on a page."""
    subprocess.run([sys.executable, REPOSITORY / "benchmarks" / "plots.py", "--folder", tmp_path], check=True)
    drawn = {path.name for path in tmp_path.iterdir() if path.read_bytes().startswith(b"\x89PNG")}
    assert drawn == {f"{name}.png" for name in PLOTS}
    pages = "".join(path.read_text() for path in (REPOSITORY / "docs").glob("*.md"))
    assert all(f"]({name})" in pages and (REPOSITORY / "docs" / name).is_file() for name in drawn)


def test_unturned_keys_stay_where_they_were_encoded() -> None:
    """Whatever a cache turns on its own is not turned there: zones that are joined, many of them, rows gathered."""
    rotary = RotaryTable(inverse_frequencies(8, {"rope_theta": 1e4}), 2048)
    cache = reuse_quality.UnturnedCache(CacheShape(1, 1, 8, torch.float32), rotary)
    first = serials = new_serials(600)
    for at in (0, *range(20, 580, 30)):
        held = slice(0, cache.length)
        prompt = Prompt((serials % 251).astype(np.int32), serials, len(serials))
        cache.splice(plan_reuse(cache.ids[held], cache.serials[held], cache.exact_length, prompt, "pie"), prompt)
        cache.fill(cache.holes(), prompt)
        if serials is first:
            cache.turned[:] = torch.randn(cache.turned.shape)
            before = cache.turned[:, :, cache.rows[:600]].clone()
        serials = np.concatenate((serials[:at], new_serials(7), serials[at:]))
    kept = np.isin(cache.serials[: cache.length], first[:-1])  # the last one is encoded for each prompt
    assert torch.equal(cache.turned[:, :, cache.rows[: cache.length][kept]], before[:, :, :-1])


def test_reuse_quality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that were not turned are seen: answers differ from full computation's far more than with turned ones."""
    text = (REPOSITORY / "model" / "training" / "data.py").read_text()
    monkeypatch.setattr(reuse_quality, "held_out_files", lambda folder: [CorpusFile("some", "data.py", text)])
    (tmp_path / "data.js").write_text(text.replace("def ", "function ").replace('"""', "//"))
    output = tmp_path / "result.json"
    options = {"work": tmp_path, "javascript": tmp_path, "cases": 3, "processes": 2, "output": output}
    monkeypatch.setattr(sys, "argv", ["", *(f"--{name}={value}" for name, value in options.items())])
    reuse_quality.main()
    found = json.loads(output.read_text())
    for language, cases in {"Python": 3, "JavaScript": 1}.items():
        more = ("rename", "session of 1 edit", "session of 10 edits", "session of 100 edits")
        assert set(found[language]) == {"insertion", "deletion", "edits", *(more if language == "Python" else ())}
        for ways in found[language].values():
            assert set(ways) == {"full", "pie", "unturned", *reuse_quality.SHARES}
            assert ways["full"]["divergence"] == 0
        assert found[language]["deletion"]["full"]["carets"] == cases
    moved = found["Python"]["insertion"]
    assert moved["pie"]["divergence"] < 0.5 * moved["unturned"]["divergence"]
