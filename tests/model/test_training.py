"""The default model's pipeline, from source files to a checkpoint, at toy size."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from model.embedded.history import MAX_MATCH
from model.errors import ModelError
from model.machine import weights as digest_of
from model.tokenizer import HubTokenizer
from model.training import cli, corpus, network, shards
from model.training.card import model_card
from model.training.data import MAX_LEAD_LINES, MIDDLE_WEIGHT, Sampler, caret_in, cut, lead
from model.training.export import check_output, export
from model.training.muon import Float32Muon, orthogonal
from model.training.recipes import Recipe, load_recipe
from model.training.tokenizer import END, MIDDLE, PREFIX, SUFFIX, load_tokenizer, save_tokenizer, train_tokenizer
from model.training.train import STATE, TRAINED, WEIGHTS, Trainer
from model.training.validation import make_validation

PIECE = '''\
import os


class Greeter{n}:
    """Says hello in way {n}."""

    def __init__(self, name_{n}):
        self.name_{n} = name_{n}.strip()

    def greet_{n}(self, times={n}):
        for count in range(times):
            print(f"Hello {{self.name_{n}}}, time {{count}} of {{times}} 🎈")
        return os.path.join("greeting_{n}", self.name_{n})
'''
TEXTS = ["\n\n".join(PIECE.format(n=10 * i + j) for j in range(8)) for i in range(6)]

HELD_OUT = [corpus.CorpusFile("click", "click/greeter.py", PIECE.format(n=99))]

SHAPE = network.Shape(
    vocab_size=400, hidden_size=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8, intermediate_size=48
)
TOY = Recipe(
    name="toy",
    shape=SHAPE,
    tokens=6 * 256,
    tokens_per_step=256,
    tokens_per_pass=128,
    lengths=((0.6, 128), (1.0, 256)),
    learning_rate=0.01,
    embedding_rate=0.01,
    warmup_steps=2,
    decay_share=0.5,
    weight_decay=0.1,
    checkpoint_minutes=60,
)


RESULT = {
    "carets": 2000,
    "seed": 20,
    "packages": ["click", "rich"],
    "machine": {"processor": "a processor", "cores": 2, "torch": "2.13.0", "commit": "abc"},
    "results": {"context 2048": {"exact_match": 12.5, "bits_per_byte": 1.23456}, "copy": {"exact_match": 3.0}},
    "by_kind": {"line start": {"carets": 1000, "exact_match": 5.0}},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Toy matrices gain nothing from threads, and threads wait for each other where other work runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with a toy corpus and its tokenizer."""
    sources, folder = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("work")
    for i, text in enumerate(TEXTS):
        (sources / f"module_{i}.py").write_text(text, encoding="utf-8")
    corpus.build([corpus.folder_source(sources)], [], folder)
    files = corpus.load(folder)
    save_tokenizer(train_tokenizer((file.text for file in files), SHAPE.vocab_size), folder, SHAPE.max_positions)
    shards.write_shards(files, HELD_OUT, load_tokenizer(folder), folder, lambda message: None)
    return folder


@pytest.fixture(scope="module")
def sampler(work: Path) -> Sampler:
    return Sampler(shards.read_shards(work), load_tokenizer(work))


def trainer(work: Path, folder: Path, **fields: Any) -> Trainer:
    return Trainer(replace(TOY, **fields), shards.read_shards(work), load_tokenizer(work), folder)


# The corpus


@pytest.mark.parametrize(
    "path",
    [
        "rich/console.py",
        "pip/_vendor/rich/text.py",
        "typer/_click/core.py",
        "attr/_make.py",
        "tomllib/_parser.py",
        "lib/click.py",
        "httpx2/_client.py",
    ],
)
def test_held_out_names_are_found_wherever_they_stand(path: str) -> None:
    assert corpus.is_held_out(path)


@pytest.mark.parametrize("path", ["richer/console.py", "httpcore/_api.py", "json/attributes.py", "clickhouse.py"])
def test_similar_names_are_not_held_out(path: str) -> None:
    assert not corpus.is_held_out(path)


def test_no_source_of_the_environment_is_held_out_or_unlicensed() -> None:
    sources = corpus.installed_sources()
    assert sources[0].package == "python"
    assert not {source.package for source in sources} & corpus.HELD_OUT_NAMES
    assert all(corpus.is_permissive(source.licence) for source in sources)


