"""Training through fastai's Learner: schedules, layer groups, plans, checkpoints.

::

    learner = make_learner(model, train_batches, valid_batches, metrics=(accuracy, macro_f1))
    fit(learner, gradual_unfreezing(5, 8), lr=1e-2)
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # fastai compiles two functions with torch.jit.script
    import fastai.learner  # noqa: F401

from tlcourse.training import schedules
from tlcourse.training.adamw import FusedAdamW
from tlcourse.training.callbacks import ActivationRegularisation
from tlcourse.training.groups import (
    Plan,
    Stage,
    all_at_once,
    discriminative_rates,
    gradual_unfreezing,
    head_only,
)
from tlcourse.training.learner import fit, make_learner, predict
from tlcourse.training.metrics import Perplexity, accuracy, cross_entropy, entity_f1, macro_f1, perplexity

__all__ = [
    "ActivationRegularisation",
    "FusedAdamW",
    "Perplexity",
    "Plan",
    "Stage",
    "accuracy",
    "all_at_once",
    "cross_entropy",
    "discriminative_rates",
    "entity_f1",
    "fit",
    "gradual_unfreezing",
    "head_only",
    "macro_f1",
    "make_learner",
    "perplexity",
    "predict",
    "schedules",
]
