"""The command `keyturn`.

Exit status: 0 done, 1 the answer is "no", 2 wrong use, 3 the engine failed. An error is one line on standard error that
says what to do. Each command imports what it needs when it runs, so that `serve` answers an editor within its patience.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from lsp import __version__
from lsp.commands.exits import DONE, ENGINE_FAILED, WRONG_USE, UsageError

_INTERRUPTED = 130
_TRAINING = ("datasketch",)
"""What the extra `train` installs."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. See `{self.prog} --help`.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has left, as `keyturn … | head` does. Python flushes once more at exit; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except SystemExit as end:  # argparse, after --help and --version
        return end.code if isinstance(end.code, int) else DONE
    except UsageError as error:
        return _fail(error, WRONG_USE)
    except Exception as error:
        return _fail_on(error)


def _run(arguments: list[str]) -> int:
    if arguments[:2] == ["vllm", "serve"] and arguments[2:] not in (["-h"], ["--help"]):
        return _vllm(arguments[2:])  # what follows is vLLM's to understand
    options = _parser(arguments).parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.run
    return command(options)


def _fail_on(error: Exception) -> int:
    from model.errors import EngineError, KeyturnError

    if isinstance(error, KeyturnError):
        return _fail(error, ENGINE_FAILED if isinstance(error, EngineError) else WRONG_USE)
    if isinstance(error, ModuleNotFoundError) and error.name in _TRAINING:
        return _fail("This needs more packages; install them with: pip install '.[train]' (in a clone).", WRONG_USE)
    if os.environ.get("KEYTURN_LOG_LEVEL", "").lower() == "debug":
        import traceback

        traceback.print_exception(error)
    reason = str(error) or type(error).__name__
    return _fail(f"{reason} (this is a bug; KEYTURN_LOG_LEVEL=debug shows where)", ENGINE_FAILED)


def _fail(error: object, status: int) -> int:
    message = " ".join(str(error).split())
    sys.stderr.write(f"keyturn: {message}\n")
    return status


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="keyturn", description="Code completion that keeps the model's memory of a file as you edit.")
    parser.add_argument("--version", action="version", version=f"keyturn {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    _add_serve(commands.add_parser("serve", help="run the language server"))
    _add_complete(commands.add_parser("complete", help="print one completion, or many from a file"))
    _add_demo(commands.add_parser("demo", help="edit a real file and show what ghost text costs"))
    _add_doctor(commands.add_parser("doctor", help="check what is installed and whether the model answers"))
    _add_vllm(commands.add_parser("vllm", help="serve a model with vLLM and the plugin"))
    _add_model(commands.add_parser("model", help="make and measure the default model"), arguments)
    return parser


def _add_serve(parser: argparse.ArgumentParser) -> None:
    transport = parser.add_mutually_exclusive_group()
    transport.add_argument("--stdio", action="store_true", help="standard input and output (the default)")
    transport.add_argument("--tcp", metavar="HOST:PORT", help="listen for one client")
    # Some clients add their process id to every server's command line; `initialize` has it too.
    parser.add_argument("--clientProcessId", type=int, help=argparse.SUPPRESS)
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    from lsp.wire.lean_types import import_lean

    import_lean()

    from lsp.log import set_up_logging
    from lsp.server import serve_stdio, serve_tcp

    set_up_logging("warning", None)
    if options.tcp is None:
        return serve_stdio()
    host, _, port = options.tcp.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"--tcp takes HOST:PORT, for example 127.0.0.1:7777, not {options.tcp!r}.")
    try:
        return serve_tcp(host.strip("[]"), int(port))
    except OSError as error:
        raise UsageError(f"Cannot listen on {options.tcp}: {error.strerror or error}.") from error


def _add_complete(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", metavar="FILE:LINE:COLUMN", help="the caret; the first column is 1")
    parser.add_argument("--batch", metavar="REQUESTS.jsonl", help="one JSON request a line; `-` reads standard input")
    parser.add_argument("--json", action="store_true", help="print text, cost and range as JSON")
    parser.add_argument("--stop", choices=("auto", "line", "block", "none"), default="auto", help="where to end")
    parser.add_argument("--model", metavar="FOLDER", help="a Hugging Face checkpoint")
    parser.add_argument("--reuse", choices=("pie", "exact", "off"), help="what survives an edit")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="longest completion")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token")
    parser.add_argument("--seed", type=int, metavar="N", help="makes sampling repeatable")
    parser.set_defaults(run=_complete)


def _complete(options: argparse.Namespace) -> int:
    if (options.target is None) == (options.batch is None):
        raise UsageError("Give either FILE:LINE:COLUMN or --batch REQUESTS.jsonl.")
    if options.batch is not None:
        from lsp.commands.batch import run as run_batch

        return run_batch(options)
    from lsp.commands.complete import run as run_complete

    return run_complete(options)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="a source file; by default one of Python's own library")
    parser.add_argument("--svg", metavar="PICTURE", help="save what is shown as a picture too")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    from lsp.commands.demo import run as run_demo

    return run_demo(options.file, options.svg)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from lsp.commands.doctor import run as run_doctor

    return run_doctor(as_json=options.json)


def _add_vllm(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="serve", required=True, parser_class=_Parser)
    serve = actions.add_parser("serve", help="run `vllm serve` with the plugin in place")
    serve.add_argument("model", metavar="MODEL", help="a folder, or a model's name; every option of vLLM's follows")
    serve.add_argument("--memory-mb", metavar="N", help="main memory for documents on each rank (4096)")
    serve.add_argument("--document-mb", metavar="N", help="the most of it for one document (all)")
    serve.add_argument(
        "--any-version", action="store_true", help="go on with a vLLM that the plugin was not tested with"
    )


def _vllm(arguments: list[str]) -> int:
    from model.vllm.plugin.launch import command, start

    if not arguments or arguments[0].startswith("-"):
        raise UsageError("Give the model first: keyturn vllm serve MODEL [vLLM options…].")
    start(command(arguments))


def _add_model(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """The pipeline's own options are asked for only when they are wanted: importing it takes seconds."""
    if arguments[:1] != ["model"]:
        return
    from model.training.cli import add_arguments
    from model.training.cli import run as run_pipeline

    add_arguments(parser)
    parser.set_defaults(run=run_pipeline)


if __name__ == "__main__":
    sys.exit(main())
