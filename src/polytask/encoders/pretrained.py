"""Models and tokenizers of the transformers library: from the Hub, a folder or a configuration.

Errors of the library are raised as mistakes in the recipe.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from polytask.core.errors import PolytaskError, RecipeError
from polytask.core.hub import hub_is_offline
from polytask.encoders.text import find

if TYPE_CHECKING:
    import transformers


OUTPUT = "output vectors"
"""The key of the output vectors, which models call by different names."""


def load_model(
    path: str, search: Sequence[Path], dropout: float | None
) -> transformers.PreTrainedModel:
    """Return a pretrained model in fp32, without its pooler.

    :param path: A folder, looked up in ``search``, or else a name on the Hub.
    :param dropout: The value of every dropout; by default the values of the configuration.
    :raises RecipeError: If the model cannot be loaded, or lacks weights.
    """
    import transformers  # slow

    with _locate("encoder.path", path, search) as (name, options):
        config = transformers.AutoConfig.from_pretrained(name, **options)
        set_dropout(config, dropout)
        model: transformers.PreTrainedModel
        model, report = transformers.AutoModel.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
            **_model_arguments(config),
        )
    # Some models have a pooler anyway. It is never used; zeros instead of random numbers make it equal
    # in every process, so that it need not be stored.
    poolers = [key for key in report["missing_keys"] if key.startswith("pooler.")]
    for key in poolers:
        nn.init.zeros_(model.get_parameter(key))
    missing = sorted({*report["missing_keys"]} - {*poolers})
    if missing:
        shown = ", ".join(missing[:3])
        raise RecipeError(
            [f"encoder.path: {path!r} lacks {len(missing)} weights of its model: {shown}, …"]
        )
    return model


def load_causal(path: str, search: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Return the parameters of a pretrained causal language model, its output among them.

    :raises RecipeError: If the model cannot be loaded.
    """
    import transformers  # slow

    with _locate("encoder.path", path, search) as (name, options):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            name, dtype=torch.float32, **options
        )
    found: dict[str, torch.Tensor] = model.state_dict()
    output = model.get_output_embeddings()
    return {**found, OUTPUT: output.weight.detach()}


def new_model(config: transformers.PreTrainedConfig) -> transformers.PreTrainedModel:
    """Return a model with new weights in fp32, without its pooler.

    :raises RecipeError: If no model can be built from the configuration.
    """
    import transformers  # slow

    config.dtype = torch.float32
    # With several model classes for one configuration, the library iterates over this; None fails.
    config.architectures = config.architectures or []
    with _quiet(), as_recipe_error("encoder.config"):
        model: transformers.PreTrainedModel = transformers.AutoModel.from_config(
            config, **_model_arguments(config)
        )
    return model


def set_dropout(config: transformers.PreTrainedConfig, share: float | None) -> None:
    """Set every dropout of a configuration, under any of its names; None changes nothing."""
    for name, value in config.to_dict().items():
        if share is not None and "drop" in name and isinstance(value, float):
            setattr(config, name, share)


def new_config(
    settings: Mapping[str, Any], tokenizer: transformers.PreTrainedTokenizerFast
) -> transformers.PreTrainedConfig:
    """Return the configuration of a new model for a tokenizer.

    :param settings: ``model_type``, and settings that differ from its defaults.
    :raises RecipeError: If the type, or a setting of the type, is unknown.
    """
    import transformers  # slow

    kind = str(settings.get("model_type"))
    types = list(transformers.CONFIG_MAPPING.keys())
    if kind not in types:
        raise RecipeError([f"encoder.config.model_type: no type {kind!r}.{_hint(kind, types)}"])
    with _quiet(), as_recipe_error("encoder.config"):
        default = transformers.AutoConfig.for_model(kind)
        known = {"model_type", *default.to_dict(), *default.attribute_map}
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise RecipeError(
                [
                    f"encoder.config.{name}: no setting of {kind}.{_hint(name, known)}"
                    for name in unknown
                ]
            )
        sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        return transformers.AutoConfig.for_model(**{**settings, **sizes})


def load_tokenizer(
    key: str, path: str, search: Sequence[Path]
) -> transformers.PreTrainedTokenizerFast:
    """Return a tokenizer of the tokenizers library.

    :param key: The recipe option that names it, for messages.
    :param path: A folder, looked up in ``search``, or else a name on the Hub.
    :raises RecipeError: If it cannot be loaded, has no tokens, or is of another library.
    """
    import transformers  # slow

    with _locate(key, path, search) as (name, options):
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **options)
    if not isinstance(tokenizer, transformers.PreTrainedTokenizerFast):
        raise RecipeError(
            [f"{key}: the tokenizer of {path!r} is a {type(tokenizer).__name__}, not a fast one"]
        )
    # In a folder without a tokenizer, the library makes one of special tokens only.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise RecipeError([f"{key}: {path!r} holds no tokenizer. Expected tokenizer.json in it."])
    return tokenizer


