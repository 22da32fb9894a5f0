"""The terms of ``sharing: lora`` as an adapter that peft loads, and the model that it adapts."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.capabilities import get_pretrained_name
from polytask.core.files import write_json
from polytask.encoders.huggingface import HuggingFaceEncoder
from polytask.exports.stock_checks import quiet_transformers
from polytask.sharing.lora import Lora, SharedTerm

_INSIDE = "model."
"""The name of the transformers model inside an encoder."""


def write_adapter(run: LoadedRun, sharing: Lora, folder: Path) -> None:
    """Write an adapter; and ``base/``, unless the adapted model is the pretrained one as it was."""
    tensors: dict[str, Tensor] = {}
    layers = sharing.linear_terms()
    for linear, term in layers:
        assert isinstance(term, SharedTerm)
        name = f"base_model.model.{linear.name.removeprefix(_INSIDE)}"
        tensors[f"{name}.lora_A.weight"] = term.down.weight.detach().contiguous()
        tensors[f"{name}.lora_B.weight"] = term.up.weight.detach().contiguous()
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    first, _ = layers[0]
    settings = {
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION",
        "base_model_name_or_path": _write_base(run, sharing, folder),
        "inference_mode": True,
        "r": sharing.rank,
        "lora_alpha": sharing.scale * sharing.rank,
        "lora_dropout": sharing.drop,
        "bias": "none",
        "fan_in_fan_out": first.is_transposed,
        "target_modules": [linear.name.removeprefix(_INSIDE) for linear, _ in layers],
    }
    write_json(folder / "adapter_config.json", settings)


def _write_base(run: LoadedRun, sharing: Lora, folder: Path) -> str:
    """Write the model without the terms, unless it has a name; return the name."""
    encoder = sharing.encoder
    assert isinstance(encoder, HuggingFaceEncoder)
    own = {id(parameter) for parameter in encoder.parameters()}
    model = run.predictor.model
    names = {name for name, parameter in model.named_parameters() if id(parameter) in own}
    pretrained = get_pretrained_name(encoder)
    if pretrained is not None and names <= model.given:
        return pretrained
    with quiet_transformers():
        encoder.model.save_pretrained(folder / "base")
    return "base"
