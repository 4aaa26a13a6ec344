"""`keyturn model train | evaluate | export`. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import ModelError
from model.factory import DEFAULT_MODEL

if TYPE_CHECKING:
    from model.training.train import Progress, Trainer

TOKENIZER = "tokenizer.json"
_SOURCE = "source.txt"
"""In a work folder that was prepared here, whose texts it has: of a folder, or of the packages."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands to the parser of `keyturn model`."""
    commands = parser.add_subparsers(dest="model_command", required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train the default model; goes on where an earlier run stopped")
    train.add_argument("--minutes", type=float, help="train so long, all sittings together, not the recipe's tokens")
    train.add_argument("--threads", type=int, help="processor threads (default: all)")
    train.add_argument("--corpus", type=Path, metavar="FOLDER", help="train on a folder's Python files instead")
    train.add_argument("--prepare", action="store_true", help="make the corpus, the tokenizer and the shards, and stop")
    train.add_argument("--device", choices=("cpu", "cuda"), help="where to train (default: as the recipe says)")
    train.add_argument(
        "--from", dest="start", type=Path, metavar="FOLDER", help="go on from a finished model, with its tokenizer"
    )
    evaluate = commands.add_parser("evaluate", help="measure a model on the held-out packages")
    evaluate.add_argument(
        "model", type=Path, nargs="?", default=DEFAULT_MODEL, help="a checkpoint folder (default: ours)"
    )
    evaluate.add_argument("--carets", type=int, default=2000, help="places to complete (default: %(default)s)")
    evaluate.add_argument(
        "--only", metavar="TEXT", default="", help="only what has TEXT in its name, such as 'edit'; keep FILE's others"
    )
    evaluate.add_argument(
        "--output", type=Path, metavar="FILE", help="the JSON to write (default: evaluation.json in the work folder)"
    )
    export = commands.add_parser("export", help="write the trained model as a Hugging Face folder")
    for command in (train, export):
        command.add_argument("--output", type=Path, metavar="FOLDER", help="checkpoint folder to write")
    export.add_argument("--result", type=Path, metavar="FILE", help="what `evaluate` found, for the model card")
    for command in (train, evaluate, export):
        command.add_argument("--recipe", default="cpu", help="a table of recipes.toml (default: %(default)s)")
        command.add_argument("--work", type=Path, metavar="FOLDER", help="work folder (default: in the user's cache)")


def run(args: argparse.Namespace) -> int:
    """Run the chosen sub-command; returns the exit status and raises `ModelError` for bad input."""
    command: str = args.model_command
    return {"train": _train, "evaluate": _evaluate, "export": _export}[command](args)


def work_folder(chosen: Path | None, recipe: str = "cpu") -> Path:
    """The folder of corpus, tokenizer, shards and checkpoint."""
    import platformdirs

    return chosen or Path(platformdirs.user_cache_dir("keyturn")) / "training" / recipe


def _train(args: argparse.Namespace) -> int:
    from model.training.export import check_output
    from model.training.recipes import load_recipe

    recipe = load_recipe(args.recipe)
    if args.minutes is not None and args.minutes <= 0:
        raise ModelError("--minutes must be more than 0.")
    if args.threads is not None and args.threads < 1:
        raise ModelError("--threads must be at least 1.")
    work = work_folder(args.work, recipe.name)
    if args.output:
        check_output(args.output, work)
    if args.start:
        _take_tokenizer(args.start, work)
    _prepare(work, recipe.shape.vocab_size, recipe.shape.max_positions, args.corpus)
    if args.prepare:
        _say(f"Prepared. To train elsewhere, take tokenizer.json, manifest.json and *.npz.xz of {work} there.")
        return 0
    import torch

    from model.training import corpus, shards, tokenizer
    from model.training.train import Trainer

    if args.threads:
        torch.set_num_threads(args.threads)
    corpus.load_manifest(work)  # the card needs it; should it be missing, that is said now
    files = shards.read_shards(work)
    trainer = Trainer(
        recipe,
        files,
        tokenizer.load_tokenizer(work),
        work,
        minutes=args.minutes,
        device=args.device,
        start=args.start,
    )
    if args.start and (args.start / corpus.MANIFEST).is_file():
        shutil.copyfile(args.start / corpus.MANIFEST, work / corpus.EARLIER_MANIFEST)
    if trainer.progress.fraction >= 1:
        _say("This run is at its end already; --minutes with more than before, or --from its model, goes on.")
    _say(f"Training in {work}: {len(files.tokens) / 1e6:.1f} million tokens of {len(files)} files.")
    try:
        with _signals_stop(trainer):
            _run_with_progress(trainer, work)
    except KeyboardInterrupt:
        _say(f"Stopped within a step; what {work} holds is from before it. The same command goes on from there.")
        return 1
    if trainer.progress.fraction < 1:
        _say(f"Stopped; the checkpoint is in {work}. The same command goes on from there.")
        return 1
    if args.output:
        return _export(args)
    _say(f"Trained. `keyturn model export --work {work} --output FOLDER` writes the model.")
    return 0


@contextmanager
def _signals_stop(trainer: Trainer) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run behind its step, the same a second time at once."""

    def stop(number: int, frame: Any) -> None:
        signal.signal(number, signal.default_int_handler)
        trainer.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _take_tokenizer(model: Path, work: Path) -> None:
    """Have the work folder use a model's tokenizer. Raises `ModelError` where it has made tokens with another one."""
    names = (TOKENIZER, "tokenizer_config.json")
    if not all((model / name).is_file() for name in names):
        raise ModelError(f"{model} is not a checkpoint folder; name one with {TOKENIZER}.")
    mine, theirs = work / names[0], model / names[0]
    if mine.is_file() and mine.read_bytes() != theirs.read_bytes():
        raise ModelError(f"{work} was made with another tokenizer than the model's; use another work folder.")
    work.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(model / name, work / name)


def _prepare(work: Path, vocab_size: int, max_length: int, folder: Path | None) -> None:
    """Make what the work folder lacks: corpus, tokenizer, shards. Each step is done once.

    Raises `ModelError` where it was made of other texts than those of `folder`, or of the packages where that is None.
    One that was prepared elsewhere does not tell of which.
    """
    from model.training import corpus, shards, tokenizer

    source = work / _SOURCE
    wanted = "packages" if folder is None else str(folder.resolve())
    known = source.read_text(encoding="utf-8") if source.is_file() else None
    if (work / corpus.MANIFEST).is_file() and known != wanted and (known or folder):
        raise ModelError(f"{work} has the texts of another corpus than {wanted}; use another work folder.")
    if shards.has_shards(work) and (work / TOKENIZER).is_file():
        return
    held_out = corpus.held_out_files(work / "held_out", _say)
    if not (work / "corpus.jsonl").is_file():
        if folder:
            sources = [_folder_source(folder)]
        else:
            sources = [*corpus.installed_sources(), *corpus.fetched_sources(work / "wheels", _say)]
        work.mkdir(parents=True, exist_ok=True)
        source.write_text(wanted, encoding="utf-8")
        corpus.build(sources, held_out, work, say=_say)
    files = corpus.load(work)
    if not (work / TOKENIZER).is_file():
        _say("Training the tokenizer.")
        trained = tokenizer.train_tokenizer((file.text for file in files), vocab_size)
        tokenizer.save_tokenizer(trained, work, max_length)
    shards.write_shards(files, held_out, tokenizer.load_tokenizer(work), work, _say)


def _run_with_progress(trainer: Trainer, work: Path) -> None:
    """A progress bar on a terminal, a line every ten steps elsewhere."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    from model.training import shards
    from model.training.data import Sampler
    from model.training.tokenizer import load_tokenizer
    from model.training.validation import SEED, make_validation

    held_out = shards.read_held_out(work)
    validate = None if held_out is None else make_validation(Sampler(held_out, load_tokenizer(work), SEED))
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Bar(*columns, console=_console()) as bar:
        task = bar.add_task("training", total=1.0)

        def report(progress: Progress) -> None:
            bar.update(task, completed=min(1.0, progress.fraction), description=_describe(progress))
            if not bar.console.is_terminal and progress.step % 10 == 1:
                _say(_describe(progress))

        def report_validation(progress: Progress, result: dict[str, Any]) -> None:
            _say(f"step {progress.step}: {json.dumps(result)}")
            line = {"step": progress.step, "tokens": progress.tokens, **result}
            with (work / "validation.jsonl").open("a", encoding="utf-8") as out:
                out.write(json.dumps(line) + "\n")

        trainer.run(report, validate, report_validation)


def _describe(progress: Progress) -> str:
    return (
        f"step {progress.step}, loss {progress.loss:.3f}, {progress.tokens / 1e6:.2f}M tokens, "
        f"{progress.tokens_per_second():.0f} tokens/s, {progress.seconds_left() / 60:.0f} min left"
    )


def _evaluate(args: argparse.Namespace) -> int:
    from rich.progress import Progress as Bar

    from model.training import corpus, shards
    from model.training.evaluate import evaluate

    if args.carets < 1:
        raise ModelError("--carets must be at least 1.")
    if not (args.model / "config.json").is_file() or not (args.model / TOKENIZER).is_file():
        raise ModelError(f"{args.model} is not a checkpoint folder; name one with config.json and {TOKENIZER}.")
    work = work_folder(args.work, args.recipe)
    output = args.output or work / "evaluation.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    held_out = corpus.held_out_files(work / "held_out", _say)
    mine, its = work / TOKENIZER, args.model / TOKENIZER
    own = shards.has_shards(work) and mine.is_file() and mine.read_bytes() == its.read_bytes()
    tokens = shards.read_shards(work) if own else None
    if tokens is None:
        _say(
            f"Without shards of this model's tokenizer in {work} the n-gram baseline is left out; "
            f"`keyturn model train --from {args.model} --work FOLDER --prepare` makes them for `--work FOLDER`."
        )
    with Bar(console=_console()) as bar:
        task = bar.add_task("")

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)
            if not bar.console.is_terminal and done % 200 == 0:
                _say(f"{what}: {done} of {total}")

        try:
            found = evaluate(args.model, held_out, args.carets, output, corpus=tokens, only=args.only, report=report)
        except KeyboardInterrupt:
            _say(f"Stopped. Every row that was measured is kept beside {output}; the same command goes on from there.")
            return 1
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0


def _export(args: argparse.Namespace) -> int:
    from model.training.card import model_card
    from model.training.export import export
    from model.training.recipes import load_recipe
    from model.training.train import read_state

    if args.output is None:
        raise ModelError("Say where the model goes with --output FOLDER.")
    work = work_folder(args.work, load_recipe(args.recipe).name)
    recipe = load_recipe(read_state(work)["origin"]["recipe"])
    result = _read_result(getattr(args, "result", None))
    card = model_card(recipe, work, result)
    export(work, args.output, card, _say, measured=result["weights"] if result else None)
    _say(f"The model is in {args.output}.")
    return 0


def _read_result(path: Path | None) -> dict[str, Any] | None:
    from model.training.report import whole

    if path is None:
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        whole(found), found["weights"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"{path} cannot be read as a result of `keyturn model evaluate` ({error}).") from error
    return found


def _folder_source(folder: Path) -> Any:
    from model.training.corpus import folder_source

    if not folder.is_dir():
        raise ModelError(f"There is no folder {folder} to train on.")
    return folder_source(folder)


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)


def _say(message: str) -> None:
    _console().print(message, highlight=False, markup=False, soft_wrap=True)
