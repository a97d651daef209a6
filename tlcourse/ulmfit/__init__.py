"""ULMFiT: an AWD-LSTM language model, fine-tuned on the task's text, turned into a classifier.

The three stages of Howard and Ruder (2018), «Universal Language Model Fine-tuning for Text Classification»:

1. pretrain a language model on general text (:class:`LanguageModel`, kept with :func:`save_backbone`),
2. fine-tune it on the task's own text (:func:`load_backbone` moves its words, :func:`fine_tune_language_model`),
3. put a classifier on its encoder and unfreeze it gradually (:class:`TextClassifier`, :func:`fine_tune_classifier`).
"""

from tlcourse.ulmfit.backbone import VocabularyReport, load_backbone, map_vocabulary, save_backbone
from tlcourse.ulmfit.lesson import (
    ALL,
    SIZES,
    Recipe,
    Sizes,
    build_classifier,
    class_weights,
    compare_recipes,
    few_label_run,
    fine_tune_classifier,
    fine_tune_language_model,
    finish,
    forgetting,
    label_curve,
    layer_change,
    lm_perplexity,
    mean_change,
    probabilities,
    short_language_model,
    without_dropconnect,
    word_importance,
)
from tlcourse.ulmfit.model import (
    AWDLSTM,
    CLASSIFIER_DROPOUTS,
    AWDLSTMConfig,
    Dropouts,
    EmbeddingDropout,
    LanguageModel,
    TextClassifier,
    VariationalDropout,
    WeightDropLSTM,
    concat_pool,
)
from tlcourse.ulmfit.published import from_fastai

__all__ = [
    "ALL",
    "AWDLSTM",
    "CLASSIFIER_DROPOUTS",
    "SIZES",
    "AWDLSTMConfig",
    "Dropouts",
    "EmbeddingDropout",
    "LanguageModel",
    "Recipe",
    "Sizes",
    "TextClassifier",
    "VariationalDropout",
    "VocabularyReport",
    "WeightDropLSTM",
    "build_classifier",
    "class_weights",
    "compare_recipes",
    "concat_pool",
    "few_label_run",
    "fine_tune_classifier",
    "fine_tune_language_model",
    "finish",
    "forgetting",
    "from_fastai",
    "label_curve",
    "layer_change",
    "lm_perplexity",
    "load_backbone",
    "map_vocabulary",
    "mean_change",
    "probabilities",
    "save_backbone",
    "short_language_model",
    "without_dropconnect",
    "word_importance",
]