def test_a_renamed_copy_of_a_held_out_file_stays_out(tmp_path: Path) -> None:
    """Names do not give it away, its lines do."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "terminal.py").write_text(TEXTS[0].replace("Greeter3", "Terminal"), encoding="utf-8")
    (sources / "other.py").write_text(TEXTS[1], encoding="utf-8")
    held_out = [corpus.CorpusFile("rich", "rich/greeter.py", TEXTS[0])]
    corpus.build([corpus.folder_source(sources)], held_out, tmp_path / "work")
    assert [file.path for file in corpus.load(tmp_path / "work")] == ["other.py"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tests/helper.py", TEXTS[0]),
        ("test_greeter.py", TEXTS[0]),
        ("_vendor/greeter.py", TEXTS[0]),
        ("rich/greeter.py", TEXTS[0]),
        ("made.py", "# Generated by a tool, do not edit\n" + TEXTS[0]),
        ("long.py", TEXTS[0] + "x = '" + "a" * 500 + "'\n"),
        ("table.py", "def f(): pass\n" + "1234567, 7654321,\n" * 100),
        ("short.py", "import os\n"),
        ("huge.py", TEXTS[0] * 200),
        ("copy.py", TEXTS[1].replace("    ", "  ")),
    ],
)
def test_unfit_files_stay_out(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / "sources" / name
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    source = corpus.folder_source(tmp_path / "sources")
    known = corpus.KnownFiles([])
    assert known.admit(TEXTS[1])
    assert list(corpus.select(source, known, random.Random(0))) == []


@pytest.mark.parametrize(
    ("licence", "permissive"),
    [
        ("MIT", True),
        ("BSD-3-Clause AND 0BSD AND Zlib", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("MPL-2.0 AND MIT", False),
        ("GNU General Public License v3", False),
        ("", False),
    ],
)
def test_licences(licence: str, permissive: bool) -> None:
    assert corpus.is_permissive(licence) is permissive


def test_the_manifest_counts_what_the_corpus_holds(work: Path) -> None:
    [entry] = corpus.load_manifest(work)
    assert (entry.files, entry.bytes) == (len(TEXTS), sum(len(text.encode()) for text in TEXTS))


def wheel(folder: Path, name: str, licence: str, files: dict[str, str]) -> None:
    """A wheel as an index serves it."""
    about = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\nLicense-Expression: {licence}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(path, text)


def test_packages_are_fetched_once_and_read_from_their_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By pip itself, here from a folder instead of an index."""
    index, names = tmp_path / "index", tmp_path / "names.txt"
    index.mkdir()
    wheel(index, "greeter_one", "MIT", {"greeter/__init__.py": TEXTS[0], "greeter/_vendor/rich.py": TEXTS[1]})
    wheel(index, "closed", "LicenseRef-Proprietary", {"closed.py": TEXTS[2]})
    names.write_text("# two\ngreeter-one==1.0\nclosed==1.0\n")
    monkeypatch.setattr(corpus, "PACKAGES", names)
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(index))):
        monkeypatch.setenv(name, value)
    said: list[str] = []
    sources = corpus.fetched_sources(tmp_path / "wheels", said.append)
    assert [source.package for source in sources] == ["greeter_one"]
    corpus.build(sources, [], tmp_path / "work")
    assert [(file.path, file.text) for file in corpus.load(tmp_path / "work")] == [("greeter/__init__.py", TEXTS[0])]

    assert len(said) == 2
    corpus.fetched_sources(tmp_path / "wheels", said.append)
    assert len(said) == 2
    names.write_text("missing==1.0\n")
    with pytest.raises(ModelError, match=r"pip cannot fetch missing==1\.0"):
        corpus.fetched_sources(tmp_path / "wheels", said.append)


def test_the_lists_of_packages_keep_to_the_rules() -> None:
    """At most sixty by name, none of them held out; every held-out package has its version."""
    named, held_out = (
        [line for line in path.read_text().splitlines() if "==" in line]
        for path in (corpus.PACKAGES, corpus.HELD_OUT_PACKAGES)
    )
    assert len(named) == len(set(named)) <= 60
    assert not {name.split("==")[0] for name in named} & corpus.HELD_OUT_NAMES
    assert [name.split("==")[0] for name in held_out] == sorted(corpus.HELD_OUT)


