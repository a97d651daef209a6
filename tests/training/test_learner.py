import math

import fastai.callback.schedule  # noqa: F401 (gives Learner its fit_one_cycle)
import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from torch import nn

from tlcourse.text import ClassificationBatches
from tlcourse.training import (
    Perplexity,
    Stage,
    accuracy,
    cross_entropy,
    discriminative_rates,
    fit,
    gradual_unfreezing,
    make_learner,
    predict,
    schedules,
)
from tlcourse.training.learner import ULMFIT_ADAM


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_a_plan_by_hand_ends_with_the_same_weights(small):
    """The whole of fit against a plain loop with torch's AdamW: stages, rates, clipping, dropout, order."""
    learner = small.classifier_learner(weight_decay=0.0, grad_clip=0.5)
    fit(learner, gradual_unfreezing(3, 4), lr=0.05)

    by_hand = small.classifier_learner()
    model, batches = by_hand.model.train(), by_hand.dls.train
    peaks = discriminative_rates(0.05, 3)
    groups = [{"params": list(module.parameters())} for module in model.layer_groups()]
    optimiser = torch.optim.AdamW(groups, betas=(0.7, 0.99), eps=1e-5, weight_decay=0.0)
    schedule = schedules.slanted_triangular()
    for trainable, epochs in [(1, 1), (2, 1), (3, 2)]:
        for number, group in enumerate(optimiser.param_groups):
            for parameter in group["params"]:
                parameter.requires_grad_(number >= 3 - trainable)
        t, T = 0, epochs * len(batches)
        for _ in range(epochs):
            for x, y in batches:
                for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                    group["lr"] = peak * schedule(t, T)
                optimiser.zero_grad()
                cross_entropy(model(x), y).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimiser.step()
                t += 1
    torch.testing.assert_close(weights(learner.model), weights(model), atol=1e-6, rtol=0)


def test_one_cycle_ends_with_the_weights_of_fastais_fit_one_cycle(small):
    ours = small.classifier_learner(weight_decay=0.01, grad_clip=None)
    fit(ours, 3, lr=0.02, factor=1, schedule=schedules.one_cycle())

    same = small.classifier_learner()
    theirs = Learner(
        DataLoaders(same.dls.train, same.dls.valid),
        same.model,
        loss_func=nn.functional.cross_entropy,
        opt_func=ULMFIT_ADAM,
        wd=0.01,
        default_cbs=False,
        cbs=[cb for cb in same.cbs if type(cb).__name__ in ("TrainEvalCallback", "Recorder")],
    )
    with theirs.no_logging():
        theirs.fit_one_cycle(3, 0.02, moms=(0.7, 0.7, 0.7))  # the momentum stays where it is
    torch.testing.assert_close(weights(ours.model), weights(theirs.model), atol=1e-6, rtol=0)


def test_the_history_is_a_tidy_frame(small):
    learner = small.classifier_learner()
    history = fit(learner, [Stage(1, 1), Stage(3, 2, scale=0.5)], lr=0.01, schedule=schedules.constant())
    assert list(history) == [*("epoch", "stage", "trainable", "train_loss", "valid_loss", "accuracy", "macro_f1", "lr")]
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["stage"].tolist() == [1, 2, 2]
    assert history["trainable"].tolist() == [1, 3, 3]
    assert history["lr"].tolist() == [0.01, 0.005, 0.005]
    assert learner.history is history
    assert learner.plan.rates.shape == (15, 3)


def test_training_learns(small):
    """The class of a document is its first word."""
    docs = small.documents(200)
    labels = [doc[0] % small.CLASSES for doc in docs]
    torch.manual_seed(0)
    model = nn.Sequential(First(), nn.Embedding(small.WORDS, 8), nn.Linear(8, small.CLASSES))
    learner = make_learner(
        model,
        ClassificationBatches(docs, labels, batch_size=20, shuffle=True),
        ClassificationBatches(docs, labels, batch_size=20),
        metrics=[accuracy],
        device="cpu",
    )
    assert fit(learner, 5, lr=0.05)["accuracy"].iloc[-1] == 1


