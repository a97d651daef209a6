"""ELMo: a word's vectors from its characters and its sentence (Peters et al. 2018).

A biLM of our own is trained by :func:`train_bilm`; those of others come through :func:`from_allennlp`. A task mixes
their frozen layers: :class:`ScalarMix`, :func:`train_tagger`, :func:`train_classifier`.
"""

from tlcourse.elmo.allennlp import Embedder, WeightsError, from_allennlp
from tlcourse.elmo.characters import character_ids
from tlcourse.elmo.downstream import (
    Labelled,
    Recipe,
    Result,
    RidgeSweep,
    Tagged,
    compare_layers,
    learned_weights,
    pack,
    static_features,
    train_classifier,
    train_tagger,
)
from tlcourse.elmo.lesson import (
    SIZES,
    Sizes,
    bilm,
    features,
    first_words,
    held_out,
    layers_and_targets,
    run_task,
    sentences,
    tasks,
)
from tlcourse.elmo.mix import ScalarMix
from tlcourse.elmo.model import MEDIUM, ORIGINAL, SMALL, TINY, BiLM, CharacterEncoder, ELMoConfig, Layers, State
from tlcourse.elmo.pretrain import (
    BiLMRecipe,
    TrainedBiLM,
    encode,
    leaky_bidirectional,
    load_bilm,
    save_bilm,
    train_bilm,
)

__all__ = [
    "MEDIUM",
    "ORIGINAL",
    "SIZES",
    "SMALL",
    "TINY",
    "BiLM",
    "BiLMRecipe",
    "CharacterEncoder",
    "ELMoConfig",
    "Embedder",
    "Labelled",
    "Layers",
    "Recipe",
    "Result",
    "RidgeSweep",
    "ScalarMix",
    "Sizes",
    "State",
    "Tagged",
    "TrainedBiLM",
    "WeightsError",
    "bilm",
    "character_ids",
    "compare_layers",
    "encode",
    "features",
    "first_words",
    "from_allennlp",
    "held_out",
    "layers_and_targets",
    "leaky_bidirectional",
    "learned_weights",
    "load_bilm",
    "pack",
    "run_task",
    "save_bilm",
    "sentences",
    "static_features",
    "tasks",
    "train_bilm",
    "train_classifier",
    "train_tagger",
]
