"""ULMFiT: an AWD-LSTM language model, fine-tuned on the task's text, turned into a classifier.

The three stages of Howard and Ruder (2018), «Universal Language Model Fine-tuning for Text Classification»:

1. pretrain a language model on general text (:class:`LanguageModel`; kept with :func:`save_backbone`),
2. fine-tune it on the task's own text (:func:`load_backbone` fits its words to the task's vocabulary),
3. put a classifier on its encoder (:class:`TextClassifier`) and unfreeze it gradually.

The encoder is the AWD-LSTM of Merity, Keskar and Socher (2017), «Regularizing and Optimizing LSTM Language
Models». Shapes are written (B, T, D): batch, time, dimension.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from tlcourse.text import PAD, UNK, Vocab

State = list[tuple[Tensor, Tensor]]  # (h, c) for each layer, each (1, B, D)


# ---------------------------------------------------------------------------------------------- configuration
@dataclass(frozen=True)
class Dropouts:
    """The five dropout probabilities of an AWD-LSTM (Merity et al. 2017, section 4).

    Their ratio is well balanced, so one usually scales them all together: ``Dropouts() * 0.5``.
    """

    embedding: float = 0.02  # whole words, everywhere in the batch
    input: float = 0.25  # what enters the first LSTM
    weight: float = 0.2  # DropConnect on the hidden-to-hidden weights
    hidden: float = 0.15  # between the LSTMs
    output: float = 0.1  # what enters the decoder or the classifier

    def __post_init__(self):
        for name, p in asdict(self).items():
            if not 0 <= p < 1:
                raise ValueError(f"dropout {name}={p} is not a probability in [0, 1)")

    def __mul__(self, factor: float) -> Dropouts:
        return Dropouts(**{name: p * factor for name, p in asdict(self).items()})


CLASSIFIER_DROPOUTS = Dropouts(embedding=0.05, input=0.4, weight=0.5, hidden=0.3, output=0.4)


@dataclass(frozen=True)
class AWDLSTMConfig:
    """Sizes of an AWD-LSTM. The defaults are the paper's; the last layer gives ``emb_dim`` back."""

    vocab_size: int
    emb_dim: int = 400
    hidden_dim: int = 1150
    n_layers: int = 3
    dropouts: Dropouts = field(default_factory=Dropouts)

    def __post_init__(self):
        for name in ("vocab_size", "emb_dim", "hidden_dim", "n_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")

    def layer_dims(self) -> list[tuple[int, int]]:
        """(input, output) of each LSTM: wide in the middle, ``emb_dim`` at both ends."""
        dims = [self.emb_dim] + [self.hidden_dim] * (self.n_layers - 1) + [self.emb_dim]
        return list(zip(dims[:-1], dims[1:], strict=True))


