"""BERT: masked words, next sentences, and four ways to fine-tune (Devlin et al. 2019).

A BERT of our own is trained by :func:`pretrain_bert`; those of others come through :mod:`tlcourse.encoders`. Either is
fine-tuned by :func:`finetune_sentences`, :func:`finetune_pairs`, :func:`finetune_answers` or :func:`finetune_tags`.
"""

from tlcourse.bert.finetune import (
    FineTuning,
    finetune_answers,
    finetune_pairs,
    finetune_sentences,
    finetune_tags,
)
from tlcourse.bert.lesson import (
    KINDS,
    PAPER,
    SIZES,
    Sizes,
    accuracy_by_kind,
    bert,
    compare_variants,
    four_shapes,
    kinds_of_pairs,
    label_curves,
    shape_data,
    shared_words,
    text,
    told_apart,
    variants,
)
from tlcourse.bert.look import Attention, attention, fill_in, next_sentence
from tlcourse.bert.masking import KEPT, MASK, RANDOM, Masked, Masking, Pieces, mask_tokens
from tlcourse.bert.model import PretrainingModel, bert_config, parameters
from tlcourse.bert.pairs import Documents, Pairs, sentence_pairs, split_sentences
from tlcourse.bert.pretrain import BertRecipe, TrainedBert, load_bert, pretrain_bert
from tlcourse.bert.wordpiece import load_tokeniser, save_tokeniser, train_wordpiece

__all__ = [
    "KEPT",
    "KINDS",
    "MASK",
    "PAPER",
    "RANDOM",
    "SIZES",
    "Attention",
    "BertRecipe",
    "Documents",
    "FineTuning",
    "Masked",
    "Masking",
    "Pairs",
    "Pieces",
    "PretrainingModel",
    "Sizes",
    "TrainedBert",
    "accuracy_by_kind",
    "attention",
    "bert",
    "bert_config",
    "compare_variants",
    "fill_in",
    "finetune_answers",
    "finetune_pairs",
    "finetune_sentences",
    "finetune_tags",
    "four_shapes",
    "kinds_of_pairs",
    "label_curves",
    "load_bert",
    "load_tokeniser",
    "mask_tokens",
    "next_sentence",
    "parameters",
    "pretrain_bert",
    "save_tokeniser",
    "sentence_pairs",
    "shape_data",
    "shared_words",
    "split_sentences",
    "text",
    "told_apart",
    "train_wordpiece",
    "variants",
]
