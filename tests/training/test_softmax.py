"""The four softmaxes against torch's own, and the sampled one against what sampling promises."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tlcourse.training import softmax as softmaxes
from tlcourse.training.softmax import (
    AdaptiveSoftmax,
    ChunkedSoftmax,
    FullSoftmax,
    SampledSoftmax,
    inclusion_probabilities,
    linear_cross_entropy,
)

N, V, D = 50, 120, 8
COUNTS = torch.arange(V, 0, -1) ** 2
CUTOFFS = [20, 60]


def problem(n=N, seed=0):
    """(hidden, targets, weight, bias): frequent words are frequent targets."""
    random = torch.Generator().manual_seed(seed)
    hidden, weight, bias = (torch.randn(*shape, generator=random) for shape in ((n, D), (V, D), (V,)))
    targets = (torch.rand(n, generator=random) ** 3 * V).long()
    return hidden.requires_grad_(), targets, weight.requires_grad_(), bias.requires_grad_()


def loss_and_gradients(softmax, given):
    loss = softmax(*given)
    return [loss.detach(), *torch.autograd.grad(loss, [given[0], given[2], given[3]])]


def cross_entropy(hidden, targets, weight, bias):
    return F.cross_entropy(F.linear(hidden, weight, bias), targets)


def make(kind, *, samples=30):
    torch.manual_seed(1)
    return {
        "full": FullSoftmax,
        "chunked": ChunkedSoftmax,
        "sampled": lambda: SampledSoftmax(COUNTS, samples=samples),
        "adaptive": lambda: AdaptiveSoftmax(D, CUTOFFS, V),
    }[kind]()


KINDS = ("full", "chunked", "sampled", "adaptive")


# ------------------------------------------------------------------------------------------------- exact ones
@pytest.mark.parametrize("chunk", [7, 50, 1024])
def test_chunks_give_the_loss_and_the_gradients_of_cross_entropy(monkeypatch, chunk):
    monkeypatch.setattr(softmaxes, "CHUNK", chunk)
    given = problem()
    torch.testing.assert_close(
        loss_and_gradients(ChunkedSoftmax(), given), loss_and_gradients(cross_entropy, given), atol=1e-5, rtol=1e-5
    )


def test_a_gradient_from_above_passes_through_the_chunks():
    given = problem()
    ours = loss_and_gradients(lambda *given: 3 * linear_cross_entropy(*given) ** 2, given)
    theirs = loss_and_gradients(lambda *given: 3 * cross_entropy(*given) ** 2, given)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_chunks_compute_no_gradient_that_nobody_wants(monkeypatch):
    """A validation costs one product a chunk, not three."""
    given, softmaxed = problem(), []
    monkeypatch.setattr(torch.Tensor, "softmax", lambda *args: softmaxed.append(args))
    with torch.no_grad():
        linear_cross_entropy(*given)
    assert softmaxed == []


@pytest.mark.parametrize("kind", ["full", "chunked", "sampled"])
def test_in_evaluation_each_is_exact_over_all_words(monkeypatch, kind):
    monkeypatch.setattr(softmaxes, "CHUNK", 16)
    given = problem()
    torch.testing.assert_close(make(kind).eval()(*given), cross_entropy(*given))


@pytest.mark.parametrize("kind", ["full", "chunked"])
def test_in_training_these_two_are_exact(kind):
    given = problem()
    torch.testing.assert_close(make(kind)(*given), cross_entropy(*given))


# --------------------------------------------------------------------------------------------------- sampled
def estimates(softmax, given, n):
    """n estimates of the sum over the vocabulary, from the loss of a single token."""
    hidden, targets, weight, bias = (tensor.detach() for tensor in given)
    logit = F.linear(hidden, weight, bias)[0, targets[0]]
    with torch.no_grad():
        return torch.stack([(softmax(hidden, targets, weight, bias) + logit).exp() for _ in range(n)])


@pytest.mark.parametrize("samples", [10, 40])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_estimated_sum_is_unbiased(samples, seed):
    given, softmax, n = problem(1, seed), make("sampled", samples=samples), 1500
    found = estimates(softmax, given, n)
    exact = F.linear(given[0], given[2], given[3]).exp().sum()
    error = found.std() / n**0.5
    assert error < 0.1 * exact  # the test can tell
    assert abs(found.mean() - exact) < 4 * error


def test_more_samples_vary_less():
    given = problem(1)
    spread = [estimates(make("sampled", samples=samples), given, 300).std() for samples in (10, 30, 100)]
    assert spread[0] > spread[1] > spread[2]


def test_words_are_drawn_as_often_as_their_probability_says():
    softmax, draws = make("sampled"), 4000
    found = torch.zeros(V)
    for _ in range(draws):
        found[softmax.draw()] += 1
    p = softmax.log_inclusion.exp().clamp(max=1)
    bound = 5 * (p * (1 - p) / draws).sqrt() + 1e-6
    assert ((found / draws - p).abs() <= bound).all()
    assert p[0] > p[-1] > 0


@given(
    counts=st.lists(st.integers(0, 10**9), min_size=1, max_size=60),
    samples=st.integers(1, 80),
    power=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_sample_has_its_size_and_no_word_twice(counts, samples, power):
    softmax = SampledSoftmax(counts, samples=samples, power=power)
    for _ in range(3):
        drawn = softmax.draw()
        assert len(drawn) == min(samples, len(counts))
        assert (drawn.diff() > 0).all()
        assert drawn[0] >= 0 and drawn[-1] < len(counts)


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=60), st.data())
def test_inclusion_probabilities_add_up_and_follow_the_sizes(sizes, data):
    samples = data.draw(st.integers(1, len(sizes)))
    sizes = torch.tensor(sizes, dtype=torch.float64)
    p = inclusion_probabilities(sizes, samples)
    assert p.sum().item() == pytest.approx(samples)
    assert (p > 0).all() and (p <= 1).all()
    below = p < 1
    share = (p / sizes)[below]
    assert not below.any() or share.max().item() == pytest.approx(share.min().item())


@pytest.mark.parametrize("samples", [V, V + 1, 10 * V])
def test_a_sample_of_all_words_is_the_full_softmax(samples):
    given = problem()
    softmax = make("sampled", samples=samples)
    torch.testing.assert_close(loss_and_gradients(softmax, given), loss_and_gradients(cross_entropy, given))


def test_a_step_touches_the_words_of_the_batch_and_of_the_sample_alone(monkeypatch):
    given, softmax = problem(), make("sampled", samples=10)
    drawn = softmax.draw()
    monkeypatch.setattr(softmax, "draw", lambda: drawn)
    _, _, weight, bias = loss_and_gradients(softmax, given)
    touched = set(drawn.tolist()) | set(given[1].tolist())
    assert {*weight.abs().sum(1).nonzero().flatten().tolist()} == touched
    assert {*bias.nonzero().flatten().tolist()} == touched


@pytest.mark.parametrize("seed", range(3))
def test_words_of_the_batch_count_once_and_in_full(monkeypatch, seed):
    """By hand: exp(z) of the batch's words, exp(z) / p of the sampled others."""
    given, softmax = problem(seed=seed), make("sampled", samples=20)
    drawn = softmax.draw()
    monkeypatch.setattr(softmax, "draw", lambda: drawn)
    logits = F.linear(given[0], given[2], given[3]).double()
    p = inclusion_probabilities(COUNTS.double() ** 0.5, 20)
    own = set(given[1].tolist())
    total = sum(logits[:, w].exp() for w in own)
    total = total + sum(logits[:, w].exp() / p[w] for w in drawn.tolist() if w not in own)
    expected = (total.log() - logits[torch.arange(N), given[1]]).mean()
    torch.testing.assert_close(softmax(*given).double(), expected, atol=1e-5, rtol=1e-5)