# ---------------------------------------------------------------------------------------------------- dropouts
class VariationalDropout(nn.Module):
    """Dropout with one mask for the whole sequence (Gal and Ghahramani 2016): (B, T, D) -> (B, T, D)."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        mask = x.new_empty(x.shape[0], 1, x.shape[2]).bernoulli_(1 - self.p) / (1 - self.p)  # (B, 1, D)
        return x * mask

    def extra_repr(self) -> str:
        return f"p={self.p}"


class EmbeddingDropout(nn.Embedding):
    """An embedding that drops whole words: a dropped word is zero everywhere in the batch.

    (B, T) token ids -> (B, T, D). Merity et al. (2017), section 4.3. Only the rows that the batch asks for are
    masked, which gives the same values as masking all the vocabulary and costs far less.
    """

    def __init__(self, vocab_size: int, dim: int, *, p: float):
        super().__init__(vocab_size, dim, padding_idx=PAD if vocab_size > PAD else None)
        self.p = p
        nn.init.uniform_(self.weight, -0.1, 0.1)

    def forward(self, token_ids: Tensor) -> Tensor:
        embedded = super().forward(token_ids)
        if not self.training or self.p == 0:
            return embedded
        keep = self.weight.new_empty(self.num_embeddings, 1).bernoulli_(1 - self.p) / (1 - self.p)  # (V, 1)
        return embedded * keep[token_ids]


class WeightDropLSTM(nn.LSTM):
    """One LSTM layer with DropConnect on its hidden-to-hidden weights, (B, T, D_in) -> (B, T, D_out).

    The weights are dropped once a call and stay dropped for every time step, so the recurrence itself is
    regularised (Merity et al. 2017, section 2); the activations are not touched.
    """

    def __init__(self, input_dim: int, output_dim: int, *, p: float):
        super().__init__(input_dim, output_dim, batch_first=True)
        self.p = p

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is None:
            zeros = x.new_zeros(1, x.shape[0], self.hidden_size)
            state = zeros, zeros
        weight_hh = self.weight_hh_l0  # (4 * D_out, D_out)
        if self.training and self.p > 0:
            weight_hh = F.dropout(weight_hh, self.p)
        weights = [self.weight_ih_l0, weight_hh, self.bias_ih_l0, self.bias_hh_l0]
        # bias, layers, dropout between layers, training, both directions, batch first
        output, h, c = torch.lstm(x, state, weights, True, 1, 0.0, self.training, False, True)
        return output, (h, c)


# ----------------------------------------------------------------------------------------------------- encoder
class AWDLSTM(nn.Module):
    """The encoder: embedding, then a stack of weight-dropped LSTMs.

    (B, T) token ids and the state of the tokens before them -> (B, T, emb_dim) and the state after them.
    """

    def __init__(self, config: AWDLSTMConfig):
        super().__init__()
        drop = config.dropouts
        self.config = config
        self.embedding = EmbeddingDropout(config.vocab_size, config.emb_dim, p=drop.embedding)
        self.rnns = nn.ModuleList(WeightDropLSTM(i, o, p=drop.weight) for i, o in config.layer_dims())
        self.input_dropout = VariationalDropout(drop.input)
        self.hidden_dropout = VariationalDropout(drop.hidden)

    def forward(self, token_ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        hidden = self.input_dropout(self.embedding(token_ids))  # (B, T, emb_dim)
        new_state = []
        for layer, rnn in enumerate(self.rnns):
            if layer > 0:
                hidden = self.hidden_dropout(hidden)
            hidden, layer_state = rnn(hidden, None if state is None else state[layer])
            new_state.append(layer_state)
        return hidden, new_state


def detach(state: State) -> State:
    """The same state, cut from the graph: this is where backpropagation through time is truncated."""
    return [(h.detach(), c.detach()) for h, c in state]


# ---------------------------------------------------------------------------------------------- language model
class LanguageModel(nn.Module):
    """Predict the next token: (B, T) token ids -> (B, T, V) logits.

    The decoder shares the embedding's matrix (weight tying, Press and Wolf 2017) and has a bias of its own. The
    state carries over from batch to batch until :meth:`reset`. After a call, ``raw_output`` and
    ``dropped_output`` (B, T, emb_dim) hold what activation regularisation looks at.
    """

    def __init__(self, config: AWDLSTMConfig):
        super().__init__()
        self.encoder = AWDLSTM(config)
        self.output_dropout = VariationalDropout(config.dropouts.output)
        self.decoder_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.reset()

    @property
    def config(self) -> AWDLSTMConfig:
        return self.encoder.config

    def reset(self) -> None:
        """Forget everything read so far."""
        self.state: State | None = None
        self.raw_output = self.dropped_output = None

    def forward(self, token_ids: Tensor) -> Tensor:
        if self.state is not None and self.state[0][0].shape[1] != token_ids.shape[0]:
            self.state = None  # another number of streams: nothing to continue
        hidden, state = self.encoder(token_ids, self.state)
        self.state = detach(state)
        self.raw_output, self.dropped_output = hidden, self.output_dropout(hidden)
        return F.linear(self.dropped_output, self.encoder.embedding.weight, self.decoder_bias)  # (B, T, V)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Each LSTM, lowest first, then the embedding with its tied decoder, which is input and output at once."""
        return [list(rnn.parameters()) for rnn in self.encoder.rnns] + [
            [self.encoder.embedding.weight, self.decoder_bias]
        ]


