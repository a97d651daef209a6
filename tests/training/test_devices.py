"""Several processes: what they sum. Here one process stands for all; two are started where a model is pretrained."""

import pytest
import torch
import torch.distributed
from torch import nn

from tlcourse.training.devices import join_processes, sum_gradients, sum_over_processes


def test_alone_there_is_nothing_to_join_or_to_sum(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_processes() == (0, 1)
    assert sum_over_processes([1.5, 2.0]) == [1.5, 2.0]


def test_every_gradient_is_summed_and_an_unused_one_is_zero(monkeypatch):
    """As with two processes whose gradients are alike."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.mul_(2))
    used, unused = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(4))
    (used * torch.arange(6.0).view(2, 3)).sum().backward()
    sum_gradients([used, unused])
    assert used.grad.tolist() == [[0, 2, 4], [6, 8, 10]]
    assert unused.grad.tolist() == [0] * 4


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="no gloo")
def test_figures_of_a_group_of_one(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        assert sum_over_processes([1.5, 2.0]) == [1.5, 2.0]
    finally:
        torch.distributed.destroy_process_group()
