"""ELMo: a word's vectors from its characters and its sentence (Peters et al. 2018)."""

from tlcourse.elmo.allennlp import Embedder, WeightsError, from_allennlp
from tlcourse.elmo.characters import character_ids
from tlcourse.elmo.mix import ScalarMix
from tlcourse.elmo.model import MEDIUM, ORIGINAL, SMALL, TINY, BiLM, CharacterEncoder, ELMoConfig, Layers, State

__all__ = [
    "MEDIUM",
    "ORIGINAL",
    "SMALL",
    "TINY",
    "BiLM",
    "CharacterEncoder",
    "ELMoConfig",
    "Embedder",
    "Layers",
    "ScalarMix",
    "State",
    "WeightsError",
    "character_ids",
    "from_allennlp",
]
