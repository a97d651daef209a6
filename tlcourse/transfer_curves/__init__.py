"""What transfer buys: learning curves with and without it, the three benefits as numbers, and sources near and far.

>>> sst2 = data.load("sst2")
>>> curves = step_curves(sst2.train, sst2.valid, label="sentiment", labels=500, seeds=range(5))
>>> benefits(curves, start=5, rise=20)  # higher start, higher slope, higher asymptote, each with its interval
"""

import tlcourse.training  # noqa: F401, first: it silences a warning of fastai's
from tlcourse.transfer_curves.comparison import (
    ASYMPTOTE,
    BENEFITS,
    SLOPE,
    START,
    benefits,
    bootstrap_interval,
    paired,
    summarise,
)
from tlcourse.transfer_curves.curves import (
    FEATURES,
    FINE_TUNING,
    FRESH,
    NONE,
    SCRATCH,
    TREATMENTS,
    WORDS,
    Recipe,
    cut_encoder,
    label_curves,
    source_scores,
    step_curves,
    text_features,
)

__all__ = [
    "ASYMPTOTE",
    "BENEFITS",
    "FEATURES",
    "FINE_TUNING",
    "FRESH",
    "NONE",
    "SCRATCH",
    "SLOPE",
    "START",
    "TREATMENTS",
    "WORDS",
    "Recipe",
    "benefits",
    "bootstrap_interval",
    "cut_encoder",
    "label_curves",
    "paired",
    "source_scores",
    "step_curves",
    "summarise",
    "text_features",
]
