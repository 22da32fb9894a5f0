"""The errors that polytask raises on purpose.

* PolytaskError
  x RecipeError       - a recipe cannot be turned into an experiment
  x DataError         - a row, file or label does not fit its task
  x TrainingError     - a training cannot continue (a loss that is not a number, ...)
    - InterruptedTrainingError - a signal asked it to stop
  x RunError          - a run folder is missing, incomplete or from another version
  x MissingExtraError - a part needs an optional dependency that is not installed

A message names the finding, the expectation and the remedy.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class PolytaskError(Exception):
    """Base of all errors that polytask raises on purpose."""

    exit_code = 1


class RecipeError(PolytaskError):
    """A recipe is not valid.

    :param mistakes: Every mistake found, one message each: ``path: what is wrong``.
    """

    exit_code = 2

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


class DataError(PolytaskError):
    """A row, a file or a label does not fit its task; the message names file and line."""

    exit_code = 2


class TrainingError(PolytaskError):
    """A training cannot continue."""


class InterruptedTrainingError(TrainingError):
    """A signal asked a training to stop; everything needed to resume has been saved."""


class RunError(PolytaskError):
    """A run folder is missing, incomplete, damaged or from another version."""

    exit_code = 2


class MissingExtraError(PolytaskError):
    """An optional dependency is not installed.

    :param part: The part that needs it, as written in the recipe.
    :param module: The module that could not be imported.
    :param extra: The extra of this package that provides it.
    """

    exit_code = 2

    def __init__(self, part: str, module: str, extra: str) -> None:
        super().__init__(f"{part} needs {module}; install it with: pip install 'polytask[{extra}]'")


@contextmanager
def add_advice(text: str) -> Iterator[None]:
    """Append advice to the error of a training that a signal has stopped."""
    try:
        yield
    except InterruptedTrainingError as stopped:
        raise InterruptedTrainingError(f"{stopped} {text}") from stopped