# -------------------------------------------------------------------------------------------------- classifier
def concat_pool(hidden: Tensor, mask: Tensor, last: Tensor) -> Tensor:
    """The last hidden state beside the maximum and the mean over the true length.

    Howard and Ruder (2018), section 3.3: h_c = [h_T, maxpool(H), meanpool(H)].

    Args:
        hidden: (B, T, D), every hidden state kept.
        mask: (B, T), true where a real token stands.
        last: (B, D), the hidden state of each text's last token.

    Returns:
        (B, 3 D).
    """
    real = mask.unsqueeze(-1)  # (B, T, 1)
    maximum = hidden.masked_fill(~real, float("-inf")).amax(dim=1)
    mean = hidden.masked_fill(~real, 0).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    return torch.cat([last, maximum, mean], dim=1)


def last_pool(hidden: Tensor, mask: Tensor, last: Tensor) -> Tensor:
    """The last hidden state alone, (B, D): what concat pooling is compared with."""
    return last


POOLINGS = {"concat": (concat_pool, 3), "last": (last_pool, 1)}


def classifier_head(dims: Sequence[int], dropouts: Sequence[float]) -> nn.Sequential:
    """Blocks of batch norm, dropout and a linear layer, with ReLU between them (Howard and Ruder 2018, 3.3)."""
    layers: list[nn.Module] = []
    for i, (n_in, n_out, p) in enumerate(zip(dims[:-1], dims[1:], dropouts, strict=True)):
        if i > 0:
            layers.append(nn.ReLU())
        layers += [nn.BatchNorm1d(n_in), nn.Dropout(p), nn.Linear(n_in, n_out, bias=False)]
    return nn.Sequential(*layers)


class TextClassifier(nn.Module):
    """A classifier on the language model's encoder: (B, T) right-padded token ids -> (B, n_classes) logits.

    A long text is read in chunks of ``bptt`` tokens; each chunk starts from the state that the one before left,
    and the pooled hidden states reach back ``max_len`` tokens from the text's end, gradients included (BPT3C,
    Howard and Ruder 2018, section 3.3). What lies further back is read without keeping anything, so that
    memory is bounded whatever the length.
    """

    def __init__(
        self,
        encoder: AWDLSTM,
        n_classes: int,
        *,
        head_dim: int = 50,
        output_dropout: float = CLASSIFIER_DROPOUTS.output,
        head_dropout: float = 0.1,
        pooling: str = "concat",
        bptt: int = 70,
        max_len: int = 70 * 20,
    ):
        super().__init__()
        if n_classes < 2:
            raise ValueError(f"a classifier needs at least two classes, not {n_classes}; check the label column")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling {pooling!r} is unknown; choose one of {', '.join(POOLINGS)}")
        self.encoder, self.bptt, self.max_len = encoder, bptt, max_len
        self.pool, width = POOLINGS[pooling]
        self.head = classifier_head(
            [width * encoder.config.emb_dim, head_dim, n_classes], [output_dropout, head_dropout]
        )

    def encode(self, token_ids: Tensor) -> Tensor:
        """The pooled text, (B, T) -> (B, 3 * emb_dim) with concat pooling.

        Raises:
            ValueError: a row holds padding alone.
        """
        lengths = (token_ids != PAD).sum(dim=1)  # (B,)
        if (lengths == 0).any():
            raise ValueError("a text without a single token cannot be classified; give it at least <bos>")
        order = lengths.argsort(descending=True, stable=True)  # the texts still unread are then the first rows
        token_ids, lengths = token_ids[order], lengths[order]

        kept, masks, state = [], [], None
        last = token_ids.new_zeros(len(lengths), self.encoder.config.emb_dim, dtype=self.head[0].weight.dtype)
        for start in range(0, int(lengths[0]), self.bptt):
            alive = int((lengths > start).sum())
            chunk = token_ids[:alive, start : start + self.bptt]  # (alive, t)
            position = torch.arange(start, start + chunk.shape[1], device=token_ids.device)
            read = position < lengths[:alive, None]  # (alive, t)
            pooled = read & (position >= lengths[:alive, None] - self.max_len)
            state = None if state is None else [(h[:, :alive], c[:, :alive]) for h, c in state]
            with torch.set_grad_enabled(torch.is_grad_enabled() and bool(pooled.any())):
                hidden, state = self.encoder(chunk, state and [(h.contiguous(), c.contiguous()) for h, c in state])
            state = detach(state)
            ends = (lengths[:alive] <= start + chunk.shape[1]).nonzero().squeeze(1)  # texts that end in this chunk
            last = last.index_put((ends,), hidden[ends, lengths[ends] - 1 - start].to(last.dtype))
            if pooled.any():
                rest = (0, 0, 0, 0, 0, len(lengths) - alive)  # texts already read take no part
                kept.append(F.pad(hidden, rest))
                masks.append(F.pad(pooled, rest[2:]))
        vectors = self.pool(torch.cat(kept, dim=1), torch.cat(masks, dim=1), last)
        return vectors[order.argsort()]

    def forward(self, token_ids: Tensor) -> Tensor:
        return self.head(self.encode(token_ids))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Lowest first: the embedding, each LSTM, the head."""
        modules = [self.encoder.embedding, *self.encoder.rnns, self.head]
        return [list(module.parameters()) for module in modules]


# ------------------------------------------------------------------------------------------ weights of others
def from_fastai(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of fastai's language model (``SequentialRNN`` of ``AWD_LSTM`` and ``LinearDecoder``).

    Also reads the encoder alone and the classifier's ``0.module.`` form; gives the names of
    :class:`LanguageModel` (or of the classifier's ``encoder``), without the copies that fastai keeps of tied or
    raw weights.
    """
    renamed = {}
    for name, tensor in weights.items():
        name = name.removeprefix("0.").removeprefix("module.")
        parts = name.split(".")
        if name == "encoder.weight":
            renamed["encoder.embedding.weight"] = tensor
        elif name == "1.decoder.bias":
            renamed["decoder_bias"] = tensor
        elif parts[0] == "rnns" and parts[-1] != "weight_hh_l0":
            renamed[f"encoder.rnns.{parts[1]}.{parts[-1].removesuffix('_raw')}"] = tensor
    return renamed


