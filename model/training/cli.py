"""`keyturn model train | evaluate | export`. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.engine import ModelError
from model.factory import DEFAULT_MODEL

if TYPE_CHECKING:
    from model.training.train import Progress, Trainer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands to the parser of `keyturn model`."""
    commands = parser.add_subparsers(dest="model_command", required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train the default model; goes on where an earlier run stopped")
    train.add_argument("--minutes", type=float, help="train for so long instead of for the recipe's tokens")
    train.add_argument("--threads", type=int, help="processor threads (default: all)")
    train.add_argument("--corpus", type=Path, metavar="FOLDER", help="train on a folder's Python files instead")
    evaluate = commands.add_parser("evaluate", help="measure a model on the held-out packages")
    evaluate.add_argument(
        "model", type=Path, nargs="?", default=DEFAULT_MODEL, help="a checkpoint folder (default: ours)"
    )
    evaluate.add_argument("--carets", type=int, default=200, help="places to complete (default: %(default)s)")
    evaluate.add_argument("--output", type=Path, metavar="FILE", help="write the JSON there, too")
    export = commands.add_parser("export", help="write the trained model as a Hugging Face folder")
    for command in (train, export):
        command.add_argument("--recipe", default="cpu", help="a table of recipes.toml (default: %(default)s)")
        command.add_argument("--work", type=Path, metavar="FOLDER", help="work folder (default: in the user's cache)")
        command.add_argument("--output", type=Path, metavar="FOLDER", help="checkpoint folder to write")
        command.add_argument("--carets", type=int, default=200, help="evaluate at so many carets for the card, 0: not")


def run(args: argparse.Namespace) -> int:
    """Run the chosen sub-command; returns the exit status and raises `ModelError` for bad input."""
    command: str = args.model_command
    return {"train": _train, "evaluate": _evaluate, "export": _export}[command](args)


def work_folder(chosen: Path | None, recipe: str = "cpu") -> Path:
    """The folder of corpus, tokenizer and checkpoint."""
    import platformdirs

    return chosen or Path(platformdirs.user_cache_dir("keyturn")) / "training" / recipe


def _train(args: argparse.Namespace) -> int:
    from model.training.recipes import load_recipe

    recipe = load_recipe(args.recipe)
    if args.minutes is not None and args.minutes <= 0:
        raise ModelError("--minutes must be more than 0.")
    if args.threads is not None and args.threads < 1:
        raise ModelError("--threads must be at least 1.")
    import torch

    from model.training import corpus, tokenizer
    from model.training.train import Trainer

    if args.threads:
        torch.set_num_threads(args.threads)
    work = work_folder(args.work, recipe.name)
    if not (work / "corpus.jsonl").is_file():
        _say("Collecting the corpus.")
        sources = [_folder_source(args.corpus)] if args.corpus else corpus.installed_sources()
        corpus.build(sources, corpus.held_out_files(), work)
    texts = [file.text for file in corpus.load(work)]
    if not (work / "tokenizer.json").is_file():
        _say("Training the tokenizer.")
        trained = tokenizer.train_tokenizer(texts, recipe.shape.vocab_size)
        tokenizer.save_tokenizer(trained, work, recipe.shape.max_positions)
    trainer = Trainer(recipe, texts, tokenizer.load_tokenizer(work), work, minutes=args.minutes)
    _say(f"Training in {work}: {sum(map(len, texts)) / 1e6:.1f} million characters of {len(texts)} files.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run_with_progress(trainer, work)
    except KeyboardInterrupt:
        _say(f"Stopped; the checkpoint is in {work}. The same command goes on from there.")
        return 1
    if args.output:
        return _export(args)
    _say(f"Trained. `keyturn model export --work {work} --output FOLDER` writes the model.")
    return 0


def _run_with_progress(trainer: Trainer, work: Path) -> None:
    """A progress bar on a terminal, a line every ten steps elsewhere."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    from model.training.validation import make_validation

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

        trainer.run(report, make_validation(trainer.recipe, work), report_validation)


def _describe(progress: Progress) -> str:
    return (
        f"step {progress.step}, loss {progress.loss:.3f}, {progress.tokens / 1e6:.2f}M tokens, "
        f"{progress.tokens_per_second():.0f} tokens/s, {progress.seconds_left() / 60:.0f} min left"
    )


def _evaluate(args: argparse.Namespace) -> int:
    from model.training.evaluate import evaluate

    if args.carets < 1:
        raise ModelError("--carets must be at least 1.")
    text = json.dumps(evaluate(args.model, args.carets), indent=2)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0


def _export(args: argparse.Namespace) -> int:
    if args.output is None:
        raise ModelError("Say where the model goes with --output FOLDER.")
    from model.training.card import model_card
    from model.training.evaluate import evaluate
    from model.training.export import export
    from model.training.recipes import load_recipe

    recipe = load_recipe(args.recipe)
    work = work_folder(args.work, recipe.name)
    _say(f"Writing and evaluating the model for {args.output}.")
    export(
        work,
        args.output,
        lambda folder: model_card(recipe, work, evaluate(folder, args.carets) if args.carets else None),
    )
    return 0


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
