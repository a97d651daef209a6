"""Checkpoints: a training that was cut off goes on and ends with the same weights, bit for bit.

For that a checkpoint holds everything the next step depends on: weights, the optimiser's moments, the step,
every random generator (dropout draws from them), the batches' position, a recurrent model's hidden state, and
the loss scale of float16. It also holds a description of the training, so that it is not continued by another
one.
"""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.learner import Learner

from tlcourse.training.callbacks import KeepHistory
from tlcourse.training.groups import Plan

BATCH_SETTINGS = ("batch_size", "bptt", "max_tokens", "shuffle", "seed", "backwards")


class SaveCheckpoints(Callback):
    """Write a checkpoint after every epoch, and after every ``every`` steps.

    A step that ends an epoch is saved after its validation, together with the epoch.
    """

    order = 100  # after all that a step or an epoch changes

    def __init__(
        self,
        learner: Learner,
        path: Path,
        *,
        every: int | Literal["epoch"],
        plan: Plan,
        history: KeepHistory,
    ) -> None:
        self.path, self.every, self.plan, self.kept = path, every, plan, history
        self.description = describe(learner, plan)
        self.resumed: dict[str, Any] | None = None

    def resume(self, learner: Learner) -> int:
        """Bring the learner to where the checkpoint was written.

        Returns:
            The number of steps done.

        Raises:
            ValueError: the file is damaged, or belongs to another model, plan or data.
        """
        device = next(learner.model.parameters()).device
        self.resumed = read_checkpoint(self.path, device)
        differences = list(differing(self.resumed["training"], self.description))
        if differences:
            raise ValueError(
                f"the checkpoint {self.path} belongs to another training: {'; '.join(differences)}. "
                "Choose another file, delete this one, or pass resume=False to start over and replace it."
            )
        learner.model.load_state_dict(self.resumed["model"])
        learner.opt.load_state_dict(self.resumed["optimiser"])
        for batches, state in zip(learner.dls, self.resumed["batches"], strict=True):
            if state is not None:
                batches.load_state_dict(state)
        self.kept.rows, self.kept.loss_sum, self.kept.targets = self.resumed["history"]
        set_random_state(self.resumed["random"])
        return self.resumed["done"]

    def before_train(self) -> None:
        """Restore, before the first step, what setting up a training may have overwritten since."""
        if self.resumed is None:
            return
        if self.resumed["hidden_state"] is not None:
            self.model.state = self.resumed["hidden_state"]
        scaler = getattr(self.learn, "scaler", None)
        if scaler and self.resumed["loss_scale"]:
            scaler.load_state_dict(self.resumed["loss_scale"])
        set_random_state(self.resumed["random"])
        self.resumed = None

    def after_batch(self) -> None:
        if not self.training or self.every == "epoch":
            return
        ends_epoch = self.train_iter % self.plan.steps_per_epoch == 0
        if self.train_iter % self.every == 0 and not ends_epoch:
            self.save()

    def after_epoch(self) -> None:
        if not self.passed_over:
            self.save()

    def save(self) -> None:
        scaler = getattr(self.learn, "scaler", None)
        write_checkpoint(
            self.path,
            {
                "training": self.description,
                "done": self.train_iter,
                "model": self.model.state_dict(),
                "optimiser": plain(self.opt.state_dict()),
                "batches": [batches_state(batches) for batches in self.dls],
                "hidden_state": getattr(self.model, "state", None),
                "loss_scale": scaler.state_dict() if scaler else None,
                "random": random_state(),
                "history": [self.kept.rows, self.kept.loss_sum, self.kept.targets],
            },
        )


def batches_state(batches: Any) -> dict[str, int] | None:
    return batches.state_dict() if hasattr(batches, "state_dict") else None


def plain(value: Any) -> Any:
    """The same value in dicts, lists and tuples of Python's own: what ``weights_only`` loading admits."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (str, bytes, torch.Tensor)) or not hasattr(value, "__iter__"):
        return value.item() if isinstance(value, np.generic) else value
    return [plain(item) for item in value]


def describe(learner: Learner, plan: Plan) -> dict[str, Any]:
    """What must agree between a checkpoint and the training that continues it."""
    hypers = {name: value for name, value in learner.opt.hypers[0].items() if name not in ("lr", "wd")}
    callbacks = {cb.name: cb.settings for cb in learner.cbs if hasattr(cb, "settings")}
    return ({"callbacks": callbacks} if callbacks else {}) | {
        "stages": [[stage.trainable, stage.epochs, stage.scale] for stage in plan.stages],
        "steps an epoch": plan.steps_per_epoch,
        "learning rates": hashlib.sha256(plan.rates.tobytes()).hexdigest()[:16],
        "optimiser": plain(hypers | {"wd": learner.wd}),
        "batches": [describe_batches(batches) for batches in learner.dls],
        "model": {name: list(tensor.shape) for name, tensor in learner.model.state_dict().items()},
    }


def describe_batches(batches: Any) -> dict[str, Any]:
    """The settings of batches and a digest of their first, to tell other data by."""
    description = {name: getattr(batches, name) for name in BATCH_SETTINGS if hasattr(batches, name)}
    if hasattr(batches, "load_state_dict"):
        from_start = copy.copy(batches)  # the position of the batches themselves stays as it is
        from_start.load_state_dict({"epoch": 0, "step": 0})
        x, y = next(iter(from_start))
        digest = hashlib.sha256(x.cpu().numpy().tobytes() + y.cpu().numpy().tobytes())
        description["first batch"] = digest.hexdigest()[:16]
    return description


def differing(there: dict[str, Any], here: dict[str, Any]):
    """A phrase for each point in which two descriptions differ."""
    for name in here:
        if there.get(name) == here[name]:
            continue
        if name != "model":
            yield f"{name} are {there.get(name)} in the file and {here[name]} here"
            continue
        for tensor in sorted(there["model"].keys() | here["model"].keys()):
            was, now = there["model"].get(tensor, "absent"), here["model"].get(tensor, "absent")
            if was != now:
                yield f"the model's {tensor} is {was} in the file and {now} here"


def random_state() -> dict[str, Any]:
    """The state of every random generator a training draws from."""
    version, words, gauss = random.getstate()
    name, keys, *rest = np.random.get_state()
    state = {
        "python": (version, words, gauss),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *plain(rest)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    for device, generator in zip(range(torch.cuda.device_count()), state["cuda"], strict=False):
        torch.cuda.set_rng_state(generator.cpu(), device)
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"].cpu())


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside the file, then take its place at once: there is always one whole checkpoint.

    Raises:
        OSError: it could not be written, a full disk for one; the checkpoint before it is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:  # torch wraps what the file raises
        free = shutil.disk_usage(path.parent).free / 2**20
        kept = "the one before it is whole and will be resumed" if path.exists() else "there is none yet"
        raise OSError(
            f"could not write the checkpoint {path} ({free:,.0f} MiB are free there); {kept}. "
            "Make room or choose another folder, then run again."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint, its tensors on ``device``; nothing in the file is executed.

    Raises:
        ValueError: the file is damaged or something else.
    """
    with path.open("rb") as file:
        try:
            state = torch.load(file, map_location=device, weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError, OSError) as error:
            raise ValueError(not_a_checkpoint(path)) from error
    if not isinstance(state, dict) or "training" not in state:
        raise ValueError(not_a_checkpoint(path))
    return state


def not_a_checkpoint(path: Path) -> str:
    return f"{path} is damaged or no checkpoint of a training: delete it, or pass resume=False to replace it"
