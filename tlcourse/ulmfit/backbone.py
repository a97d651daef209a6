"""Backbones: a language model on disk, and its words fitted to a task's vocabulary."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tlcourse.text import Vocab
from tlcourse.ulmfit.model import AWDLSTMConfig, Dropouts, LanguageModel


def save_backbone(model: LanguageModel, vocab: Vocab, path: str | Path) -> Path:
    """Write the language model with its sizes and words to one ``.safetensors`` file, whole or not at all.

    Raises:
        ValueError: the vocabulary is not the model's.
    """
    path = Path(path)
    if len(vocab) != model.config.vocab_size:
        raise ValueError(f"the vocabulary has {len(vocab)} words, the model {model.config.vocab_size}")
    meta = {"format": "tlcourse-backbone-1", "config": json.dumps(asdict(model.config))}
    meta["words"] = json.dumps(list(vocab.words), ensure_ascii=False)
    weights = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        save_file(weights, partial, metadata=meta)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load_backbone(
    path: str | Path, vocab: Vocab | None = None, dropouts: Dropouts | None = None
) -> tuple[LanguageModel, Vocab]:
    """A language model from :func:`save_backbone`, its words fitted to a task's vocabulary.

    A word that both know keeps its row; a word new to the backbone starts as the mean of all rows, as ULMFiT
    does.

    Args:
        path: the file.
        vocab: the task's vocabulary; the backbone's own when left out.
        dropouts: dropouts to train with from here on; the backbone's own when left out.

    Returns:
        The model and the vocabulary that its rows follow.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no backbone.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"no backbone at {path}; train one, or start fresh with LanguageModel(config)"
        )
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
    if meta.get("format") != "tlcourse-backbone-1":
        raise ValueError(f"{path} holds weights but no backbone of this course (no sizes, no words)")
    sizes = json.loads(meta["config"])
    config = AWDLSTMConfig(**{**sizes, "dropouts": dropouts or Dropouts(**sizes["dropouts"])})
    known = Vocab(json.loads(meta["words"]))
    if vocab is not None:
        weights = fit_words(weights, known, vocab)
        config = replace(config, vocab_size=len(vocab))
    model = LanguageModel(config)
    model.load_state_dict(weights)
    return model, vocab or known


def fit_words(weights: dict[str, Tensor], known: Vocab, wanted: Vocab) -> dict[str, Tensor]:
    """Language-model weights with their rows re-ordered from the ``known`` vocabulary to the ``wanted`` one."""
    ids = torch.tensor([known[word] for word in wanted.words])  # UNK for a new word
    new = torch.tensor([word not in known and word not in Vocab.SPECIALS for word in wanted.words])
    fitted = dict(weights)
    for name in ("encoder.embedding.weight", "decoder_bias"):
        rows = weights[name]  # (V_known, D) or (V_known,)
        fitted[name] = rows[ids]
        fitted[name][new] = rows.mean(dim=0)
    return fitted