# -------------------------------------------------------------------------------------------------- adaptive
@pytest.mark.parametrize("cutoffs", [[20], [20, 60], [1, 2, 119]])
def test_adaptive_probabilities_sum_to_one_and_give_the_loss(monkeypatch, cutoffs):
    monkeypatch.setattr(softmaxes, "CHUNK", 16)
    hidden, targets, weight, bias = given = problem()
    softmax = AdaptiveSoftmax(D, cutoffs, V)
    log_p = softmax.log_probabilities(hidden, weight, bias)  # (N, V)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(N))
    for mode in (softmax.train(), softmax.eval()):
        torch.testing.assert_close(mode(*given), F.nll_loss(log_p, targets))


def test_adaptive_agrees_with_torch():
    """torch's tails have a projection and no bias: the identity, and none here."""
    hidden, targets, weight, bias = problem()
    bias = torch.cat([bias[: CUTOFFS[0]].detach(), torch.zeros(V - CUTOFFS[0])])
    ours = AdaptiveSoftmax(D, CUTOFFS, V)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(D, V, CUTOFFS, div_value=1.0, head_bias=True)
    with torch.no_grad():
        theirs.head.weight.copy_(torch.cat([weight[: CUTOFFS[0]], ours.cluster_weight]))
        theirs.head.bias.copy_(torch.cat([bias[: CUTOFFS[0]], ours.cluster_bias]))
        for (projection, words), low, high in zip(theirs.tail, CUTOFFS, [*CUTOFFS[1:], V], strict=True):
            projection.weight.copy_(torch.eye(D))
            words.weight.copy_(weight[low:high])
    torch.testing.assert_close(ours.log_probabilities(hidden, weight, bias), theirs.log_prob(hidden))
    losses = ours(hidden, targets, weight, bias), theirs(hidden, targets).loss
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, hidden)[0] for loss in losses))


