import torch
from torch import nn

from tlcourse.training import FusedAdamW


def test_the_optimiser_is_adamw_that_decays_no_vectors():
    def layers():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))

    ours, theirs = layers(), layers()
    groups = [list(ours[:2].parameters()), list(ours[2].parameters())]
    adam = FusedAdamW(groups, lr=1e-2)
    adam.set_hypers(wd=0.5)
    adam.set_hyper("lr", [1e-2, 3e-2])
    assert [len(group) for group in adam.param_lists] == [4, 2]
    want = torch.optim.AdamW(
        [
            {"params": [theirs[0].weight], "lr": 1e-2, "weight_decay": 0.5},
            {"params": [theirs[0].bias, *theirs[1].parameters()], "lr": 1e-2, "weight_decay": 0.0},
            {"params": [theirs[2].weight], "lr": 3e-2, "weight_decay": 0.5},
            {"params": [theirs[2].bias], "lr": 3e-2, "weight_decay": 0.0},
        ],
        eps=1e-6,
    )
    for model, optimiser in ((ours, adam), (theirs, want)):
        for _ in range(3):
            optimiser.zero_grad()
            model(torch.ones(3, 4)).square().sum().backward()
            optimiser.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)