# The tokenizer


def test_the_tokenizer_splits_where_code_does(work: Path) -> None:
    tokenizer = load_tokenizer(work)
    tokens = tokenizer.encode("def f():\n        return 1024").tokens
    assert tokens[-4:] == ["1", "0", "2", "4"]
    assert [token for token in tokens if "Ċ" in token] == ["ĊĠĠĠĠĠĠĠĠ"]


@pytest.mark.parametrize(
    "text", ["größe = 'ほげ 🎈'\r\n\tx\u2028\x0c  y", "<|fim_middle|> in a file", " \t \n\n  ", ""]
)
def test_any_text_survives_the_tokenizer(work: Path, text: str) -> None:
    """And markers that stand in a file are text."""
    tokenizer = load_tokenizer(work)
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert tokenizer.token_to_id(MIDDLE) not in ids


# The shards and the samples


def test_shards_hold_the_files(work: Path) -> None:
    """Tokens, names and syntax nodes; a shard that is damaged is refused in a sentence."""
    tokenizer = load_tokenizer(work)
    files = corpus.load(work)
    found = shards.read_shards(work)
    assert len(found) == len(files)
    ends = [0, *found.token_ends.tolist()]
    for file, start, end in zip(files, ends, ends[1:], strict=False):
        text = shards.vary(file.text, random.Random(file.path))
        assert found.tokens[start:end].tolist() == tokenizer.encode(text, add_special_tokens=False).ids
    last = found.nodes[int(found.node_ends[-2]) :].tolist()
    data = shards.vary(files[-1].text, random.Random(files[-1].path)).encode()
    assert last
    assert all(data[start:end].strip() == data[start:end] for start, end in last)


def test_a_damaged_shard_is_refused(work: Path, tmp_path: Path) -> None:
    (tmp_path / "shard-00.npz.xz").write_bytes((work / "shard-00.npz.xz").read_bytes()[:-40])
    with pytest.raises(ModelError, match="delete the shards"):
        shards.read_shards(tmp_path)
    with pytest.raises(ModelError, match="has no shards"):
        shards.read_shards(work.parent / "nowhere")


