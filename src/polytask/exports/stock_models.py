"""The encoder of a run, and its heads, as folders that transformers loads, each compared with the run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.errors import RunError
from polytask.core.files import write_json
from polytask.encoders.huggingface import HuggingFaceEncoder
from polytask.exports.stock_checks import check_encoder, check_task, quiet_transformers
from polytask.exports.stock_heads import fill_head, refusal, settings_of
from polytask.sharing.hard import Hard
from polytask.sharing.lora import Lora
from polytask.tasks import Task
from polytask.tasks.heads import SentenceHead, WordHead
from polytask.tasks.tagging import Tagging

_INSTEAD = "Export it with --to onnx, or answer with polytask serve."


def shared_encoder(run: LoadedRun) -> HuggingFaceEncoder:
    """Return the one encoder of all tasks, LoRA merged into its weights.

    :raises RunError: If transformers cannot load an encoder like it.
    """
    sharing, kind = run.predictor.model.sharing, run.recipe.sharing.kind
    if not isinstance(run.encoder, HuggingFaceEncoder):
        raise RunError(
            f"--to huggingface: found encoder {run.recipe.encoder.kind!r}, expected 'huggingface': "
            f"transformers has no class for it. {_INSTEAD}"
        )
    if isinstance(sharing, Lora):
        encoder = sharing.merge(sharing.tasks[0])
    elif isinstance(sharing, Hard) and sharing.one_pass:
        encoder = sharing.encoder
    else:
        detail = " with shared_layers" if isinstance(sharing, Hard) else ""
        raise RunError(
            f"--to huggingface: found sharing {kind!r}{detail}, expected 'hard' or 'lora': stock "
            f"classes cannot compute each task in its own way. {_INSTEAD}"
        )
    assert isinstance(encoder, HuggingFaceEncoder)
    if encoder.config.is_encoder_decoder:
        raise RunError(
            f"--to huggingface: a {encoder.config.model_type} has a decoder, which AutoModel expects "
            f"and the run does not hold. {_INSTEAD}"
        )
    return encoder


def write_encoder(run: LoadedRun, encoder: HuggingFaceEncoder, folder: Path) -> None:
    """Write what AutoModel, AutoTokenizer and SentenceTransformer load."""
    with quiet_transformers():
        encoder.model.save_pretrained(folder)
    write_tokenizer(encoder, folder)
    write_sentence_files(folder, encoder.width, encoder.max_length)
    check_encoder(run, folder)


def write_tokenizer(encoder: HuggingFaceEncoder, folder: Path) -> None:
    """Write the tokenizer, with the length and the inputs of the model."""
    tokenizer = copy.deepcopy(encoder.tokenizer)
    tokenizer.model_max_length = encoder.max_length
    segments = ["token_type_ids"] if getattr(encoder.config, "type_vocab_size", 0) > 1 else []
    tokenizer.model_input_names = ["input_ids", *segments, "attention_mask"]
    tokenizer.save_pretrained(folder)


def write_sentence_files(folder: Path, width: int, max_length: int) -> None:
    """Write how sentence-transformers reads the encoder: the mean of its tokens."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    write_json(
        folder / "modules.json",
        [
            {
                "idx": place,
                "name": str(place),
                "path": path,
                "type": f"sentence_transformers.models.{kind}",
            }
            for place, (path, kind) in enumerate(modules)
        ],
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_length})
    pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True}
    write_json(folder / "1_Pooling" / "config.json", pooling)


def task_refusal(run: LoadedRun, encoder: HuggingFaceEncoder, task: Task) -> str | None:
    """Return why a task cannot be a folder of a stock class; None if it can."""
    if encoder.stride:
        return "its long texts are read in windows. Train with stride: 0, or export the encoder."
    columns = run.recipe.tasks[task.name].columns
    if len(columns) > 1 and encoder.tokenizer.num_special_tokens_to_add(pair=True) <= (
        encoder.tokenizer.num_special_tokens_to_add(pair=False)
    ):
        return "its pairs are separated by a line break, not by a token. Export it with --to onnx."
    return refusal(task, encoder.config.model_type, encoder.width)


def write_task(run: LoadedRun, encoder: HuggingFaceEncoder, task: Task, folder: Path) -> float:
    """Write a folder that ``transformers.pipeline`` runs.

    :return: The largest difference between the probabilities, or numbers, and those of the run.
    :raises RunError: If the stock class answers otherwise.
    """
    import transformers  # slow

    kind = encoder.config.model_type
    config = copy.deepcopy(encoder.config)
    config.update(settings_of(task, kind))
    auto: Any = (
        transformers.AutoModelForTokenClassification
        if isinstance(task, Tagging)
        else transformers.AutoModelForSequenceClassification
    )
    with quiet_transformers():
        stock = auto.from_config(config, dtype=torch.float32).eval()
    missing = stock.base_model.load_state_dict(encoder.model.state_dict(), strict=False)
    lost = [name for name in missing.missing_keys if not name.startswith("pooler.")]
    if lost or [name for name in missing.unexpected_keys if not name.startswith("pooler.")]:
        raise RunError(f"{type(stock).__name__} holds another encoder: {lost[:3]}. {_INSTEAD}")
    head = run.predictor.model.heads[task.head_key]
    assert isinstance(head, SentenceHead | WordHead)
    fill_head(stock, task, head.scorer, kind)
    with quiet_transformers():
        stock.save_pretrained(folder)
    write_tokenizer(encoder, folder)
    return check_task(run, task, folder)
