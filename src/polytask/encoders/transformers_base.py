"""The base of encoders that are a model of the transformers library: loading, saving, restoring.

Wolf et al., "Transformers: State-of-the-Art Natural Language Processing", EMNLP 2020.
https://arxiv.org/abs/1910.03771
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import nn
from typing_extensions import override

from polytask.core.batch import Fields
from polytask.core.capabilities import Pretrained
from polytask.core.errors import RecipeError
from polytask.encoders.output_scores import new_output_scores
from polytask.encoders.pretrained import (
    OUTPUT,
    as_recipe_error,
    feature_model,
    load_causal,
    load_model,
    load_tokenizer,
    new_config,
    new_model,
    restore_config,
    set_dropout,
)
from polytask.encoders.subwords import SPECIAL, SubwordReader, texts_of, train

if TYPE_CHECKING:
    import transformers


class TransformersEncoder(SubwordReader, Pretrained):
    """Base of encoders that are a model and a tokenizer of the transformers library.

    :param search: Folders in which ``path`` and ``tokenizer`` are looked up.
    :param path: A folder with a pretrained model, its name on the Hugging Face Hub, or
        ``package:folder`` for a folder inside an installed package.
    :param config: ``model_type`` and settings of a model to train from scratch, instead of a path.
    :param tokenizer: Folder or Hub name of the tokenizer of a model from scratch; by default one
        is trained on the training texts.
    :param vocabulary: Most subwords of a tokenizer that is trained.
    :param dropout: The value of every dropout of the model; by default the model's values. 0 trains
        fastest.
    """

    model: transformers.PreTrainedModel
    config: transformers.PreTrainedConfig
    tokenizer: transformers.PreTrainedTokenizerFast

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        path: str | None = None,
        config: dict[str, Any] | None = None,
        tokenizer: str | None = None,
        vocabulary: Annotated[int, Field(ge=300)] = 16_000,
        dropout: Annotated[float, Field(ge=0, lt=1)] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        if (path is None) == (config is None):
            raise RecipeError(["encoder: give one of path (pretrained) and config (from scratch)"])
        if path is not None and tokenizer is not None:
            raise RecipeError(
                ["encoder.tokenizer: a pretrained model brings its own; leave it out"]
            )
        self._output: nn.Parameter | None = None
        self._scores: nn.Module | None = None
        self._knows_scores = False
        self._path = path
        self._settings = config
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._dropout = dropout

    @classmethod
    @override
    def default_learning_rate(cls, options: Mapping[str, Any]) -> float:
        return 5e-4 if options.get("path") is None else 3e-5

    @abstractmethod
    def use(self, model: transformers.PreTrainedModel) -> None:
        """Set the model; ``tokenizer`` is already set."""

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        if self._path is not None:
            self.tokenizer = load_tokenizer("encoder.path", self._path, self.search)
            self.use(load_model(self._path, self.search, self._dropout))
            self.pretrained_name = self._path
        else:
            self.tokenizer = self.new_tokenizer(rows)
            config = new_config(self._settings or {}, self.tokenizer)
            set_dropout(config, self._dropout)
            self.use(new_model(config))

    @override
    def restore(self, folder: Path) -> None:
        self.tokenizer = load_tokenizer("encoder", str(folder), ())
        self.use(new_model(restore_config(folder)))

    @override
    def load_pretrained(self) -> None:
        if self._path is not None:
            loaded = feature_model(load_model(self._path, self.search, self._dropout))
            with as_recipe_error(f"encoder.path: {self._path!r} is another model"):
                self.model.load_state_dict(loaded.state_dict())
            self.pretrained_name = self._path

    @override
    def output_scores(self) -> nn.Module | None:
        table = self.embedding
        if not self._knows_scores and table is not None:
            self._knows_scores = True
            # A restored encoder gets these values later, with all other parameters.
            path = self.pretrained_name and self._path
            self._scores = new_output_scores(self.config, table, path, self.search)
            if self._scores is not None:
                self._scores.requires_grad_(table.weight.requires_grad)
        return self._scores

    @override
    def output_vectors(self) -> nn.Parameter | None:
        if self._path is None or self.config.tie_word_embeddings:
            return None
        table = self.embedding
        if self._output is None and table is not None:
            loaded = torch.zeros_like(table.weight)
            if self.pretrained_name is not None and self._is_causal():
                loaded = load_causal(self._path, self.search)[OUTPUT]
            self._output = nn.Parameter(loaded, requires_grad=table.weight.requires_grad)
        return self._output

    def _is_causal(self) -> bool:
        """Return whether the library has a causal language model of this configuration."""
        import transformers  # slow

        return type(self.config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING

    @override
    def save(self, folder: Path) -> None:
        self.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def new_tokenizer(self, rows: Iterable[Fields]) -> transformers.PreTrainedTokenizerFast:
        """Return the tokenizer of a model from scratch: the given one, or one trained on rows."""
        if self._tokenizer is not None:
            return load_tokenizer("encoder.tokenizer", self._tokenizer, self.search)
        import transformers  # slow

        trained = train(texts_of(rows), self._vocabulary)
        return transformers.PreTrainedTokenizerFast(tokenizer_object=trained, **SPECIAL)