# --------------------------------------------------------------------------------------------------- backbones
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


def load_backbone(path: str | Path, vocab: Vocab | None = None, dropouts: Dropouts | None = None) -> tuple[LanguageModel, Vocab]:
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
        raise FileNotFoundError(f"no backbone at {path}; train one, or start fresh with LanguageModel(config)")
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
    ids = known.encode(wanted.words)
    new = torch.tensor([i == UNK and word != known.words[UNK] for i, word in zip(ids, wanted.words, strict=True)])
    fitted = dict(weights)
    for name in ("encoder.embedding.weight", "decoder_bias"):
        rows = weights[name]
        fitted[name] = rows[torch.tensor(ids)].clone()
        fitted[name][new] = rows.mean(dim=0)
    return fitted


# -------------------------------------------------------------------------------------------------- looking in
def layer_change(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, float]:
    """How far each layer of the encoder moved: ||after - before|| / ||before||, without unit, lowest first."""
    layers: dict[str, list[str]] = {}
    for name in before:
        if name.startswith("encoder."):
            parts = name.split(".")
            layers.setdefault("embedding" if parts[1] == "embedding" else f"LSTM {int(parts[2]) + 1}", []).append(name)
    moved = {}
    for layer, names in layers.items():
        old = torch.cat([before[n].float().cpu().flatten() for n in names])
        new = torch.cat([after[n].float().cpu().flatten() for n in names])
        moved[layer] = float((new - old).norm() / old.norm())
    return moved


@torch.no_grad()
def word_importance(model: TextClassifier, token_ids: Sequence[int], *, target: int | None = None) -> np.ndarray:
    """What each token does for the decision: the drop in the class's probability when the token is left out.

    Args:
        model: a trained classifier.
        token_ids: the text, (T,).
        target: the class; the predicted one when left out.

    Returns:
        (T,) differences of probability in [-1, 1]; positive means that the token speaks for the class.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    ids = torch.as_tensor(token_ids, device=device)
    whole = model(ids[None]).softmax(-1)[0]
    target = int(whole.argmax()) if target is None else target
    if len(ids) == 1:
        drops = np.zeros(1)
    else:
        without = torch.stack([torch.cat([ids[:i], ids[i + 1 :]]) for i in range(len(ids))])  # (T, T - 1)
        drops = (whole[target] - model(without).softmax(-1)[:, target]).cpu().numpy()
    model.train(was_training)
    return drops
