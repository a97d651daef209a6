"""A word's vector in its sentence, from any encoder of `transformers`; and how well vectors tell a word's senses apart.

>>> from tlcourse.contextual import Encoder, sense_curve
>>> encoder = Encoder.load("minilm")  # comes with a package, needs no network
>>> encoder.word("She sat on the bank of the river.", "bank").shape  # (layers, dim)
(7, 384)
>>> senses = pd.read_csv("data/word_senses/en.csv")
>>> sense_curve(encoder.occurrences(senses), senses.sense, senses.word)

An encoder reads sub-words, not words, so everything here begins with characters: a sentence is a text and the places
of its words in it, and the vector of a word is pooled from the sub-words whose characters overlap its own. That is
the same for WordPiece, byte-level BPE and SentencePiece, and for Thai, where no blanks stand between words.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from tlcourse.encoders import Checkpoint, load_encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Span = tuple[int, int]  # of characters: the first, and the one after the last
Sentence = Sequence[str] | tuple[str, Sequence[Span]]  # words, or a text and the places of words in it
Layers = str | int | Sequence[int] | Sequence[float]
Chooser = Callable[[Tensor, Tensor], Tensor]  # of token ids and mask, (B, T) both: (layers, B, T, dim)

POOLS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # (layers, pieces, dim) -> (layers, dim)
    "mean": lambda pieces: pieces.mean(axis=1),
    "first": lambda pieces: pieces[:, 0],
    "last": lambda pieces: pieces[:, -1],
    "max": lambda pieces: pieces.max(axis=1),
}
BLANKS = ("▁", "Ġ")  # how SentencePiece and byte-level BPE write a piece that is a blank and nothing else
TIE = 1e-6  # cosines nearer than float32 can tell apart


# ------------------------------------------------------------------------------------------------------- the encoder
@dataclass(frozen=True)
class _Pieces:
    """A sentence as its encoder reads it.

    Attributes:
        windows: token ids, special tokens with them, of overlapping stretches that the encoder can take.
        kept: for each window, which of its positions are the sentence's own: those farthest from where it was cut.
        words: for each word, its pieces, as positions in what the windows keep.
        unknown: (T,) whether a piece is the unknown token.
    """

    windows: list[list[int]]
    kept: list[np.ndarray]
    words: list[np.ndarray]
    unknown: np.ndarray


class Encoder:
    """A pretrained encoder that gives each word of a sentence its vectors, one a layer.

    A decoder such as GPT-2 works the same, but its words know only of what stands before them.

    Attributes:
        name: as it was loaded.
        layers: how many there are: the embedding layer, which is layer 0, and one for each block.
        dim: the length of a word's vector in each of them.
        longest: how many pieces it reads at once, special tokens among them. A longer sentence is read in windows
            that overlap by half, and a piece is taken from the window in which it is farthest from the cut.
        parameters: how many the encoder has.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, name: str) -> None:
        self.name = name
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.layers = model.config.num_hidden_layers + 1
        self.dim = model.config.hidden_size
        self.parameters = model.num_parameters()
        self.longest = Checkpoint(model, tokenizer, name).longest
        vocab = tokenizer.get_vocab()
        self._blanks = [vocab[blank] for blank in BLANKS if blank in vocab]

    @classmethod
    def load(
        cls,
        name: str | Path = "minilm",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Encoder:
        """An encoder by name.

        Args, Raises: as :func:`tlcourse.encoders.load_encoder`. Results are float32, whatever it computes in.
        """
        loaded = load_encoder(name, device=device, dtype=dtype)
        return cls(loaded.model, loaded.tokeniser, name=loaded.name)

    def encode(
        self,
        sentences: Sequence[Sentence],
        *,
        layers: Layers = "all",
        pool: str = "mean",
        between: str = " ",
        batch_size: int = 32,
        progress: bool = False,
    ) -> list[np.ndarray]:
        """The vectors of words in their sentences.

        Neither the other sentences nor their order matter: padding is masked (to 1e-5 in float32).

        Args:
            sentences: each a list of words, or a text with the places of words in it, ``(text, [(start, end), …])``.
            layers: ``"all"``; one layer or several by number, 0 the embedding layer and -1 the last; a weight for
                each layer, as floats, for their weighted sum (a mix as in Peters et al. 2018, equation 1, given
                normalised weights); or ``"static"``, the rows of the embedding matrix, where neither place nor
                context matters.
            pool: how the pieces of a word become one vector: ``mean``, ``first``, ``last`` or ``max``.
            between: what stands between the words of a list; nothing, in Thai.
            batch_size: how many sentences, or windows of long ones, are read at once.
            progress: show a bar.

        Returns:
            For each sentence (layers, words, dim) float32; one layer for a number, a mix or ``"static"``.

        Raises:
            ValueError: a sentence has no words, a word is empty, not in its text, or nothing to the tokeniser (the
                message names both); or the layers or the pooling are none.
        """
        if pool not in POOLS:
            raise ValueError(f"no pooling {pool!r}; there are {', '.join(POOLS)}")
        choose = self._chooser(layers)
        texts = [_text_and_spans(sentence, number, between) for number, sentence in enumerate(sentences)]
        pieces = self._read(texts)
        for number, ((text, spans), read) in enumerate(zip(texts, pieces, strict=True)):
            for (start, end), word in zip(spans, read.words, strict=True):
                if not len(word):
                    raise ValueError(f"sentence {number}: {self.name} has no piece for {text[start:end]!r} in {text!r}")

        by_length = sorted(range(len(texts)), key=lambda i: sum(map(len, pieces[i].windows)))
        encoded: list[np.ndarray] = [np.empty(0)] * len(texts)
        with tqdm(total=len(texts), unit="sentence", delay=1, disable=not progress) as bar:
            for first in range(0, len(texts), batch_size):
                batch = by_length[first : first + batch_size]
                windows = [window for i in batch for window in pieces[i].windows]
                hidden = self._run(windows, choose, batch_size)
                for i in batch:
                    own = [next(hidden)[:, kept] for kept in pieces[i].kept]
                    tokens = np.concatenate(own, axis=1)  # (layers, T, dim)
                    encoded[i] = np.stack([POOLS[pool](tokens[:, word]) for word in pieces[i].words], axis=1)
                bar.update(len(batch))
        return encoded

    def word(
        self, text: str, word: str, *, occurrence: int = 0, layers: Layers = "all", pool: str = "mean"
    ) -> np.ndarray:
        """A word's vectors in a text: (layers, dim).

        Args:
            occurrence: which one, from 0, of those that :func:`find` finds.

        Raises:
            ValueError: the word does not stand that often in the text.
        """
        places = find(text, word)
        if not 0 <= occurrence < len(places):
            raise ValueError(f"{word!r} stands {len(places)} times in {text!r}: there is no occurrence {occurrence}")
        return self.encode([(text, [places[occurrence]])], layers=layers, pool=pool)[0][:, 0]

    def occurrences(
        self, frame: pd.DataFrame, *, layers: Layers = "all", pool: str = "mean", batch_size: int = 32
    ) -> np.ndarray:
        """A vector for each row of a frame with the columns ``text``, ``start`` and ``end``: (N, layers, dim).

        Raises:
            ValueError: a column is missing, there are no rows, or a place is not in its text.
        """
        if missing := {"text", "start", "end"} - set(frame.columns):
            raise ValueError(f"the frame has no column {', '.join(sorted(missing))}")
        if not len(frame):
            raise ValueError("the frame has no rows")
        sentences = [(row.text, [(row.start, row.end)]) for row in frame.itertuples()]
        encoded = self.encode(sentences, layers=layers, pool=pool, batch_size=batch_size)
        return np.stack([vectors[:, 0] for vectors in encoded])

    def static(self, words: Sequence[str], *, layer: int | str = "static", leading: str = " ") -> np.ndarray:
        """One vector a word, whatever its sentence: (N, dim).

        Args:
            layer: ``"static"``, the mean of the rows of its pieces in the embedding matrix (in ALBERT shorter than
                ``dim``), or the number of a layer that reads the word alone.
            leading: what stands before it. Byte-level BPE and SentencePiece tell a word after a blank from one
                without; Thai words mostly stand without.
        """
        sentences = [(leading + word, [(len(leading), len(leading) + len(word))]) for word in words]
        return np.stack([vectors[0, 0] for vectors in self.encode(sentences, layers=layer)])

    def pieces(self, text: str) -> list[str]:
        """The sub-words of a text, as the vocabulary writes them."""
        return self.tokenizer.tokenize(text)

    def unknown_share(self, sentences: Sequence[Sentence], *, between: str = " ") -> float:
        """The share of words, from 0 to 1, of which the tokeniser makes an unknown token, or nothing.

        Args:
            sentences, between: as in :meth:`encode`.
        """
        texts = [_text_and_spans(sentence, number, between) for number, sentence in enumerate(sentences)]
        known = [len(word) > 0 and not read.unknown[word].any() for read in self._read(texts) for word in read.words]
        if not known:
            raise ValueError("there are no sentences")
        return 1 - float(np.mean(known))

    def _read(self, texts: Sequence[tuple[str, Sequence[Span]]]) -> list[_Pieces]:
        """Cut texts into pieces, and find which are whose."""
        if not texts:
            return []
        content = self.longest - self.tokenizer.num_special_tokens_to_add()
        overlap = content // 2
        read = self.tokenizer(
            [text for text, _ in texts],
            truncation=True,
            max_length=self.longest,
            stride=overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        windows_of: list[list[int]] = [[] for _ in texts]
        for window, text in enumerate(read["overflow_to_sample_mapping"]):
            windows_of[text].append(window)

        sentences = []
        for (_, spans), windows in zip(texts, windows_of, strict=True):
            kept = [np.flatnonzero(np.array(read["special_tokens_mask"][window]) == 0) for window in windows]
            for k in range(len(kept) - 1):  # two windows share `overlap` pieces: half of them from either
                kept[k] = kept[k][: len(kept[k]) - (overlap - overlap // 2)]
                kept[k + 1] = kept[k + 1][overlap // 2 :]
            own = list(zip(windows, kept, strict=True))
            ids = np.concatenate([np.array(read["input_ids"][window], dtype=int)[keep] for window, keep in own])  # (T,)
            offsets = np.concatenate(
                [np.array(read["offset_mapping"][window], dtype=int).reshape(-1, 2)[keep] for window, keep in own]
            )  # (T, 2)
            solid = np.flatnonzero(~np.isin(ids, self._blanks))
            begins, ends = offsets[solid].T
            sentences.append(
                _Pieces(
                    windows=[read["input_ids"][window] for window in windows],
                    kept=kept,
                    words=[solid[(begins < end) & (ends > start)] for start, end in spans],
                    unknown=ids == self.tokenizer.unk_token_id,
                )
            )
        return sentences

    @torch.inference_mode()
    def _run(self, windows: list[list[int]], choose: Chooser, size: int) -> Iterator[np.ndarray]:
        """The chosen layers of each window: (layers, T, dim)."""
        for first in range(0, len(windows), size):
            batch = windows[first : first + size]
            ids = torch.full((len(batch), max(map(len, batch))), self.tokenizer.pad_token_id or 0)  # (B, T)
            mask = torch.zeros_like(ids)
            for row, window in enumerate(batch):
                ids[row, : len(window)] = torch.tensor(window)
                mask[row, : len(window)] = 1
            hidden = choose(ids.to(self.model.device), mask.to(self.model.device)).float().cpu().numpy()
            yield from (hidden[:, row, : len(window)] for row, window in enumerate(batch))

    def _chooser(self, layers: Layers) -> Chooser:
        """A function that gives the layers that are asked for."""
        if isinstance(layers, str) and layers == "static":
            return lambda ids, mask: self.model.get_input_embeddings()(ids)[None]

        every = isinstance(layers, str) and layers == "all"
        wanted = np.arange(self.layers) if every else np.atleast_1d(layers)
        mix = np.issubdtype(wanted.dtype, np.floating)
        if mix and wanted.shape != (self.layers,):
            raise ValueError(f"a mix has a weight for each of the {self.layers} layers, not {len(wanted)}")
        if not mix and not (
            np.issubdtype(wanted.dtype, np.integer) and ((-self.layers <= wanted) & (wanted < self.layers)).all()
        ):
            raise ValueError(f"{self.name} has the layers 0 to {self.layers - 1}, not {layers!r}")

        def choose(ids: Tensor, mask: Tensor) -> Tensor:
            hidden = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
            if mix:
                return sum(weight * layer.float() for weight, layer in zip(wanted.tolist(), hidden, strict=True))[None]
            return torch.stack([hidden[i] for i in wanted])

        return choose


def _text_and_spans(sentence: Sentence, number: int, between: str) -> tuple[str, list[Span]]:
    """A sentence as its text and the places of its words."""
    if isinstance(sentence, str):
        raise ValueError(f"sentence {number} is a string: give its words, or (text, [(start, end), …])")
    if isinstance(sentence, tuple) and len(sentence) == 2 and not isinstance(sentence[1], str):
        text, spans = sentence[0], [(int(start), int(end)) for start, end in sentence[1]]
    else:
        text, spans = between.join(sentence), []
        for word in sentence:
            start = spans[-1][1] + len(between) if spans else 0
            spans.append((start, start + len(word)))
    if not spans:
        raise ValueError(f"sentence {number} has no words")
    for start, end in spans:
        if not 0 <= start < end <= len(text):
            raise ValueError(f"sentence {number}: from {start} to {end} there is no word in {text!r}")
    return text, spans


def find(text: str, word: str) -> list[Span]:
    """The places of a word in a text, be its letters capital or small.

    In a script that puts blanks between words, only where it is not part of a longer one; in Thai everywhere, so
    that ตา is also found in ตาราง: give the place where that is not meant.
    """
    whole = re.escape(word) if re.search("[฀-๿]", word) else rf"(?<!\w){re.escape(word)}(?!\w)"
    return [match.span() for match in re.finditer(whole, text, re.IGNORECASE) if word]


def seconds_per_word(
    encoder: Encoder, sentences: Sequence[Sentence], *, between: str = " ", batch_size: int = 32
) -> float:
    """What a contextual vector costs: the time that a word took, in all layers, after one batch to warm up.

    A static vector costs a look in a table.
    """
    encoder.encode(sentences[:batch_size], between=between, batch_size=batch_size)
    began = time.perf_counter()
    encoded = encoder.encode(sentences, between=between, batch_size=batch_size)
    return (time.perf_counter() - began) / sum(vectors.shape[1] for vectors in encoded)


# ------------------------------------------------------------------------------- the oldest vectors of words in context
def context_average(
    word_vectors: Mapping[str, np.ndarray] | Callable[[str], np.ndarray],
    sentences: Sequence[Sequence[str]],
    places: Sequence[int],
    *,
    window: int | None = None,
    counts: Mapping[str, int] | None = None,
    smooth: float = 1e-3,
) -> np.ndarray:
    """The mean of the static vectors of the words around a word, itself left out.

    Schütze 1998, Automatic Word Sense Discrimination, section 3.2: a contextual vector without an encoder. Words
    without a vector are passed over; where none is left, the vector is zero.

    Args:
        word_vectors: anything with ``in`` and ``[]``, or a function of a word that raises KeyError for an unknown one.
        sentences: the words of each sentence, written as the vectors' words are.
        places: the number of the word in its sentence.
        window: how many words to either side count; all unless given.
        counts: of words in a large text; frequent words then weigh less, ``smooth / (smooth + share)`` (Arora et
            al. 2017, equation 3).
        smooth: the share at which a word weighs half.

    Returns:
        (N, dim) float32.

    Raises:
        ValueError: a place is not in its sentence, there are no sentences, or no word around any has a vector.
    """
    if len(sentences) != len(places):
        raise ValueError(f"{len(sentences)} sentences, but {len(places)} places")
    total = sum(counts.values()) if counts else 1
    means: list[np.ndarray | None] = []
    for number, (words, place) in enumerate(zip(sentences, places, strict=True)):
        if not 0 <= place < len(words):
            raise ValueError(f"sentence {number} has {len(words)} words, so no word {place}")
        reach = len(words) if window is None else window
        around = [*words[max(place - reach, 0) : place], *words[place + 1 : place + 1 + reach]]
        found = [(word, vector) for word in around if (vector := _look_up(word_vectors, word)) is not None]
        weights = [smooth / (smooth + counts.get(word, 0) / total) if counts else 1.0 for word, _ in found]
        means.append(np.average([vector for _, vector in found], axis=0, weights=weights) if found else None)
    known = next((mean for mean in means if mean is not None), None)
    if known is None:
        raise ValueError("no word of any context has a vector")
    return np.stack([np.zeros_like(known) if mean is None else mean for mean in means]).astype(np.float32)


def _look_up(word_vectors: Mapping | Callable, word: str) -> np.ndarray | None:
    if not callable(word_vectors) and word not in word_vectors:
        return None
    try:
        return word_vectors(word) if callable(word_vectors) else word_vectors[word]
    except KeyError:
        return None


# -------------------------------------------------------------------------------------------- are senses told apart?
def sense_separation(
    vectors: np.ndarray, senses: Sequence[str], groups: Sequence[str], *, centre: bool = False
) -> pd.DataFrame:
    """How well the vectors of a word keep its senses apart, for each word and layer.

    Args:
        vectors: (N, layers, dim), one for each occurrence of a word in a sentence; (N, dim) counts as one layer.
        senses: (N,) which sense the word has there.
        groups: (N,) which word it is.
        centre: first subtract the mean of all N vectors from each layer's. Contextual vectors lie in a narrow cone
            (Ethayarajh 2019), where every cosine is large; centred ones use the whole range.

    Returns:
        A frame with the columns ``word``, ``layer``, and

        - ``accuracy``: how often the nearest other sentence of the word, by cosine, has the same sense. Of
          sentences equally near, one is chosen at random: the expected value counts.
        - ``chance``: the same where all are equally near, as with one static vector a word; with random senses, too.
        - ``margin``: the mean cosine within a sense, minus that between senses.
        - ``silhouette``: of the senses as clusters (Rousseeuw 1987), from cosine distances, from -1 to 1.

    Raises:
        ValueError: the lengths differ, a vector is not finite, or a word has one sense only, or a sense of it one
            sentence only.
    """
    from sklearn.metrics import silhouette_score

    rows = []
    for word, own, cosines in _by_word(vectors, senses, groups, centre=centre):
        same = own[:, None] == own  # (n, n)
        others = ~np.eye(len(own), dtype=bool)
        for layer, cosine in enumerate(cosines):
            distance = np.clip(1 - cosine, 0, 2) * others
            rows.append(
                {
                    "word": word,
                    "layer": layer,
                    "accuracy": (_nearest(cosine) * same).sum() / len(own),
                    "chance": same[others].sum() / others.sum(),
                    "margin": cosine[same & others].mean() - cosine[~same].mean(),
                    "silhouette": silhouette_score(distance, own, metric="precomputed"),
                }
            )
    return pd.DataFrame(rows)


def sense_curve(
    vectors: np.ndarray,
    senses: Sequence[str],
    groups: Sequence[str],
    *,
    centre: bool = False,
    permutations: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """The separation of senses by layer: :func:`sense_separation`, averaged over words, with its uncertainty.

    Returns:
        A frame with the columns ``layer``, ``accuracy``, ``chance``, ``margin``, ``silhouette``; ``low`` and
        ``high``, the 95 % interval of the accuracy when words are drawn anew (bootstrap); and ``p``, how often the
        accuracy is as high with the senses of each word's sentences shuffled (permutation test, one-sided, at least
        1 / (permutations + 1)).

    Raises:
        ValueError: as :func:`sense_separation`.
    """
    table = sense_separation(vectors, senses, groups, centre=centre)
    curve = table.drop(columns="word").groupby("layer").mean()
    by_word = table.pivot(index="layer", columns="word", values="accuracy").to_numpy()  # (layers, words)

    rng = np.random.default_rng(seed)
    drawn = rng.integers(by_word.shape[1], size=(permutations, by_word.shape[1]))
    curve["low"], curve["high"] = np.quantile(by_word[:, drawn].mean(axis=2), [0.025, 0.975], axis=1)

    shuffled = np.zeros((permutations, len(curve)))  # accuracies, summed over words
    for _, own, cosines in _by_word(vectors, senses, groups, centre=centre):
        nearest = np.stack([_nearest(cosine) for cosine in cosines])  # (layers, n, n)
        for i in range(permutations):
            random = rng.permutation(own)
            shuffled[i] += nearest[:, random[:, None] == random].sum(axis=1) / len(own)
    as_high = shuffled / by_word.shape[1] >= curve.accuracy.to_numpy() - 1e-9
    curve["p"] = (1 + as_high.sum(axis=0)) / (1 + permutations)
    return curve.reset_index()


def anisotropy(vectors: np.ndarray) -> np.ndarray:
    """The mean cosine of two different vectors, by layer: (layers,) from (N, layers, dim).

    With words at random from many sentences this is how narrow the cone is that a layer's vectors lie in, 0 for
    vectors in all directions (Ethayarajh 2019, section 3.4): what a cosine has to be compared with.

    Raises:
        ValueError: there are fewer than two vectors, or one is not finite.
    """
    vectors = _checked(vectors)
    if len(vectors) < 2:
        raise ValueError("a mean cosine needs two vectors")
    unit = _unit(vectors)
    together = np.square(unit.sum(axis=0)).sum(axis=-1) - np.square(unit).sum(axis=(0, 2))  # without each with itself
    return together / (len(unit) * (len(unit) - 1))


def _by_word(
    vectors: np.ndarray, senses: Sequence[str], groups: Sequence[str], *, centre: bool
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """For each word its name, the senses (n,) of its sentences, and their cosines (layers, n, n)."""
    vectors = _checked(vectors)
    if not len(vectors) == len(senses) == len(groups):
        raise ValueError(f"{len(vectors)} vectors, {len(senses)} senses and {len(groups)} words are not one each")
    senses, words = pd.factorize(np.asarray(senses))[0], np.asarray(groups)
    if centre:
        vectors = vectors - vectors.mean(axis=0)
    for word in pd.unique(words):
        own = senses[words == word]
        sizes = np.unique(own, return_counts=True)[1]
        if len(sizes) < 2 or sizes.min() < 2:
            raise ValueError(f"{str(word)!r} needs two senses, and two sentences of each; it has {sizes.tolist()}")
        unit = _unit(vectors[words == word]).swapaxes(0, 1)  # (layers, n, dim)
        yield word, own, unit @ unit.swapaxes(1, 2)


def _nearest(cosine: np.ndarray) -> np.ndarray:
    """For each row the probability of each other one to be called its nearest: (n, n), rows sum to 1."""
    cosine = np.where(np.eye(len(cosine), dtype=bool), -np.inf, cosine)
    ties = cosine >= cosine.max(axis=1, keepdims=True) - TIE
    return ties / ties.sum(axis=1, keepdims=True)


def _checked(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float64)
    if vectors.ndim == 2:
        vectors = vectors[:, None]
    if vectors.ndim != 3:
        raise ValueError(f"vectors are (N, layers, dim) or (N, dim), not {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise ValueError(f"vector {np.argwhere(~np.isfinite(vectors))[0][0]} is not finite")
    return vectors


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1; those of length 0 stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