def test_several_shards_are_one(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_TEXT", len(TEXTS[0]) * 2)
    shards.write_shards(corpus.load(work), [], load_tokenizer(work), tmp_path, lambda message: None)
    assert len(list(tmp_path.glob("shard-*.npz.xz"))) == 3
    assert shards.read_held_out(tmp_path) is None
    one, several = shards.read_shards(work), shards.read_shards(tmp_path)
    for name, values in vars(one).items():
        assert np.array_equal(values, vars(several)[name]), name


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("seed", range(40))
def test_a_sample_is_a_piece_of_its_file_tokenised_apart(work: Path, seed: int, line_end: str) -> None:
    """Most tokens of a sample come from the shards; they are those that the three texts alone would have."""
    rng = random.Random(seed)
    tokenizer = load_tokenizer(work)
    text = f"# größe\n{TEXTS[seed % len(TEXTS)]}".replace("\n", line_end)
    files = shards.tokenise(
        [corpus.CorpusFile("p", "p.py", "x = 1\n"), corpus.CorpusFile("p", "q.py", text)], tokenizer
    )
    data = b"".join(map(HubTokenizer(tokenizer).token_bytes, files.tokens[int(files.token_ends[0]) :].tolist()))
    room = rng.choice([150, 400, 4000])
    sample = Sampler(files, tokenizer).fill_in_the_middle(1, room, rng)
    if sample is None:
        return
    ids = sample.ids
    assert len(ids) <= room
    assert (ids[0], ids[sample.suffix]) == (tokenizer.token_to_id(PREFIX), tokenizer.token_to_id(SUFFIX))
    assert (ids[sample.middle - 1], ids[-1]) == (tokenizer.token_to_id(MIDDLE), tokenizer.token_to_id(END))
    parts = ids[1 : sample.suffix], ids[sample.suffix + 1 : sample.middle - 1], ids[sample.middle : -1]
    # Bytes: a window of tokens may start or end inside a character.
    before, after, middle = (b"".join(map(HubTokenizer(tokenizer).token_bytes, part)) for part in parts)
    assert before + middle + after in data
    if room == 4000:  # nothing was cut off
        assert before + middle + after == data
        for part, written in zip(parts, (before, after, middle), strict=True):
            assert part == tokenizer.encode(written.decode(), add_special_tokens=False).ids


@pytest.mark.parametrize("seed", range(60))
def test_a_cut_lies_between_characters_and_most_start_at_a_line(seed: int) -> None:
    rng = random.Random(seed)
    text = TEXTS[0].replace("\n", "\r\n") if seed % 2 else TEXTS[0]
    data = text.encode()
    start, end = cut(data, np.array([[4, 40], [60, 90]], dtype=np.uint32), rng)
    assert 0 <= start <= end <= len(data)
    data[start:end].decode()
    led = lead(data, start, rng)
    assert data[led:start].count(b"\n") <= MAX_LEAD_LINES + 1
    assert led == 0 or data[led:].startswith((b"\n", b"\r\n"))


@pytest.mark.parametrize("line", ["    return first(second, third)", "x", "", "\t", "    "])
def test_a_caret_is_never_in_the_indentation(line: str) -> None:
    indent = len(line) - len(line.lstrip())
    for seed in range(30):
        assert indent <= caret_in(line.encode(), 0, len(line), random.Random(seed)) <= len(line)


def test_a_batch_depends_on_its_step_only(sampler: Sampler) -> None:
    first, again, other = sampler.batch(3, 2, 128), sampler.batch(3, 2, 128), sampler.batch(4, 2, 128)
    for mine, theirs in zip(first.fields(), again.fields(), strict=True):
        assert (mine == theirs).all()
    assert (first.ids != other.ids).any()


def test_targets_are_the_next_tokens_and_the_middle_at_a_suffix_marker(sampler: Sampler, work: Path) -> None:
    tokenizer = load_tokenizer(work)
    suffix, middle = tokenizer.token_to_id(SUFFIX), tokenizer.token_to_id(MIDDLE)
    batch = sampler.batch(3, 8, 512)
    inside = (batch.segments[:, 1:] == batch.segments[:, :-1]) & (batch.weights[:, :-1] > 0)
    markers = batch.ids[:, :-1] == suffix
    assert markers.any()
    assert (batch.ids[:, 1:] == batch.targets[:, :-1])[inside & ~markers].all()
    for ids, targets, weights in zip(batch.ids, batch.targets, batch.weights, strict=True):
        answers = [int(token) for token in targets[ids == suffix]]
        assert answers == [int(token) for token in targets[ids == middle]]
        assert (weights[ids == middle] == MIDDLE_WEIGHT).all()


def test_a_token_sees_what_stands_before_it_in_its_sample(sampler: Sampler) -> None:
    batch = sampler.batch(6, 8, 512)
    seen = network.causal_bias(torch.from_numpy(batch.segments), torch.float32)[:, 0] == 0
    before = np.tri(512, dtype=bool)
    assert batch.segments[batch.weights > 0].any()  # some sequences have several samples
    for row, segments in enumerate(batch.segments):
        assert np.array_equal(seen[row].numpy(), before & (segments[:, None] == segments))


# Training and export


def test_a_resumed_run_gives_the_weights_of_an_uninterrupted_one(work: Path, tmp_path: Path) -> None:
    whole = trainer(work, tmp_path / "whole")
    whole.run()
    trainer(work, tmp_path / "parts").run(max_steps=3)
    resumed = trainer(work, tmp_path / "parts")
    assert resumed.progress.step == 3
    resumed.run()
    assert resumed.progress.step == whole.progress.step == 6
    for name, tensor in whole.parameters.items():
        assert torch.equal(tensor, resumed.parameters[name]), name


def test_a_run_goes_on_from_a_finished_model(work: Path, tmp_path: Path) -> None:
    """It starts with the model's weights, sees other samples, and tells how many tokens came before."""
    first = trainer(work, tmp_path / "first")
    first.run()
    (tmp_path / "first" / "manifest.json").write_text("[]")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "first" / name).write_bytes((work / name).read_bytes())
    export(tmp_path / "first", tmp_path / "model", "card")
    recipe, files, tokenizer = TOY, shards.read_shards(work), load_tokenizer(work)
    second = Trainer(recipe, files, tokenizer, tmp_path / "second", start=tmp_path / "model")
    assert (second._sampler.batch(0, 2, 128).ids != first._sampler.batch(0, 2, 128).ids).any()
    for name, tensor in first.parameters.items():
        torch.testing.assert_close(second.parameters[name], tensor, rtol=0.01, atol=1e-4)
    assert second.progress.earlier == first.progress.tokens
    second.run()
    second.progress.earlier = 5_000_000
    second.save()
    (tmp_path / "second" / "manifest.json").write_text("[]")
    assert "million tokens, after 5.0 million in earlier runs, in" in model_card(recipe, tmp_path / "second", None)
    assert "earlier" not in model_card(recipe, tmp_path / "first", None)
    resumed = Trainer(recipe, files, tokenizer, tmp_path / "second", start=tmp_path / "model")
    assert resumed.progress.step == second.progress.step
    assert resumed.progress.earlier == 5_000_000


