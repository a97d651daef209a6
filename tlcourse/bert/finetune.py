"""Four ways to fine-tune an encoder: sentence pairs, single sentences, answer spans and tags.

>>> encoder = load_encoder("minilm")
>>> model = finetune_sentences(encoder, sst2.train, sst2.valid)
>>> model.predict(["A visually stunning rumination on love ."])
['pos']

The four shapes of Devlin et al. 2019, figure 4. Each puts one small new layer, the head, on top of the encoder:

===========  ===========================  ====================================================================
shape        columns of a frame           the head reads
===========  ===========================  ====================================================================
pairs        ``first``, ``second``        [CLS], through the encoder's pooling layer; a score a class
sentences    ``text``                     the same
answers      ``context``, ``question``,   every piece of the context; a score as the answer's first (S · T_i) and
             ``answer``, ``start``        one as its last (E · T_i), the paper's equation 1
tags         ``words``, and lists of      the first piece of each word; a score a tag
             tags
===========  ===========================  ====================================================================

Then either all weights learn, fine-tuning, or with ``frozen=True`` only the head, from states that the encoder
computed once: feature extraction. The encoder that is given is never changed.
"""

from __future__ import annotations

import copy
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from tlcourse import profile
from tlcourse.bert.answers import answer_scores
from tlcourse.data.frames import classes_of, label_column, labels_of, need, numbered, texts_of
from tlcourse.encoders import Checkpoint
from tlcourse.text import SortedBatches
from tlcourse.training import (
    FusedAdamW,
    Stage,
    accuracy,
    all_at_once,
    entity_f1,
    fit,
    macro_f1,
    make_learner,
    schedules,
)

LONGEST_QUESTION = 64  # pieces of a question that are read, as in the paper's code


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How an encoder is fine-tuned; by default as in Devlin et al. 2019, appendix A.3.

    Attributes:
        epochs: passes over the rows: 3, or 30 with `frozen`, where they cost next to nothing. With a few hundred rows
            take more: 3 epochs are then too few steps (Mosbach et al. 2021).
        lr: the peak rate of AdamW: 5e-5, or 1e-3 with `frozen`.
        batch_size: rows in a batch.
        max_length: pieces in a row, special tokens among them: 128, or 384 for answers, and never more than the
            encoder can take. What is longer is cut off in texts and pairs (of a pair the longer side); the texts of
            answers and tags are read in windows, so that no word is lost.
        warmup: share of the steps in which the rate rises; then it falls to 0, both in straight lines.
        weight_decay: decoupled; none on biases and layer normalisation.
        grad_clip: the largest norm of the gradient.
        dropout: before the head; the encoder's own unless given. Answers have none, as in the paper's code.
        summary: what stands for a text or a pair: ``cls``, the state of [CLS] through a dense layer and tanh, or
            ``mean``, that of all its states, which serves frozen encoders better (Reimers and Gurevych 2019).
        frozen: run the encoder once and train the head alone.
        plan: which layer groups learn when, such as ``gradual_unfreezing``; the groups are the embeddings, each block
            and the head. Frozen, there is the head alone.
        freeze_below: so many groups, from the embeddings up, never learn.
        factor: each group's rate over that of the group below it.
        longest_answer: in pieces.
        seed: of the head's first weights, dropout and the order of rows.
    """

    epochs: int | None = None
    lr: float | None = None
    batch_size: int = 32
    max_length: int | None = None
    warmup: float = 0.1
    weight_decay: float = 0.01
    grad_clip: float = 1.0
    dropout: float | None = None
    summary: Literal["cls", "mean"] = "cls"
    frozen: bool = False
    plan: Callable[[int, int], list[Stage]] = all_at_once
    freeze_below: int = 0
    factor: float = 1.0
    longest_answer: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.summary not in ("cls", "mean"):
            raise ValueError(f"summary={self.summary!r} is neither cls nor mean")

    def stages(self, n_groups: int) -> list[Stage]:
        """The plan for a model of so many layer groups."""
        epochs = self.epochs or (30 if self.frozen else 3)
        learn = n_groups - self.freeze_below
        if not 1 <= learn <= n_groups:
            raise ValueError(f"freeze_below={self.freeze_below} of {n_groups} layer groups leaves none to learn")
        return [replace(stage, trainable=min(stage.trainable, learn)) for stage in self.plan(n_groups, epochs)]

    @property
    def peak(self) -> float:
        """The peak rate."""
        return self.lr or (1e-3 if self.frozen else 5e-5)


# ------------------------------------------------------------------------------------------------------ rows, batches
@dataclass(frozen=True, kw_only=True)
class Row:
    """What the encoder reads at once: a text, a pair, or a window of a longer one.

    Attributes:
        ids: (T,) pieces, special tokens among them.
        types: (T,) 0 for the first segment and 1 for the second, or as the tokeniser has them.
        read: (T,) where the head reads.
        targets: the class; or the tag of each place that is read; or the answer's first and last place. Empty where
            it is to be predicted.
    """

    ids: np.ndarray
    types: np.ndarray
    read: np.ndarray
    targets: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


class RowBatches(SortedBatches):
    """Rows of like length together: x (4, B, T), the ids, the mask, the types and where to read; y, all targets."""

    def __init__(self, rows: Sequence[Row], *, pad: int, **order):
        super().__init__([len(row.ids) for row in rows], **order)
        self.rows, self.pad = rows, pad

    def _batch(self, places: np.ndarray) -> tuple[Tensor, Tensor]:
        rows = [self.rows[i] for i in places]
        x = np.zeros((4, len(rows), max(len(row.ids) for row in rows)), dtype=np.int64)
        x[0] = self.pad
        for b, row in enumerate(rows):
            x[:, b, : len(row.ids)] = row.ids, np.ones_like(row.ids), row.types, row.read
        return torch.from_numpy(x), torch.from_numpy(np.concatenate([row.targets for row in rows]))


# ------------------------------------------------------------------------------------------------- encoder and heads
class ClassHead(nn.Module):
    """States of [CLS], or means, (B, D) -> a score a class, (B, C).

    [CLS] goes through a dense layer and tanh first, the pooler, as in the paper's code: predicting next sentences has
    taught it what to take of a row. It counts as part of the head, so that it learns with frozen encoders, too; one
    without (XLNet, DistilBERT) gets a new one. Means need none.
    """

    def __init__(self, linear: nn.Linear, *, dropout: float, pooler: nn.Linear | None):
        super().__init__()
        self.pooler, self.dropout, self.linear = pooler, nn.Dropout(dropout), linear

    def forward(self, states: Tensor, read: Tensor) -> Tensor:
        if self.pooler is not None:
            states = torch.tanh(self.pooler(states))
        return self.linear(self.dropout(states))


class TagHead(nn.Module):
    """States of words' first pieces, (P, D) -> a score a tag, (P, C)."""

    def __init__(self, linear: nn.Linear, *, dropout: float):
        super().__init__()
        self.dropout, self.linear = nn.Dropout(dropout), linear

    def forward(self, states: Tensor, read: Tensor) -> Tensor:
        return self.linear(self.dropout(states))


