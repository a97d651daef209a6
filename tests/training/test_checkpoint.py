import os
import random
import resource
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

import tlcourse
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
    if hasattr(learner, "scaler"):
        tensors["loss scale"] = torch.tensor(learner.scaler.get_scale())
    tensors["torch"] = torch.get_rng_state()
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
        done[kind] = all_state(learner), learner.history
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


@pytest.mark.parametrize("kind", ["classifier", "language model", "half precision"])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_killed_after_any_step_a_run_ends_with_the_same_weights(small, uninterrupted, tmp_path, kind, step):
    make, path = small.LEARNERS[kind], tmp_path / "run.pt"
    every = 1 if step == 5 else step  # the last step of an epoch waits for the validation
    start_and_kill(small, make, path, Kill(step), every)
    resumed = make(seed=99)  # other first weights, another random state: all must come from the checkpoint
    torch.manual_seed(98)
    history = small.train(resumed, checkpoint=path, every=every)
    expected_state, expected_history = uninterrupted[kind]
    assert_same(all_state(resumed), expected_state)
    pd.testing.assert_frame_equal(history, expected_history, check_exact=True)


@pytest.mark.parametrize("every", [3, "epoch"])
@pytest.mark.parametrize(
    ("step", "when"),
    [(1, "before_save"), (8, "before_save"), (14, "after_save"), (15, "in_validation"), (16, "after_save")],
)
def test_work_since_the_last_checkpoint_is_done_again(small, uninterrupted, tmp_path, every, step, when):
    path = tmp_path / "run.pt"
    start_and_kill(small, small.language_model_learner, path, Kill(step, when=when), every)
    resumed = small.language_model_learner()
    history = small.train(resumed, checkpoint=path, every=every)
    expected_state, expected_history = uninterrupted["language model"]
    assert_same(all_state(resumed), expected_state)
    pd.testing.assert_frame_equal(history, expected_history, check_exact=True)


def test_a_process_killed_by_the_system_is_resumed(small, uninterrupted, tmp_path):
    path = tmp_path / "run.pt"
    package = str(Path(tlcourse.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("small.py"), path], env=os.environ | {"PYTHONPATH": package}
    )
    while process.poll() is None and not path.exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < read_checkpoint(path, torch.device("cpu"))["done"] < STEPS
    learner = small.classifier_learner(seed=7)
    small.train(learner, checkpoint=path)
    assert_same(all_state(learner), uninterrupted["classifier"][0])


def test_a_finished_training_is_loaded(small, uninterrupted, tmp_path):
    small.train(small.language_model_learner(), checkpoint=tmp_path / "run.pt")
    again = small.language_model_learner(seed=5)
    history = small.train(again, checkpoint=tmp_path / "run.pt")
    expected_state, expected_history = uninterrupted["language model"]
    assert_same(all_state(again), expected_state)
    pd.testing.assert_frame_equal(history, expected_history, check_exact=True)


def test_the_same_learner_goes_on_after_an_interrupt(small, uninterrupted, tmp_path):
    """What a reader does in a notebook: interrupt the cell, run it again."""
    learner = small.language_model_learner()
    learner.add_cb(kill := Kill(8, when="before_save"))
    with pytest.raises(Killed):
        small.train(learner, checkpoint=tmp_path / "run.pt", every=3)
    learner.remove_cb(kill)
    small.train(learner, checkpoint=tmp_path / "run.pt", every=3)
    assert_same(all_state(learner), uninterrupted["language model"][0])


def test_a_resumed_run_writes_nothing_before_its_first_step(small, uninterrupted, tmp_path):
    """Killed at once, again and again, it leaves what it found."""
    path = tmp_path / "run.pt"
    start_and_kill(small, small.language_model_learner, path, Kill(13), every=1)
    found = path.read_bytes()
    for _ in range(2):
        start_and_kill(small, small.language_model_learner, path, Kill(14, when="before_save"), every=1)
        assert path.read_bytes() == found
    learner = small.language_model_learner()
    small.train(learner, checkpoint=path)
    assert_same(all_state(learner), uninterrupted["language model"][0])


def test_resume_false_starts_over(small, uninterrupted, tmp_path):
    path = tmp_path / "run.pt"
    start_and_kill(small, small.classifier_learner, path, Kill(8), every=1)
    learner = small.classifier_learner()
    small.train(learner, checkpoint=path, resume=False)
    assert_same(all_state(learner), uninterrupted["classifier"][0])
    assert read_checkpoint(path, torch.device("cpu"))["done"] == STEPS


