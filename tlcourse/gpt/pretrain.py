"""Pretraining GPT on documents of one's own: each token from those before it (Radford et al. 2018, section 3.1).

::

    documents = TokenDocuments.from_texts(texts, tokeniser)
    trained = pretrain_gpt(documents, tokeniser, GPTRecipe(size="mini"), "runs/gpt", valid=others)
    trained.losses  # how the next token was learned

The documents are packed end to end, with <|endoftext|> between them, and cut into rows of one length: no padding. Each
pass packs them in another order. B is the rows of a batch, T the tokens that each predicts.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tlcourse import profile
from tlcourse.encoders import evaluated
from tlcourse.gpt.bpe import load_tokeniser, save_tokeniser
from tlcourse.gpt.model import gpt_config, make_sparing, next_token_loss
from tlcourse.text.shards import CorpusError, read_header, smallest_dtype
from tlcourse.training import pretraining
from tlcourse.training.devices import join_processes
from tlcourse.training.pretraining import LOSSES, Passes, describe, train
from tlcourse.training.schedules import warmup_cosine

DOCUMENTS = "tlcourse-gpt-documents-1"
"""The format that `documents.json` names."""

_BATCH = 1_000  # texts given to the tokeniser at a time


# ----------------------------------------------------------------------------------------------------- the recipe
@dataclass(frozen=True, kw_only=True)
class GPTRecipe:
    """How a GPT is pretrained; what is not said otherwise is the paper's (Radford et al. 2018, section 4.1).

    Attributes:
        size: a name or (layers, hidden size), see :func:`tlcourse.gpt.model.gpt_config`.
        max_length: T, and the most tokens that the model reads; the paper has 512.
        epochs: passes over the documents.
        steps: instead of ``epochs``: how many updates of the weights.
        batch_size: B, rows of an update, over all processes and ``accumulate``; the paper has 64.
        accumulate: work off each process's rows in so many parts, for want of memory; the update is the same.
        lr: of AdamW, at its peak.
        warmup: share of the steps in which the rate rises in a straight line; then it falls as a cosine to nothing.
        weight_decay: each step's share of the weights, times the rate; biases and norms are left out.
        clip: the largest norm of the gradient; GPT-3's.
        dropout: of embeddings, hidden units and attention.
        seed: of first weights, the order of documents, and dropout.

    Raises:
        ValueError: a setting is out of its range.
    """

    size: str | tuple[int, int] = "mini"
    max_length: int = 128
    epochs: int = 1
    steps: int | None = None
    batch_size: int = 32
    accumulate: int = 1
    lr: float = 2.5e-4
    warmup: float = 0.01
    weight_decay: float = 0.01
    clip: float = 1.0
    dropout: float = 0.1
    seed: int = 42

    def __post_init__(self):
        for name in ("max_length", "epochs", "batch_size", "accumulate", "lr", "clip"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps={self.steps} must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} is a share from 0 to below 1")
        warmup_cosine(warmup=self.warmup)


# ------------------------------------------------------------------------------------------------------- the data
@dataclass(frozen=True, eq=False)
class TokenDocuments:
    """The tokens of many documents, end to end.

    Attributes:
        ids: all tokens, (N,), in the smallest type that holds the vocabulary; each document ends in <|endoftext|>.
        starts: where in ``ids`` each document begins, and their end, (D + 1,) int64.
        end: the id of <|endoftext|>.
        empty: how many texts had no tokens and are left out.
    """

    ids: np.ndarray
    starts: np.ndarray
    end: int
    empty: int = 0

    def __len__(self) -> int:
        """The number of tokens, the ends of documents included: each of them is predicted."""
        return len(self.ids)

    @property
    def documents(self) -> int:
        """The number of documents."""
        return len(self.starts) - 1

    @cached_property
    def digest(self) -> str:
        """A hash of all that the documents hold."""
        total = hashlib.sha256(f"{DOCUMENTS} {self.end}".encode())
        total.update(np.ascontiguousarray(self.ids.astype("<i4")))
        total.update(np.ascontiguousarray(self.starts))
        return total.hexdigest()

    @classmethod
    def from_texts(cls, texts: Iterable[str], tokeniser: PreTrainedTokenizerFast) -> TokenDocuments:
        """Each text a document. "<|endoftext|>" and its like, written in a text, are letters and brackets.

        Raises:
            TypeError: ``texts`` is one text, or one of them is not a string.
            ValueError: the tokeniser has no token for the end of a text; no text has a token.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be many texts, not one: put it into a list")
        if (end := tokeniser.eos_token_id) is None:
            raise ValueError("the tokeniser has no eos_token, such as <|endoftext|>, to end documents with")
        dtype, texts = smallest_dtype(len(tokeniser)), iter(texts)
        ids, lengths, empty = [], [], 0
        while batch := list(itertools.islice(texts, _BATCH)):
            for text in batch:
                if not isinstance(text, str):
                    raise TypeError(f"a document must be a str, not {type(text).__name__}: {text!r:.80}")
            rows = tokeniser(
                batch, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False, verbose=False
            ).input_ids
            rows = [row for row in rows if row]
            empty += len(batch) - len(rows)
            lengths += [len(row) + 1 for row in rows]
            ids.append(np.fromiter(itertools.chain.from_iterable((*row, end) for row in rows), dtype))
        if not lengths:
            raise ValueError("no document has a token: there is nothing to learn from")
        return cls(np.concatenate(ids), np.cumsum([0, *lengths]), end, empty)

    def save(self, folder: str | Path) -> None:
        """Write the documents into a folder; ``load`` maps them into memory."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        header = folder / "documents.json"
        header.unlink(missing_ok=True)  # written last: with it the folder is whole
        np.save(folder / "ids.npy", self.ids)
        np.save(folder / "starts.npy", self.starts)
        known = {"format": DOCUMENTS, "end": self.end, "empty": self.empty, "tokens": len(self), "digest": self.digest}
        header.write_text(json.dumps(known, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> TokenDocuments:
        """The documents of a folder, whose tokens are read from disk as they are used.

        Raises CorpusError when the folder holds none, or what it holds was cut short or does not fit together.
        """
        folder = Path(folder)
        header = read_header(folder / "documents.json", DOCUMENTS)
        try:
            ids, starts = np.load(folder / "ids.npy", mmap_mode="r"), np.load(folder / "starts.npy")
            if not len(ids) == header["tokens"] == starts[-1] or (np.diff(starts) < 1).any():
                raise ValueError("they are not of one another")
            return cls(ids, starts, header["end"], header["empty"])
        except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
            raise CorpusError(f"the documents of {folder} are damaged: {error}. Make them again") from error

    def stream(self, order: np.ndarray) -> Stream:
        """The documents in some order, with <|endoftext|> before the first."""
        return Stream(self, order)


class Stream:
    """Documents in some order, end to end: N + 1 tokens, of which the first is <|endoftext|>."""

    def __init__(self, documents: TokenDocuments, order: np.ndarray):
        self.documents, self.order = documents, order
        self.ends = np.cumsum(np.diff(documents.starts)[order])  # in the stream, without its first token
        self.shift = documents.starts[order + 1] - self.ends  # from there to a place in ``ids``

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        """The tokens at some places, from 0 to N."""
        behind = np.maximum(places, 1) - 1
        where = behind + self.shift[np.searchsorted(self.ends, behind, side="right")]
        return np.where(places == 0, self.documents.end, self.documents.ids[where])


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of tokens, (B, T + 1): each but the first of a row is predicted from those before it."""

    ids: Tensor

    @property
    def tokens(self) -> int:
        """How many are predicted."""
        return len(self.ids) * (self.ids.shape[1] - 1)

    def split(self, parts: int) -> Iterator[Batch]:
        """Every ``parts``-th row, from each of the first rows on."""
        return (Batch(self.ids[part::parts]) for part in range(min(parts, len(self.ids))))


