"""What is copied is equal, what is frozen stays, what is new is new."""

import numpy as np
import pytest
import torch
from torch import nn

from tlcourse.transferability.grid import Recipe, Task, train
from tlcourse.transferability.networks import KINDS, Architecture, Network, build
from tlcourse.transferability.surgery import random_frozen, transplant

N = 4
GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(0, 3, 60)
DOCS = [GENERATOR.integers(4 + 8 * label, 12 + 8 * label, GENERATOR.integers(2, 9)) for label in LABELS]
TASK = Task(DOCS, LABELS, DOCS[:20], LABELS[:20], ("a", "b", "c"), 30)
RECIPE = Recipe(epochs=1, batch_size=16, lr=0.01)


@pytest.fixture(scope="module", params=KINDS)
def base(request) -> Network:
    architecture = Architecture(kind=request.param, layers=N, dim=16)
    network = build(architecture, vocab_size=30, n_classes=3, seed=0)
    train(network, TASK, RECIPE, seed=0)
    return network


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers, as they are now."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def drawn(module: nn.Module) -> list[torch.Tensor]:
    """The matrices: what does not begin at 0 or 1."""
    return [p for p in module.parameters() if p.ndim > 1]


@pytest.mark.parametrize("n", [0, 2, N])
@pytest.mark.parametrize("freeze", [True, False])
class TestTransplant:
    def test_the_first_layers_are_equal_bit_for_bit(self, base, n, freeze):
        new = transplant(base, n=n, freeze=freeze, seed=1, n_classes=3)
        assert same(weights(new.layers[:n]), weights(base.layers[:n]))

    def test_the_others_and_the_head_are_new(self, base, n, freeze):
        one, other, begun_alike = (transplant(base, n=n, freeze=freeze, seed=s, n_classes=3) for s in (1, 2, 0))
        fresh = build(base.architecture, vocab_size=30, n_classes=3, seed=0)  # what the base began with
        for part in ("layers", "head"):
            upper = [
                getattr(m, part)[n:] if part == "layers" else m.head for m in (one, other, begun_alike, base, fresh)
            ]
            for some in zip(*map(drawn, upper), strict=True):
                assert not any(torch.equal(some[i], some[j]) for i in range(5) for j in range(i))

    def test_the_seed_decides_them(self, base, n, freeze):
        one, again = (transplant(base, n=n, freeze=freeze, seed=[3, 1], n_classes=3) for _ in range(2))
        assert same(weights(one), weights(again))

    @pytest.mark.parametrize("once", [True, False])
    def test_training_leaves_what_is_frozen_and_nothing_else(self, base, n, freeze, once):
        before = weights(base)
        new = transplant(base, n=n, freeze=freeze, seed=1, n_classes=3)
        begun = weights(new)
        train(new, TASK, RECIPE, seed=1, once=once)
        for name, value in new.state_dict().items():
            frozen = freeze and name.startswith("layers") and int(name.split(".")[1]) < n
            if "self_attn.in_proj_bias" not in name:  # that of the keys has no gradient
                assert torch.equal(value, begun[name]) == frozen, name
        assert same(weights(base), before)

    def test_the_head_suits_the_new_task(self, base, n, freeze):
        new = transplant(base, n=n, freeze=freeze, seed=1, n_classes=5)
        assert new(torch.from_numpy(DOCS[0])[None]).shape == (1, 5)


class TestFrozen:
    def test_in_training_frozen_layers_evaluate(self, base):
        new = transplant(base, n=2, freeze=True, seed=1, n_classes=3).eval().train()
        modes = [{module.training for module in layer.modules()} for layer in new.layers]
        assert modes == [{False}, {False}, {True}, {True}]
        assert {p.requires_grad for p in new.layers[:2].parameters()} == {False}
        assert {p.requires_grad for p in new.layers[2:].parameters()} == {True}

    def test_batch_norm_keeps_the_statistics_of_the_source(self):
        base = build(Architecture(kind="plain CNN", layers=N, dim=16), vocab_size=30, n_classes=3, seed=0)
        train(base, TASK, RECIPE, seed=0)
        for freeze in (True, False):
            new = transplant(base, n=2, freeze=freeze, seed=1, n_classes=3)
            new.train()(torch.from_numpy(np.stack([DOCS[0][:2], DOCS[1][:2]])))
            kept = torch.equal(new.layers[1].norm.running_mean, base.layers[1].norm.running_mean)
            assert kept == freeze


class TestRandomFrozen:
    def test_random_layers_stay_as_they_are(self, base):
        for n in (0, 2, N):
            new = random_frozen(base, n=n, seed=1, n_classes=3)
            begun = weights(new.layers[:n])
            train(new, TASK, RECIPE, seed=1)
            assert same(weights(new.layers[:n]), begun)

    def test_they_are_not_the_bases(self, base):
        new = random_frozen(base, n=N, seed=0, n_classes=3)
        for one, other in zip(drawn(new.layers), drawn(base.layers), strict=True):
            assert not torch.equal(one, other)

    def test_above_them_it_begins_as_a_transplant_of_that_seed(self, base):
        one = random_frozen(base, n=2, seed=1, n_classes=3)
        other = transplant(base, n=2, freeze=True, seed=1, n_classes=3)
        assert same(weights(one.layers[2:]), weights(other.layers[2:]))


@pytest.mark.parametrize("n", [-1, N + 1])
def test_depths_that_are_not_there(base, n):
    for operate in (lambda **k: transplant(base, freeze=True, **k), lambda **k: random_frozen(base, **k)):
        with pytest.raises(ValueError, match=f"n={n}: the network has {N} layers"):
            operate(n=n, seed=0, n_classes=3)
