"""The four networks: padding changes nothing, seeds decide, frozen layers are run once; and the likeness of layers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ortho_group

from tlcourse.text import PAD
from tlcourse.transferability.networks import KINDS, Architecture, Network, build, by_text, cka, likeness, remember

VOCAB = 50
GENERATOR = np.random.default_rng(0)
DOCS = [GENERATOR.integers(2, VOCAB, length) for length in (9, 1, 4, 7, 7, 3, 2, 12)]


def network(kind: str, *, seed: int = 0, **sizes) -> Network:
    return build(Architecture(kind=kind, **{"layers": 4, "dim": 16} | sizes), vocab_size=VOCAB, n_classes=3, seed=seed)


def padded(docs: list[np.ndarray], *, more: int = 0) -> torch.Tensor:
    x = np.full((len(docs), max(map(len, docs)) + more), PAD)
    for row, doc in zip(x, docs, strict=True):
        row[: len(doc)] = doc
    return torch.from_numpy(x)


def settle(one: Network) -> Network:
    """Give batch norm some statistics of its own."""
    one.train()
    for _ in range(3):
        one(padded(DOCS))
    return one.eval()


@pytest.mark.parametrize("kind", KINDS)
class TestNetworks:
    def test_shapes(self, kind):
        one, x = network(kind), padded(DOCS)
        assert [tuple(states.shape) for states in one.states(x)] == [(8, 12, 16)] * len(one.layers) == [(8, 12, 16)] * 4
        assert one(x).shape == (8, 3)

    @pytest.mark.parametrize("training", [True, False])
    def test_padding_changes_nothing(self, kind, training):
        one = settle(network(kind, dropout=0.0)).train(training)
        before = one(padded(DOCS))
        torch.testing.assert_close(one(padded(DOCS, more=5)), before, atol=1e-5, rtol=1e-5)

    def test_a_text_alone_scores_as_among_others(self, kind):
        one = settle(network(kind))
        together = one(padded(DOCS))
        for doc, scores in zip(DOCS, together, strict=True):
            torch.testing.assert_close(one(padded([doc]))[0], scores, atol=1e-5, rtol=1e-5)

    def test_states_are_zero_where_padded(self, kind):
        x = padded(DOCS)
        for states in network(kind).states(x):
            assert (states[x == PAD] == 0).all()
            assert (states[x != PAD] != 0).any(1).all()

    def test_order_of_words_matters(self, kind):
        one = settle(network(kind))
        assert not torch.allclose(one(padded([DOCS[0]])), one(padded([DOCS[0][::-1].copy()])), atol=1e-4)

    def test_the_seed_decides(self, kind):
        a, again, other = network(kind), network(kind), network(kind, seed=1)
        for name, weights in a.named_parameters():
            assert torch.equal(weights, again.get_parameter(name))
        drawn = [name for name, weights in a.named_parameters() if weights.unique().numel() > 1]
        assert {name.split(".")[1] for name in drawn if name.startswith("layers")} == set("0123")
        assert not any(torch.equal(a.get_parameter(name), other.get_parameter(name)) for name in drawn)

    def test_building_leaves_the_generator_alone(self, kind):
        torch.manual_seed(3)
        before = torch.random.get_rng_state()
        network(kind)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_every_weight_gets_a_gradient(self, kind):
        one = network(kind)
        one(padded(DOCS)).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in one.parameters())


class TestArchitecture:
    def test_residual_and_plain_differ_in_what_is_added(self):
        plain, residual = settle(network("plain CNN")), settle(network("residual CNN"))
        residual.load_state_dict(plain.state_dict())
        x = padded(DOCS)
        first, second = (one.states(x)[:2] for one in (plain, residual))
        torch.testing.assert_close(second[1], first[0] + first[1])

    @pytest.mark.parametrize("width", [1, 2, 5])
    def test_a_convolution_is_torchs(self, width):
        one = network("plain CNN", width=width).eval()
        block, x = one.layers[1], padded([DOCS[0], DOCS[3]])
        states = one.states(x)
        weight = block.convolve.weight.view(16, width, 16).transpose(1, 2)  # (out, in, width)
        left = (width - 1) // 2
        within = torch.nn.functional.pad(states[0].transpose(1, 2), (left, width - 1 - left))
        found = torch.nn.functional.conv1d(within, weight, block.convolve.bias).transpose(1, 2)
        mask = x != PAD
        torch.testing.assert_close(states[1][mask], block.norm(found[mask]).relu())

    def test_batch_norm_knows_words_alone(self):
        statistics = []
        for more in (0, 30):
            one = network("plain CNN", dropout=0.0).train()
            one(padded(DOCS, more=more))
            statistics.append([one.layers[1].norm.running_mean, one.layers[1].norm.running_var])
        torch.testing.assert_close(*statistics)
        assert not torch.allclose(statistics[0][0], torch.zeros(16))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"kind": "perceptron"}, "'perceptron' is none of plain CNN"),
            ({"kind": "LSTM", "layers": 1}, "layers=1"),
            ({"kind": "transformer", "dim": 20}, "dim=20 is no multiple of twice 4 heads"),
        ],
    )
    def test_what_cannot_be_is_refused(self, settings, message):
        with pytest.raises(ValueError, match=message):
            Architecture(**settings)

    def test_one_class_is_refused(self):
        with pytest.raises(ValueError, match="n_classes=1"):
            build(Architecture(kind="LSTM"), vocab_size=9, n_classes=1, seed=0)


@pytest.mark.parametrize("kind", KINDS)
class TestRemember:
    def test_scores_loss_and_gradients_are_the_same(self, kind):
        for n in (1, 3, 4):
            one = settle(network(kind)).freeze(n).train()
            rest, (docs,) = remember(one, DOCS)
            results = []
            for model, x in ((one, padded(DOCS)), (rest, padded(docs))):
                torch.manual_seed(0)
                one.zero_grad()
                scores = model.train()(x)
                scores.square().sum().backward()
                results.append([scores, *(p.grad for p in one.parameters() if p.grad is not None)])
            assert len(results[0]) == len(results[1]) > 1
            for direct, remembered in zip(*results, strict=True):
                torch.testing.assert_close(remembered, direct, atol=1e-5, rtol=1e-4)

    def test_states_are_those_of_the_layers(self, kind):
        one = settle(network(kind)).freeze(2)
        rest, (first, second) = remember(one, DOCS[:3], DOCS[3:])
        assert [len(doc) for doc in first + second] == [len(doc) for doc in DOCS]
        for doc, rows in zip(DOCS, first + second, strict=True):
            states = rest.layers[0](torch.from_numpy(rows)[None], None)[0]
            torch.testing.assert_close(states, one.states(padded([doc]))[1][0], atol=1e-5, rtol=1e-5)

    def test_above_the_cut_the_layers_are_shared(self, kind):
        one = network(kind).freeze(2)
        rest, _ = remember(one, DOCS)
        assert list(rest.layers[1:]) == list(one.layers[2:])
        assert rest.head is one.head
        assert {id(p) for p in rest.parameters()} == {id(p) for p in one.parameters() if p.requires_grad}


class TestByText:
    def test_whatever_the_mode_it_evaluates_and_leaves_it(self):
        one = settle(network("plain CNN")).train()
        before = {name: value.clone() for name, value in one.state_dict().items()}
        found = list(by_text(one, DOCS))
        assert one.training
        assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
        assert sorted(np.concatenate([places for places, _ in found])) == list(range(len(DOCS)))


class TestCka:
    X = np.random.default_rng(1).normal(size=(60, 5))

    def test_as_computed_by_hand(self):
        x, y = np.array([[0.0], [2.0], [4.0]]), np.array([[1.0, 0.0], [0.0, 0.0], [2.0, 3.0]])
        # centred: x = (-2, 0, 2); y = ((0, -1), (-1, -1), (1, 2)); y'x = (2, 6); x'x = 8; y'y = ((2, 3), (3, 6))
        assert cka(x, y) == pytest.approx((2**2 + 6**2) / (8 * np.sqrt(4 + 9 + 9 + 36)))

    @given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-50, 50))
    def test_turned_scaled_and_shifted_it_is_the_same(self, seed, scale, shift):
        turn = ortho_group.rvs(5, random_state=seed)
        assert cka(self.X, scale * self.X @ turn + shift) == pytest.approx(1)
        other = np.random.default_rng(seed).normal(size=(60, 3)) + self.X[:, :3]
        assert cka(self.X @ turn, other) == pytest.approx(cka(self.X, other))
        assert 0 <= cka(self.X, other) < 1

    def test_any_other_linear_map_is_not(self):
        assert cka(self.X, self.X * [1, 1, 1, 1, 30]) < 0.6

    def test_symmetric(self):
        other = self.X[:, :2] ** 2
        assert cka(self.X, other) == pytest.approx(cka(other, self.X))

    @pytest.mark.parametrize(
        ("x", "y", "message"),
        [
            (np.ones((3, 2)), np.ones((4, 2)), "not \\(N, D\\) and \\(N, E\\)"),
            (np.ones(3), np.ones(3), "not \\(N, D\\)"),
            (np.ones((3, 2)), np.eye(3), "the same features for all"),
        ],
    )
    def test_bad_features(self, x, y, message):
        with pytest.raises(ValueError, match=message):
            cka(x, y)

    def test_likeness_of_a_network_with_itself_and_with_another(self):
        one, other = settle(network("plain CNN")), settle(network("LSTM", layers=3, seed=2))
        own = likeness(one, one, DOCS)
        assert own.shape == (4, 4)
        assert np.diag(own) == pytest.approx(1)
        assert own == pytest.approx(own.T)
        assert likeness(one, other, DOCS).shape == (4, 3)
        assert likeness(one, other, DOCS).max() < 0.99