def restore_config(folder: Path) -> transformers.PreTrainedConfig:
    """Return the configuration that was saved in a folder."""
    import transformers  # slow

    with _quiet():
        config: transformers.PreTrainedConfig = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True
        )
    return config


def feature_model(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """Return the part of a model that computes features, without decoder, cache and trained pooler.

    :raises RecipeError: If the model does not read texts.
    """
    part = model.get_encoder() if model.config.is_encoder_decoder else model
    if part.main_input_name != "input_ids":
        kind = model.config.model_type
        raise RecipeError([f"encoder: a {kind} reads {part.main_input_name}, not the ids of texts"])
    if hasattr(part.config, "use_cache"):
        part.config.use_cache = False
    if isinstance(getattr(part, "pooler", None), nn.Module):
        part.pooler.requires_grad_(False)
    return part


def recompute_activations(model: transformers.PreTrainedModel) -> None:
    """Let a model recompute the activations inside layers in the backward pass."""
    # The first releases of transformers 5 have only the second name.
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    # Reentrant checkpoints compute no gradient where the embeddings are frozen.
    with as_recipe_error("encoder.gradient_checkpointing"):
        enable({"use_reentrant": False})


def longest_input(model: transformers.PreTrainedModel) -> int | None:
    """Return the number of tokens that a model has positions for; None if it has no limit."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and similar models number positions from padding_idx + 1.
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - offset
    limit: int | None = getattr(model.config, "max_position_embeddings", None)
    return limit if limit and limit > 0 else None  # -1 in XLNet: any length


def layer_stack(model: nn.Module) -> Sequence[nn.Module]:
    """Return the layers: the longest outermost list of modules of one type."""
    return max(_stacks(model), key=len, default=())


def _stacks(module: nn.Module) -> Iterator[Sequence[nn.Module]]:
    for child in module.children():
        if not isinstance(child, nn.ModuleList):
            yield from _stacks(child)
        elif len({type(layer) for layer in child}) == 1:
            yield tuple(child)


def _model_arguments(config: transformers.PreTrainedConfig) -> dict[str, Any]:
    """Return the arguments for the fastest attention, and for no pooler where a model can have one."""
    import transformers  # slow

    # None is a fused kernel, where a model has one. On CPUs its backward pass is slow: without dropout,
    # plain attention trains 1.5 times as many tokens per second in bf16 (all-MiniLM-L6-v2, 128 tokens).
    attention = {"attn_implementation": None if torch.cuda.is_available() else "eager"}
    model: object = transformers.MODEL_MAPPING.get(type(config), None)
    accepted = inspect.signature(model).parameters if inspect.isclass(model) else ()
    return attention | ({"add_pooling_layer": False} if "add_pooling_layer" in accepted else {})


@contextlib.contextmanager
def _locate(
    key: str, path: str, search: Sequence[Path]
) -> Iterator[tuple[str | Path, dict[str, Any]]]:
    """Yield the arguments of ``from_pretrained``, and raise its errors as mistakes in the recipe."""
    folder = find(path, search) or _in_package(path)
    offline = folder is None and hub_is_offline()
    looked = ", ".join(map(str, search)) or "the working folder"
    why = "cannot be reached" if offline else "gives nothing of that name"
    what = (
        f"{key}: cannot load {folder}"
        if folder
        else f"{key}: no folder {path!r} in {looked}, and the Hugging Face Hub {why}; give a "
        "folder, or download it once while there is a network"
    )
    local = folder is not None or offline
    # Without network, or for a folder, the library must not try the Hub: it would wait for time-outs.
    with _quiet(), as_recipe_error(what):
        yield folder or path, {"trust_remote_code": False, "local_files_only": local}


def _in_package(path: str) -> Path | None:
    """Return a folder inside an installed package, written ``package:folder``, or None."""
    package, _, folder = path.partition(":")
    spec = importlib.util.find_spec(package) if package.isidentifier() and folder else None
    places = [Path(place) / folder for place in (spec and spec.submodule_search_locations) or ()]
    return next((place for place in places if place.is_dir()), None)


@contextlib.contextmanager
def as_recipe_error(what: str, advice: str = "") -> Iterator[None]:
    """Raise any error inside the context as a mistake in the recipe, in one line.

    :param what: The option and what failed, before the reason.
    :param advice: Advice to the user, after the reason.
    """
    try:
        yield
    except PolytaskError:
        raise
    except Exception as error:  # models raise any type of error for a wrong configuration
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RecipeError([f"{what}: {reason}{advice}"]) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Switch off the load reports and progress bars of transformers."""
    from transformers.utils import logging  # slow

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
