"""What a lesson's network has to beat: a linear SVM on a bag of words, and fastText's classifier.

Both train in seconds on a CPU. A lesson shows them beside its own model, and shows them winning where they win.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from tlcourse.data import labelled_subset

Tokens = Sequence[Sequence[str]]
Predictor = Callable[[Tokens], np.ndarray]


def uni_and_bigrams(tokens: Sequence[str]) -> list[str]:
    """The words, and each pair of neighbours."""
    return [*tokens, *(f"{a} {b}" for a, b in pairwise(tokens))]


def linear_svm(tokens: Tokens, labels: np.ndarray, *, C: float = 0.3) -> Predictor:
    """Train a linear SVM on tf-idf of words and word pairs, classes balanced.

    Returns:
        A function from tokenised texts to class numbers.
    """
    features = TfidfVectorizer(analyzer=uni_and_bigrams, sublinear_tf=True)
    model = make_pipeline(features, LinearSVC(C=C, class_weight="balanced", random_state=0))
    return model.fit(tokens, labels).predict


def fasttext(tokens: Tokens, labels: np.ndarray, *, lr: float = 0.1, epochs: int = 25, dim: int = 50) -> Predictor:
    """Train fastText's classifier (Joulin et al. 2017) on words and word pairs.

    Returns:
        A function from tokenised texts to class numbers.

    Raises:
        ModuleNotFoundError: the package ``fasttext-community`` is not installed.
    """
    import fasttext

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.txt"  # fastText reads its training texts from a file, one a line
        lines = (f"__label__{y} {_line(t)}" for t, y in zip(tokens, labels, strict=True))
        path.write_text("\n".join(lines), encoding="utf-8")
        model = fasttext.train_supervised(
            str(path), lr=lr, epoch=epochs, dim=dim, wordNgrams=2, bucket=200_000, thread=1, verbose=0
        )

    def predict(tokens: Tokens) -> np.ndarray:
        found, _ = model.predict([_line(t) for t in tokens])
        return np.array([int(names[0].removeprefix("__label__")) for names in found])

    return predict


def _line(tokens: Sequence[str]) -> str:
    """A text as fastText reads it: one line, words parted by blanks, never empty."""
    return " ".join("_".join(token.split()) for token in tokens) or "_"


def majority(tokens: Tokens, labels: np.ndarray) -> Predictor:
    """Always the most frequent class."""
    model = DummyClassifier(strategy="most_frequent").fit(np.zeros((len(labels), 1)), labels)
    return lambda tokens: model.predict(np.zeros((len(tokens), 1)))


BASELINES: Mapping[str, Callable[[Tokens, np.ndarray], Predictor]] = {
    "most frequent class": majority,
    "linear SVM": linear_svm,
    "fastText": fasttext,
}


def score_all(tokens: Tokens, labels: np.ndarray, test_tokens: Tokens, test_labels: np.ndarray) -> pd.DataFrame:
    """Train every baseline and score it: a row a baseline, columns ``micro-F1`` (accuracy) and ``macro-F1``."""
    rows = {}
    for name, train in BASELINES.items():
        predicted = train(tokens, labels)(test_tokens)
        rows[name] = [f1_score(test_labels, predicted, average=how, zero_division=0) for how in ("micro", "macro")]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["micro-F1", "macro-F1"])


def label_curve(
    tokens: Tokens,
    frame: pd.DataFrame,
    *,
    label: str,
    valid: tuple[Tokens, np.ndarray],
    counts: Mapping[int, int],
) -> pd.DataFrame:
    """The linear SVM by the number of labels, on the same draws as a lesson's networks.

    Args:
        tokens: of the rows of ``frame``, in their order.
        frame: labelled rows; column ``label`` is categorical.
        valid: tokenised texts and class numbers to score on.
        counts: how many seeds to run for each number of labels.

    Returns:
        A row a run: ``method``, ``labels``, ``seed``, ``accuracy``, ``macro_f1``.
    """
    codes = frame[label].cat.codes.to_numpy().astype(int)
    rows = frame.reset_index(drop=True)  # by position, as the tokens are
    runs = []
    for n, seeds in counts.items():
        for seed in range(seeds):
            chosen = labelled_subset(rows, by=label, n=min(n, len(rows)), seed=seed).index
            predicted = linear_svm([tokens[i] for i in chosen], codes[chosen])(valid[0])
            micro, macro = (f1_score(valid[1], predicted, average=how) for how in ("micro", "macro"))
            run = {"method": "linear SVM", "labels": len(chosen), "seed": seed, "accuracy": micro, "macro_f1": macro}
            runs.append(run)
    return pd.DataFrame(runs)


def ngram_losses(train: np.ndarray, valid: np.ndarray, *, vocab_size: int, discount: float = 0.75) -> pd.DataFrame:
    """What counting achieves as a language model: the cross entropy of each token under unigrams and under bigrams.

    Unigrams add one to every count. Bigrams take ``discount`` from every pair that was seen and give what they took
    to the unigrams: p(w | v) = max(c(v, w) - d, 0) / c(v) + d N(v) / c(v) p(w), where N(v) is the number of different
    words seen after v (absolute discounting, Ney et al. 1994; Chen and Goodman 1999).

    Args:
        train: token ids to count, (T,), documents one after the other.
        valid: token ids to predict, each from the one before it, (S,).
        vocab_size: V; all ids are below it.

    Returns:
        Columns ``unigram`` and ``bigram``, in nats, a row for each of the S - 1 tokens.

    Raises:
        ValueError: fewer than two tokens, or an id out of range.
    """
    train, valid = np.asarray(train, dtype=np.int64), np.asarray(valid, dtype=np.int64)
    if min(len(train), len(valid)) < 2 or max(train.max(), valid.max()) >= vocab_size:
        raise ValueError(f"two tokens at least are needed on both sides, with ids below {vocab_size}")
    counts = np.bincount(train, minlength=vocab_size)
    unigram = (counts + 1) / (len(train) + vocab_size)  # (V,)
    pairs, pair_counts = np.unique(train[:-1] * vocab_size + train[1:], return_counts=True)
    followed = np.bincount(train[:-1], minlength=vocab_size)  # c(v)
    different = np.bincount(pairs // vocab_size, minlength=vocab_size)  # N(v)

    before, word = valid[:-1], valid[1:]
    wanted = before * vocab_size + word
    place = np.searchsorted(pairs, wanted).clip(max=len(pairs) - 1)
    seen = np.where(pairs[place] == wanted, pair_counts[place], 0)
    c = np.maximum(followed[before], 1)
    back_off = np.where(followed[before] > 0, discount * different[before] / c, 1.0)
    bigram = np.maximum(seen - discount, 0) / c + back_off * unigram[word]
    return pd.DataFrame({"unigram": -np.log(unigram[word]), "bigram": -np.log(bigram)})
