"""Writing on: a language model draws the next token, reads it, and draws again.

>>> gpt = load_language_model("gpt2")
>>> next_tokens(gpt, "The capital of Thailand is", k=3)  # what could come, and how probable it is
>>> generate(gpt, "Once upon a time", max_new=20, temperature=0).text  # always the most probable
>>> generate(gpt, ["Once", "กาลครั้งหนึ่ง"], top_p=0.9, seed=3)  # drawn, two texts at once

A Transformer attends to keys and values of every token before, and these do not change when another is added: what
was computed once is kept in a cache, and each new token costs one position instead of all. OpenAI's first GPT, as
`transformers` has it, keeps none and reads everything again.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache as remembered

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerFast

from tlcourse.encoders import Checkpoint, evaluated


# ------------------------------------------------------------------------------------------------- from logits to token
def distribution(
    logits: Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """The probabilities that a token is drawn with: (..., V) of logits (..., V), in float32.

    Args:
        logits: of the next token.
        temperature: what logits are divided by: below 1 the probable becomes more so; 0 leaves only the first of all.
        top_k: only the k most probable are left (Fan et al. 2018), and those as probable as the last of them.
        top_p: of these only the most probable that together reach this probability (Holtzman et al. 2020, nucleus
            sampling): many where the model is unsure, one where it is certain.

    Raises:
        ValueError: a setting is out of its range.
    """
    check_settings(temperature=temperature, top_k=top_k, top_p=top_p)
    logits = logits.float()
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).float()
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature  # no exponent overflows
    if top_k is not None and top_k < logits.shape[-1]:
        last = logits.topk(top_k).values[..., -1:]
        logits = logits.masked_fill(logits < last, -torch.inf)
    probabilities = logits.softmax(dim=-1)
    if top_p is not None and top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        beyond = ordered.cumsum(dim=-1) - ordered >= top_p  # those before it are enough
        probabilities = probabilities.masked_fill(beyond.scatter(-1, order, beyond), 0)
        probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    return probabilities


def check_settings(*, temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Refuse what no distribution can be made of, with a ValueError."""
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature is 0 (always the most probable token) or more, not {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is how many tokens are left, at least 1, not {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is a probability, above 0 and up to 1, not {top_p}")


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """A token for each row, (B,): the first up to which the probabilities (B, V) sum to more than a number in [0, 1).

    Args:
        uniform: (B,) float32. The same number gives the same token whatever the other rows are, and, but for
            rounding, on every device.
    """
    sums = probabilities.cumsum(dim=-1)  # (B, V)
    total = sums[:, -1:]
    wanted = torch.minimum(uniform[:, None] * total, total * (1 - 1e-6))  # a product may be rounded up to the total
    return ((sums > wanted) & (probabilities > 0)).int().argmax(dim=-1)  # the first of all that are


# ------------------------------------------------------------------------------------------------------- the next token
def next_tokens(checkpoint: Checkpoint, text: str, *, k: int = 10) -> pd.DataFrame:
    """What may come after a text: the k most probable tokens.

    Args:
        text: an empty one asks how texts begin.

    Returns:
        A row a token, the most probable first, with the columns ``token`` (see :func:`written`), ``id`` and
        ``probability``.

    Raises:
        ValueError: the text is longer than the context, or k is not from 1 to the size of the vocabulary.
    """
    ids = token_ids(checkpoint, text)
    with evaluated(checkpoint.model):
        probabilities = _last_logits(checkpoint.model, [ids])[0].softmax(dim=-1)  # (V,)
    if not 1 <= k <= len(probabilities):
        raise ValueError(f"k is from 1 to the {len(probabilities):,} tokens of the vocabulary, not {k}")
    best, found = probabilities.topk(k)
    return pd.DataFrame(
        {
            "token": [written(checkpoint.tokeniser, i) for i in found.tolist()],
            "id": found.cpu().numpy(),
            "probability": best.cpu().numpy(),
        }
    )


# ------------------------------------------------------------------------------------------------------------- writing
@dataclass(frozen=True, eq=False)
class Generated:
    """A text that a model wrote on, token by token; N of them.

    Attributes:
        prompt: what it was given.
        text: what it added, without the stop string. Whole characters only: what is left of the last one's bytes when
            ``max_new`` cuts it off is not shown.
        ids: (N,) the tokens, with the one that ended the text, if one did.
        pieces: N pieces of text. A token that holds only the first bytes of a character is an empty piece, and the
            character belongs to the token that completes it. Together they are the text, and any stop string.
        probabilities: (N,) of each token, by the model alone: temperature 1, nothing filtered.
        chances: (N,) with which it was drawn, after temperature and filters; all 1 where temperature is 0.
        ended: ``"length"``: ``max_new`` was reached; ``"end"``: the model drew the token that ends a text;
            ``"stop"``: it wrote a stop string.
    """

    prompt: str
    text: str
    ids: np.ndarray
    pieces: list[str]
    probabilities: np.ndarray
    chances: np.ndarray
    ended: str


def generate(
    checkpoint: Checkpoint,
    prompt: str | Sequence[str],
    *,
    max_new: int = 50,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    cache: bool = True,
) -> Generated | list[Generated]:
    """Let a language model write on.

    The text may become longer than the context. Positions are learned up to its end and no further, so whenever it is
    full, the model forgets the older half and reads the newer one again, from position 0 on: one reading every half
    context, where dropping a token at a time would make the cache worthless. A prompt is never cut: what it asks for
    usually stands in front.

    Args:
        checkpoint: such as :func:`tlcourse.encoders.load_language_model` gives.
        prompt: a text, or several that are written on at once. An empty one begins with the token that stands between
            texts, where the model has one.
        max_new: how many tokens at most.
        temperature, top_k, top_p: see :func:`distribution`; temperature 0 is greedy decoding.
        seed: row i of a batch draws with (seed, i), whatever the other prompts and however long they are.
        stop: strings that end a text as soon as they stand in what was added.
        cache: keep keys and values; without, the same comes out, later.

    Returns:
        A :class:`Generated`, or for several prompts a list of them.

    Raises:
        ValueError: a prompt is longer than the context, or empty where no token stands between texts; a stop string
            is empty; a setting is out of its range.
    """
    check_settings(temperature=temperature, top_k=top_k, top_p=top_p)
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    stops = [stop] if isinstance(stop, str) else list(stop)
    if not prompts:
        raise ValueError("there is no prompt: give a text, or several")
    if max_new < 1:
        raise ValueError(f"max_new is how many tokens are added at most, at least 1, not {max_new}")
    if "" in stops:
        raise ValueError("an empty stop string stands in every text; leave stop away, or name one")

    model, tokeniser = checkpoint.model, checkpoint.tokeniser
    windows = [token_ids(checkpoint, text) for text in prompts]  # what the model has before it
    added = [_Added(tokeniser, ids[-1]) for ids in windows]
    ended = ["length"] * len(prompts)
    probabilities, chances = torch.ones(2, len(prompts), max_new, device=model.device)
    uniform = torch.from_numpy(
        np.stack([np.random.default_rng([seed, i]).random(max_new, dtype=np.float32) for i in range(len(prompts))])
    ).to(model.device)  # (B, max_new)

    live = list(range(len(prompts)))  # rows that are still written on
    rows = torch.arange(len(prompts), device=model.device)  # the same, where the model computes
    past: Past | None = None
    with evaluated(model):
        for step in range(max_new):
            if past is None:
                logits, past = _read(model, [windows[i] for i in live], cache=cache)  # (live, V)
            else:
                logits = past.read([windows[i][-1] for i in live])
            if temperature == 0:
                drawn = logits.argmax(dim=-1)  # (live,)
            else:
                chosen = distribution(logits, temperature=temperature, top_k=top_k, top_p=top_p)
                drawn = draw(chosen, uniform[rows, step])
                chances[rows, step] = chosen.gather(1, drawn[:, None])[:, 0]
            probabilities[rows, step] = (logits.gather(1, drawn[:, None])[:, 0] - logits.logsumexp(dim=-1)).exp()

            for i, token in zip(live, drawn.tolist(), strict=True):
                windows[i].append(token)
                added[i].ids.append(token)
                if token == tokeniser.eos_token_id:
                    ended[i] = "end"
                    continue
                added[i].write(token)
                if any(one in added[i].text for one in stops):
                    ended[i] = "stop"
            kept = [place for place, i in enumerate(live) if ended[i] == "length"]
            if not kept:
                break
            if len(kept) < len(live):
                live = [live[place] for place in kept]
                rows = torch.tensor(live, device=model.device)
                if past:
                    past.keep(kept)
            for i in live:
                if len(windows[i]) > checkpoint.longest:
                    windows[i], past = windows[i][-max(checkpoint.longest // 2, 1) :], None

    results = []
    for i, row in enumerate(added):
        size = len(row.ids)
        results.append(
            Generated(
                prompt=prompts[i],
                text=row.text[: min((row.text.index(one) for one in stops if one in row.text), default=None)],
                ids=np.array(row.ids),
                pieces=row.pieces + [""] * (size - len(row.pieces)),
                probabilities=probabilities[i, :size].cpu().numpy(),
                chances=chances[i, :size].cpu().numpy(),
                ended=ended[i],
            )
        )
    return results[0] if isinstance(prompt, str) else results


class _Added:
    """The tokens added to a prompt, and their text as it grows: a character is there when all of its bytes are.

    Some tokenisers drop a blank in front of the first token, so what is decoded starts with one that is known.
    """

    def __init__(self, tokeniser: PreTrainedTokenizerFast, before: int):
        self.tokeniser = tokeniser.backend_tokenizer  # each token is decoded: without the detours around it
        self.ids: list[int] = []
        self.pieces: list[str] = []
        self.text = ""
        self._open, self._shown = [before], 0  # tokens whose bytes are not all text yet, after a known one

    def write(self, token: int) -> None:
        """Add what a token writes, or completes."""
        self._open.append(token)
        known, whole = (self._decode(ids) for ids in (self._open[:1], self._open))
        found = whole[len(known) :].rstrip("�")
        self.pieces.append(found[self._shown :])
        self.text += self.pieces[-1]
        self._shown = len(found)
        if not whole.endswith("�"):
            self._open, self._shown = [token], 0

    def _decode(self, ids: list[int]) -> str:
        return self.tokeniser.decode(ids, skip_special_tokens=False)


# ------------------------------------------------------------------------------------------------------------- reading
@dataclass
class Past:
    """Keys and values of the rows read so far, and where each row goes on."""

    model: PreTrainedModel
    keys_values: Cache
    mask: Tensor | None  # (B, T) 1 where there is a token, 0 where there is padding; None where there is none
    lengths: Tensor  # (B, 1)

    def read(self, tokens: list[int]) -> Tensor:
        """Read one more token a row: logits (B, V) of the next, in float32."""
        ids = torch.tensor(tokens, device=self.model.device)[:, None]  # (B, 1)
        padding = {}
        if self.mask is not None:
            self.mask = torch.cat([self.mask, torch.ones_like(ids)], dim=1)
            padding = {"attention_mask": self.mask, "position_ids": self.lengths}
        output = self.model(ids, past_key_values=self.keys_values, use_cache=True, **padding)
        self.keys_values, self.lengths = output.past_key_values, self.lengths + 1
        return output.logits[:, -1].float()

    def keep(self, rows: list[int]) -> None:
        """Forget all other rows."""
        places = torch.tensor(rows, device=self.model.device)
        self.keys_values.batch_select_indices(places)
        self.lengths = self.lengths[places]
        if self.mask is not None:
            self.mask = self.mask[places]


def _read(model: PreTrainedModel, rows: list[list[int]], *, cache: bool) -> tuple[Tensor, Past | None]:
    """Read rows of any length: logits (B, V) of the next token, and what to go on with, where the model can."""
    ids, mask, positions = padded(rows, model.device)
    cache = cache and has_cache(type(model))
    inputs = {"input_ids": ids, "logits_to_keep": 1}
    if mask is not None:
        inputs |= {"attention_mask": mask, "position_ids": positions}
    output = model(**inputs, use_cache=True) if cache else model(**inputs)
    logits = output.logits[:, -1].float()
    lengths = positions[:, -1:] + 1
    return logits, Past(model, output.past_key_values, mask, lengths) if cache else None


def _last_logits(model: PreTrainedModel, rows: list[list[int]]) -> Tensor:
    return _read(model, rows, cache=False)[0]


def padded(rows: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor | None, Tensor]:
    """Rows that end together: ids, mask and positions, (B, T) each; no mask where none is padded."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows], device=device)
    ahead = torch.tensor([longest - len(row) for row in rows], device=device)[:, None]  # (B, 1)
    positions = torch.arange(longest, device=device) - ahead  # (B, T), below 0 where there is padding
    return ids, (positions >= 0).long() if ahead.any() else None, positions.clamp(min=0)


@remembered
def has_cache(kind: type[PreTrainedModel]) -> bool:
    """Whether a kind of model can keep keys and values."""
    return "past_key_values" in inspect.signature(kind.forward).parameters


def token_ids(checkpoint: Checkpoint, text: str) -> list[int]:
    """A prompt as the model reads it, without special tokens around it.

    Raises:
        ValueError: it is longer than the context, or empty where no token stands between texts.
    """
    tokeniser = checkpoint.tokeniser
    ids = tokeniser(text, add_special_tokens=False, verbose=False)["input_ids"]
    if not ids:
        first = tokeniser.bos_token_id if tokeniser.bos_token_id is not None else tokeniser.eos_token_id
        if first is None:
            raise ValueError(f"the prompt is empty, and {checkpoint.name} has no token that a text begins with")
        ids = [first]
    if len(ids) > checkpoint.longest:
        raise ValueError(
            f"the prompt has {len(ids):,} tokens, and {checkpoint.name} reads {checkpoint.longest:,}: shorten it"
        )
    return ids


# ------------------------------------------------------------------------------------------------------ tokens as text
def written(tokeniser: PreTrainedTokenizerFast, token: int) -> str:
    """A token as one can read it: a blank as ``▁``, and bytes that are no whole characters as ``<E0><B8>``."""
    piece = tokeniser.convert_ids_to_tokens(int(token))
    if "Ġ" not in tokeniser.get_vocab():  # how byte-level vocabularies write a blank
        return piece
    text = tokeniser.decode([token])
    if "�" not in text:
        return text.replace(" ", "▁")
    return "".join(f"<{_bytes_of()[letter]:02X}>" for letter in piece)


@remembered
def _bytes_of() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for (Radford et al. 2019).

    A byte that Latin-1 can show stands for itself; the others, in order, have the letters from 256 on.
    """
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}
