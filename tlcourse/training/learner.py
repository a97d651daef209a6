"""Training: fastai's ``Learner`` around a model, and one call that trains a whole plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback, TrainEvalCallback
from fastai.callback.training import GradientClip
from fastai.data.core import DataLoaders
from fastai.learner import CastToTensor, Learner, Metric, Recorder
from fastai.optimizer import Adam
from torch import nn

from tlcourse import profile
from tlcourse.training.callbacks import FollowPlan, KeepHistory, MixedPrecision, ResetHiddenState
from tlcourse.training.checkpoint import SaveCheckpoints
from tlcourse.training.groups import Direction, Plan, Stage, parameter_groups
from tlcourse.training.metrics import ClassMetric, MeanLoss, WholeSetMetric, cross_entropy
from tlcourse.training.progress import ShowProgress, Silence, find_display
from tlcourse.training.schedules import Schedule, slanted_triangular

ULMFIT_ADAM = partial(Adam, mom=0.7, sqr_mom=0.99)  # beta_1 and beta_2 of Howard & Ruder 2018, section 4.1


class Batches(DataLoaders):
    """fastai's pair of loaders, for plain iterables of (x, y): adds the device that they are wanted on."""

    def __init__(self, train: Iterable, valid: Iterable, *, device: torch.device) -> None:
        super().__init__(train, valid)
        self._device = device


def make_learner(
    model: nn.Module,
    train_batches: Iterable,
    valid_batches: Iterable = (),
    *,
    loss=cross_entropy,
    metrics: Sequence[ClassMetric | Metric | type[Metric]] = (),
    layer_groups: Iterable[nn.Module | Iterable[nn.Parameter]] | None = None,
    grad_clip: float | None = None,
    weight_decay: float = 0.01,
    cbs: Sequence[Callback] = (),
    opt=ULMFIT_ADAM,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    path: str | Path | None = None,
) -> Learner:
    """A fastai Learner for a model and its batches, ready for :func:`fit`.

    Args:
        model: takes x and returns logits, ``(batch, classes)`` or ``(batch, time, classes)``.
        train_batches: has a length and yields (x, y), tensors of whole numbers.
        valid_batches: the same, or nothing to go without validation.
        loss: ``loss(logits, y)``, a mean over the targets.
        metrics: functions ``metric(targets, predicted) -> float`` over the whole validation set, such as
            ``accuracy`` and ``macro_f1`` or scikit-learn's, or fastai metrics such as ``Perplexity``.
        layer_groups: modules or lists of parameters, nearest the input first; by default
            ``model.layer_groups()``, or the whole model as one group.
        grad_clip: the largest norm of the gradient; None does not clip.
        weight_decay: decoupled from the gradient (AdamW); as fastai has it, norms and the ``bias`` of a layer
            are left out.
        cbs: more fastai callbacks, such as ``ActivationRegularisation``.
        opt: a fastai optimiser function.
        device: where to train; the profile's by default.
        dtype: what the forward pass computes in (autocast); the profile's by default, float32 for none. An
            LSTM in half precision needs a GPU, or a CPU with AVX-512.
        path: where fastai saves what ``learner.save`` writes.

    Raises:
        ValueError: the layer groups leave out a parameter or hold one twice.
    """
    here = profile.current()
    device = torch.device(device or here.device)
    dtype = dtype or here.dtype
    if layer_groups is None:
        layer_groups = model.layer_groups() if hasattr(model, "layer_groups") else [model]
    groups = parameter_groups(model, layer_groups)

    recorder = Recorder(add_time=False)
    recorder.loss = MeanLoss()
    callbacks = [TrainEvalCallback(), recorder, CastToTensor(), ResetHiddenState(), *cbs]
    if dtype != torch.float32:
        callbacks.append(MixedPrecision(dtype))
    if grad_clip is not None:
        callbacks.append(GradientClip(grad_clip))
    return Learner(
        Batches(train_batches, valid_batches, device=device),
        model.to(device),
        loss_func=loss,
        opt_func=opt,
        splitter=lambda model: groups,
        metrics=[metric if is_fastai_metric(metric) else WholeSetMetric(metric) for metric in metrics],
        cbs=callbacks,
        wd=weight_decay,
        train_bn=False,  # a frozen group is frozen, its normalisation too
        default_cbs=False,  # fastai's set grows with what else was imported
        path=path,
    )


def is_fastai_metric(metric: ClassMetric | Metric | type[Metric]) -> bool:
    return isinstance(metric, Metric) or (isinstance(metric, type) and issubclass(metric, Metric))


