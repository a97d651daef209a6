"""What ``fit`` adds to fastai's training loop, one callback a concern.

fastai calls each callback at named moments; ``order`` says who goes first. :class:`fastai.learner.Recorder`
(50) is done before :class:`KeepHistory` reads it.
"""

from __future__ import annotations

from contextlib import ExitStack

import torch
from fastai.callback.core import Callback
from fastai.callback.fp16 import AMPMode
from fastai.callback.fp16 import MixedPrecision as FastaiMixedPrecision
from fastai.learner import Recorder
from torch import nn
from torch.amp import GradScaler

from tlcourse.training.groups import Plan


class ResetHiddenState(Callback):
    """A recurrent model starts each epoch, each validation and its later use without memory of tokens before.

    After a validation, too: a checkpoint between two epochs holds no state of the validation's text.
    """

    def before_train(self) -> None:
        if hasattr(self.model, "reset"):
            self.model.reset()

    before_validate = after_validate = after_fit = before_train


class FollowPlan(Callback):
    """Freeze the groups of the stage, and set every group's learning rate before every batch.

    A resumed training has ``done`` steps behind it; fastai walks through their epochs without
    training: meanwhile ``learner.passed_over`` is true.
    """

    order, run_valid = 0, False

    def __init__(self, plan: Plan, *, done: int = 0) -> None:
        self.plan, self.done = plan, done

    def before_fit(self) -> None:
        self.learn.train_iter = self.done
        self.stage = None

    def before_epoch(self) -> None:
        self.learn.passed_over = self.epoch < self.done // self.plan.steps_per_epoch
        stage = self.plan.stages[self.plan.stage_number(self.epoch)]
        if stage is not self.stage:
            self.stage = stage
            freeze_below(self.opt, stage.trainable)

    def before_train(self) -> None:
        self.learn.pct_train = self.train_iter / len(self.plan.rates)
        for module in self.model.modules():
            if is_frozen_norm(module):
                module.eval()

    def before_batch(self) -> None:
        self.opt.set_hyper("lr", self.plan.rates[self.train_iter].tolist())


def freeze_below(opt, trainable: int) -> None:
    """Let the top ``trainable`` groups of a fastai optimiser learn and freeze the rest.

    fastai keeps the gradient of a parameter that learned before as zeros, and the optimiser would go on with its
    moments: without a gradient it passes the parameter by.
    """
    opt.freeze_to(len(opt.param_lists) - trainable)
    for group in opt.param_lists:
        for parameter in group:
            if not parameter.requires_grad:
                parameter.grad = None


def is_frozen_norm(module: nn.Module) -> bool:
    """Whether a module has running statistics that must not move, since no parameter of it learns."""
    parameters = list(module.parameters(recurse=False))
    return (
        getattr(module, "running_mean", None) is not None
        and bool(parameters)
        and not any(parameter.requires_grad for parameter in parameters)
    )


class KeepHistory(Callback):
    """A row an epoch: losses over every target of the epoch, metrics, the head's peak rate."""

    order = Recorder.order + 1

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rows: list[dict[str, float]] = []
        self.loss_sum, self.targets = 0.0, 0

    def after_batch(self) -> None:
        if self.training:
            targets = self.yb[0].numel()
            self.loss_sum += self.learn.loss.item() * targets
            self.targets += targets

    def after_epoch(self) -> None:
        if self.passed_over:
            return
        number = self.plan.stage_number(self.epoch)
        row = {"epoch": self.epoch + 1, "stage": number + 1, "trainable": self.plan.stages[number].trainable}
        figures = map(float, self.recorder.final_record)
        row |= zip(self.recorder.metric_names[1:], figures, strict=True)
        row["train_loss"] = self.loss_sum / self.targets  # fastai's is a running mean
        row["lr"] = float(self.plan.epoch_rates(self.epoch)[:, -1].max())
        self.rows.append(row)
        self.loss_sum, self.targets = 0.0, 0


class ActivationRegularisation(Callback):
    """AR and TAR: activations small, and slow to change in time (Merity et al. 2017, section 4.6).

    Adds ``alpha * mean(m * h_t)^2`` and ``beta * mean(h_t - h_{t+1})^2`` to the loss that is minimised, not
    to the one reported. The model keeps the last layer's outputs of its last call as ``dropped_output``
    (after dropout, ``m * h``) and ``raw_output`` (before), each of shape (batch, time, dim).
    """

    run_valid = False

    def __init__(self, *, alpha: float = 2.0, beta: float = 1.0) -> None:
        self.alpha, self.beta = alpha, beta

    def after_loss(self) -> None:
        dropped, raw = self.model.dropped_output.float(), self.model.raw_output.float()  # (B, T, D)
        self.learn.loss_grad = self.loss_grad + self.alpha * dropped.pow(2).mean()
        if raw.shape[1] > 1:
            self.learn.loss_grad = self.loss_grad + self.beta * (raw[:, 1:] - raw[:, :-1]).pow(2).mean()


class MixedPrecision(FastaiMixedPrecision):
    """fastai's mixed precision on any device, where theirs is for CUDA alone.

    The forward pass and the loss run under autocast; float16 scales the loss so that small gradients survive.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(AMPMode.FP16 if dtype == torch.float16 else AMPMode.BF16)
        self.dtype = dtype
        self.open = ExitStack()

    def before_fit(self) -> None:
        self.device_type = next(self.model.parameters()).device.type
        self.learn.scaler = GradScaler(self.device_type, enabled=self.dtype == torch.float16)
        self.scales = []

    def before_batch(self) -> None:
        self.open.enter_context(torch.autocast(self.device_type, self.dtype))

    def after_loss(self) -> None:
        self.close()

    def after_fit(self) -> None:
        self.close()

    def close(self) -> None:
        """Leave autocast; also after an interrupted batch, or the whole process would stay in it."""
        self.open.close()
