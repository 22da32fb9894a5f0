"""Models and tokenizers of the transformers library: from the Hub, a folder or a configuration.

Whatever is wrong with one is said as a mistake in the recipe.
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


def load_model(
    path: str, search: Sequence[Path], dropout: float | None
) -> transformers.PreTrainedModel:
    """A pretrained model in fp32, without its pooler.

    :param path: A folder, looked up in ``search``, or else a name on the Hub.
    :param dropout: Instead of every dropout of its configuration.
    :raises RecipeError: If it cannot be loaded, or lacks weights.
    """
    import transformers  # slow

    with _reading("encoder.path", path, search) as (name, options):
        config = transformers.AutoConfig.from_pretrained(name, **options)
        set_dropout(config, dropout)
        model: transformers.PreTrainedModel
        model, report = transformers.AutoModel.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            attn_implementation=_attention(),
            output_loading_info=True,
            **options,
            **_no_pooler(config),
        )
    poolers = [key for key in report["missing_keys"] if key.startswith("pooler.")]
    for key in poolers:  # not used, but always the same, so that they need not be stored
        nn.init.zeros_(model.get_parameter(key))
    missing = sorted({*report["missing_keys"]} - {*poolers})
    if missing:
        shown = ", ".join(missing[:3])
        raise RecipeError(
            [f"encoder.path: {path!r} lacks {len(missing)} weights of its model: {shown}, …"]
        )
    return model


def load_output(path: str, search: Sequence[Path], otherwise: torch.Tensor) -> torch.Tensor:
    """The vectors that a pretrained causal language model scores tokens with.

    :param otherwise: Those of a model that is none.
    :raises RecipeError: If it cannot be loaded, or does more than multiply with them.
    """
    import transformers  # slow

    with _reading("encoder.path", path, search) as (name, options):
        config = transformers.AutoConfig.from_pretrained(name, **options)
        if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
            return otherwise
        model = transformers.AutoModelForCausalLM.from_pretrained(
            name, dtype=torch.float32, **options
        )
    output = model.get_output_embeddings()
    if getattr(output, "bias", None) is not None:
        raise RecipeError(
            [f"encoder.path: {path!r} adds a bias to the scores of tokens, which no task does here"]
        )
    vectors_VD: torch.Tensor = output.weight.detach()
    return vectors_VD


def new_model(config: transformers.PreTrainedConfig) -> transformers.PreTrainedModel:
    """A model with new weights in fp32, without its pooler.

    :raises RecipeError: If the configuration describes no model that can be built.
    """
    import transformers  # slow

    config.dtype = torch.float32
    config.architectures = config.architectures or []  # None fails where there are several
    with _quiet(), _mistake("encoder.config"):
        model: transformers.PreTrainedModel = transformers.AutoModel.from_config(
            config, attn_implementation=_attention(), **_no_pooler(config)
        )
    return model


def set_dropout(config: transformers.PreTrainedConfig, share: float | None) -> None:
    """Set everything that a configuration calls dropout, under any of its names."""
    for name, value in config.to_dict().items():
        if share is not None and "drop" in name and isinstance(value, float):
            setattr(config, name, share)


def _attention() -> str | None:
    """The kind of attention that trains fastest; None: the fused kernel, where a model has it.

    On CPUs the fused kernel is slow backwards: without dropout, plain attention trains 1.5 times
    as many tokens a second in bf16 (all-MiniLM-L6-v2, 128 tokens).
    """
    return None if torch.cuda.is_available() else "eager"


def new_config(
    settings: Mapping[str, Any], tokenizer: transformers.PreTrainedTokenizerFast
) -> transformers.PreTrainedConfig:
    """The configuration of a new model for a tokenizer.

    :param settings: ``model_type``, and what differs from its defaults.
    :raises RecipeError: If there is no such type, or no such setting of it.
    """
    import transformers  # slow

    kind = str(settings.get("model_type"))
    types = list(transformers.CONFIG_MAPPING.keys())
    if kind not in types:
        raise RecipeError([f"encoder.config.model_type: no type {kind!r}.{_hint(kind, types)}"])
    with _quiet(), _mistake("encoder.config"):
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
    """A tokenizer of the tokenizers library.

    :param key: What in the recipe names it.
    :param path: A folder, looked up in ``search``, or else a name on the Hub.
    :raises RecipeError: If it cannot be loaded, knows no words, or is of another library.
    """
    import transformers  # slow

    with _reading(key, path, search) as (name, options):
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **options)
    if not isinstance(tokenizer, transformers.PreTrainedTokenizerFast):
        raise RecipeError(
            [f"{key}: the tokenizer of {path!r} is a {type(tokenizer).__name__}, not a fast one"]
        )
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise RecipeError([f"{key}: {path!r} holds no tokenizer. Expected tokenizer.json in it."])
    return tokenizer


def restore_config(folder: Path) -> transformers.PreTrainedConfig:
    """The configuration in a folder that was saved."""
    import transformers  # slow

    with _quiet():
        config: transformers.PreTrainedConfig = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True
        )
    return config


def feature_model(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """The part that gives features: no decoder after an encoder, no cache, no trained pooler.

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
    """Keep no activations inside layers; compute them again when gradients need them."""
    # The second name is that of the first releases of transformers 5.
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    with _mistake("encoder.gradient_checkpointing"):
        enable({"use_reentrant": False})


def longest_input(model: transformers.PreTrainedModel) -> int | None:
    """How many tokens a model has positions for; None if it does not say."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and its kin count positions from the one after that of padding.
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - offset
    limit: int | None = getattr(model.config, "max_position_embeddings", None)
    return limit if limit and limit > 0 else None  # XLNet says -1: any


def layer_stack(model: nn.Module) -> Sequence[nn.Module]:
    """The layers: the longest list of modules of one type that is not inside another list."""
    return max(_stacks(model), key=len, default=())


def _stacks(module: nn.Module) -> Iterator[Sequence[nn.Module]]:
    for child in module.children():
        if not isinstance(child, nn.ModuleList):
            yield from _stacks(child)
        elif len({type(layer) for layer in child}) == 1:
            yield tuple(child)


def _no_pooler(config: transformers.PreTrainedConfig) -> dict[str, bool]:
    """The argument that leaves the pooler out, for models that have it."""
    import transformers  # slow

    model: object = transformers.MODEL_MAPPING.get(type(config), None)
    accepted = inspect.signature(model).parameters if inspect.isclass(model) else ()
    return {"add_pooling_layer": False} if "add_pooling_layer" in accepted else {}


@contextlib.contextmanager
def _reading(
    key: str, path: str, search: Sequence[Path]
) -> Iterator[tuple[str | Path, dict[str, Any]]]:
    """What to hand to ``from_pretrained``; its errors as mistakes of the recipe."""
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
    with _quiet(), _mistake(what):
        yield folder or path, {"trust_remote_code": False, "local_files_only": local}


def _in_package(path: str) -> Path | None:
    """A folder inside an installed package, written ``package:folder``."""
    package, _, folder = path.partition(":")
    spec = importlib.util.find_spec(package) if package.isidentifier() and folder else None
    places = [Path(place) / folder for place in (spec and spec.submodule_search_locations) or ()]
    return next((place for place in places if place.is_dir()), None)


@contextlib.contextmanager
def _mistake(what: str) -> Iterator[None]:
    try:
        yield
    except PolytaskError:
        raise
    except Exception as error:  # whatever models make of a configuration: of any type
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RecipeError([f"{what}: {reason}"]) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the load reports and progress bars of transformers."""
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
