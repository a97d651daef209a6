"""GPT's sizes and its objective: each token from those before it.

The model is ``transformers.GPT2LMHeadModel``, which differs from the first GPT in where its layers are normalised: at
their beginnings, and once more behind the last (Radford et al. 2019, section 2.3). B is the rows of a batch, T the
tokens of a row, V the vocabulary, D the size of a hidden state, H the heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, GPT2Config, GPT2LMHeadModel, OpenAIGPTConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tlcourse.training.dropout import draw_less
from tlcourse.training.softmax import linear_cross_entropy


# ------------------------------------------------------------------------------------------------------ the sizes
@dataclass(frozen=True)
class Size:
    """How large a GPT is; with ``vocab_size`` and ``max_length`` of its own if it was published."""

    layers: int
    dim: int
    heads: int
    vocab_size: int | None = None
    max_length: int | None = None


SIZES = {  # the first four are BERT's small ones (Turc et al. 2019), so that both compare
    "tiny": Size(2, 128, 2),
    "mini": Size(4, 256, 4),
    "small": Size(4, 512, 8),
    "medium": Size(8, 512, 8),
    "gpt": Size(12, 768, 12, 40_478, 512),
    "gpt2": Size(12, 768, 12, 50_257, 1024),
    "gpt2-medium": Size(24, 1024, 16, 50_257, 1024),
    "gpt2-large": Size(36, 1280, 20, 50_257, 1024),
    "gpt2-xl": Size(48, 1600, 25, 50_257, 1024),
    "gpt3": Size(96, 12_288, 96, 50_257, 2048),
}


def gpt_config(
    size: str | tuple[int, int], *, vocab_size: int | None = None, max_length: int | None = None, **changes
) -> GPT2Config:
    """The configuration of a size: heads of 64 units (GPT-3's are of 128), and inner layers four times as wide.

    The activation is GPT-2's approximation of GELU, as ``torch`` computes it in one go: ``transformers``' own
    "gelu_new" gives the same numbers and takes eight operations for it.

    Args:
        size: "tiny", "mini", "small", "medium"; "gpt", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "gpt3"; or
            (layers, hidden size).
        vocab_size: V; the published one where there is one.
        max_length: the most tokens of a row; likewise.
        changes: any other setting of ``transformers.GPT2Config``.

    Raises:
        ValueError: no such size; the hidden size is no multiple of 64; V or the length is not known.
    """
    if isinstance(size, str) and size not in SIZES:
        raise ValueError(f"size is one of {', '.join(SIZES)} or (layers, hidden size), not {size!r}")
    sizes = SIZES[size] if isinstance(size, str) else Size(*size, heads=size[1] // 64)
    if not isinstance(size, str) and "n_head" not in changes and sizes.dim % 64:
        raise ValueError(f"hidden size {sizes.dim} does not divide into heads of 64: give n_head as well")
    settings = {
        "n_layer": sizes.layers,
        "n_embd": sizes.dim,
        "n_head": sizes.heads,
        "vocab_size": vocab_size or sizes.vocab_size,
        "n_positions": max_length or sizes.max_length,
        "activation_function": "gelu_pytorch_tanh",
        "bos_token_id": 0,  # <|endoftext|> of the course's vocabularies
        "eos_token_id": 0,
    }
    missing = [name for name in ("vocab_size", "n_positions") if settings[name] is None]
    if missing:
        raise ValueError(f"a GPT of size {size!r} was not published: give vocab_size and max_length")
    return GPT2Config(**settings | changes)


def parameters(config: GPT2Config | OpenAIGPTConfig) -> pd.DataFrame:
    """How many parameters each part has, from the configuration alone.

    A matrix from n to m units has n m weights and m biases, a LayerNorm of n units n gains and n biases: with D units
    a layer has 12 D² + 13 D. What turns states into logits is the matrix of the tokens' embeddings, and counts once.

    GPT has 116.5 million, GPT-2 124.4, 354.8, 774.0 and 1,557.6 million. Radford et al. (2019, table 2) print 117,
    345, 762 and 1,542 million; the models were published as those of 124, 355, 774 and 1,558.

    Returns:
        A row a part: ``part``, ``of`` ("embeddings" or "layers") and ``count``.
    """
    layers, dim = config.n_layer, config.n_embd
    inner = getattr(config, "n_inner", None) or 4 * dim
    rows = [
        ("token embeddings", "embeddings", config.vocab_size * dim),
        ("position embeddings", "embeddings", config.n_positions * dim),
        ("attention: queries, keys, values", "layers", layers * 3 * (dim * dim + dim)),
        ("attention: output", "layers", layers * (dim * dim + dim)),
        ("feed-forward", "layers", layers * (dim * inner + inner + inner * dim + dim)),
        ("norms", "layers", layers * 2 * 2 * dim),
        ("last norm", "layers", 0 if isinstance(config, OpenAIGPTConfig) else 2 * dim),
    ]
    return pd.DataFrame(rows, columns=["part", "of", "count"])


_GPT3 = [  # Brown et al. (2020), table 2.1: name, n_params, n_layers, d_model, n_heads, d_head, batch size, rate
    ("GPT-3 Small", 125e6, 12, 768, 12, 64, 0.5e6, 6.0e-4),
    ("GPT-3 Medium", 350e6, 24, 1024, 16, 64, 0.5e6, 3.0e-4),
    ("GPT-3 Large", 760e6, 24, 1536, 16, 96, 0.5e6, 2.5e-4),
    ("GPT-3 XL", 1.3e9, 24, 2048, 24, 128, 1e6, 2.0e-4),
    ("GPT-3 2.7B", 2.7e9, 32, 2560, 32, 80, 1e6, 1.6e-4),
    ("GPT-3 6.7B", 6.7e9, 32, 4096, 32, 128, 2e6, 1.2e-4),
    ("GPT-3 13B", 13e9, 40, 5140, 40, 128, 2e6, 1.0e-4),
    ("GPT-3 175B", 175e9, 96, 12_288, 96, 128, 3.2e6, 0.6e-4),
]


def gpt3_sizes() -> pd.DataFrame:
    """The eight models of Brown et al. (2020), table 2.1, as printed, and what the formula counts.

    The width of a model is its heads times theirs: 96 · 128 = 12,288 for the largest. Two rows as printed do not
    agree with that: XL has 24 · 128 = 3,072 for a width of 2,048, and 13B 40 · 128 = 5,120 for one of 5,140. The
    formula takes the width. That attention is sparse in every other layer changes no count.

    Returns:
        ``model``, ``printed`` (its parameters in the paper), ``layers``, ``dim``, ``heads``, ``head_dim``,
        ``heads x head_dim``, ``batch`` (tokens of an update), ``lr``, and ``computed``, by :func:`parameters` with
        GPT-2's 50,257 tokens and rows of 2,048.
    """
    names = ["model", "printed", "layers", "dim", "heads", "head_dim", "batch", "lr"]
    table = pd.DataFrame(_GPT3, columns=names).astype({"printed": "int64", "batch": "int64"})
    table.insert(6, "heads x head_dim", table["heads"] * table["head_dim"])
    sizes = zip(table["layers"], table["dim"], strict=True)
    table["computed"] = [
        parameters(GPT2Config(n_layer=layers, n_embd=dim, n_positions=2048))["count"].sum() for layers, dim in sizes
    ]
    return table


# ------------------------------------------------------------------------------------------------- the objective
SPARING = "tlcourse_sparing"  # attention's name in transformers


def make_sparing(model: GPT2LMHeadModel) -> GPT2LMHeadModel:
    """The model, computing the same with less: on a CPU its dropout and, in training, its attention."""
    model.set_attn_implementation(SPARING)
    return draw_less(model)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    **others,
) -> tuple[Tensor, None]:
    """Attention of (B, H, T, D / H) each, as ``transformers`` asks for it: (B, T, H, D / H).

    By hand where ``torch``'s own is slow: in training on a CPU, with dropout, of whole rows without padding.
    """
    if not dropout or query.device.type != "cpu" or attention_mask is not None or query.shape != key.shape:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **others
        )
    future = torch.full((query.shape[2], key.shape[2]), -torch.inf).triu(1)  # (T, T)
    scores = (query * scaling) @ key.transpose(2, 3) + future  # (B, H, T, T)
    return (module.attn_dropout(scores.softmax(-1)) @ value).transpose(1, 2), None


AttentionInterface.register(SPARING, attend)
AttentionMaskInterface.register(SPARING, sdpa_mask)


def next_token_loss(model: GPT2LMHeadModel, ids: Tensor) -> Tensor:
    """L1, the mean of -log p(u_i | u_1, …, u_{i-1}) (Radford et al. 2018, equation 1), in nats a token.

    Equal to ``model(ids, labels=ids).loss`` of ``transformers``; the logits, V a token, are never all in memory.

    Args:
        ids: (B, T) rows without padding; T - 1 tokens of each are predicted.
    """
    hidden = model.transformer(ids[:, :-1], use_cache=False).last_hidden_state  # (B, T - 1, D)
    weight = model.lm_head.weight
    return linear_cross_entropy(hidden.flatten(0, 1), ids[:, 1:].flatten(), weight, weight.new_zeros(len(weight)))