class SpanHead(nn.Module):
    """States of a text's pieces, (P, D) -> scores as first and as last piece, (B, 2, T); -inf where nothing is read.

    Equation 1 of the paper has the softmax run over the text's pieces; here over [CLS], too, which is the target in
    windows that do not hold the answer.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.linear = linear  # its two rows are the vectors S and E

    def forward(self, states: Tensor, read: Tensor) -> Tensor:
        scores = self.linear(states)
        spread = scores.new_full((*read.shape, 2), -torch.inf)
        spread[read] = scores
        return spread.transpose(1, 2)


class Network(nn.Module):
    """An encoder and a head: rows (4, B, T), see :class:`RowBatches`, -> the head's scores."""

    def __init__(self, encoder: nn.Module, head: nn.Module, *, types: bool, mean: bool = False):
        super().__init__()
        self.encoder, self.head, self.types, self.mean = encoder, head, types, mean

    def states(self, x: Tensor) -> Tensor:
        """What the head reads: (P, D) of the places marked in x, or (B, D) means over rows."""
        ids, mask, types, read = x
        more = {"token_type_ids": types} if self.types else {}
        hidden = self.encoder(input_ids=ids, attention_mask=mask, **more).last_hidden_state  # (B, T, D)
        if self.mean:
            return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return hidden[read.bool()]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.states(x), x[3].bool())

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The embeddings and whatever is in no block, each block, and the head."""
        lists = [module for module in self.encoder.modules() if isinstance(module, nn.ModuleList)]
        blocks = [list(block.parameters()) for block in max(lists, key=len)]  # ALBERT's blocks are one
        among = {id(parameter) for block in blocks for parameter in block}
        others = [parameter for parameter in self.encoder.parameters() if id(parameter) not in among]
        return [others, *blocks, list(self.head.parameters())]


class Remembered(nn.Module):
    """The network with the encoder's states looked up: only the head is a part of it. Ids are rows of `table`."""

    def __init__(self, table: Tensor, head: nn.Module):
        super().__init__()
        self.head, self.table = head, [table]  # in a list: no part of the model, and in no checkpoint

    def forward(self, x: Tensor) -> Tensor:
        read = x[3].bool()
        return self.head(self.table[0][x[0][read]].float(), read)

    def layer_groups(self) -> list[nn.Module]:
        return [self.head]