class PackedBatches(Passes):
    """An endless stream of batches; each pass packs the documents in another order.

    A row ends where the next begins, with a token that both have: it is predicted in one and read in the other, so
    each token is predicted once in a pass. What is left over behind the last whole row is not.
    """

    def __init__(self, documents: TokenDocuments, recipe: GPTRecipe):
        self.documents, self.length = documents, min(recipe.max_length, len(documents))
        super().__init__(recipe)

    def deal(self, epoch: int) -> int:
        generator = np.random.default_rng([self.recipe.seed, epoch])
        self.stream = self.documents.stream(generator.permutation(self.documents.documents))
        self.order = generator.permutation(len(self.documents) // self.length)  # else a batch is one long document
        return len(self.order)

    def make(self, rows: np.ndarray, generator: np.random.Generator) -> Batch:
        places = self.order[rows][:, None] * self.length + np.arange(self.length + 1)  # (B, T + 1)
        return Batch(torch.from_numpy(self.stream[places].astype(np.int64)))


# ------------------------------------------------------------------------------------------------------- training
@dataclass(frozen=True, eq=False)
class TrainedGPT:
    """A pretrained GPT, and how it came to be.

    Attributes:
        model: a language model of ``transformers``.
        tokeniser: its tokeniser.
        recipe: how it was trained.
        losses: step, tokens (predicted so far) and train_loss (nats a token, the mean since the row before); where
            there are validation documents, their valid_loss and valid_perplexity.
    """

    model: GPT2LMHeadModel
    tokeniser: PreTrainedTokenizerBase
    recipe: GPTRecipe
    losses: pd.DataFrame

    def measure(self, documents: TokenDocuments) -> dict[str, float]:
        """Loss and perplexity on other documents: see :func:`measure`."""
        return measure(self.model, documents, length=self.recipe.max_length, batch_size=self.recipe.batch_size)


def pretrain_gpt(
    documents: TokenDocuments,
    tokeniser: PreTrainedTokenizerBase,
    recipe: GPTRecipe,
    folder: str | Path,
    *,
    valid: TokenDocuments | None = None,
    every: int | None = None,
    resume: bool = True,
    progress: bool = True,
    device: torch.device | str | None = None,
) -> TrainedGPT:
    """Pretrain a GPT, or go on with a pretraining that was cut off.

    On one machine, with one number of processes, a training that was killed and started again ends with the weights
    of one that was not, bit for bit on a CPU. On a GPU it computes in the profile's half precision.

    Args:
        documents: to learn from, made with this tokeniser.
        tokeniser: see :func:`tlcourse.gpt.bpe.train_bpe`.
        recipe: sizes and settings.
        folder: gets ``checkpoint.pt``, and in the end the model and the tokeniser, which ``from_pretrained`` of
            ``transformers`` reads, and ``losses.csv``.
        valid: documents to measure on with each checkpoint.
        every: write a checkpoint and a row of losses after so many steps; 20 times in all by default.
        resume: False starts over and replaces what is in the folder.
        progress: False shows nothing while training.
        device: where to train; the profile's by default.

    Raises:
        ValueError: the documents are not this tokeniser's; or the checkpoint is damaged or belongs to another
            training.
        OSError: the disk is full; the last whole checkpoint is kept.
    """
    for name, tokens in (("documents", documents), ("valid", valid)):
        check_match(name, tokens, tokeniser)
    process, processes = join_processes()
    folder, device = Path(folder), torch.device(device or profile.current().device)
    batches = PackedBatches(documents, recipe)
    steps = recipe.steps or recipe.epochs * batches.per_epoch

    profile.seed_everything(recipe.seed)
    model = build_model(recipe, tokeniser).to(device)
    size = {"length": recipe.max_length, "batch_size": recipe.batch_size}
    losses = train(
        Training(model, recipe, steps=steps, process=process, processes=processes),
        batches,
        folder,
        describe(recipe, documents, valid, tokeniser, steps=steps, processes=processes),
        measure=(lambda: {f"valid_{name}": value for name, value in measure(model, valid, **size).items()})
        if valid
        else None,
        every=every,
        resume=resume,
        progress=progress,
    )
    trained = TrainedGPT(model.eval(), tokeniser, recipe, losses)
    if process == 0:
        save_gpt(trained, folder)
    return trained


class Training(pretraining.Training):
    """A model, its optimiser, and how a step is taken; see :class:`tlcourse.training.pretraining.Training`."""

    def __init__(self, model: GPT2LMHeadModel, recipe: GPTRecipe, *, steps: int, **processes: int):
        super().__init__(
            make_sparing(model),
            lambda part, whole: next_token_loss(model, part.ids.to(model.device)) * part.tokens / whole.tokens,
            recipe,
            warmup_cosine(warmup=recipe.warmup),
            steps=steps,
            **processes,
        )


def build_model(recipe: GPTRecipe, tokeniser: PreTrainedTokenizerBase) -> GPT2LMHeadModel:
    """A fresh model."""
    dropout = dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), recipe.dropout)
    ends = dict.fromkeys(("bos_token_id", "eos_token_id"), tokeniser.eos_token_id)
    config = gpt_config(recipe.size, vocab_size=len(tokeniser), max_length=recipe.max_length, **dropout, **ends)
    return GPT2LMHeadModel(config)


