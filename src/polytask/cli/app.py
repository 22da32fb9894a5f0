"""All commands, and the exit code and message of each error."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typing_extensions import override

from polytask.cli.analyse import Analyse
from polytask.cli.check import check
from polytask.cli.compare import Compare
from polytask.cli.describe import describe
from polytask.cli.evaluate import evaluate
from polytask.cli.export import Export
from polytask.cli.listing import list_parts
from polytask.cli.options import SET
from polytask.cli.predict import Predict
from polytask.cli.remove import remove
from polytask.cli.report import report
from polytask.cli.schema import schema
from polytask.cli.serve import Serve
from polytask.cli.train import train
from polytask.cli.watch import watch
from polytask.core.errors import PolytaskError, RecipeError

_DEBUG = "POLYTASK_DEBUG"
_CHANGE = re.compile(r"[\w.]+=")
_FAILED = 1
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_interrupted = threading.Event()


class Command(TyperCommand):
    """A command that turns every error into a message on standard error and an exit code.

    0: done, 1: failed, 2: wrong usage, recipe or data, 130: interrupted.
    """

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, split_changes(args))

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise  # Typer ends these by itself
        except KeyboardInterrupt as error:
            raise _end("Interrupted.", _INTERRUPTED) from error
        except RecipeError as error:
            lines = dict.fromkeys([*error.mistakes, *_plugins_of(ctx.params)])
            raise _end("\n".join(lines), error.exit_code) from error
        except PolytaskError as error:
            raise _end(str(error), error.exit_code) from error
        except Exception as error:
            if _interrupted.is_set():  # Ctrl-C during an import can surface as another error
                raise _end("Interrupted.", _INTERRUPTED) from error
            if ctx.find_root().params["debug"]:
                raise
            hint = f"To see the traceback: polytask --debug {ctx.command.name} ..."
            raise _end(f"{type(error).__name__}: {error}\n{hint}", _FAILED) from error


def split_changes(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with ``--set a=1 b=2`` written as ``--set a=1 --set b=2``."""
    found: list[str] = []
    for argument in arguments:
        if found[-2:-1] == [SET] and _CHANGE.match(argument):
            found.append(SET)
        found.append(argument)
    return found


def _end(message: str, code: int) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(code)


def _plugins_of(params: Mapping[str, Any]) -> list[str]:
    """Return a hint with the missing plugins of the run folder that a command writes to."""
    from polytask.core.run_folder import RunFolder
    from polytask.recipe.plugins import describe_missing_plugins

    run, recipe = params.get("run"), params.get("recipe")
    return describe_missing_plugins(RunFolder(run)) if run and recipe else []


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"polytask {version('polytask')}")
        raise typer.Exit


app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def common(
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar=_DEBUG, help="Show the traceback of unexpected errors."),
    ] = False,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Train one language model on several tasks, compare strategies, and predict in one pass."""


def _add(command: Any, *examples: str, name: str | None = None) -> None:
    """Register a function or class as a command, with examples below its help."""
    shown = "\n\n".join(f"polytask {example}" for example in examples)
    app.command(name, cls=Command, epilog=f"Examples:\n\n{shown}")(command)


_add(
    train,
    "train recipe.yaml",
    "train recipe.yaml --run runs/short --set training.epochs=1",
    "train recipe.yaml --run runs/short --resume",
)
_add(evaluate, "evaluate runs/tweets", "evaluate runs/tweets --split validation")
_add(
    Predict,
    "predict runs/tweets new.jsonl --output predicted.jsonl",
    "predict runs/tweets new.jsonl --top-k 3",
    """echo '{"text": "so good"}' | polytask predict runs/tweets -""",
    name="predict",
)
_add(remove, "remove runs/tweets irony", "remove runs/tweets irony --run runs/smaller")
_add(
    Compare,
    "compare quickstart",
    "compare recipe.yaml",
    "compare recipe.yaml --strategies linear,joint --seeds 3",
    name="compare",
)
_add(
    Analyse,
    "analyse runs/tweets",
    "analyse runs/tweets --models 2 --verify --seeds 3",
    "analyse recipe.yaml --curve 50,100,200,400",
    name="analyse",
)
_add(describe, "describe recipe.yaml", "describe runs/tweets --format mermaid")
_add(report, "report runs/tweets", "report runs/tweets-compare --language zh")
_add(
    Serve,
    "serve runs/tweets",
    "serve runs/tweets runs/shop --port 8000 --key-file key.txt",
    name="serve",
)
_add(
    Export,
    "export runs/tweets tweets-onnx --to onnx",
    "export runs/tweets tweets-hf --to huggingface --tasks irony,emotion",
    name="export",
)
_add(watch, "watch runs/tweets", "watch runs/tweets --port 0")
_add(check, "check recipe.yaml", "check recipe.yaml --set data_root=/data")
_add(list_parts, "list", "list balancers", "list recipes", name="list")
_add(schema, "schema > recipe.schema.json")


def _interrupt(*_: object) -> None:
    """Record Ctrl-C: a library that is being imported may turn it into another error."""
    _interrupted.set()
    raise KeyboardInterrupt


def main() -> None:
    """Run the ``polytask`` command."""
    # a parent may have made this process ignore Ctrl-C; that stays so
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    app(prog_name="polytask")
