"""The mix of layers, by hand and by AllenNLP's formula written out."""

from itertools import combinations

import numpy as np
import pytest
import torch

from tlcourse.elmo.mix import ScalarMix

LAYERS = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0))  # of 2 sentences of 4 words
MASK = torch.tensor([[True] * 4, [True, True, False, False]])


def test_by_hand():
    mix = ScalarMix(2, initial=[0.0, np.log(3.0)])  # shares 1/4 and 3/4
    mix.gamma.data.fill_(2.0)
    mixed = mix([torch.tensor([[4.0, 8.0]]), torch.tensor([[0.0, 4.0]])])
    assert mixed.tolist() == [pytest.approx([2.0, 10.0])]
    assert mix.weights().tolist() == pytest.approx([0.25, 0.75])


def test_all_alike_at_first_and_stacked_layers_are_layers():
    mix = ScalarMix(3)
    assert torch.allclose(mix(LAYERS), LAYERS.mean(0), atol=1e-6)
    assert mix(list(LAYERS)).equal(mix(LAYERS))


@pytest.mark.parametrize("masked", [True, False])
def test_layer_norm_is_that_of_allennlp(masked):
    mix = ScalarMix(3, layer_norm=True, initial=[0.3, -1.0, 2.0])
    mix.gamma.data.fill_(0.7)
    layers = LAYERS * torch.tensor([1.0, 5.0, 0.1])[:, None, None, None] + 3
    mask = MASK.numpy()[..., None].astype(float) if masked else np.ones((2, 4, 1))
    shares = np.exp([0.3, -1.0, 2.0]) / np.exp([0.3, -1.0, 2.0]).sum()
    expected = 0
    for share, layer in zip(shares, layers.double().numpy(), strict=True):
        count = mask.sum() * layer.shape[-1]
        mean = (layer * mask).sum() / count
        variance = (((layer * mask - mean) * mask) ** 2).sum() / count
        expected = expected + share * (layer - mean) / np.sqrt(variance + 1e-12)
    mixed = mix(layers, MASK if masked else None)
    np.testing.assert_allclose(mixed.detach().numpy(), 0.7 * expected, atol=1e-5)


def test_layer_norm_does_not_see_padding():
    mix = ScalarMix(3, layer_norm=True)
    other = LAYERS.masked_fill(~MASK[..., None], 1e6)
    torch.testing.assert_close(mix(LAYERS, MASK)[MASK], mix(other, MASK)[MASK])


def test_dropout_leaves_layers_out_in_training_only():
    torch.manual_seed(0)
    mix = ScalarMix(3, dropout=0.5, initial=[0.0, 1.0, 2.0])
    one_hot = torch.eye(3)  # mixing these shows the shares
    seen = {tuple(round(share, 4) for share in mix(one_hot).tolist()) for _ in range(300)}
    kept = [layers for n in (1, 2, 3) for layers in combinations(range(3), n)]
    weights = [[np.exp(layer) if layer in layers else 0 for layer in range(3)] for layers in kept]
    weights += [[1, 1, 1]]  # with all left out
    assert seen == {tuple(round(float(w) / sum(row), 4) for w in row) for row in weights}
    mix.eval()
    assert mix(one_hot).equal(mix.weights())


def test_how_often_a_layer_is_left_out():
    torch.manual_seed(0)
    mix = ScalarMix(2, dropout=0.25)
    first = torch.tensor([[1.0], [0.0]])
    shares = torch.stack([mix(first).detach() for _ in range(4000)])
    assert (shares == 0).float().mean() == pytest.approx(0.25 * 0.75, abs=0.02)  # it, and not the other


def test_gradients_reach_the_weights_and_the_layers():
    mix = ScalarMix(3, layer_norm=True)
    layers = LAYERS.clone().requires_grad_()
    (mix(layers, MASK) * torch.arange(5)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in [mix.gamma, mix.scalars, layers])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ScalarMix(0), "n_layers=0"),
        (lambda: ScalarMix(2, dropout=1.0), "dropout=1.0"),
        (lambda: ScalarMix(2, initial=[1.0]), "initial has 1 weights for 2 layers"),
        (lambda: ScalarMix(2)(LAYERS), "3 layers were given to a mix of 2"),
    ],
)
def test_what_does_not_fit(make, says):
    with pytest.raises(ValueError, match=says):
        make()
