"""Skip-gram, CBOW and fastText beside gensim: words a second and quality after the same epochs, in one run.

    python benchmarks/word2vec.py [--data orchid] [--epochs 5] [--threads 2] [--device cuda] [--model skip-gram]

Same text, dimension, window, negatives, subsampling, epochs and rate; gensim gets as many workers as torch gets
threads. The two take turns, and the fastest turn of each counts, by the clock and in processor time, which others on
the machine change less. Words are those of the raw text, as gensim counts them; the vocabulary is not counted to
either. Quality is the mean rank and the mean reciprocal rank of a true neighbour in the sentences held out, and for
English Spearman's correlation with SimLex-999.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from gensim.models import FastText
from gensim.models import Word2Vec as Gensim

from tlcourse import data, profile
from tlcourse.data.general import lines_of_words, texts_at_hand
from tlcourse.text import english_words, thai_words
from tlcourse.word2vec import (
    EncodedText,
    Trained,
    Word2Vec,
    WordVectors,
    encode,
    encode_like,
    held_out_rank,
    word_similarity,
)
from tlcourse.word2vec.train import train

MODELS = {
    "skip-gram": Word2Vec(),
    "CBOW": Word2Vec(model="cbow"),
    "fastText": Word2Vec(ngrams=(3, 6)),
    "hierarchical": Word2Vec(hierarchical=True),
}


def gensim_model(recipe: Word2Vec, workers: int) -> Gensim:
    settings = dict(
        vector_size=recipe.dim, window=recipe.window, sample=recipe.subsample, epochs=recipe.epochs, alpha=recipe.lr,
        sg=int(recipe.model == "skipgram"), hs=int(recipe.hierarchical),
        negative=0 if recipe.hierarchical else recipe.negatives, min_count=5, workers=workers, seed=1,
    )  # fmt: skip
    if recipe.ngrams:
        shortest, longest = recipe.ngrams
        return FastText(**settings, min_n=shortest, max_n=longest, bucket=recipe.buckets)
    return Gensim(**settings)


def timed(work: Callable, *args, **settings) -> tuple[object, float, float]:
    """What the work returns, its seconds by the clock and in processor time."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = work(*args, **settings)
    return result, time.perf_counter() - clock, time.process_time() - cpu


def race(
    sentences: list[list[str]], text: EncodedText, recipe: Word2Vec, options: argparse.Namespace
) -> tuple[Gensim, Trained, dict[str, tuple[float, float]]]:
    """What gensim and we trained, and the fewest seconds each took, by the clock and in processor time."""
    best = {"gensim": (np.inf, np.inf), "ours": (np.inf, np.inf)}
    for _ in range(options.turns):
        peer = gensim_model(recipe, options.threads)
        peer.build_vocab(sentences)
        _, *spent = timed(peer.train, sentences, total_examples=peer.corpus_count, epochs=recipe.epochs)
        best["gensim"] = tuple(map(min, best["gensim"], spent))
        ours, *spent = timed(train, text, recipe, device=options.device, progress=False)
        best["ours"] = tuple(map(min, best["ours"], spent))
    return peer, ours, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="orchid", help="orchid, thaigov, gensim_wikipedia, wikitext2, text8, …")
    parser.add_argument("--characters", type=int, default=8_000_000, help="of the text to read at most")
    parser.add_argument("--model", choices=MODELS, action="append", help="default: all but hierarchical")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--batch", type=int, help="words of a step; many on a GPU")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    english = data.info(options.data).languages == ("en",)
    texts = texts_at_hand([options.data], characters=options.characters)
    sentences = lines_of_words(texts, english_words if english else thai_words)
    held_out = sentences[::30]
    sentences = [sentence for number, sentence in enumerate(sentences) if number % 30]
    text = encode(sentences, min_count=5)
    heard = encode_like(text, held_out)
    raw = sum(map(len, sentences))
    print(
        f"{options.data}: {raw:,} words, {len(text.words):,} different; {options.epochs} epochs, dimension "
        f"{options.dim}, {options.threads} threads, {profile.device_name(options.device)}, torch {torch.__version__}"
    )

    def quality(vectors: WordVectors, outputs: np.ndarray) -> str:
        rank = held_out_rank(vectors, outputs, heard)
        found = f"mean rank {rank.mean:6.0f}, reciprocal {rank.reciprocal:.4f}"
        if english:
            found += f", SimLex {word_similarity(vectors, data.load('simlex999').test).rho:.3f}"
        return found

    for name in options.model or ["skip-gram", "CBOW", "fastText"]:
        recipe = replace(MODELS[name], epochs=options.epochs, dim=options.dim)
        if options.batch:
            recipe = replace(recipe, batch=options.batch)
        peer, ours, best = race(sentences, text, recipe, options)
        order = [peer.wv.key_to_index[word] for word in text.words]
        qualities = {"gensim": "", "ours": ""}
        if not recipe.hierarchical:
            theirs = WordVectors(text.words, peer.wv.vectors[order], text.counts)
            qualities = {"gensim": quality(theirs, peer.syn1neg[order]), "ours": quality(ours.vectors, ours.outputs)}
        words = raw * recipe.epochs
        for method, (clock, cpu) in best.items():
            ratios = f"{best['gensim'][0] / clock:5.2f} x ({best['gensim'][1] / cpu:5.2f} x in processor time)"
            print(f"  {name:12} {method:7} {words / clock:12,.0f} words/s {ratios}  {qualities[method]}", flush=True)


if __name__ == "__main__":
    main()