# ------------------------------------------------------------------------------------------------- what all have alike
class FineTuned:
    """A fine-tuned encoder.

    Attributes:
        network: the encoder's copy and the head.
        tokeniser: the encoder's.
        recipe: how it was trained.
        max_length: the most pieces in a row.
        classes: the classes or tags of training, in the order of the scores; of answers none.
        history: a row an epoch, as :func:`tlcourse.training.fit` gives it. Labels of `valid` that training had not
            are left out of its figures.
    """

    inputs: tuple[str, ...]  # columns
    length = 128  # of a row where the recipe does not say
    metrics: tuple[Callable, ...] = (accuracy, macro_f1)
    memory = torch.float32  # what the states of a frozen encoder are kept in

    def __init__(self, encoder: Checkpoint, recipe: FineTuning, classes: Sequence = ()):
        self.tokeniser, self.name, self.recipe, self.classes = encoder.tokeniser, encoder.name, recipe, list(classes)
        self._check_tokeniser(encoder)
        self.max_length = recipe.max_length or min(self.length, encoder.longest)
        if not 8 <= self.max_length <= encoder.longest:
            raise ValueError(f"max_length={self.max_length}: {self.name} takes 8 to {encoder.longest} pieces")
        begins = self.tokeniser("a")["input_ids"][0] == self.tokeniser.cls_token_id
        self.cls = 0 if begins else -1  # where [CLS] stands in a row: XLNet has it at the end
        body = copy.deepcopy(encoder.model)  # the encoder that was given stays as it is
        self.pooler = take_pooler(body)
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            head = self._head(body.config).to(body.device)
        types = (
            "token_type_ids" in signature(body.forward).parameters and getattr(body.config, "type_vocab_size", 3) > 1
        )
        mean = recipe.summary == "mean" and isinstance(head, ClassHead)
        self.network = Network(body, head, types=types, mean=mean)

    def _check_tokeniser(self, encoder: Checkpoint) -> None:
        rows = encoder.model.get_input_embeddings().num_embeddings
        if (last := max(self.tokeniser.get_vocab().values())) >= rows:
            raise ValueError(
                f"the tokeniser is not that of {self.name}: it has a piece {last:,}, the model {rows:,} rows"
            )
        if self.tokeniser.cls_token_id is None or self.tokeniser.pad_token_id is None:
            raise ValueError(f"the tokeniser of {self.name} has no token for [CLS] or none for padding: no encoder's")

    def _head(self, config) -> nn.Module:
        """A new head, its weights as the encoder's were first."""
        raise NotImplementedError

    def _cls(self, n: int) -> np.ndarray:
        """(n,) where a row has [CLS]."""
        place = np.zeros(n, dtype=bool)
        place[self.cls] = True
        return place

    def _dropout(self, config) -> float:
        own = getattr(config, "classifier_dropout", None) or getattr(config, "hidden_dropout_prob", 0.1)
        return own if self.recipe.dropout is None else self.recipe.dropout

    def _train(self, rows: list[Row], valid: list[Row], *, checkpoint: str | Path | None, progress: bool) -> None:
        recipe, device = self.recipe, next(self.network.parameters()).device
        model: nn.Module = self.network
        if recipe.frozen:
            table, (rows, valid) = self._remember(rows, valid)
            model = Remembered(table, self.network.head)
        batches = partial(RowBatches, pad=self.tokeniser.pad_token_id, batch_size=recipe.batch_size, seed=recipe.seed)
        groups = model.layer_groups()
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            learner = make_learner(
                model,
                batches(rows, shuffle=True),
                batches(valid) if valid else (),
                metrics=self.metrics,
                grad_clip=recipe.grad_clip,
                weight_decay=recipe.weight_decay,
                opt=FusedAdamW,
                device=device,
                dtype=profile.autocast_dtype(device),
            )
            self.history = fit(
                learner,
                recipe.stages(len(groups)),
                lr=recipe.peak,
                schedule=schedules.warmup_linear(warmup=recipe.warmup),
                factor=recipe.factor,
                schedule_per="plan",
                checkpoint=checkpoint,
                progress=progress,
            )
        self.network.requires_grad_(True).eval()

    @torch.no_grad()
    def _remember(self, *parts: list[Row]) -> tuple[Tensor, list[list[Row]]]:
        """The states of all places that are read, (N, D), and the rows with these states' numbers for ids."""
        found, numbered, n = [], [], 0
        for rows in parts:
            states = [some.to(self.memory) for some in self._run(rows, self.network.states)]
            found += states
            numbered.append([])
            for row, some in zip(rows, states, strict=True):
                ids = np.zeros(len(row.ids), np.int64)
                ids[row.read] = np.arange(n, n := n + len(some))
                numbered[-1].append(replace(row, ids=ids))
        return torch.cat(found), numbered

    @torch.no_grad()
    def _run(self, rows: list[Row], function: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """What the network makes of each row, be it one result a row or one a place that is read."""
        if not rows:
            return []
        self.network.eval()
        device = next(self.network.parameters()).device
        batches = RowBatches(rows, pad=self.tokeniser.pad_token_id, batch_size=64, max_tokens=16_384)
        results: list[Tensor] = [torch.empty(0)] * len(rows)
        for places, (x, _) in zip(batches.indices(), batches, strict=True):
            out = function(x.to(device))
            sizes = x[3].sum(1).tolist() if out.ndim == 2 else 1
            for i, part in zip(places, out.split(sizes), strict=True):
                results[i] = part
        return results

    def _scores(self, rows: list[Row]) -> list[np.ndarray]:
        return [scores.float().cpu().numpy() for scores in self._run(rows, self.network)]


def take_pooler(model: nn.Module) -> nn.Linear | None:
    """Take the pooling layer off an encoder, for the head."""
    if (pooler := getattr(model, "pooler", None)) is None:
        return None
    model.pooler = None
    return getattr(pooler, "dense", pooler)


def new_linear(config, n_out: int) -> nn.Linear:
    """A linear layer whose first weights are drawn as the encoder's were."""
    linear = nn.Linear(config.hidden_size, n_out)
    nn.init.normal_(linear.weight, std=getattr(config, "initializer_range", 0.02))
    nn.init.zeros_(linear.bias)
    return linear


# ---------------------------------------------------------------------------------------------- sentences and pairs
class FineTunedClassifier(FineTuned):
    """A class for each text, or for each pair of texts."""

    def __init__(self, encoder: Checkpoint, recipe: FineTuning, classes: list, *, inputs: tuple[str, ...], label: str):
        self.inputs, self.label = inputs, label
        super().__init__(encoder, recipe, classes)

    def _head(self, config) -> ClassHead:
        linear, pooler = new_linear(config, len(self.classes)), None
        if self.recipe.summary == "cls":
            pooler = self.pooler or new_linear(config, config.hidden_size)
        return ClassHead(linear, dropout=self._dropout(config), pooler=pooler)

    def _rows(self, texts: dict[str, list[str]], targets: Sequence[int] | None = None) -> list[Row]:
        if not texts[self.inputs[0]]:
            return []
        pieces = self.tokeniser(
            *texts.values(), truncation=True, max_length=self.max_length, return_token_type_ids=True, verbose=False
        )
        return [
            Row(
                ids=(ids := np.array(row)),
                types=np.array(types),
                read=self._cls(len(ids)),
                targets=np.array([] if targets is None else [targets[i]], dtype=np.int64),
            )
            for i, (row, types) in enumerate(zip(pieces["input_ids"], pieces["token_type_ids"], strict=True))
        ]

    def probabilities(self, rows: pd.DataFrame | Sequence) -> pd.DataFrame:
        """Of each row the probability of each class, a column a class."""
        scores = [softmax(some[0]) for some in self._scores(self._rows(texts_of(rows, self.inputs)))]
        return pd.DataFrame(scores, columns=self.classes)

    def predict(self, rows: pd.DataFrame | Sequence) -> list:
        """The class of each row of a frame; or of a list of texts, or of pairs (first, second).

        An empty text has a class, too: what the encoder makes of its special tokens alone.

        Raises:
            ValueError: a row has something else than text; the message names it.
        """
        return [self.classes[i] for i in self.probabilities(rows).to_numpy().argmax(1)] if len(rows) else []

    def score(self, frame: pd.DataFrame) -> dict[str, float]:
        """``accuracy`` and ``macro_f1``. A class that training had not cannot be given: its rows count as wrong."""
        numbers = numbered(labels_of(frame, self.label), self.predict(frame))
        return {metric.__name__: metric(*numbers) for metric in self.metrics}


def finetune_sentences(
    encoder: Checkpoint,
    train: pd.DataFrame,
    valid: pd.DataFrame | None = None,
    recipe: FineTuning | None = None,
    *,
    label: str | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> FineTunedClassifier:
    """A class for each text (Devlin et al. 2019, figure 4b).

    Args:
        encoder: from :func:`tlcourse.encoders.load_encoder`; it is not changed.
        train: rows with a ``text`` and a class.
        valid: more of the same, for the history; nothing is chosen by it.
        recipe: how to train; as in the paper unless given.
        label: the column of the class; need not be said where there are no others.
        checkpoint: a file in which the training's state is kept, see :func:`tlcourse.training.fit`.

    Raises:
        ValueError: a column is missing, a row has no text or no class, there are not two classes, no row of `valid`
            has one of theirs, or the tokeniser is another model's.
    """
    return _finetune_classifier(("text",), encoder, train, valid, recipe, label, checkpoint, progress)


def finetune_pairs(
    encoder: Checkpoint,
    train: pd.DataFrame,
    valid: pd.DataFrame | None = None,
    recipe: FineTuning | None = None,
    *,
    label: str | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> FineTunedClassifier:
    """A class for each pair of texts, ``first`` and ``second`` (figure 4a); as :func:`finetune_sentences`."""
    return _finetune_classifier(("first", "second"), encoder, train, valid, recipe, label, checkpoint, progress)


def _finetune_classifier(inputs, encoder, train, valid, recipe, label, checkpoint, progress) -> FineTunedClassifier:
    label = label_column(train, inputs, label)
    texts, labels = texts_of(train, inputs), labels_of(train, label)
    model = FineTunedClassifier(encoder, recipe or FineTuning(), classes_of(labels), inputs=inputs, label=label)
    number = {name: i for i, name in enumerate(model.classes)}
    rows, valid_rows = model._rows(texts, [number[name] for name in labels]), []
    if valid is not None:
        known = valid[[name in number for name in labels_of(valid, label)]]
        valid_rows = model._rows(texts_of(known, inputs), [number[name] for name in known[label]])
        _check_known(valid_rows)
    model._train(rows, valid_rows, checkpoint=checkpoint, progress=progress)
    return model


# ------------------------------------------------------------------------------------------------------ answer spans
class Window(NamedTuple):
    """A stretch of a text, and where it stands in a row."""

    question: int  # the row of the frame
    first: int  # its first piece, counted in the text
    offsets: np.ndarray  # (n, 2) of its pieces, in characters of the text
    at: int  # its first piece, counted in the row


class FineTunedReader(FineTuned):
    """The answer to a question, found in a text."""

    inputs, length, metrics = ("context", "question"), 384, ()
    memory = torch.float16  # so many that they would fill the memory

    def _head(self, config) -> SpanHead:
        return SpanHead(new_linear(config, 2))

    def _rows(self, texts: dict[str, list[str]], spans: pd.Series | None = None) -> tuple[list[Row], list[Window]]:
        """The windows of all texts, each with its question before it.

        Args:
            spans: of each row where its answer begins and ends, in characters.
        """
        asked = self._pieces(texts["question"])
        read = dict(zip(distinct := list(dict.fromkeys(texts["context"])), self._pieces(distinct), strict=True))
        template = Template.of(self.tokeniser, 2)
        rows, windows = [], []
        for i, (text, (question, _)) in enumerate(zip(texts["context"], asked, strict=True)):
            ids, offsets = read[text]
            question = question[:LONGEST_QUESTION]
            room = self.max_length - template.special - len(question)
            if room < 1:
                raise ValueError(
                    f"max_length={self.max_length} has no room for text beside {len(question)} of question"
                )
            answer = None if spans is None else answer_pieces(offsets, *spans.iloc[i])
            if spans is not None and answer is None:
                there = text[slice(*spans.iloc[i])]
                raise ValueError(f"row {spans.index[i]}: to the tokeniser, the answer {there!r} is nothing")
            for start, stop in cut_windows(len(ids), room):
                row_ids, types, (_, at) = template.fill(question, ids[start:stop])
                read_here = self._cls(len(row_ids))
                target = np.flatnonzero(read_here).repeat(2)  # [CLS]: there is no answer here
                read_here[at : at + stop - start] = True
                if answer and start <= answer[0] and answer[1] < stop:
                    target = np.array(answer) - start + at
                targets = target if answer else target[:0]
                rows.append(Row(ids=row_ids, types=types, read=read_here, targets=targets))
                windows.append(Window(i, start, offsets[start:stop], at))
        return rows, windows

    def _pieces(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each text the ids (n,) of its pieces and their places (n, 2) in characters."""
        pieces = []
        for first in range(0, len(texts), 256):  # the tokeniser's own lists of places are large
            some = texts[first : first + 256]
            found = self.tokeniser(some, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            for ids, offsets in zip(found["input_ids"], found["offset_mapping"], strict=True):
                pieces.append((np.array(ids, np.int32), np.array(offsets, np.int32).reshape(-1, 2)))
        return pieces

    def predict(self, rows: pd.DataFrame | Sequence[tuple[str, str]]) -> pd.DataFrame:
        """The best span of each text for its question.

        The score of a span is S · T_i + E · T_j with i <= j, as in the paper. Windows are compared by the probability
        of their best span, whose softmax counts [CLS], "not here", too: scores of one window are not on the scale of
        another's (Clark and Gardner 2018, section 3).

        Args:
            rows: a frame, or a list of (context, question).

        Returns:
            A row a question: ``answer``, its ``start`` and ``end`` in characters of the text, and ``probability``.
            In a text without pieces, an empty one for instance, the answer is empty and its probability 0.
        """
        texts = texts_of(rows, self.inputs)
        best = [(0.0, 0, 0)] * len(texts["context"])  # probability, start, end
        cut, windows = self._rows(texts)
        for window, scores in zip(windows, self._scores(cut), strict=True):
            span = best_span(scores[0], window.at, len(window.offsets), longest=self.recipe.longest_answer)
            if span and span[0] > best[window.question][0]:
                probability, i, j = span
                best[window.question] = probability, int(window.offsets[i, 0]), int(window.offsets[j, 1])
        found = []
        for text, (probability, start, end) in zip(texts["context"], best, strict=True):
            answer = text[start:end]
            start += len(answer) - len(answer.lstrip())  # a piece may have the blank before it
            found.append((answer.strip(), start, start + len(answer.strip()), probability))
        return pd.DataFrame(found, columns=["answer", "start", "end", "probability"])

    def score(self, frame: pd.DataFrame) -> dict[str, float]:
        """``exact_match``, ``f1`` and ``word_f1``, from 0 to 1: see :mod:`tlcourse.bert.answers`.

        Right is what is in the list ``answers`` of a row, or its ``answer`` where there are no lists.
        """
        right = (
            frame["answers"] if "answers" in frame else [[answer] for answer in texts_of(frame, ("answer",))["answer"]]
        )
        return answer_scores(self.predict(frame)["answer"].tolist(), right)


def finetune_answers(
    encoder: Checkpoint,
    train: pd.DataFrame,
    valid: pd.DataFrame | None = None,
    recipe: FineTuning | None = None,
    *,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> FineTunedReader:
    """The answer to a question as a span of its context (figure 4c).

    A context that is longer than a row is read in windows that overlap by half. All are trained on: in those without
    the whole answer, [CLS] is right, as in the paper's code.

    Args:
        train, valid: rows with ``context``, ``question``, ``answer``, and its ``start`` in characters of the context,
            such as those of ``tlcourse.data.load("thai_qa")``.

    The others as in :func:`finetune_sentences`.

    Raises:
        ValueError: a column is missing, a row lacks context, question or answer, or an answer is not what its context
            has at its start.
    """
    if not len(train):
        raise ValueError("there are no rows to train on")
    model = FineTunedReader(encoder, recipe or FineTuning())
    parts = []
    for frame in (train, valid):
        rows = [] if frame is None else model._rows(texts_of(frame, model.inputs), answer_spans(frame))[0]
        parts.append(rows)
    model._train(*parts, checkpoint=checkpoint, progress=progress)
    return model


def answer_spans(frame: pd.DataFrame) -> pd.Series:
    """Where the answer of each row begins and ends in its context.

    Raises:
        ValueError: an answer is empty, outside its context, or not what the context has there; the message names the
            row.
    """
    need(frame, "start")
    texts = texts_of(frame, ("context", "answer"))
    spans = []
    for i, context, answer, start in zip(frame.index, texts["context"], texts["answer"], frame["start"], strict=True):
        if pd.isna(start) or not 0 <= start < start + len(answer) <= len(context):
            where = f"{len(answer)} characters at {start} of a context of {len(context)}"
            raise ValueError(f"row {i}: the answer {answer!r} cannot be {where}")
        if (there := context[int(start) : int(start) + len(answer)]) != answer:
            raise ValueError(f"row {i}: at {start} the context has {there!r}, not the answer {answer!r}")
        spans.append((int(start), int(start) + len(answer)))
    return pd.Series(spans, index=frame.index, dtype=object)


def answer_pieces(offsets: np.ndarray, start: int, end: int) -> tuple[int, int] | None:
    """The first and the last piece that have a character of the answer; None where none has."""
    inside = np.flatnonzero((offsets[:, 0] < end) & (offsets[:, 1] > start))
    return (int(inside[0]), int(inside[-1])) if len(inside) else None


def best_span(scores: np.ndarray, at: int, n: int, *, longest: int) -> tuple[float, int, int] | None:
    """The most probable span within places `at` to ``at + n``: its probability, first and last place less `at`.

    Args:
        scores: (2, T), as first and as last place, -inf where there is neither.
        longest: in places.
    """
    if n == 0:
        return None
    first, last = (log_softmax(some)[at : at + n] for some in scores)  # (n,)
    both = first[:, None] + last  # (n, n)
    both[~(np.tri(n, k=longest - 1, dtype=bool) & np.tri(n, dtype=bool).T)] = -np.inf
    i, j = divmod(int(both.argmax()), n)
    return float(np.exp(both[i, j])), i, j


# -------------------------------------------------------------------------------------------------------------- tags
class FineTunedTagger(FineTuned):
    """A tag for each word.

    A word is cut into pieces by itself, so no piece belongs to two; its first piece speaks for it, as in the paper
    (section 5.3). A sentence longer than a row is read in windows that overlap by half, and a word is tagged in the
    window in which it stands farthest from the cut. A word that has no piece (to most tokenisers a blank, which in
    ORCHID is a word) is not read: it gets the tag that it mostly had in training, or that such words mostly had.

    Attributes:
        unread: those tags by word; under None that of words which training had not.
    """

    inputs = ("words",)

    def __init__(self, encoder: Checkpoint, recipe: FineTuning, classes: list, *, label: str):
        self.label = label
        super().__init__(encoder, recipe, classes)

    def _head(self, config) -> TagHead:
        return TagHead(new_linear(config, len(self.classes)), dropout=self._dropout(config))

    def _rows(
        self, sentences: list[list[str]], tags: Sequence[Sequence[int]] | None = None
    ) -> tuple[list[Row], list[np.ndarray]]:
        """Rows, and which words the head reads in each, counted over all sentences.

        Args:
            tags: a number a word; words with a negative one are left out.
        """
        vocabulary = list(dict.fromkeys(chain.from_iterable(sentences)))
        cut: dict[str, list[int]] = {}
        if vocabulary:  # the blank makes a word look as within a text to byte-level BPE; to others it is nothing
            found = self.tokeniser([f" {word}" for word in vocabulary], add_special_tokens=False, verbose=False)
            cut = dict(zip(vocabulary, found["input_ids"], strict=True))
        template = Template.of(self.tokeniser, 1)
        rows, places, before = [], [], 0
        for i, words in enumerate(sentences):
            ids = np.array([piece for word in words for piece in cut[word]], dtype=np.int64)
            sizes = np.array([len(cut[word]) for word in words], dtype=np.int64)
            first = np.cumsum(sizes) - sizes  # of each word's pieces
            wanted = sizes > 0 if tags is None else (sizes > 0) & (np.array(tags[i]) >= 0)
            numbers = np.flatnonzero(wanted)
            windows = cut_windows(len(ids), self.max_length - template.special)
            middles = np.array([(start + stop) / 2 for start, stop in windows])
            owner = np.searchsorted(
                (middles[:-1] + middles[1:]) / 2, first[numbers]
            )  # the window whose middle is nearest
            for w, (start, stop) in enumerate(windows):
                if len(mine := numbers[owner == w]):
                    row_ids, types, (at,) = template.fill(ids[start:stop])
                    read = np.zeros(len(row_ids), dtype=bool)
                    read[first[mine] - start + at] = True
                    targets = np.array([] if tags is None else [tags[i][word] for word in mine], dtype=np.int64)
                    rows.append(Row(ids=row_ids, types=types, read=read, targets=targets))
                    places.append(mine + before)
            before += len(words)
        return rows, places

    def predict(self, sentences: pd.DataFrame | Sequence[Sequence[str]]) -> list[list]:
        """The tags of each sentence of words, as many as it has words.

        Raises:
            ValueError: a sentence is no list of words.
        """
        sentences = _words(sentences)
        flat = [self.unread.get(word, self.unread[None]) for word in chain.from_iterable(sentences)]
        rows, places = self._rows(sentences)
        for words, scores in zip(places, self._scores(rows), strict=True):
            for word, tag in zip(words, scores.argmax(1), strict=True):
                flat[word] = self.classes[tag]
        tags = iter(flat)
        return [[next(tags) for _ in words] for words in sentences]

    def score(self, frame: pd.DataFrame) -> dict[str, float]:
        """``accuracy`` and ``macro_f1`` over words, and ``entity_f1`` where all tags are of the kind O, B-x, I-x.

        A tag that training had not cannot be given: its words count as wrong.
        """
        words, tags = _tagged(frame, self.label)
        predicted = self.predict(words)
        numbers = numbered(*(list(chain.from_iterable(some)) for some in (tags, predicted)))
        scores = {metric.__name__: metric(*numbers) for metric in self.metrics}
        if all(re.fullmatch("O|[BI]-.+", str(tag)) for tag in {*self.classes, *chain.from_iterable(tags)}):
            scores["entity_f1"] = entity_f1(tags, predicted)
        return scores


def finetune_tags(
    encoder: Checkpoint,
    train: pd.DataFrame,
    valid: pd.DataFrame | None = None,
    recipe: FineTuning | None = None,
    *,
    label: str | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> FineTunedTagger:
    """A tag for each word (figure 4d).

    Args:
        train, valid: rows with ``words`` and a list of tags, one a word.
        label: the column of the tags; need not be said where no other has lists.

    The others as in :func:`finetune_sentences`.

    Raises:
        ValueError: a column is missing, a row has not as many tags as words, or there are not two tags.
    """
    label = label_column(train, ("words",), label, lists=True)
    words, tags = _tagged(train, label)
    flat = list(chain.from_iterable(tags))
    model = FineTunedTagger(encoder, recipe or FineTuning(), classes_of(flat), label=label)
    number = {name: i for i, name in enumerate(model.classes)}
    rows, places = model._rows(words, [[number[tag] for tag in some] for some in tags])
    if not rows:
        raise ValueError(f"no word of any sentence has a piece in the tokeniser of {encoder.name}")
    read = set(np.concatenate(places).tolist())
    model.unread = most_frequent(pair for i, pair in enumerate(zip(chain(*words), flat, strict=True)) if i not in read)
    model.unread.setdefault(None, Counter(flat).most_common(1)[0][0])
    valid_rows = []
    if valid is not None:
        words, tags = _tagged(valid, label)
        valid_rows, _ = model._rows(words, [[number.get(tag, -1) for tag in some] for some in tags])
        _check_known(valid_rows)
    model._train(rows, valid_rows, checkpoint=checkpoint, progress=progress)
    return model


def most_frequent(pairs: Iterable[tuple[str, str]]) -> dict[str | None, str]:
    """The tag that each word has most often, and under None that of all of them; nothing of nothing."""
    counts: dict[str | None, Counter] = defaultdict(Counter)
    for word, tag in pairs:
        counts[word][tag] += 1
        counts[None][tag] += 1
    return {word: tags.most_common(1)[0][0] for word, tags in counts.items()}


# ---------------------------------------------------------------------------------------------- pieces and windows
@dataclass(frozen=True)
class Template:
    """What a tokeniser puts around texts: [CLS] A [SEP], or [CLS] A [SEP] B [SEP], or as XLNet has it, A <sep> <cls>.

    Attributes:
        parts: the ids of special tokens, or None for a text; with the type of each.
    """

    parts: list[tuple[list[int] | None, list[int]]]

    @classmethod
    def of(cls, tokeniser, n_texts: int) -> Template:
        """Read off what a tokeniser makes of a text, or of two."""
        seen = tokeniser(*["a"] * n_texts, return_token_type_ids=True, return_special_tokens_mask=True)
        tokens = zip(seen["special_tokens_mask"], seen["input_ids"], seen["token_type_ids"], strict=True)
        parts = []
        for special, run in groupby(tokens, key=itemgetter(0)):
            _, ids, types = zip(*run, strict=True)
            parts.append((list(ids) if special else None, list(types)))
        return cls(parts)

    @property
    def special(self) -> int:
        """How many special tokens there are."""
        return sum(len(ids) for ids, _ in self.parts if ids is not None)

    def fill(self, *texts: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """The ids and types (T,) of a row, and where each text begins in it."""
        rest, ids, types, at, n = iter(texts), [], [], [], 0
        for special, kind in self.parts:
            part = np.array(special) if special is not None else next(rest)
            if special is None:
                at.append(n)
                kind = kind[:1] * len(part)
            ids.append(part)
            types.append(kind)
            n += len(part)
        return np.concatenate(ids).astype(np.int64), np.concatenate(types).astype(np.int64), at


def cut_windows(n: int, size: int) -> list[tuple[int, int]]:
    """Windows of at most `size` of `n` pieces, each but the last half a window after the one before."""
    starts = range(0, max(n - size, 0), max(size // 2, 1))
    return [(start, start + size) for start in starts] + [(max(n - size, 0), n)]


# ------------------------------------------------------------------------------------------------- frames and labels
def _words(sentences: pd.DataFrame | Sequence[Sequence[str]]) -> list[list[str]]:
    """Sentences of words, from a frame or as they are, checked."""
    names: Iterable = range(len(sentences))
    if isinstance(sentences, pd.DataFrame):
        need(sentences, "words")
        names, sentences = sentences.index, sentences["words"]
    for i, words in zip(names, sentences, strict=True):
        if isinstance(words, str) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"row {i}: words must be a list of words, not {words!r}")
    return [list(words) for words in sentences]


def _tagged(frame: pd.DataFrame, label: str) -> tuple[list[list[str]], list[list]]:
    """Words and tags of a frame, checked."""
    words, tags = _words(frame), [list(some) for some in labels_of(frame, label)]
    for i, some, of_them in zip(frame.index, words, tags, strict=True):
        if len(some) != len(of_them):
            raise ValueError(f"row {i} has {len(some)} words and {len(of_them)} tags")
    return words, tags


def _check_known(rows: list[Row]) -> None:
    if not rows:
        raise ValueError("none of valid has a label that training had")