def test_random_generators_of_python_and_numpy_go_on(small, tmp_path):
    class Draw(Callback):
        run_valid = False

        def __init__(self):
            self.drawn = []

        def before_batch(self):
            self.drawn.append((random.random(), np.random.random(), np.random.normal(), torch.rand(1).item()))

    whole = small.classifier_learner(cbs=[expected := Draw()])
    small.train(whole)
    random.seed(1)
    np.random.seed(1)
    learner = small.classifier_learner(cbs=[Draw()])
    learner.add_cb(Kill(7))
    with pytest.raises(Killed):
        small.train(learner, checkpoint=tmp_path / "run.pt", every=1)
    resumed = small.classifier_learner(cbs=[drawn := Draw()])
    random.seed(2)
    np.random.seed(2)
    small.train(resumed, checkpoint=tmp_path / "run.pt")
    assert drawn.drawn == expected.drawn[7:]


@pytest.mark.parametrize(
    ("settings", "plan", "says"),
    [
        ({"batch_seed": 3}, {}, "'seed': 0.*'seed': 3"),
        ({"data_seed": 3}, {}, "batches are .*'first batch'"),
        ({"weight_decay": 0.5}, {}, "optimiser"),
        ({}, {"lr": 0.02}, "learning rates"),
        ({}, {"factor": 1.0}, "learning rates"),
        ({}, {"stages": gradual_unfreezing(3, 5)}, "stages"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(small, tmp_path, settings, plan, says):
    path = tmp_path / "run.pt"
    usual = {"stages": gradual_unfreezing(3, 4), "lr": 0.01}
    fit(small.classifier_learner(), **usual, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"belongs to another training.*{says}.*resume=False"):
        fit(small.classifier_learner(**settings), **usual | plan, checkpoint=path)
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_model_names_the_tensor(small, tmp_path):
    path = tmp_path / "run.pt"
    learner = small.classifier_learner()
    fit(learner, 1, lr=0.01, checkpoint=path)
    batches = learner.dls
    larger = small.make_learner(small.Classifier(dim=8), batches.train, batches.valid, device="cpu")
    with pytest.raises(ValueError, match=r"embedding\.weight is \[20, 6\] in the file and \[20, 8\] here"):
        fit(larger, 1, lr=0.01, checkpoint=path)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 and then nothing"])
def test_a_damaged_file_is_refused(small, tmp_path, content):
    (path := tmp_path / "run.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.pt is damaged or no checkpoint.*resume=False"):
        fit(small.classifier_learner(), 1, lr=0.01, checkpoint=path)
    assert path.read_bytes() == content


def test_a_cut_off_file_is_refused(small, tmp_path):
    path = tmp_path / "run.pt"
    fit(small.classifier_learner(), 1, lr=0.01, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match="damaged"):
        fit(small.classifier_learner(), 1, lr=0.01, checkpoint=path)


def test_nothing_in_a_file_is_executed(tmp_path):
    class Attack:
        def __reduce__(self):
            return Path.touch, (tmp_path / "attacked",)

    torch.save({"training": Attack()}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="damaged or no checkpoint"):
        read_checkpoint(tmp_path / "run.pt", torch.device("cpu"))
    assert not (tmp_path / "attacked").exists()


def test_another_file_of_torch_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="damaged or no checkpoint"):
        read_checkpoint(tmp_path / "run.pt", torch.device("cpu"))


def test_a_full_disk_leaves_the_checkpoint_before_it(tmp_path):
    """A limit on the size of files stands in for a full disk: the write fails half way."""
    path, limit = tmp_path / "run.pt", resource.getrlimit(resource.RLIMIT_FSIZE)
    write_checkpoint(path, {"training": {}, "weights": torch.zeros(10)})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(OSError, match=r"could not write the checkpoint .*run\.pt .* the one before it is whole"):
            write_checkpoint(path, {"training": {}, "weights": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]
    assert len(read_checkpoint(path, torch.device("cpu"))["weights"]) == 10


def test_an_interrupted_write_leaves_the_checkpoint_before_it(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    write_checkpoint(path, {"training": {}, "weights": torch.zeros(10)})

    def interrupted(state, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(path, {"training": {}})
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]
    assert len(read_checkpoint(path, torch.device("cpu"))["weights"]) == 10
