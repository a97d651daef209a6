import math

import numpy as np
import pytest
import torch
from fastai.learner import Learner
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score

from tlcourse.text import PAD
from tlcourse.training import Perplexity, accuracy, cross_entropy, fit, macro_f1, perplexity, schedules

quick = settings(deadline=None, max_examples=50)


def test_cross_entropy_of_documents_and_of_tokens():
    logits, targets = torch.randn(4, 5, 7), torch.randint(7, (4, 5))
    by_hand = -logits.log_softmax(-1)[torch.arange(4)[:, None], torch.arange(5), targets]  # (B, T)
    torch.testing.assert_close(cross_entropy(logits, targets), by_hand.mean())
    torch.testing.assert_close(cross_entropy(logits[:, 0], targets[:, 0]), by_hand[:, 0].mean())


def test_macro_f1_counts_a_rare_class_as_much_as_a_common_one():
    targets, predicted = np.array([0] * 8 + [1, 1]), np.array([0] * 10)
    assert accuracy(targets, predicted) == 0.8
    assert macro_f1(targets, predicted) == pytest.approx((2 * 8 / (8 + 10) + 0) / 2)


@quick
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1))
def test_accuracy_is_the_micro_averaged_f1(pairs):
    targets, predicted = np.array(pairs).T
    assert accuracy(targets, predicted) == pytest.approx(f1_score(targets, predicted, average="micro"))


def test_perplexity():
    assert perplexity(math.log(50)) == pytest.approx(50)
    assert perplexity(1e6) == math.inf


def evaluate(learner: Learner):
    """Every target of the validation set, its logits and its losses, without fastai."""
    learner.model.eval()
    logits, targets = [], []
    if hasattr(learner.model, "reset"):
        learner.model.reset()
    with torch.no_grad():
        for x, y in learner.dls.valid:
            logits.append(learner.model(x).flatten(0, -2))
            targets.append(y.flatten())
    return torch.cat(logits), torch.cat(targets)


def test_figures_of_a_classifier_are_over_the_whole_set(small):
    """The last batch is smaller, and neither F1 nor balanced accuracy is the mean of its values by batch."""
    learner = small.classifier_learner(metrics=(accuracy, macro_f1, balanced_accuracy_score))
    row = fit(learner, 2, lr=0.01).iloc[-1]
    logits, targets = evaluate(learner)
    predicted = logits.argmax(-1)
    assert {len(y) for _, y in learner.dls.valid} == {4, 3}
    assert row["valid_loss"] == pytest.approx(cross_entropy(logits, targets).item(), abs=1e-6)
    assert row["accuracy"] == pytest.approx((predicted == targets).float().mean().item())
    assert row["macro_f1"] == pytest.approx(f1_score(targets, predicted, average="macro", zero_division=0))
    assert row["balanced_accuracy_score"] == pytest.approx(balanced_accuracy_score(targets, predicted))


def test_loss_of_a_language_model_is_a_mean_over_tokens(small):
    learner = small.language_model_learner(metrics=(Perplexity, accuracy))
    row = fit(learner, 1, lr=0.01).iloc[-1]
    logits, targets = evaluate(learner)
    expected = cross_entropy(logits, targets).item()
    assert len({y.shape for _, y in learner.dls.valid}) == 2  # where a mean over rows would be another number
    assert row["valid_loss"] == pytest.approx(expected, abs=1e-6)
    assert row["perplexity"] == pytest.approx(math.exp(expected), rel=1e-5)
    assert row["accuracy"] == pytest.approx((logits.argmax(-1) == targets).float().mean().item())


def test_train_loss_is_a_mean_over_the_epoch(small):
    learner = small.language_model_learner()
    row = fit(learner, 1, lr=1e-12, schedule=schedules.constant()).iloc[-1]
    losses, sizes = learner.recorder.losses, [y.numel() for _, y in learner.dls.train]
    assert len(losses) == len(sizes) == 5
    assert row["train_loss"] == pytest.approx(math.log(small.WORDS), rel=0.15)


def test_padding_is_no_target(small):
    assert all((y != PAD).all() for _, y in small.language_model_learner().dls.valid)