def test_only_a_model_of_the_same_shape_and_tokenizer_goes_on(work: Path, tmp_path: Path) -> None:
    first = trainer(work, tmp_path / "first")
    (tmp_path / "first").mkdir()
    save_file({name: tensor.detach() for name, tensor in first.parameters.items()}, tmp_path / "first" / WEIGHTS)
    other = replace(TOY, shape=replace(TOY.shape, num_layers=TOY.shape.num_layers + 1))
    for recipe, start in ((other, tmp_path / "first"), (TOY, tmp_path / "nowhere")):
        with pytest.raises(ModelError, match=r"another shape|cannot be read"):
            Trainer(recipe, shards.read_shards(work), load_tokenizer(work), tmp_path / "new", start=start)
    (tmp_path / "first" / "tokenizer.json").write_text("{}")
    (tmp_path / "first" / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ModelError, match="another tokenizer"):
        cli.run(parse("train", "--work", str(work), "--from", str(tmp_path / "first")))


def test_an_interrupted_run_keeps_its_steps(work: Path, tmp_path: Path) -> None:
    def interrupt(progress: Any) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(work, tmp_path).run(interrupt)
    assert trainer(work, tmp_path).progress.step == 2


def test_an_interrupt_within_the_change_of_the_weights_keeps_the_last_checkpoint(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a step is no state to go on from."""
    trainer(work, tmp_path).run(max_steps=2)
    broken = trainer(work, tmp_path)

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(broken._optimizers[1], "step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    kept = trainer(work, tmp_path)
    assert kept.progress.step == 2
    assert any(not torch.equal(tensor, broken.parameters[name]) for name, tensor in kept.parameters.items())


def test_minutes_are_of_one_call(work: Path, tmp_path: Path) -> None:
    """A run cut short by them goes on to the recipe's tokens without them."""
    files, tokenizer = shards.read_shards(work), load_tokenizer(work)
    short = Trainer(TOY, files, tokenizer, tmp_path, minutes=1e-9)
    short.run()
    assert (short.progress.step, short.progress.fraction >= 1) == (1, True)
    whole = trainer(work, tmp_path)
    whole.run()
    assert whole.progress.step == 6


def test_a_work_folder_knows_its_run(work: Path, tmp_path: Path) -> None:
    """Another recipe, other texts or another start are not taken for it."""
    files, tokenizer = shards.read_shards(work), load_tokenizer(work)
    trainer(work, tmp_path / "run").run(max_steps=1)
    save_file({"x": torch.zeros(1)}, tmp_path / WEIGHTS)
    with pytest.raises(ModelError, match="recipe 'toy'"):
        trainer(work, tmp_path / "run", name="moon")
    with pytest.raises(ModelError, match="from ''"):
        Trainer(TOY, files, tokenizer, tmp_path / "run", start=tmp_path)
    with pytest.raises(ModelError, match="texts '"):
        Trainer(TOY, replace(files, tokens=files.tokens[::-1]), tokenizer, tmp_path / "run")
    state = torch.load(tmp_path / "run" / STATE, weights_only=True)
    earlier = state["origin"] | {"stale_share": 0.5}  # it was trained for edits
    torch.save(state | {"origin": earlier}, tmp_path / "run" / STATE)
    with pytest.raises(ModelError, match="earlier version"):
        trainer(work, tmp_path / "run")


def test_training_learns(work: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    trainer(work, tmp_path, tokens=40 * 256).run(lambda progress: losses.append(progress.loss))
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_where_the_processor_multiplies_it(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    """Elsewhere float32, and the card says which it was."""
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: native)
    made = trainer(work, tmp_path, dtype="bfloat16")
    made.save()
    (tmp_path / "manifest.json").write_bytes((work / "manifest.json").read_bytes())
    dtype = "bfloat16" if native else "float32"
    assert str(made._network.dtype) == f"torch.{dtype}"
    assert f"{dtype} with float32 weights" in model_card(made.recipe, tmp_path, None)


def test_our_forward_pass_is_that_of_transformers(work: Path, tmp_path: Path) -> None:
    made = trainer(work, tmp_path / "work", dtype="float32")
    made.run(max_steps=2)
    for name in ("tokenizer.json", "manifest.json"):
        (tmp_path / "work" / name).write_bytes((work / name).read_bytes())
    export(tmp_path / "work", tmp_path / "model", "# card\n")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    ids = torch.randint(0, SHAPE.vocab_size, (2, 50), generator=torch.Generator().manual_seed(1))
    weights = {name: tensor.detach().to(torch.bfloat16).float() for name, tensor in made.parameters.items()}
    segments = torch.zeros_like(ids)
    hidden = network.Network(SHAPE, torch.float32, compiled=False).hidden(weights, ids, segments)
    with torch.no_grad():
        torch.testing.assert_close(network.logits(weights, hidden), model(ids).logits, rtol=1e-3, atol=1e-4)

    assert (tmp_path / "model" / "README.md").read_text() == "# card\n"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.convert_tokens_to_ids(MIDDLE) == load_tokenizer(work).token_to_id(MIDDLE)
    assert tokenizer.decode(tokenizer("x = 10\n    y").input_ids) == "x = 10\n    y"


def test_the_loss_is_that_of_torch_in_value_and_gradient() -> None:
    """Made in chunks, and of a mean that weighs its targets."""
    made = network.Network(SHAPE, torch.float32, compiled=False)
    parameters = network.new_parameters(SHAPE, 3)
    ids = torch.randint(0, SHAPE.vocab_size, (3, 300), generator=torch.Generator().manual_seed(2))
    targets, segments = ids.roll(-1, 1), torch.zeros_like(ids)
    weights = (torch.arange(900) % 3).view(3, 300).float()
    made.loss(parameters, ids, targets, weights, segments).backward()
    mine = {name: tensor.grad for name, tensor in parameters.items()}
    for tensor in parameters.values():
        tensor.grad = None
    scores = network.logits(parameters, made.hidden(parameters, ids, segments))
    each = torch.nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none")
    loss = (each * weights.flatten()).sum() / weights.sum()
    loss.backward()
    with torch.no_grad():
        torch.testing.assert_close(made.loss(parameters, ids, targets, weights, segments), loss)
    for name, tensor in parameters.items():
        torch.testing.assert_close(mine[name], tensor.grad, rtol=1e-3, atol=1e-6)


def test_other_processes_make_the_same_batches(work: Path, tmp_path: Path) -> None:
    alone, helped = trainer(work, tmp_path / "alone"), trainer(work, tmp_path / "helped", workers=2)
    alone.run()
    helped.run()
    assert helped.progress.step == alone.progress.step == 6
    for name, tensor in alone.parameters.items():
        assert torch.equal(tensor, helped.parameters[name]), name


def test_validation_tells_middles_apart(work: Path, tmp_path: Path) -> None:
    held_out = shards.read_held_out(work)
    assert held_out is not None
    found: list[dict[str, Any]] = []
    made = trainer(work, tmp_path)
    made.run(
        validate=make_validation(Sampler(held_out, load_tokenizer(work)), 128, 2),
        report_validation=lambda progress, result: found.append(result),
    )
    assert found[0]["loss"] > 1
    assert found[0]["middle_loss"] > 1
    assert found[0]["loss"] != found[0]["middle_loss"]


def test_a_failed_export_leaves_the_old_model(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer(work, tmp_path / "work").run(max_steps=1)
    (tmp_path / "work" / "tokenizer.json").write_bytes((work / "tokenizer.json").read_bytes())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / TRAINED).touch()

    def fail(*args: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr("model.training.export.write_checkpoint", fail)
    with pytest.raises(OSError, match="no room"):
        export(tmp_path / "work", tmp_path / "model", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "work"]
    assert (tmp_path / "model" / TRAINED).exists()


def test_a_model_takes_the_place_of_a_model_only(work: Path, tmp_path: Path) -> None:
    """Not that of the work folder, of a folder around it, or of anything else; that is said before any work."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").touch()
    (tmp_path / "file").touch()
    for output in (work, work.parent, tmp_path / "notes", tmp_path / "file"):
        with pytest.raises(ModelError, match=r"lies in|is no trained model"):
            cli.run(parse("train", "--work", str(work), "--output", str(output)))
    (tmp_path / "empty").mkdir()
    for output in (tmp_path / "new", tmp_path / "empty", work / "model"):
        check_output(output, work)


def test_a_card_tells_figures_of_its_own_weights(work: Path, tmp_path: Path) -> None:
    trainer(work, tmp_path / "work").run(max_steps=1)
    for name in ("tokenizer.json", "manifest.json"):
        (tmp_path / "work" / name).write_bytes((work / name).read_bytes())
    export(tmp_path / "work", tmp_path / "model", "card")
    export(tmp_path / "work", tmp_path / "model", "card", measured=digest_of(tmp_path / "model"))
    with pytest.raises(ModelError, match="of other weights"):
        export(tmp_path / "work", tmp_path / "model", "card", measured="0123456789abcdef")


# The command line


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--corpus", "/nowhere/at/all"], "no folder"),
        (["train", "--recipe", "moon"], "no recipe 'moon'"),
        (["train", "--minutes", "0"], "--minutes"),
        (["export"], "--output"),
        (["evaluate", "/nowhere/at/all"], "not a checkpoint folder"),
    ],
)
def test_bad_input_is_one_plain_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(corpus, "held_out_files", lambda folder, say: HELD_OUT)
    with pytest.raises(ModelError, match=message):
        cli.run(parse(*arguments, "--work", str(tmp_path)))


def test_export_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no training checkpoint"):
        cli.run(parse("export", "--work", str(tmp_path), "--output", str(tmp_path / "model")))


def test_the_commands_prepare_train_and_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The way of the GPU recipe: shards made in one place, trained on in another."""
    monkeypatch.setattr("model.training.recipes.load_recipe", lambda name: TOY)
    monkeypatch.setattr(corpus, "held_out_files", lambda folder, say: HELD_OUT)
    sources, here, there = (tmp_path / name for name in ("sources", "here", "there"))
    for folder in (sources, there):
        folder.mkdir()
    for i, text in enumerate(TEXTS):
        (sources / f"module_{i}.py").write_text(text, encoding="utf-8")
    assert cli.run(parse("train", "--prepare", "--corpus", str(sources), "--work", str(here))) == 0
    assert not (here / STATE).exists()
    for other in ([], ["--corpus", str(tmp_path / "elsewhere" / "sources")]):
        with pytest.raises(ModelError, match="another corpus"):
            cli.run(parse("train", "--work", str(here), *other))

    monkeypatch.setattr(corpus, "held_out_files", None)  # there is no network there
    for path in [here / "tokenizer.json", here / "manifest.json", *here.glob("*.npz.xz")]:
        (there / path.name).write_bytes(path.read_bytes())
    output = ["--output", str(tmp_path / "model")]
    assert cli.run(parse("train", "--work", str(there), "--device", "cpu", *output)) == 0
    assert (there / STATE).is_file()
    assert json.loads((there / "validation.jsonl").read_text().splitlines()[-1])["step"] == 6
    result = tmp_path / "result.json"
    result.write_text(json.dumps(RESULT))
    with pytest.raises(ModelError, match="cannot be read as a result"):
        cli.run(parse("export", "--work", str(there), *output, "--result", str(result)))
    result.write_text(json.dumps(RESULT | {"weights": digest_of(tmp_path / "model")}))
    assert cli.run(parse("export", "--work", str(there), *output, "--result", str(result))) == 0

    assert len(json.loads((tmp_path / "model" / "keyturn.json").read_text())["copying"]) == MAX_MATCH
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "| sources |  | not stated | 6 |" in card
    assert "of the folders no licence is known" in card
    with pytest.raises(ModelError, match="another corpus"):
        cli.run(parse("train", "--work", str(there), "--corpus", str(there)))
    (there / "manifest.json").unlink()
    with pytest.raises(ModelError, match=r"lacks manifest\.json"):
        cli.run(parse("train", "--work", str(there)))
    assert "| context 2048 | 12.50 | 1.23 |" in card
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "llama"
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_behind_its_step(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """The next call goes on from there; the signals mean what they meant."""
    monkeypatch.setattr("model.training.recipes.load_recipe", lambda name: TOY)
    for path in work.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    step = Trainer._step

    def kill_in_third(self: Trainer, batch: Any) -> None:
        if self.progress.step == 2:
            os.kill(os.getpid(), number)
        step(self, batch)

    monkeypatch.setattr(Trainer, "_step", kill_in_third)
    before = signal.getsignal(number)
    assert cli.run(parse("train", "--work", str(tmp_path))) == 1
    assert signal.getsignal(number) == before
    assert trainer(work, tmp_path).progress.step == 3
    assert cli.run(parse("train", "--work", str(tmp_path))) == 0
    assert trainer(work, tmp_path).progress.step == 6


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_an_update_is_made_orthogonal(shape: tuple[int, int]) -> None:
    found = orthogonal(
        torch.randn(shape, generator=torch.Generator().manual_seed(1)), (3.4445, -4.7750, 2.0315), 5, 1e-7
    )
    assert found.dtype == torch.float32 and found.shape == shape
    values = torch.linalg.svdvals(found)
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3


def test_muon_in_float32_trains_as_the_librarys_does() -> None:
    """But for the library's rounding; each takes the other's state, as a run does that goes on elsewhere."""
    generator = torch.Generator().manual_seed(2)
    start = [torch.randn(shape, generator=generator) for shape in ((32, 32), (48, 16), (16, 48))]
    trained = []
    for kind in (torch.optim.Muon, Float32Muon):
        weights = [weight.clone().requires_grad_() for weight in start]
        optimizer = kind(weights, lr=0.02, adjust_lr_fn="match_rms_adamw")
        generator = torch.Generator().manual_seed(3)
        for _ in range(3):
            for weight in weights:
                weight.grad = torch.randn(weight.shape, generator=generator)
            optimizer.step()
        trained.append([weight.detach() for weight in weights])
        Float32Muon(weights, lr=0.02).load_state_dict(optimizer.state_dict())
    for library, own, before in zip(*trained, start, strict=True):
        assert torch.allclose(library, own, atol=2e-3)
        assert not torch.allclose(library, before, atol=1e-2)


@pytest.mark.parametrize("name", ["cpu", "further", "gpu"])
def test_the_shipped_recipes_are_complete(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.lengths[-1] == (1.0, recipe.shape.max_positions)
    assert [recipe.length_at(at) for at in (0.0, 0.999, 1.0)] == [
        recipe.lengths[0][1],
        recipe.shape.max_positions,
        recipe.shape.max_positions,
    ]
    assert recipe.tokens_per_step % recipe.tokens_per_pass == 0
    assert all(recipe.tokens_per_step % length == 0 for _, length in recipe.lengths)
    assert recipe.rate(0.0, 0) < recipe.rate(0.2, 1000) == 1.0
    assert recipe.rate(1.0, 1000) == pytest.approx(0.02)
    assert 16_000 <= recipe.shape.vocab_size <= 24_000


def test_a_recipe_for_a_gpu_says_so_where_there_is_none(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="wants a GPU"):
        trainer(work, tmp_path, device="cuda")


def test_the_command_line_imports_nothing_heavy() -> None:
    code = "import sys, model.training.cli; print(any(m in sys.modules for m in ('torch', 'transformers', 'numpy')))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
