"""Pretraining a bidirectional language model of our own (Peters et al. 2018, section 3.1).

::

    trained = train_bilm(sentences, BiLMRecipe(epochs=3), "runs/bilm", valid=others)
    trained.perplexities(others)  # {"forward": …, "backward": …, "both": …}

Both directions share the characters and the softmax, and are trained together, on the sum of their log-likelihoods:
sum_k log p(t_k | t_1, …, t_{k-1}) + log p(t_k | t_{k+1}, …, t_N). Words go in as characters, so none is unknown
there; only what is predicted comes from a vocabulary. B is the rows of a batch, T its words, V the vocabulary, P the
projection.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from fastai.optimizer import OptimWrapper
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from tlcourse import profile
from tlcourse.elmo.characters import BOS as SENTENCE_BEGIN
from tlcourse.elmo.characters import EOS as SENTENCE_END
from tlcourse.elmo.characters import WORD_PADDING, word_ids
from tlcourse.elmo.model import BiLM, ELMoConfig, State
from tlcourse.text import BOS, EOS, UNK, LMBatches, Vocab
from tlcourse.text.batches import _Batches
from tlcourse.training import Perplexity, fit, make_learner, perplexity, schedules
from tlcourse.training.metrics import MeanLoss
from tlcourse.training.softmax import FullSoftmax, SampledSoftmax

FORMAT = "tlcourse-bilm-1"
DIRECTIONS = ("forward", "backward")
LENGTHS = 4  # classes of words by their length, whose characters are read together


# ----------------------------------------------------------------------------------------------------- the recipe
@dataclass(frozen=True, kw_only=True)
class BiLMRecipe:
    """How a bidirectional language model is pretrained.

    Attributes:
        config: sizes, clipping and dropout of the model.
        min_count, max_vocab: which words are predicted; the others are one word, the unknown.
        epochs, lr: of Adam, whose rate rises and falls once.
        batch_size: B, streams of text read side by side.
        bptt: T, words of each stream in a batch; the original takes 20.
        samples: words that the sampled softmax draws for a batch; from V on it is the full one.
        clip: the largest norm of the gradient.
        weight_decay: each step's share of the weights, times the rate.
        seed: of first weights, dropout, sampling and the order of the sentences.
    """

    config: ELMoConfig = field(
        default_factory=lambda: ELMoConfig(
            filters=((1, 16), (2, 32), (3, 48), (4, 64)), projection_dim=96, lstm_dim=192
        )
    )
    min_count: int = 2
    max_vocab: int = 60_000
    epochs: int = 3
    lr: float = 5e-3
    batch_size: int = 64
    bptt: int = 20
    samples: int = 1000
    clip: float = 1.0
    weight_decay: float = 0.01
    seed: int = 42

    def __post_init__(self):
        for name in ("epochs", "lr", "batch_size", "bptt", "samples", "clip"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")


# ------------------------------------------------------------------------------------------------------- the text
@dataclass(frozen=True, eq=False)
class Text:
    """Sentences as the model reads them: every different word has a number, also one that is not predicted.

    Attributes:
        vocab: the V words that are predicted.
        words: all different words, those of the vocabulary first.
        ids: the numbers of the words, each sentence between BOS and EOS, (N,) int32.
        starts: where each sentence begins in ``ids``, (S + 1,) int64; the last is N.
    """

    vocab: Vocab
    words: list[str] = field(repr=False)
    ids: np.ndarray = field(repr=False)
    starts: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        """How many predictions each direction makes: the words, and one end of each sentence."""
        return len(self.ids) - len(self.starts) + 1

    def targets(self, ids: np.ndarray) -> np.ndarray:
        """Words as they are predicted: one that the vocabulary lacks is UNK."""
        return np.where(ids < len(self.vocab), ids, UNK)

    def counts(self) -> np.ndarray:
        """How often each word of the vocabulary occurs, (V,)."""
        return np.bincount(self.targets(self.ids), minlength=len(self.vocab))

    def spellings(self, longest: int) -> Tensor:
        """The character ids of each different word, (words, longest) int16."""
        marks = {BOS: SENTENCE_BEGIN, EOS: SENTENCE_END}
        spelt = (word_ids(marks.get(i, word), longest=longest) for i, word in enumerate(self.words))
        ids = np.fromiter(chain.from_iterable(spelt), dtype=np.int16, count=len(self.words) * longest)
        return torch.from_numpy(ids).view(len(self.words), longest)

    @property
    def digest(self) -> str:
        """Tells one text from another."""
        words = json.dumps([self.vocab.words, self.words]).encode()
        return hashlib.sha256(words + self.ids.tobytes() + self.starts.tobytes()).hexdigest()


def encode(
    sentences: Iterable[Sequence[str]], *, min_count: int = 2, max_vocab: int = 60_000, like: Text | None = None
) -> Text:
    """Number the words of sentences; those without words are left out.

    Args:
        sentences: each a list of words.
        min_count: words that occur less often are read, and not predicted.
        max_vocab: V at most, the four special tokens among them.
        like: take this text's vocabulary and numbers, and go on from them for words that it lacks.

    Raises:
        TypeError: a sentence is a text, not its words.
        ValueError: there is no word, or none occurs ``min_count`` times.
    """
    sentences = [_words(sentence) for sentence in sentences if len(sentence)]
    if not sentences:
        raise ValueError("there is nothing to read: no sentence has a word")
    counts = Counter(chain.from_iterable(sentences))
    if like is None:
        vocab = Vocab.from_counts(counts, min_count=min_count, max_size=max_vocab)
        words = list(vocab.words)
    else:
        vocab, words = like.vocab, list(like.words)
    number = {word: i for i, word in enumerate(words) if i >= len(Vocab.SPECIALS)}
    for word in counts:
        if word not in number:
            number[word] = len(words)
            words.append(word)
    starts = np.cumsum([0, *(len(sentence) + 2 for sentence in sentences)])
    read = chain.from_iterable((BOS, *map(number.__getitem__, sentence), EOS) for sentence in sentences)
    return Text(vocab, words, np.fromiter(read, dtype=np.int32, count=starts[-1]), starts)


def _words(sentence: Sequence[str]) -> Sequence[str]:
    if isinstance(sentence, str):
        raise TypeError(f"expected a list of words, got the text {sentence!r:.60}: cut it with a tokeniser first")
    return sentence


class TwoWayBatches(_Batches):
    """Two streams of the same sentences: one reads each from its beginning, the other each from its end.

    As the original is trained (bilm-tf): the backward stream turns each *sentence* around, not the text, so both
    streams are in the same sentence at every moment, and both carry their state into the next. The streams are cut
    into ``batch_size`` rows of one length (what is left over, less than a prediction a row, is dropped) and the rows
    into batches of ``bptt`` words, so all batches but an epoch's last have one shape. A sentence may go on in the next
    batch; its forward words are then another part of it than its backward ones, which does no harm, since a direction
    never sees what the other reads.

    Yields `(x, y)`, int64 of shape (B, 2, T): the numbers of the words read, forward and backward, each in the order
    of reading; and of the words to be predicted, which are the next and the previous. A forward stream reads BOS
    w1 … wn and predicts w1 … wn EOS, a backward one reads EOS wn … w1 and predicts wn … w1 BOS.

    Args:
        text: the sentences.
        batch_size: B.
        bptt: T.
        shuffle: the sentences in another order each epoch.

    Raises:
        ValueError: there are not enough words for the rows.
    """

    def __init__(
        self,
        text: Text,
        *,
        batch_size: int,
        bptt: int,
        shuffle: bool = False,
        seed: int = 42,
        device: torch.device | str | None = None,
    ):
        super().__init__(batch_size=batch_size, shuffle=shuffle, seed=seed, backwards=False, device=device)
        if bptt < 1:
            raise ValueError(f"bptt must be at least 1, not {bptt}")
        self.text, self.bptt = text, bptt
        self.row_length = len(text) // batch_size
        if not self.row_length:
            raise ValueError(
                f"{len(text)} words and ends of sentences are too few for {batch_size} rows: give more text or a "
                "smaller batch_size"
            )

    def __len__(self) -> int:
        return -(-self.row_length // self.bptt)

    def _epoch_batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        starts, ids = self.text.starts, self.text.ids
        order = np.arange(len(starts) - 1)
        if self.shuffle:
            order = self._rng(epoch).permutation(order)
        lengths = np.diff(starts)[order] - 1  # predictions
        begins = np.cumsum(lengths) - lengths  # where in the stream
        rows = np.arange(self.batch_size)[:, None] * self.row_length
        for column in range(first * self.bptt, self.row_length, self.bptt):
            place = rows + np.arange(column, min(column + self.bptt, self.row_length))  # (B, T) in the stream
            which = np.searchsorted(begins, place, side="right") - 1
            offset, sentence = place - begins[which], order[which]
            left, right = starts[sentence] + offset, starts[sentence + 1] - 1 - offset  # (B, T) in the text
            x = ids[np.stack([left, right], 1)].astype(np.int64)
            y = self.text.targets(ids[np.stack([left + 1, right - 1], 1)]).astype(np.int64)
            yield torch.from_numpy(x), torch.from_numpy(y)  # (B, 2, T) each


# ------------------------------------------------------------------------------------------------------ the model
class BiLMWithLoss(nn.Module):
    """A bidirectional language model and the softmax that both its directions share.

    :meth:`forward` reads numbers of words, (B, 2, T) as :class:`TwoWayBatches` has them, whose spelling it looks up
    in ``spellings``; it gives what the softmax sees, (B, 2, T, P), and carries its state to the next batch.

    Args:
        config: the model's.
        vocab_size: V.
        softmax: full or sampled; both are full in evaluation.
        spellings: (words, longest) character ids of each word by number; see :meth:`Text.spellings`.
    """

    def __init__(
        self, config: ELMoConfig, vocab_size: int, softmax: FullSoftmax | None = None, spellings: Tensor | None = None
    ):
        super().__init__()
        self.bilm = BiLM(config)
        self.weight = nn.Parameter(torch.randn(vocab_size, config.projection_dim) / config.projection_dim**0.5)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.softmax = softmax or FullSoftmax()
        self.register_buffer("spellings", spellings, persistent=False)
        self.state: tuple[Tensor, Tensor] | None = None

    def start_from_counts(self, counts: np.ndarray) -> BiLMWithLoss:
        """Begin with predicting each word as often as it occurs, (V,) times."""
        share = torch.from_numpy((counts + 1) / (counts + 1).sum())
        with torch.no_grad():
            self.bias.copy_(share.log())
        return self

    def reset(self) -> None:
        """Forget the words before."""
        self.state = None

    def forward(self, x: Tensor) -> Tensor:
        words, which = x.unique(return_inverse=True)
        vectors = F.embedding(which, self.encode(self.spellings[words].long()))  # (B, 2, T, P)
        state = State(*self.state) if self.state else self.bilm.initial_state(len(x))
        mask = torch.ones_like(x[:, 0], dtype=torch.bool)
        hidden, ends = [], []
        for direction, lstms in enumerate((self.bilm.forwards, self.bilm.backwards)):
            layers, end = self.bilm._read(vectors[:, direction], mask, lstms, state, direction)
            hidden.append(self.bilm.dropout(layers[-1]))
            ends.append(end)
        self.state = tuple(torch.stack(parts, 1).detach() for parts in zip(*ends, strict=True))
        return torch.stack(hidden, 1)

    def encode(self, spellings: Tensor) -> Tensor:
        """(N, longest) -> (N, P), short words and long ones apart, so that few windows are padding."""
        by_length = (spellings != WORD_PADDING).sum(1).argsort(stable=True)
        parts = [self.bilm.characters.encode(part) for part in spellings[by_length].chunk(LENGTHS)]
        return torch.cat(parts)[by_length.argsort()]

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The joint negative log-likelihood in nats a prediction: the mean of both directions', kept by direction."""
        self.by_direction = [
            self.softmax(hidden[:, direction].flatten(0, 1), targets[:, direction].flatten(), self.weight, self.bias)
            for direction in range(2)
        ]
        return sum(self.by_direction) / 2

    @torch.no_grad()
    def perplexities(self, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Perplexity of each direction, and of both, over the full vocabulary."""
        self.eval().reset()
        total, count = np.zeros(2), 0
        for x, y in batches:
            self.loss(self(x.to(self.weight.device)), y.to(self.weight.device))
            total += [loss.item() * y.numel() for loss in self.by_direction]
            count += y.numel()
        self.reset()
        forward, backward = total / count
        means = {"forward": forward, "backward": backward, "both": (forward + backward) / 2}
        return {name: perplexity(mean) for name, mean in means.items()}


class DirectionPerplexity(MeanLoss):
    """Perplexity of one direction on the validation text."""

    def __init__(self, direction: int) -> None:
        self.direction = direction

    @property
    def name(self) -> str:
        return f"{DIRECTIONS[self.direction]} perplexity"

    def accumulate(self, learn) -> None:
        targets = learn.yb[0].numel()
        self.total += learn.model.by_direction[self.direction].item() * targets
        self.count += targets

    @property
    def value(self) -> float:
        return perplexity(super().value)


# ------------------------------------------------------------------------------------------------------- training
@dataclass(frozen=True, eq=False)
class TrainedBiLM:
    """A bidirectional language model, what it predicts, and how it came to be.

    Attributes:
        language_model: the model with its softmax.
        vocab: the words it predicts.
        losses: a row an epoch: epoch, train_loss (nats a prediction, of the sampled softmax), and on the validation
            text valid_loss, perplexity, forward perplexity and backward perplexity, over the full vocabulary.
    """

    language_model: BiLMWithLoss
    vocab: Vocab
    losses: pd.DataFrame

    @property
    def model(self) -> BiLM:
        """The model without its softmax, whose layers are a word's vectors."""
        return self.language_model.bilm

    def perplexities(self, sentences: Iterable[Sequence[str]], *, batch_size: int = 16) -> dict[str, float]:
        """Perplexity on other sentences: "forward", "backward" and "both". Words out of the vocabulary are UNK.

        Raises:
            ValueError: there are no words.
        """
        known = Text(self.vocab, self.vocab.words, np.empty(0, np.int32), np.zeros(1, np.int64))
        text = encode(sentences, like=known)
        spellings = text.spellings(self.model.config.longest)
        self.language_model.spellings = spellings.to(self.language_model.weight.device)
        return self.language_model.perplexities(TwoWayBatches(text, batch_size=min(batch_size, len(text)), bptt=64))


def train_bilm(
    sentences: Iterable[Sequence[str]] | Text,
    recipe: BiLMRecipe,
    folder: str | Path,
    *,
    valid: Iterable[Sequence[str]] = (),
    every: int = 200,
    resume: bool = True,
    progress: bool = True,
    device: torch.device | str | None = None,
) -> TrainedBiLM:
    """Pretrain a bidirectional language model, or go on with a training that was cut off.

    On one machine a training that was killed and started again ends with the weights of one that was not, bit for
    bit on a CPU.

    Args:
        sentences: each a list of words; or a text from :func:`encode`.
        recipe: sizes and settings.
        folder: gets ``recipe.json``, ``checkpoint.pt``, and ``bilm.safetensors`` at the end.
        valid: sentences to validate on after each epoch.
        every: write a checkpoint after so many steps.
        resume: False starts over and replaces what is in the folder.
        progress: False shows nothing while training.
        device: where to train; the profile's by default.

    Raises:
        ValueError: there is too little text, or the folder's checkpoint belongs to another text or recipe.
        TypeError: a sentence is a text, not its words.
        OSError: the disk is full; the last whole checkpoint is kept.
    """
    folder, valid = Path(folder), list(valid)
    if isinstance(sentences, Text):
        text = sentences
    else:
        text = encode(sentences, min_count=recipe.min_count, max_vocab=recipe.max_vocab)
    batches = TwoWayBatches(text, batch_size=recipe.batch_size, bptt=recipe.bptt, shuffle=True, seed=recipe.seed)
    also = encode(valid, like=text) if valid else text
    check = TwoWayBatches(also, batch_size=min(16, len(also)), bptt=recipe.bptt) if valid else ()
    prepare_folder(folder, {"recipe": asdict(recipe), "text": text.digest, "valid": also.digest}, resume=resume)

    profile.seed_everything(recipe.seed)
    softmax = SampledSoftmax(text.counts(), samples=recipe.samples)
    model = BiLMWithLoss(recipe.config, len(text.vocab), softmax, also.spellings(recipe.config.longest))
    learner = make_learner(
        model.start_from_counts(text.counts()),
        batches,
        check,
        loss=model.loss,
        metrics=[Perplexity(), *map(DirectionPerplexity, range(2))],
        grad_clip=recipe.clip,
        weight_decay=recipe.weight_decay,
        opt=partial(OptimWrapper, opt=partial(torch.optim.AdamW, fused=True, betas=(0.8, 0.99))),
        device=device,
    )
    losses = fit(
        learner,
        recipe.epochs,
        lr=recipe.lr,
        schedule=schedules.one_cycle(),
        checkpoint=folder / "checkpoint.pt",
        every=every,
        progress=progress,
    )
    trained = TrainedBiLM(model.eval(), text.vocab, losses.drop(columns=["stage", "trainable"]))
    save_bilm(trained, folder)
    return trained


def prepare_folder(folder: Path, about: dict[str, Any], *, resume: bool) -> None:
    """Write ``recipe.json``; where there is a checkpoint to resume, hold it against the file first.

    Raises:
        ValueError: the checkpoint belongs to something else.
    """
    path, checkpoint = folder / "recipe.json", folder / "checkpoint.pt"
    written = json.dumps(about, indent=1)
    if resume and checkpoint.exists():
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
            differences = [name for name, value in json.loads(written).items() if there.get(name) != value]
        except (OSError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} should say what {checkpoint.name} belongs to, and cannot be read") from error
        if differences:
            raise ValueError(
                f"{checkpoint} belongs to another training: its {' and '.join(differences)} are not these. Choose "
                "another folder, or start over (resume=False)."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("checkpoint.pt", "bilm.safetensors"):
        (folder / name).unlink(missing_ok=True)
    path.write_text(written, encoding="utf-8")


# -------------------------------------------------------------------------------------------------------- on disk
def save_bilm(trained: TrainedBiLM, folder: str | Path) -> Path:
    """Write the model with its sizes, words and losses to ``bilm.safetensors``, whole or not at all."""
    path = Path(folder) / "bilm.safetensors"
    header = {
        "config": asdict(trained.model.config),
        "words": trained.vocab.words,
        "losses": trained.losses.to_dict("list"),
    }
    weights = {name: t.detach().cpu().contiguous() for name, t in trained.language_model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(path.name + ".partial")
    try:
        save_file(weights, partial_path, metadata={FORMAT: json.dumps(header, ensure_ascii=False)})
        partial_path.replace(path)
    finally:
        partial_path.unlink(missing_ok=True)
    return path


def load_bilm(folder: str | Path) -> TrainedBiLM:
    """A model that :func:`train_bilm` left in a folder, for evaluation.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged or holds something else.
    """
    path = Path(folder) / "bilm.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"no bidirectional language model at {path}: train one with train_bilm")
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        header = json.loads(meta[FORMAT])
        sizes = header["config"]
        config = ELMoConfig(**{**sizes, "filters": tuple(map(tuple, sizes["filters"]))})
        vocab = Vocab(header["words"])
        model = BiLMWithLoss(config, len(vocab))
        model.load_state_dict(weights)
        losses = pd.DataFrame(header["losses"])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged or no bidirectional language model of this course: {error!r}") from error
    return TrainedBiLM(model.eval(), vocab, losses)


# -------------------------------------------------------------------------------------------- why not simply both?
class WordLSTMs(nn.Module):
    """Two layers in each direction over a vector a word, (B, T) -> (B, T, D) forward and the same backward.

    Honest: two networks that never meet, as in a biLM. Leaky: one bidirectional network, whose second layer reads
    both directions of the first. Its forward half at word k then knows, from the first layer's backward half, the
    words after k, among them the one it is to predict.
    """

    def __init__(self, vocab_size: int, dim: int, *, leaky: bool):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim)
        lstms = 1 if leaky else 2
        self.lstms = nn.ModuleList(
            nn.LSTM(dim, dim, num_layers=2, bidirectional=leaky, batch_first=True) for _ in range(lstms)
        )
        self.weight = nn.Parameter(torch.randn(vocab_size, dim) / dim**0.5)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.leaky = leaky

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        vectors = self.embedding(x)
        if self.leaky:
            return self.lstms[0](vectors)[0].chunk(2, -1)
        forward, backward = self.lstms
        return forward(vectors)[0], backward(vectors.flip(1))[0].flip(1)

    def loss(self, x: Tensor, softmax: FullSoftmax) -> Tensor:
        """Each word from its left neighbour's forward vector and from its right neighbour's backward vector."""
        forward, backward = self(x)
        hidden = torch.cat([forward[:, :-1], backward[:, 1:]], 1).flatten(0, 1)
        return softmax(hidden, torch.cat([x[:, 1:], x[:, :-1]], 1).flatten(), self.weight, self.bias)


def leaky_bidirectional(
    text: Text,
    valid: Iterable[Sequence[str]],
    *,
    dim: int = 64,
    epochs: int = 1,
    lr: float = 2e-2,
    batch_size: int = 16,
    piece: int = 32,
    samples: int = 200,
    points: int = 8,
    seed: int = 42,
) -> pd.DataFrame:
    """Why a biLM is not simply a bidirectional LSTM: both trained on the same words, in the same order.

    A text is read in pieces, each as one sentence without a memory of those before.

    Args:
        text: to train on, from :func:`encode`.
        valid: sentences that the perplexities are of.
        dim: of words and of each LSTM.
        epochs, lr, batch_size, samples, seed: of the training.
        piece: words read at once.
        points: how often the perplexity is measured, the first time before any word is read.

    Returns:
        A row a measurement: method ("two language models" or "bidirectional LSTM"), tokens (words read so far) and
        perplexity (of both directions, over the full vocabulary).

    Raises:
        ValueError: there are not enough words for a batch.
    """
    other = encode(valid, like=text)
    reading = {"batch_size": batch_size, "bptt": piece}
    train = LMBatches(text.targets(text.ids), shuffle=True, seed=seed, **reading)
    check = LMBatches(other.targets(other.ids), **reading)
    steps = epochs * len(train)
    measured = set(np.linspace(0, steps, points).astype(int))
    rows = []
    for method, leaky in (("two language models", False), ("bidirectional LSTM", True)):
        profile.seed_everything(seed)
        model = WordLSTMs(len(text.vocab), dim, leaky=leaky)
        softmax = SampledSoftmax(text.counts(), samples=samples)
        train.load_state_dict({"epoch": 0, "step": 0})
        optimiser = torch.optim.Adam(model.parameters(), fused=True)
        plan = schedules.one_cycle()
        tokens = 0
        for step, (x, _) in enumerate(chain.from_iterable(train for _ in range(epochs))):
            if step in measured:
                rows.append((method, tokens, model_perplexity(model, softmax, check)))
            optimiser.param_groups[0]["lr"] = lr * plan(step, steps)
            loss = model.loss(x, softmax.train())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            tokens += x.numel()
        rows.append((method, tokens, model_perplexity(model, softmax, check)))
    return pd.DataFrame(rows, columns=["method", "tokens", "perplexity"])


@torch.no_grad()
def model_perplexity(model: WordLSTMs, softmax: FullSoftmax, batches: LMBatches) -> float:
    """Perplexity of both directions over the full vocabulary; a piece of one word has no neighbours."""
    pieces = [x for x, _ in batches if x.shape[1] > 1]
    losses = [model.loss(x, softmax.eval()).item() for x in pieces]
    return perplexity(np.average(losses, weights=[x[:, 1:].numel() for x in pieces]))
