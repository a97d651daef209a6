from types import SimpleNamespace

import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.rnn import RNNRegularizer
from torch import nn

from tlcourse.training import ActivationRegularisation, Stage, fit, gradual_unfreezing, schedules
from tlcourse.training.callbacks import MixedPrecision


class Watch(Callback):
    """Notes the learning rates and what is trainable before every training step."""

    order, run_valid = 99, False

    def __init__(self):
        self.rates, self.trainable = [], []

    def before_backward(self):
        self.rates.append([hyper["lr"] for hyper in self.opt.hypers])
        self.trainable.append([all(p.requires_grad for p in group) for group in self.opt.param_lists])


def snapshot(learner):
    return [[parameter.detach().clone() for parameter in group] for group in learner.opt.param_lists]


def changed(before, after):
    pairs = [zip(*groups, strict=True) for groups in zip(before, after, strict=True)]
    return [any(not torch.equal(was, now) for was, now in pair) for pair in pairs]


def test_every_group_has_the_plans_rate_at_every_step(small):
    learner = small.classifier_learner(cbs=[watch := Watch()])
    small.train(learner)
    torch.testing.assert_close(torch.tensor(watch.rates), torch.tensor(learner.plan.rates).float())


def test_groups_join_from_the_top(small):
    learner = small.classifier_learner(cbs=[watch := Watch()])
    fit(learner, gradual_unfreezing(3, 4), lr=0.01)
    assert watch.trainable[::5] == [[False, False, True], [False, True, True], [True] * 3, [True] * 3]


def test_a_frozen_group_does_not_move(small):
    learner = small.classifier_learner()
    learner.create_opt()
    before = snapshot(learner)
    fit(learner, [Stage(1, 2)], lr=0.1)
    assert changed(before, snapshot(learner)) == [False, False, True]


class Remember(Callback):
    """Keeps the weights after the first epoch."""

    def after_epoch(self):
        if self.epoch == 0:
            self.seen = snapshot(self.learn)


def step_counts(learner):
    return [[learner.opt.state[p].get("step") for p in group] for group in learner.opt.param_lists]


def test_a_group_frozen_again_stays_as_it_is(small):
    learner = small.classifier_learner(weight_decay=0.1, cbs=[remember := Remember()])
    fit(learner, [Stage(3, 1), Stage(1, 1)], lr=0.1)
    assert changed(remember.seen, snapshot(learner)) == [False, False, True]
    assert step_counts(learner) == [[5], [5] * 4, [10] * 4]


def test_momentum_goes_on_across_stages(small):
    learner = small.classifier_learner()
    fit(learner, [Stage(1, 1), Stage(2, 1)], lr=0.01)
    assert step_counts(learner) == [[None], [5] * 4, [10] * 4]


def test_normalisation_below_the_trainable_groups_keeps_its_statistics(small):
    class Deep(small.Classifier):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(6)

        def layer_groups(self):
            return [[*self.embedding.parameters(), *self.norm.parameters()], self.lstm, self.head]

        def forward(self, token_ids):
            embedded = self.norm(self.embedding(token_ids).transpose(1, 2)).transpose(1, 2)  # (B, T, D)
            return self.head(self.lstm(embedded)[0].mean(1))

    learner = small.classifier_learner()
    learner.model = model = Deep()
    learner.splitter = lambda model: [
        list(group) if isinstance(group, list) else list(group.parameters()) for group in model.layer_groups()
    ]
    fit(learner, [Stage(1, 1)], lr=0.01)
    assert torch.equal(model.norm.running_mean, torch.zeros(6))
    assert not torch.equal(model.head[0].running_mean, torch.zeros(6))
    fit(learner, [Stage(3, 1)], lr=0.01)
    assert not torch.equal(model.norm.running_mean, torch.zeros(6))


def test_the_hidden_state_is_dropped_around_every_epoch_and_validation(small):
    learner = small.language_model_learner()
    resets = []
    original = learner.model.reset
    learner.model.reset = lambda: (resets.append(learner.model.training), original())
    fit(learner, 2, lr=0.01)
    epoch = [True, False, False]  # before training, before validation, after it
    assert resets[-7:] == [*epoch, *epoch, False]
    assert learner.model.state is None


def test_activation_regularisation_is_fastais(small):
    model = small.language_model_learner().model.train()
    x = next(iter(small.language_model_learner().dls.train))[0]
    model(x)

    def penalty(callback):
        rnn = SimpleNamespace(out=model.dropped_output, raw_out=model.raw_output)
        callback.learn = SimpleNamespace(training=True, loss_grad=torch.zeros(()), model=model, rnn=rnn)
        callback.after_loss()
        return callback.learn.loss_grad

    theirs = penalty(RNNRegularizer(alpha=2, beta=1))
    torch.testing.assert_close(penalty(ActivationRegularisation(alpha=2, beta=1)), theirs)
    by_hand = 2 * model.dropped_output.pow(2).mean() + model.raw_output.diff(dim=1).pow(2).mean()
    torch.testing.assert_close(theirs, by_hand)


def test_the_reported_loss_is_without_the_penalty(small):
    rows = [
        fit(small.language_model_learner(cbs=cbs), 1, lr=1e-12, schedule=schedules.constant()).iloc[0]
        for cbs in ([], [ActivationRegularisation(alpha=100.0, beta=100.0)])
    ]
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_computes_in_its_dtype_and_keeps_float32_weights(small, dtype):
    learner = small.classifier_learner(model=small.BagOfWords, dtype=dtype)
    history = fit(learner, 2, lr=0.01)
    assert learner.model.computed_in == dtype
    assert {parameter.dtype for parameter in learner.model.parameters()} == {torch.float32}
    assert learner.scaler.is_enabled() == (dtype == torch.float16)
    assert history["train_loss"].notna().all()


def test_an_interrupted_batch_does_not_leave_the_process_in_autocast(small):
    class Interrupted(small.BagOfWords):
        def forward(self, token_ids):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(small.classifier_learner(model=Interrupted, dtype=torch.bfloat16), 1, lr=0.01)
    assert not torch.is_autocast_enabled("cpu")


def test_float32_adds_no_mixed_precision(small):
    assert not any(isinstance(cb, MixedPrecision) for cb in small.classifier_learner().cbs)
