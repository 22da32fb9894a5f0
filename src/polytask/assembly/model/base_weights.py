"""The named model that a run's encoder began as, for the frozen parameters that it does not store."""

from __future__ import annotations

from typing import Any

from polytask.core.capabilities import Pretrained
from polytask.core.encoder import Encoder
from polytask.core.errors import PolytaskError, RunError
from polytask.core.files import read_json, write_json
from polytask.core.run_folder import RunFolder
from polytask.core.tensors import sha256_of
from polytask.modeling import MultiTaskModel


def save_base(run: RunFolder, model: MultiTaskModel, name: str | None) -> None:
    """Write down what the files of a run leave out, where they leave something out.

    :param name: The name of the base.
    """
    if model.given:
        tensors = model.stored.given_tensors()
        facts = {"model": name, "sha256": sha256_of(tensors), "tensors": sorted(tensors)}
        write_json(run.base, facts)


def read_base(run: RunFolder, encoder: Encoder) -> None:
    """Give a restored encoder what the files of its run leave out.

    :raises RunError: If the base is not there, or does not fit.
    """
    facts = _facts(run)
    if facts and isinstance(encoder, Pretrained):
        try:
            encoder.load_pretrained()
        except PolytaskError as error:
            raise RunError(
                f"{run.model}: leaves out what was not trained, parameters of the model "
                f"{facts['model']!r}, which cannot be loaded. Bring that model back.\n{error}"
            ) from error


def check_base(run: RunFolder, model: MultiTaskModel) -> None:
    """Let a model take from the run's files what these hold, if the rest of it is as it was.

    :raises RunError: If the base has changed since.
    """
    facts = _facts(run)
    model.given = frozenset(facts.get("tensors", ()))
    found = sha256_of(model.stored.given_tensors())
    if facts and found != facts["sha256"]:
        raise RunError(
            f"{run.model}: leaves out what was not trained, parameters of the model "
            f"{facts['model']!r} with SHA-256 {facts['sha256']}. The model of that name has "
            f"others now, with SHA-256 {found}. Bring back the one that the run was trained with."
        )


def _facts(run: RunFolder) -> dict[str, Any]:
    return dict(read_json(run.base)) if run.base.is_file() else {}
