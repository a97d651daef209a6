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


def fasttext(
    tokens: Tokens, labels: np.ndarray, *, lr: float = 0.1, epochs: int = 25, dim: int = 50
) -> Predictor:
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


def score_all(
    tokens: Tokens, labels: np.ndarray, test_tokens: Tokens, test_labels: np.ndarray
) -> pd.DataFrame:
    """Train every baseline and score it: a row a baseline, columns ``micro-F1`` (accuracy) and ``macro-F1``."""
    rows = {}
    for name, train in BASELINES.items():
        predicted = train(tokens, labels)(test_tokens)
        rows[name] = [
            f1_score(test_labels, predicted, average=how, zero_division=0) for how in ("micro", "macro")
        ]
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
