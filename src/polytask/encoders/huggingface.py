"""Any text model of the transformers library.

Wolf et al., "Transformers: State-of-the-Art Natural Language Processing", EMNLP 2020.
https://arxiv.org/abs/1910.03771
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import transformers
from pydantic import Field, NonNegativeInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.batch import Fields, Inputs
from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.core.features import Features
from polytask.encoders.base import encoders
from polytask.encoders.pretrained import (
    feature_model,
    layer_stack,
    load_model,
    load_tokenizer,
    longest_input,
    new_config,
    new_model,
    recompute_activations,
    restore_config,
    set_dropout,
)
from polytask.encoders.subwords import SPECIAL, Subwords, texts_of, train
from polytask.encoders.tokens import collate_tokens, mask_of


class TransformersEncoder(Encoder):
    """Base of encoders that are a model and a tokenizer of the transformers library.

    :param search: Folders in which ``path`` and ``tokenizer`` are looked up.
    :param path: A folder with a pretrained model, its name on the Hugging Face Hub, or
        ``package:folder`` for a folder inside an installed package.
    :param config: Instead of a path, ``model_type`` and settings of a model to train from scratch.
    :param tokenizer: Folder or Hub name of the tokenizer of a model from scratch; by default one
        is trained on the training texts.
    :param vocabulary: Learn at most this many subwords, where a tokenizer is trained.
    :param dropout: Instead of every dropout of the model; its own by default. 0 trains fastest.
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
    ) -> None:
        super().__init__()
        if (path is None) == (config is None):
            raise RecipeError(["encoder: give one of path (pretrained) and config (from scratch)"])
        if path is not None and tokenizer is not None:
            raise RecipeError(
                ["encoder.tokenizer: a pretrained model brings its own; leave it out"]
            )
        self.search = search
        self._path = path
        self._settings = config
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._dropout = dropout

    @abstractmethod
    def use(self, model: transformers.PreTrainedModel) -> None:
        """Take a model over; ``tokenizer`` is there already."""

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        if self._path is not None:
            self.tokenizer = load_tokenizer("encoder.path", self._path, self.search)
            self.use(load_model(self._path, self.search, self._dropout))
            self.base = self._path
        else:
            self.tokenizer = self._new_tokenizer(rows)
            config = new_config(self._settings or {}, self.tokenizer)
            set_dropout(config, self._dropout)
            self.use(new_model(config))

    @override
    def restore(self, folder: Path) -> None:
        self.tokenizer = load_tokenizer("encoder", str(folder), ())
        self.use(new_model(restore_config(folder)))

    @override
    def load_base(self) -> None:
        if self._path is not None:
            loaded = feature_model(load_model(self._path, self.search, self._dropout))
            try:
                self.model.load_state_dict(loaded.state_dict())
            except RuntimeError as error:
                mismatch = " ".join(str(error).split())
                raise RecipeError(
                    [f"encoder.path: {self._path!r} is another: {mismatch}"]
                ) from error
            self.base = self._path

    @override
    def save(self, folder: Path) -> None:
        self.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _new_tokenizer(self, rows: Iterable[Fields]) -> transformers.PreTrainedTokenizerFast:
        if self._tokenizer is not None:
            return load_tokenizer("encoder.tokenizer", self._tokenizer, self.search)
        trained = train(texts_of(rows), self._vocabulary)
        return transformers.PreTrainedTokenizerFast(tokenizer_object=trained, **SPECIAL)


@encoders.register("huggingface")
class HuggingFace(TransformersEncoder):
    """Any AutoModel: pretrained, by name or folder, or from scratch by its configuration.

    Of an encoder-decoder model it is the encoder; decoders read from left to right.

    :param search: Folders in which ``path`` and ``tokenizer`` are looked up.
    :param max_length: Longest text in subwords, special ones included; of a pair, both together.
    :param stride: Read a longer text, or the second of a pair, in windows of ``max_length`` that
        share this many subwords; 0: cut it. Each window is encoded by itself.
    :param freeze: Do not train the model, and switch its dropout off.
    :param freeze_layers: Do not train the embeddings and this many layers after them.
    :param gradient_checkpointing: Compute hidden states twice instead of keeping them.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        max_length: Annotated[int, Field(ge=8)] = 128,
        stride: NonNegativeInt = 0,
        freeze: bool = False,
        freeze_layers: NonNegativeInt = 0,
        gradient_checkpointing: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self._max_length = max_length
        self._stride = stride
        self._freeze = freeze
        self._freeze_layers = freeze_layers
        self._checkpoint = gradient_checkpointing

    @override
    def use(self, model: transformers.PreTrainedModel) -> None:
        self.config = model.config
        self.model = feature_model(model)
        self.width = self.config.hidden_size
        self._padding = self.tokenizer.pad_token_id or 0
        self._reads_segments = getattr(self.config, "type_vocab_size", 0) > 1
        self.subwords = self._new_subwords()
        if self._checkpoint:
            recompute_activations(self.model)
        if self._freeze:
            self.model.requires_grad_(False)
        elif self._freeze_layers:
            self._freeze_lowest()

    @override
    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self._freeze and hasattr(self, "model"):
            self.model.eval()
        return self

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        return self.subwords.encode(rows)

    @override
    def length(self, inputs: Inputs) -> int:
        return len(inputs["ids"])

    @override
    def collate(self, rows: Sequence[Inputs]) -> dict[str, Tensor]:
        return collate_tokens(rows, self._padding)

    @override
    def forward(self, inputs: dict[str, Tensor]) -> Features:
        mask_BL = mask_of(inputs)
        arguments = {"input_ids": inputs["ids"], "attention_mask": mask_BL.long()}
        if self._reads_segments and "segments" in inputs:
            arguments["token_type_ids"] = inputs["segments"]
        tokens_BLD = self.model(**arguments).last_hidden_state
        return Features(tokens_BLD, mask_BL, inputs.get("words"))

    @property
    @override
    def layers(self) -> Sequence[nn.Module]:
        return layer_stack(self.model)

    @property
    @override
    def longest(self) -> int | None:
        return longest_input(self.model)

    @property
    @override
    def embedding(self) -> nn.Embedding | None:
        table = self.model.get_input_embeddings()
        return table if isinstance(table, nn.Embedding) else None

    @property
    @override
    def blank(self) -> int:
        mask = self.tokenizer.mask_token_id
        return self._padding if mask is None else mask

    @property
    @override
    def special(self) -> Sequence[int]:
        return (self._padding, *self.tokenizer.all_special_ids)

    def _new_subwords(self) -> Subwords:
        limit = longest_input(self.model)
        if limit is not None and self._max_length > limit:
            raise RecipeError(
                [
                    f"encoder.max_length: {self._max_length} tokens asked for, but this "
                    f"{self.config.model_type} reads at most {limit}"
                ]
            )
        marks = (self.tokenizer.unk_token_id, self.tokenizer.eos_token_id, self._padding)
        empty = next(mark for mark in marks if mark is not None)
        backend = self.tokenizer.backend_tokenizer
        return Subwords(backend, self._max_length, empty, self._stride)

    def _freeze_lowest(self) -> None:
        """Freeze what is registered up to the last frozen layer: embeddings come before layers."""
        layers, count = self.layers, self._freeze_layers
        if count > len(layers):
            raise RecipeError([f"encoder.freeze_layers: {count}, but there are {len(layers)}"])
        *_, last = layers[count - 1].parameters()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
            if parameter is last:
                return
