"""The part of a model that has to be stored: all but what can be had again from a named model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from polytask.core.tensors import sha256_of


@dataclass(frozen=True)
class StoredState:
    """The state of a model as it is written to files, and read from them.

    :param model: Gives, and takes, the state.
    :param given: Names in it that are not stored.
    """

    model: nn.Module
    given: frozenset[str]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that a run stores."""
        return {name: t for name, t in self.model.state_dict().items() if name not in self.given}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load stored tensors; tensors of the pretrained model stay unchanged.

        :raises RuntimeError: If a tensor is missing, unknown or of another shape.
        """
        self.model.load_state_dict({**self.given_tensors(), **state})

    def given_tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a run leaves out, as the pretrained model provides them."""
        return {name: t for name, t in self.model.state_dict().items() if name in self.given}


def prints_of(tensors: Iterable[Tensor]) -> frozenset[str]:
    """Return one SHA-256 for each tensor, of its numbers."""
    return frozenset(sha256_of({"": tensor}) for tensor in tensors)


def frozen_among(model: nn.Module, known: Callable[[], frozenset[str]]) -> frozenset[str]:
    """Names in the state of frozen parameters that are, number for number, among known ones.

    Numbers decide, not names: architectures copy encoders and put modules around their layers.

    :param known: ``prints_of`` these; asked for only if something is frozen.
    """
    frozen = {
        name: p for name, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad
    }
    if not frozen:
        return frozenset()
    prints = known()
    return frozenset(name for name, p in frozen.items() if prints and prints_of([p]) <= prints)
