"""The AWD-LSTM of Merity, Keskar and Socher (2017), as a language model and as a classifier's encoder.

Shapes are written (B, T, D): batch, time, dimension.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlcourse.text import PAD

# cuDNN would rather have the weights in one block of memory; freshly dropped weights cannot be.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk of memory")

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
        return list(pairwise(dims))


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

    @torch.no_grad()
    def start_from_counts(self, counts: Sequence[int] | Tensor) -> LanguageModel:
        """Let a fresh model begin as a unigram model: the decoder's bias becomes the log of each word's share.

        The first steps of a training then need not teach which words are rare, 60,000 of them.

        Args:
            counts: (V,) how often each word occurs; one is added to each.
        """
        share = torch.as_tensor(counts, dtype=torch.float64) + 1
        self.decoder_bias.copy_((share / share.sum()).log())
        return self

    def reset(self) -> None:
        """Forget everything read so far."""
        self.state: State | None = None
        self.raw_output = self.dropped_output = None

    def read(self, token_ids: Tensor) -> Tensor:
        """What the decoder sees, (B, T) -> (B, T, emb_dim): all of the model but the softmax's matrix."""
        if self.state is not None and self.state[0][0].shape[1] != token_ids.shape[0]:
            self.state = None  # another number of streams: nothing to continue
        hidden, state = self.encoder(token_ids, self.state)
        self.state = detach(state)
        self.raw_output, self.dropped_output = hidden, self.output_dropout(hidden)
        return self.dropped_output

    def forward(self, token_ids: Tensor) -> Tensor:
        return F.linear(self.read(token_ids), self.encoder.embedding.weight, self.decoder_bias)  # (B, T, V)

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