class First(nn.Module):
    """The first word of each document, (B, T) to (B,)."""

    def forward(self, token_ids):
        return token_ids[:, 0]


def test_the_same_seed_trains_to_the_same_weights(small):
    runs = []
    for _ in range(2):
        learner = small.language_model_learner()
        small.train(learner)
        runs.append(weights(learner.model))
    assert torch.equal(*runs)


def test_a_model_without_layer_groups_is_one_group(small):
    batches = small.classifier_learner().dls
    learner = make_learner(nn.Sequential(First(), nn.Embedding(20, 3)), batches.train, device="cpu")
    fit(learner, 1, lr=0.1)
    assert learner.plan.n_groups == 1


def test_without_validation_batches_the_figures_are_missing(small):
    batches = small.classifier_learner().dls
    learner = make_learner(small.Classifier(), batches.train, metrics=[accuracy, Perplexity], device="cpu")
    row = fit(learner, 1, lr=0.01).iloc[0]
    assert math.isfinite(row["train_loss"])
    assert row[["valid_loss", "accuracy", "perplexity"]].isna().all()


def test_without_training_batches_there_is_nothing_to_fit(small):
    learner = make_learner(small.Classifier(), [], device="cpu")
    with pytest.raises(ValueError, match="no training batch"):
        fit(learner, 1, lr=0.01)


def test_a_stage_beyond_the_model_is_refused(small):
    with pytest.raises(ValueError, match="more than the model's 3 layer groups"):
        fit(small.classifier_learner(), gradual_unfreezing(4, 4), lr=0.01)


def test_the_profile_says_where_and_in_what(small, monkeypatch):
    monkeypatch.setenv("TLCOURSE_PROFILE", "smoke")
    batches = small.classifier_learner().dls
    learner = make_learner(small.Classifier(), batches.train)
    assert learner.dls.device == torch.device("cpu")
    assert not hasattr(learner, "mixed_precision")


def test_callbacks_of_the_plan_do_not_outlive_it(small):
    learner = small.classifier_learner()
    before = list(learner.cbs)
    fit(learner, 1, lr=0.01)
    assert list(learner.cbs) == before


def word_model(small):
    """A classifier that looks at one word, so that padding cannot matter."""
    torch.manual_seed(0)
    return nn.Sequential(First(), nn.Dropout(0.0), nn.Embedding(small.WORDS, small.CLASSES))


@pytest.mark.parametrize("shuffle", [False, True])
def test_predictions_are_in_the_order_of_the_documents(small, shuffle):
    docs, model = small.documents(11), word_model(small)
    batches = ClassificationBatches(docs, small.classes(docs), batch_size=4, shuffle=shuffle)
    expected = model[-1].weight[[doc[0] for doc in docs]].softmax(-1).detach().numpy()
    for _ in range(2):  # the second time it is another epoch and, shuffled, another order
        np.testing.assert_allclose(predict(model, batches), expected, rtol=1e-6)


def test_predict_takes_a_learner_and_any_iterable_and_leaves_the_mode(small):
    learner = small.classifier_learner()
    learner.model.train()
    rows = predict(learner, list(learner.dls.valid))
    assert rows.shape == (7, small.CLASSES)
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-5)
    assert learner.model.training
    np.testing.assert_array_equal(rows, predict(learner.model, list(learner.dls.valid)))


def test_predict_that_fails_leaves_the_mode(small):
    model = small.Classifier().train()
    with pytest.raises(IndexError):
        predict(model, [(torch.full((2, 3), small.WORDS), torch.zeros(2))])
    assert model.training


@pytest.mark.parametrize("every", [0, -1, "step", 1.5])
def test_every_is_a_number_of_steps(small, tmp_path, every):
    with pytest.raises(ValueError, match="every is"):
        fit(small.classifier_learner(), 1, lr=0.01, checkpoint=tmp_path / "run.pt", every=every)


def test_an_interrupted_training_leaves_its_history(small):
    class Interrupt(Callback):
        def before_epoch(self):
            if self.epoch == 2:
                raise KeyboardInterrupt

    learner = small.classifier_learner(cbs=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        fit(learner, 4, lr=0.01)
    assert learner.history["epoch"].tolist() == [1, 2]
