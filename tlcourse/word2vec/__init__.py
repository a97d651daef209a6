"""Word vectors: one vector a word.

Train them (:func:`train`: skip-gram, CBOW, fastText; :func:`train_glove`), keep them (:mod:`.formats`), take those of
others (:mod:`.published`), ask them (:class:`WordVectors`) and judge them (:mod:`.evaluate`, :mod:`.classify`).
"""

from tlcourse.data.general import lines_of_words
from tlcourse.word2vec import published
from tlcourse.word2vec.classify import binomial_interval, compare
from tlcourse.word2vec.corpus import EncodedText, encode, encode_like
from tlcourse.word2vec.evaluate import (
    analogies,
    held_out_rank,
    pair_cosines,
    projections,
    weat,
    word_similarity,
)
from tlcourse.word2vec.formats import load, load_fasttext, save_binary, save_fasttext, save_text
from tlcourse.word2vec.glove import GloVe, cooccurrences, train_glove
from tlcourse.word2vec.lesson import (
    SIZES,
    Sizes,
    agreement,
    english_texts,
    homework,
    judge,
    odd_ones_out,
    places_of_words,
    relatives,
    thai_texts,
    train_models,
)
from tlcourse.word2vec.subword import ngrams
from tlcourse.word2vec.train import Trained, Word2Vec, gradients, keep_probability, noise_distribution, train
from tlcourse.word2vec.vectors import SubwordVectors, UnknownWord, WordVectors

__all__ = [
    "SIZES",
    "EncodedText",
    "GloVe",
    "Sizes",
    "SubwordVectors",
    "Trained",
    "UnknownWord",
    "Word2Vec",
    "WordVectors",
    "agreement",
    "analogies",
    "binomial_interval",
    "compare",
    "cooccurrences",
    "encode",
    "encode_like",
    "english_texts",
    "gradients",
    "held_out_rank",
    "homework",
    "judge",
    "keep_probability",
    "lines_of_words",
    "load",
    "load_fasttext",
    "ngrams",
    "noise_distribution",
    "odd_ones_out",
    "pair_cosines",
    "places_of_words",
    "projections",
    "published",
    "relatives",
    "save_binary",
    "save_fasttext",
    "save_text",
    "thai_texts",
    "train",
    "train_glove",
    "train_models",
    "weat",
    "word_similarity",
]
