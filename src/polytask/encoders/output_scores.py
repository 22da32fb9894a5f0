"""Scores of tokens as the causal language models of the transformers library compute them.

Most are products with output vectors. Some models scale or cap these (Cohere, Granite, Gemma 2), add a
bias (GPT-J, Phi) or transform features first. The library's own code then computes the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.errors import RecipeError
from polytask.encoders.pretrained import as_recipe_error, load_causal

if TYPE_CHECKING:
    import transformers

_TOLERANCE = 1e-5


class _Output:
    """The output of a decoder: its features, and nothing else."""

    def __init__(self, features_BLD: Tensor) -> None:
        self.last_hidden_state = features_BLD

    def __getitem__(self, place: Any) -> Any:
        return (self.last_hidden_state,)[place]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class _Given(nn.Module):
    """Stands for the decoder of a model, whose features are known."""

    features_BLD: Tensor | None = None

    @property
    def decoder(self) -> Self:
        """The module that some models call inside their base."""
        return self

    @override
    def forward(self, *arguments: Any, **options: Any) -> _Output:
        assert self.features_BLD is not None
        return _Output(self.features_BLD)


class OutputScores(nn.Module):
    """Features of n tokens to the scores of those that follow, (n, V).

    :param model: A causal language model, whose decoder is taken out.
    """

    def __init__(self, model: transformers.PreTrainedModel) -> None:
        super().__init__()
        # Found through the decoder, so before it goes; in a tuple, as it is inside the model already.
        self._output: tuple[Any] = (model.get_output_embeddings(),)
        self._given = _Given()
        setattr(model, model.base_model_prefix, self._given)
        self.model = model

    @override
    def forward(self, features_nD: Tensor) -> Tensor:
        self._given.features_BLD = features_nD.unsqueeze(0)
        ids_BL = torch.zeros(1, len(features_nD), dtype=torch.long, device=features_nD.device)
        try:
            scores_BLV: Tensor = self.model(input_ids=ids_BL, use_cache=False).logits
        finally:
            self._given.features_BLD = None
        return scores_BLV.squeeze(0)

    @property
    def output(self) -> Any:
        """The last layer, whose weights are the output vectors."""
        return self._output[0]

    def is_product(self) -> bool:
        """Return whether the scores are nothing but a product with the output vectors."""
        output = self.output
        if type(output) is not nn.Linear or getattr(output, "bias", None) is not None:
            return False
        with torch.inference_mode():
            features_nD = 10 * torch.randn(4, output.in_features)
            found_nV, product_nV = self(features_nD), functional.linear(features_nD, output.weight)
        return torch.allclose(found_nV, product_nV, rtol=_TOLERANCE, atol=_TOLERANCE)


def new_output_scores(
    config: transformers.PreTrainedConfig,
    table: nn.Embedding,
    path: str | None,
    search: Sequence[Path],
) -> OutputScores | None:
    """Return how a model scores tokens, if it is more than a product with vectors of tokens.

    :param table: The token vectors of the encoder, which a model with tied outputs shares.
    :param path: The pretrained model of the values; None for new ones.
    :return: None for a plain product, and for a model that is no causal language model.
    :raises RecipeError: If its scores cannot be computed.
    """
    import transformers  # slow

    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder:
        return None
    kind = config.model_type
    with torch.random.fork_rng(devices=[]), as_recipe_error(f"encoder: a {kind} scores no tokens"):
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
        if not isinstance(getattr(model, model.base_model_prefix, None), nn.Module):
            raise RecipeError([f"encoder: the decoder of a {kind} and its output are not separate"])
        scores = OutputScores(model).to_empty(device="cpu").float().eval()
        with torch.no_grad():
            for parameter in scores.parameters():
                nn.init.normal_(parameter, std=getattr(config, "initializer_range", 0.02))
        if scores.is_product():
            return None
        if path is not None:
            own = scores.state_dict()
            stored = {f"model.{name}": value for name, value in load_causal(path, search).items()}
            scores.load_state_dict({name: stored[name] for name in own})
    if config.tie_word_embeddings:
        scores.output.weight = table.weight
    return scores
