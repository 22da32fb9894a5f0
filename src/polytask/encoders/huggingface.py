"""Any text model of the transformers library.

Wolf et al., "Transformers: State-of-the-Art Natural Language Processing", EMNLP 2020.
https://arxiv.org/abs/1910.03771
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from pydantic import NonNegativeInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.batch import Fields, Inputs
from polytask.core.collated import Collated
from polytask.core.errors import RecipeError
from polytask.core.features import Features, TextLayout
from polytask.core.packing import PARTS, make_attention_mask, make_position_ids
from polytask.core.prompts import KVCache
from polytask.core.texts import texts_in
from polytask.encoders.base import encoders
from polytask.encoders.chat_template import ChatTemplate, load_template, marks_in
from polytask.encoders.kv_cache import ModelCache, accepts_cache, accepts_positions
from polytask.encoders.pretrained import (
    feature_model,
    layer_stack,
    longest_input,
    recompute_activations,
)
from polytask.encoders.subwords import Subwords
from polytask.encoders.tokens import mask_of
from polytask.encoders.transformers_base import TransformersEncoder
from polytask.encoders.trial import TEXTS, try_out

if TYPE_CHECKING:
    import transformers


@encoders.register("huggingface")
class HuggingFaceEncoder(TransformersEncoder):
    """Any AutoModel: pretrained, by name or folder, or from scratch by its configuration.

    Only the encoder of an encoder-decoder model is used. Decoders read from left to right.

    :param search: Folders in which ``path`` and ``tokenizer`` are looked up.
    :param packing: Train with several texts in a sequence of at most ``max_length`` tokens; texts do
        not see each other. For models that read from left to right.
    :param freeze: Freeze the model, and switch its dropout off.
    :param freeze_layers: Freeze the embeddings and this many layers after them.
    :param gradient_checkpointing: Compute hidden states twice instead of keeping them in memory.
    :param chat_template: The file of a Jinja template that writes conversations, or ``chatml``; by
        default the tokenizer's. Names in it such as ``<|end|>`` become single tokens of a
        tokenizer that is trained.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        packing: bool = False,
        freeze: bool = False,
        freeze_layers: NonNegativeInt = 0,
        gradient_checkpointing: bool = False,
        chat_template: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self._packing = packing
        self._freeze, self._freeze_layers = freeze, freeze_layers
        self._checkpoint = gradient_checkpointing
        self._chat_template = chat_template
        self._template = ""
        self._cache: ModelCache | None = None

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        if self._chat_template:  # a restored tokenizer has it: the file may be gone
            self._template = load_template(self._chat_template, self.search)
        super().fit(rows)

    @override
    def use(self, model: transformers.PreTrainedModel) -> None:
        if self._packing and not accepts_positions(model):
            raise RecipeError(
                [
                    f"encoder.packing: a {model.config.model_type} takes no positions of tokens, "
                    "which packing needs. Leave it out."
                ]
            )
        if self._template:
            self.tokenizer.chat_template = self._template
        self.config = model.config
        self.model = feature_model(model)
        self.padding = self.tokenizer.pad_token_id or 0
        self._reads_segments = getattr(self.config, "type_vocab_size", 0) > 1
        self.subwords = self._new_subwords()
        # ``width`` and ``pads`` are measured: no attribute of a configuration tells them for all models.
        rows = [texts_in(row)[0] for row in self.prepare([(text,) for text in TEXTS])]
        trial = try_out(self.model, rows, self._read)
        self.width, self.pads = trial.width, trial.pads
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
    def forward(self, inputs: Collated) -> Features:
        tokens_BLD, mask_BL = self._tokens(self.model, inputs)
        return Features(tokens_BLD, mask_BL, TextLayout(inputs.get("words")))

    @property
    @override
    def layers(self) -> Sequence[nn.Module]:
        return layer_stack(self.model)

    @property
    @override
    def max_tokens(self) -> int | None:
        return longest_input(self.model)

    @property
    @override
    def embedding(self) -> nn.Embedding | None:
        table = self.model.get_input_embeddings()
        return table if isinstance(table, nn.Embedding) else None

    @property
    @override
    def mask_id(self) -> int:
        mask = self.tokenizer.mask_token_id
        return self.padding if mask is None else mask

    @property
    @override
    def special_ids(self) -> Sequence[int]:
        return (self.padding, *self.tokenizer.all_special_ids)

    @property
    @override
    def reads_forward(self) -> bool:
        import transformers  # slow

        kind = type(self.config)
        is_decoder = getattr(self.config, "is_decoder", False)
        is_masked = kind in transformers.MODEL_FOR_MASKED_LM_MAPPING and not is_decoder
        return kind in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and not is_masked

    @property
    @override
    def packed_length(self) -> int | None:
        return self.max_length if self._packing else None

    @override
    @contextlib.contextmanager
    def kv_cache(self) -> Iterator[KVCache | None]:
        if accepts_cache(self.model):
            self._cache = ModelCache(self.config)
        try:
            yield self._cache
        finally:
            self._cache = None

    @override
    def new_tokenizer(self, rows: Iterable[Fields]) -> transformers.PreTrainedTokenizerFast:
        tokenizer = super().new_tokenizer(rows)
        marks = [] if self._tokenizer else marks_in(self._template)
        tokenizer.add_special_tokens({"extra_special_tokens": marks})
        return tokenizer

    def _read(self, model: transformers.PreTrainedModel, rows: Sequence[Inputs]) -> Tensor:
        return self._tokens(model, self.collate(rows))[0]

    def _tokens(
        self, model: transformers.PreTrainedModel, inputs: Collated
    ) -> tuple[Tensor, Tensor]:
        """Return the vectors of tokens, and which tokens are real: tokens_BLD, mask_BL."""
        mask_BL = mask_of(inputs)
        given: dict[str, Any] = {"input_ids": inputs["ids"], "attention_mask": mask_BL.long()}
        if PARTS in inputs:
            given |= _isolate_texts(inputs[PARTS])
        if self._cache is not None:
            given |= self._cache.arguments(mask_BL)
        if self._reads_segments and "segments" in inputs:
            given["token_type_ids"] = inputs["segments"]
        tokens_BLD: Tensor = model(**given).last_hidden_state
        return tokens_BLD, mask_BL

    def _new_subwords(self) -> Subwords:
        limit = longest_input(self.model)
        if limit is not None and self.max_length > limit:
            raise RecipeError(
                [
                    f"encoder.max_length: {self.max_length} tokens asked for, but this "
                    f"{self.config.model_type} reads at most {limit}"
                ]
            )
        end = self.tokenizer.eos_token_id
        marks = (self.tokenizer.unk_token_id, end, self.padding)
        empty = next(mark for mark in marks if mark is not None)
        backend = self.tokenizer.backend_tokenizer
        chat = ChatTemplate(self.tokenizer) if self.tokenizer.chat_template else None
        return Subwords(backend, self.max_length, empty, self.stride, end, chat)

    def _freeze_lowest(self) -> None:
        layers, count = self.layers, self._freeze_layers
        if count > len(layers):
            raise RecipeError([f"encoder.freeze_layers: {count}, but there are {len(layers)}"])
        # Parameters come in the order in which modules were registered: embeddings before layers.
        *_, last = layers[count - 1].parameters()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
            if parameter is last:
                return


def _isolate_texts(parts_SM: Tensor) -> dict[str, Tensor]:
    """Return the attention mask and positions that keep the texts of a sequence apart."""
    seen_SMM = make_attention_mask(parts_SM)
    # Added to attention scores: a finite number, as a row of -inf (padding) would give nan.
    lowest = torch.finfo(torch.float).min
    bias_SMM = torch.zeros(seen_SMM.shape, device=seen_SMM.device).masked_fill(~seen_SMM, lowest)
    return {"attention_mask": bias_SMM.unsqueeze(1), "position_ids": make_position_ids(parts_SM)}
