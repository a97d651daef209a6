"""Dropout that draws fewer numbers drops as many."""

import pytest
import torch
from scipy.stats import binom
from torch import nn

from tlcourse.training.dropout import Dropout, draw_less


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_dropout_drops_its_share_and_keeps_the_mean(share):
    x = torch.full((1000, 1001), 2.0, requires_grad=True)
    dropout = Dropout(share)
    torch.manual_seed(3)
    dropped = dropout(x)
    low, high = binom.interval(1 - 1e-6, x.numel(), share)
    assert low <= (dropped == 0).sum() <= high
    kept = dropped[dropped > 0]
    assert torch.allclose(kept, torch.tensor(2 / (1 - share) if share < 1 else 0.0), rtol=1e-4)
    dropped.sum().backward()
    assert torch.equal(x.grad, dropped.detach() / 2)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), dropped)
    assert share in (0, 1) or not torch.equal(dropout(x), dropped)
    assert torch.equal(dropout.eval()(x), x)


def test_all_dropout_of_a_model_is_replaced_and_no_other_kind():
    model = draw_less(nn.Sequential(nn.Dropout(0.2), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.3)), nn.Dropout1d()))
    assert [type(module) for module in (model[0], model[1][1], model[2])] == [Dropout, Dropout, nn.Dropout1d]
    assert (model[0].p, model[1][1].p) == (0.2, 0.3)