def measure(
    model: GPT2LMHeadModel, documents: TokenDocuments, *, length: int, batch_size: int = 32
) -> dict[str, float]:
    """The loss on documents as they come, without dropout: every token once.

    Rows do not overlap, so the first tokens of each are predicted from few others.

    Args:
        length: tokens that a row predicts.
        batch_size: rows read together.

    Returns:
        ``loss``, in nats a token, and ``perplexity``.
    """
    stream, tokens = documents.stream(np.arange(documents.documents)), len(documents)
    starts = np.arange(0, tokens, length)
    whole, rest = starts[: tokens // length], starts[tokens // length :]  # the last row may be shorter
    batches = [(whole[i : i + batch_size], length) for i in range(0, len(whole), batch_size)]
    batches += [(rest, tokens % length)] if len(rest) else []
    total = 0.0
    with evaluated(model):
        for firsts, predicted in batches:
            ids = stream[firsts[:, None] + np.arange(predicted + 1)]
            loss = next_token_loss(model, torch.from_numpy(ids.astype(np.int64)).to(model.device))
            total += loss.item() * len(firsts) * predicted
    return {"loss": total / tokens, "perplexity": math.exp(total / tokens)}


def check_match(name: str, documents: TokenDocuments | None, tokeniser: PreTrainedTokenizerBase) -> None:
    """Raises ValueError where documents were made with another tokeniser, as far as that shows."""
    if documents is None:
        return
    if documents.end != tokeniser.eos_token_id or documents.ids.max() >= len(tokeniser):
        raise ValueError(
            f"the {name} were not made with this tokeniser: it has {len(tokeniser):,} tokens and ends texts with "
            f"{tokeniser.eos_token_id}, they have tokens up to {documents.ids.max():,} and end with {documents.end}"
        )


# -------------------------------------------------------------------------------------------------------- on disk
def save_gpt(trained: TrainedGPT, folder: str | Path) -> None:
    """Write the model and the tokeniser as ``transformers`` reads them, the recipe and, last, the losses."""
    folder = Path(folder)
    trained.model.save_pretrained(folder)
    save_tokeniser(trained.tokeniser, folder)
    (folder / "recipe.json").write_text(json.dumps(asdict(trained.recipe), indent=1), encoding="utf-8")
    trained.losses.to_csv(folder / LOSSES, index=False)


def load_gpt(folder: str | Path) -> TrainedGPT:
    """A model that :func:`pretrain_gpt` left in a folder, for evaluation.

    Raises:
        FileNotFoundError: there is none, or its training has not ended.
        ValueError: the folder is damaged.
    """
    folder = Path(folder)
    if not (folder / LOSSES).is_file():
        raise FileNotFoundError(f"no pretrained GPT in {folder}: train one with pretrain_gpt")
    try:
        recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        size = recipe["size"]
        recipe = GPTRecipe(**recipe | {"size": size if isinstance(size, str) else tuple(size)})
        tokeniser = load_tokeniser(folder)
        model = GPT2LMHeadModel.from_pretrained(folder, local_files_only=True)
        losses = pd.read_csv(folder / LOSSES)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the GPT in {folder} is damaged: {error!r}. Train it again") from error
    return TrainedGPT(model.eval(), tokeniser, recipe, losses)
