import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback

from tlcourse.training import checkpoint as checkpoints
from tlcourse.training import fit, gradual_unfreezing
from tlcourse.training.checkpoint import SaveCheckpoints, read_checkpoint, write_checkpoint

STEPS = 20


class Killed(Exception):
    pass


class Kill(Callback):
    """Stop the training at a step, before or after its checkpoint would be written, or in a validation."""

    def __init__(self, step, *, when="after_save"):
        self.step, self.when = step, when
        self.order = SaveCheckpoints.order + (1 if when == "after_save" else -1)

    def after_batch(self):
        if self.train_iter == self.step and self.training == (self.when != "in_validation"):
            raise Killed("here")


def all_state(learner):
    """Every tensor that a training changes, by name, and the rest of what must agree."""
    tensors = dict(learner.model.state_dict())
    for number, (parameter, *_) in enumerate(learner.opt.all_params()):
        for name, value in learner.opt.state[parameter].items():
            tensors[f"optimiser.{number}.{name}"] = torch.as_tensor(value)
    tensors["torch"] = torch.get_rng_state()
    if learner.model.__class__.__name__ == "LanguageModel":
        tensors["hidden"], tensors["cell"] = learner.model.state
    return tensors


def assert_same(ours, expected):
    assert ours.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(ours[name], expected[name])]
    assert not different


@pytest.fixture(scope="module")
def uninterrupted(small):
    """What each kind of learner ends with when nothing stops it; computed once."""
    done = {}
    for kind, make in small.LEARNERS.items():
        learner = make()
        small.train(learner)
        done[kind] = all_state(learner), learner.history, random.random(), np.random.random()
    return done


@pytest.fixture(autouse=True)
def seeded():
    random.seed(1)
    np.random.seed(1)


def start_and_kill(small, make, path, kill, every):
    learner = make()
    learner.add_cb(kill)
    with pytest.raises(Killed):
        small.train(learner, checkpoint=path, every=every)


@pytest.mark.parametrize("kind", ["classifier", "language model"])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_killed_after_any_step_a_run_ends_with_the_same_weights(small, uninterrupted, tmp_path, kind, step):
    make, path = small.LEARNERS[kind], tmp_path / "run.pt"
    start_and_kill(small, make, path, Kill(step), every=1)
    resumed = make(seed=99)  # other first weights, another random state: all must come from the checkpoint
    torch.manual_seed(98)
    history = small.train(resumed, checkpoint=path, every=1)
    expected_state, expected_history, *_ = uninterrupted[kind]
    assert_same(all_state(resumed), expected_state)
    pd.testing.assert_frame_equal(history, expected_history, check_exact=True)


@pytest.mark.parametrize("every", [3, "epoch"])
@pytest.mark.parametrize(
    "kill", [Kill(1, when="before_save"), Kill(8, when="before_save"), Kill(14), Kill(15, when="in_validation"), Kill(16)]
)
def test_work_since_the_last_checkpoint_is_done_again(small, uninterrupted, tmp_path, every, kill):
    path = tmp_path / "run.pt"
    start_and_kill(small, small.language_model_learner, path, Kill(kill.step, when=kill.when), every)
    resumed = small.language_model_learner()
    history = small.train(resumed, checkpoint=path, every=every)
    expected_state, expected_history, *_ = uninterrupted["language model"]
    assert_same(all_state(resumed), expected_state)
    pd.testing.assert_frame_equal(history, expected_history, check_exact=True)