def test_adaptive_gradients_are_those_of_its_probabilities(monkeypatch):
    monkeypatch.setattr(softmaxes, "CHUNK", 16)
    given = problem()
    softmax = make("adaptive")
    in_training = [*loss_and_gradients(softmax.train(), given)]
    in_evaluation = [*loss_and_gradients(softmax.eval(), given)]  # in chunks
    torch.testing.assert_close(in_training, in_evaluation, atol=1e-5, rtol=1e-4)
    softmax.train()(*given).backward()
    assert softmax.cluster_weight.grad.abs().sum() > 0


# ------------------------------------------------------------------------------------------- half precision
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden_dtype", [torch.float32, torch.bfloat16])
def test_bfloat16_is_close_and_its_gradients_are_float32(kind, hidden_dtype):
    given = problem()
    softmax = make(kind, samples=V)  # no sampling noise
    exact = loss_and_gradients(softmax, given)
    given = given[0].detach().to(hidden_dtype).requires_grad_(), *given[1:]
    with torch.autocast("cpu", torch.bfloat16):
        loss = softmax(*given)
    found = [loss.detach(), *torch.autograd.grad(loss, [given[0], given[2], given[3]])]
    assert [t.dtype for t in found] == [torch.float32, hidden_dtype, torch.float32, torch.float32]
    torch.testing.assert_close(found[0], exact[0], rtol=0.01, atol=0)
    for ours, reference in zip(found[1:], exact[1:], strict=True):
        assert F.cosine_similarity(ours.float().flatten(), reference.flatten(), dim=0) > 0.999


# --------------------------------------------------------------------------------------------------- learning
@pytest.mark.parametrize("kind", KINDS)
def test_training_with_each_comes_to_the_same_distribution(kind):
    """One context, all words free: the bias learns the words' frequencies, down to their entropy."""
    p = torch.softmax(torch.linspace(3, -3, V), 0)
    entropy = -(p * p.log()).sum()
    words = torch.multinomial(p, 4000, replacement=True, generator=torch.Generator().manual_seed(0))
    softmax = make(kind)
    weight, bias = torch.zeros(V, D), torch.zeros(V, requires_grad=True)
    optimiser = torch.optim.Adam([bias, *softmax.parameters()], lr=0.1)
    for step in range(100):
        batch = words[torch.arange(200) + step * 200 % 4000]
        optimiser.zero_grad()
        softmax(torch.ones(200, D), batch, weight, bias).backward()
        optimiser.step()
    targets = torch.multinomial(p, 20_000, replacement=True, generator=torch.Generator().manual_seed(1))
    learned = softmax.eval()(torch.ones(20_000, D), targets, weight, bias)
    assert learned < entropy + 0.08


# -------------------------------------------------------------------------------------------------- bad input
def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="samples=0 must be at least 1"):
        SampledSoftmax(COUNTS, samples=0)
    for cutoffs in ([], [0], [V], [30, 30], [60, 20], [20, V + 5]):
        with pytest.raises(ValueError, match="must ascend between 1 and the vocabulary's 120 words"):
            AdaptiveSoftmax(D, cutoffs, V)


def test_words_that_never_occurred_can_be_drawn():
    softmax = SampledSoftmax(np.array([1000, *[0] * 9]), samples=3)
    assert (softmax.log_inclusion > -10).all()
    torch.manual_seed(0)
    assert {*torch.cat([softmax.draw() for _ in range(200)]).tolist()} == {*range(10)}
