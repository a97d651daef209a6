"""Looking into a pretrained encoder: what it puts into a blank, where its heads attend, which sentence it expects.

>>> bert = load_masked_lm("bert-base-uncased")
>>> fill_in(bert, "The capital of ___ is ___.", k=3)  # 6 rows: two blanks, three pieces for each
>>> attention(load_encoder("minilm"), "She sat on the bank.").weights.shape  # (layers, heads, T, T)
(6, 12, 8, 8)
>>> next_sentence(load_next_sentence("bert-base-uncased"), "He opened the door.", "The room was dark.")

T is the number of pieces of a text, special tokens among them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from transformers import BatchEncoding, PreTrainedTokenizerFast

from tlcourse.encoders import Checkpoint, evaluated

BLANK = re.compile(r"_{2,}|\[MASK\]|<mask>")


def fill_in(checkpoint: Checkpoint, text: str, *, k: int = 5) -> pd.DataFrame:
    """What a masked language model puts into the blanks of a text.

    Each blank is one piece of the vocabulary, seldom a whole long word. Of several, each is filled without knowing
    what the others will be: together the best pieces need not make the best text.

    Args:
        checkpoint: a model that fills in blanks, such as :func:`tlcourse.encoders.load_masked_lm` gives.
        text: with blanks, each written ``___``, ``[MASK]`` or ``<mask>``, whatever the model's own mask is.
        k: how many pieces to give for each.

    Returns:
        A row a blank and rank, with the columns ``blank`` and ``rank``, both from 0; ``piece``, in which ``▁`` stands
        for a blank before it; and its ``probability``, from 0 to 1.

    Raises:
        ValueError: the text has no blank or is too long for the model, the model has no head for blanks, or k is not
            from 1 to the size of its vocabulary.
    """
    model, tokeniser = checkpoint.model, checkpoint.tokeniser
    head = model.get_output_embeddings()
    if head is None or tokeniser.mask_token is None:
        raise ValueError(f"{checkpoint.name} has no head that fills in blanks: load it with load_masked_lm")
    if not BLANK.search(text):
        raise ValueError(f"there is no blank in {text!r}: write ___ where one piece is to be filled in")
    if not 1 <= k <= head.out_features:
        raise ValueError(f"k is from 1 to the {head.out_features:,} pieces of the vocabulary, not {k}")

    read = _read(checkpoint, BLANK.sub(lambda _: tokeniser.mask_token, text))
    with evaluated(model):
        output = model(**read)
    logits = output["prediction_logits" if "prediction_logits" in output else "logits"]  # (1, T, V)
    blanks = logits[read["input_ids"] == tokeniser.mask_token_id]  # (blanks, V)
    best, ids = blanks.float().softmax(dim=-1).topk(k)  # (blanks, k) both
    return pd.DataFrame(
        {
            "blank": np.arange(len(blanks)).repeat(k),
            "rank": np.tile(np.arange(k), len(blanks)),
            "piece": written(tokeniser, ids.flatten().tolist()),
            "probability": best.flatten().cpu().numpy(),
        }
    )


@dataclass(frozen=True, eq=False)
class Attention:
    """Where each head of each layer looks.

    Attributes:
        tokens: T pieces, special tokens among them.
        weights: (layers, heads, T, T) float32: how much of what a piece (row) reads comes from each piece (column).
            Rows sum to 1.
    """

    tokens: list[str]
    weights: np.ndarray


def attention(checkpoint: Checkpoint, text: str, pair: str | None = None) -> Attention:
    """The attention of all layers and heads, in a text or a pair of texts.

    The quick ways to compute attention never make the weights, so the model computes this once the plain way.

    Args:
        checkpoint: any encoder, with a head or without.
        text: the first text.
        pair: the second, or None.

    Raises:
        ValueError: the text is longer than the model can read.
    """
    model = checkpoint.model
    read = _read(checkpoint, text, pair)
    quick = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with evaluated(model):
            weights = model(**read, output_attentions=True).attentions  # a layer: (1, heads, T, T)
    finally:
        model.set_attn_implementation(quick)
    tokens = written(checkpoint.tokeniser, read["input_ids"][0].tolist())
    return Attention(tokens, torch.cat(weights).float().cpu().numpy())


def next_sentence(checkpoint: Checkpoint, first: str, second: str) -> float:
    """The probability, from 0 to 1, that the second text comes right after the first.

    Args:
        checkpoint: a BERT with the head for it, such as :func:`tlcourse.encoders.load_next_sentence` gives.

    Raises:
        ValueError: the model has no such head, or the two together are longer than it can read.
    """
    model = checkpoint.model
    if not hasattr(getattr(model, "cls", None), "seq_relationship"):
        raise ValueError(f"{checkpoint.name} has no head that tells the next sentence: load it with load_next_sentence")
    read = _read(checkpoint, first, second)
    with evaluated(model):
        output = model(**read)
    logits = output["seq_relationship_logits" if "seq_relationship_logits" in output else "logits"]  # (1, 2)
    return logits[0].float().softmax(dim=0)[0].item()  # 0 is the true next


def written(tokeniser: PreTrainedTokenizerFast, ids: Sequence[int]) -> list[str]:
    """Pieces as one can read them: the bytes of a byte-level vocabulary as letters, a blank before a piece as ``▁``."""
    pieces = tokeniser.convert_ids_to_tokens(ids)
    if "Ġ" not in tokeniser.get_vocab():  # how byte-level BPE writes a blank
        return pieces
    return [tokeniser.decode([i]).replace(" ", "▁") for i in ids]


def _read(checkpoint: Checkpoint, text: str, pair: str | None = None) -> BatchEncoding:
    """A text as the model takes it, (1, T) on its device."""
    read = checkpoint.tokeniser(text, pair, return_tensors="pt", verbose=False)
    length = read["input_ids"].shape[1]
    if length > checkpoint.longest:
        raise ValueError(f"the text has {length:,} pieces, and {checkpoint.name} reads {checkpoint.longest:,} at once")
    return read.to(checkpoint.model.device)