def fit(
    learner: Learner,
    stages: Sequence[Stage] | int,
    *,
    lr: float,
    schedule: Schedule | None = None,
    factor: float = 2.6,
    direction: Direction = "lower-slower",
    schedule_per: Literal["stage", "plan"] = "stage",
    checkpoint: str | Path | None = None,
    every: int | Literal["epoch"] = "epoch",
    resume: bool = True,
    progress: bool = True,
) -> pd.DataFrame:
    """Train a whole plan in one call.

    The optimiser is new at the start and goes on through all stages: a group that keeps learning keeps its
    momentum, and one that joins in starts without.

    Args:
        learner: from :func:`make_learner`.
        stages: which groups learn for how long, such as ``gradual_unfreezing(5, 8)``; or a number of epochs
            for which all groups learn.
        lr: the peak learning rate of the fastest group.
        schedule: moves all rates together; slanted triangular by default.
        factor: the ratio of neighbouring groups' rates; 1 gives all the same.
        direction: which end of the model learns slower.
        schedule_per: one cycle of the schedule for each ``"stage"``, or one for the whole ``"plan"``.
        checkpoint: a file that keeps the training's state. If it is there, the training goes on from it and
            ends with the weights that an uninterrupted one would have had; if it holds a finished one, that
            is loaded.
        every: write the checkpoint after each ``"epoch"``, or also after every so many steps.
        resume: False starts over and replaces the checkpoint.
        progress: False shows nothing while training.

    Returns:
        A row an epoch: epoch, stage, trainable (groups), train_loss and valid_loss (means over all targets),
        each metric by its name, and lr, the head's highest rate. Also kept as ``learner.history``, even of a
        training that was interrupted; the plan, with every group's rate at every step, as ``learner.plan``.

    Raises:
        ValueError: the plan does not suit the model, there is nothing to train on, or the checkpoint is
            damaged or belongs to another training.
        OSError: the checkpoint cannot be written.
    """
    if every != "epoch" and (not isinstance(every, int) or every < 1):
        raise ValueError(f'every is "epoch" or a number of steps, at least 1, not {every!r}')
    learner.create_opt()
    plan = Plan.build(
        stages,
        n_groups=len(learner.opt.param_lists),
        steps_per_epoch=len(learner.dls.train),
        lr=lr,
        schedule=schedule or slanted_triangular(),
        factor=factor,
        direction=direction,
        schedule_per=schedule_per,
    )
    history, display = KeepHistory(plan), find_display() if progress else Silence()
    done, callbacks = 0, [history]
    if checkpoint is not None:
        saving = SaveCheckpoints(learner, Path(checkpoint), every=every, plan=plan, history=history)
        callbacks.append(saving)
        if resume and saving.path.exists():
            done = saving.resume(learner)
            display.keep(f"resumed from {checkpoint}: {done:,} of {len(plan.rates):,} steps are done")
    try:
        if done < len(plan.rates):
            callbacks += [FollowPlan(plan, done=done), ShowProgress(plan, history, display, done=done)]
            with learner.no_logging():
                learner.fit(plan.epochs, start_epoch=done // plan.steps_per_epoch, cbs=callbacks)
    finally:
        display.close()
        if hasattr(learner, "mixed_precision"):
            learner.mixed_precision.close()
        learner.plan, learner.history = plan, pd.DataFrame(history.rows)
    return learner.history


@torch.no_grad()
def predict(model: nn.Module | Learner, batches: Iterable, *, device: torch.device | str | None = None) -> np.ndarray:
    """Class probabilities of every document.

    Args:
        model: a classifier or the learner that trained it.
        batches: yields (x, y), such as ``ClassificationBatches``.
        device: where to compute; by default where the model is.

    Returns:
        Probabilities, shape ``(documents, classes)``, in the order of the documents and not of the batches.
    """
    model = model.model if isinstance(model, Learner) else model
    device = device or next(model.parameters()).device
    was_training = model.training
    model.to(device).eval()
    if hasattr(model, "reset"):
        model.reset()
    indices = batches.indices(batches.state_dict()["epoch"]) if hasattr(batches, "indices") else None
    try:
        rows = [model(x.to(device)).float().softmax(-1).cpu() for x, _ in batches]
    finally:
        model.train(was_training)
    served = torch.cat(rows).numpy()  # (N, C)
    if indices is None:
        return served
    probabilities = np.empty_like(served)
    probabilities[np.concatenate(indices)] = served
    return probabilities
