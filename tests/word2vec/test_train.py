"""The training against autograd, against gensim and against the probabilities that it promises."""

from collections import Counter
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from gensim.models import Word2Vec as Gensim
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional as F

from tlcourse.word2vec.corpus import encode
from tlcourse.word2vec.subword import ngram_rows
from tlcourse.word2vec.train import (
    NegativeSampling,
    Training,
    WindowMask,
    Word2Vec,
    batches,
    descend,
    gradients,
    huffman,
    keep_probability,
    noise_distribution,
    total_loss,
    train,
)

CPU = torch.device("cpu")
TINY = [["ปลา", "กิน", "หญ้า"], ["แมว", "กิน", "ปลา", "แมว"], ["the", "cat"], ["cat"], ["ปลา", "the", "หญ้า", "cat", "กิน"]]


def tiny_recipe(**changes) -> Word2Vec:
    return Word2Vec(**{"dim": 4, "window": 2, "subsample": 0, "block": 3, "shared": 4, "batch": 999, **changes})


# ------------------------------------------------------------------------------------------------- the gradients
def test_gradients_are_those_of_autograd():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.double)

    hidden, outputs, yes, no = draw(2, 3, 4), draw(2, 5, 4), draw(2, 3, 2).abs(), draw(2, 3, 5).abs()
    both = no + F.pad(yes, (0, 3))
    hidden.requires_grad_(), outputs.requires_grad_()
    x = hidden @ outputs.transpose(1, 2)
    loss = -(F.pad(yes, (0, 3)) * F.logsigmoid(x)).sum() - (no * F.logsigmoid(-x)).sum()
    expected = torch.autograd.grad(loss, (hidden, outputs))
    scores, *found = gradients(hidden.detach(), outputs.detach(), yes, both)
    torch.testing.assert_close(found, list(expected))
    torch.testing.assert_close(total_loss(scores, yes, both), loss)


def reference(near, before, after, recipe, words, path_of, noise):
    """The objective written as the papers have it, a pair at a time, for autograd."""
    w, loss = recipe.window, 0.0
    for b in range(len(near)):
        for i in range(recipe.block):
            here = i + w
            span = range(here - int(before[b, i]), here + int(after[b, i]) + 1)
            around = [j for j in span if j != here]
            if recipe.model == "skipgram":
                tasks = [(words(near[b, here]), int(near[b, j])) for j in around]
            else:
                # the sum in place of the mean in the gradient: the C code gives each word the whole of it
                vectors = [words(near[b, j]) for j in around]
                tasks = []
                if vectors:
                    mean, total = sum(vectors) / len(vectors), sum(vectors)
                    tasks = [(mean.detach() + total - total.detach(), int(near[b, here]))]
            for hidden, target in tasks:
                if recipe.hierarchical:
                    loss = loss - sum(F.logsigmoid(node @ hidden * sign) for node, sign in path_of(target))
                else:
                    loss = loss - F.logsigmoid(noise.table[target] @ hidden)
                    share = recipe.negatives / recipe.shared
                    for other in noise.draws[b].tolist():
                        if other != target:
                            loss = loss - share * F.logsigmoid(-noise.table[other] @ hidden)
    return loss


@pytest.mark.parametrize("model", ["skipgram", "cbow"])
@pytest.mark.parametrize("hierarchical", [False, True])
@pytest.mark.parametrize("ngrams", [None, (2, 3)])
def test_a_step_goes_along_the_gradient_of_the_objective(model, hierarchical, ngrams):
    recipe = tiny_recipe(model=model, hierarchical=hierarchical, ngrams=ngrams, buckets=7)
    text = encode(TINY, min_count=1)
    training = Training(text, recipe, CPU)
    generator = torch.Generator().manual_seed(1)
    inputs = training.inputs.table = torch.randn(training.inputs.table.shape, generator=generator) / 4
    outputs = training.objective.table = torch.randn(training.objective.table.shape, generator=generator) / 4
    batch = next(batches(text, recipe, training.generator, CPU))
    draws = torch.randint(0, len(text.words), (len(batch[0]), recipe.shared), generator=generator)
    training.objective.draw = lambda blocks: draws

    a, b = inputs.clone().requires_grad_(), outputs.clone().requires_grad_()

    def words(i):
        if not ngrams:
            return a[i]
        word = text.words[i]
        parts = ngram_rows(word, min_n=2, max_n=3, buckets=7)
        used = training.inputs.used.tolist()
        rows = [used.index(row) for row in (i, *(len(text.words) + row for row in parts))]
        mean, total = a[rows].mean(0), a[rows].sum(0)
        return mean.detach() + total - total.detach()  # as above

    nodes, turns = huffman(text.counts)

    def path_of(target):
        return [(b[n], 1 - 2 * t) for n, t in zip(nodes[target], turns[target], strict=True) if n >= 0]

    loss = reference(*batch, recipe, words, path_of, SimpleNamespace(table=b, draws=draws))
    expected = torch.autograd.grad(loss, (a, b))
    lr = 0.02
    before = inputs.clone(), outputs.clone()
    mean_loss = training.step(*batch, lr, measure=True)
    changed = [(old - new) / lr for old, new in zip(before, (inputs, outputs), strict=True)]
    torch.testing.assert_close(changed, list(expected), atol=2e-5, rtol=1e-4)
    assert max(each.abs().max() for each in expected) > 0.1
    mask = training.mask(*batch[1:])
    predictions = mask.sum() if model == "skipgram" else (mask.sum(2) > 0).sum()
    torch.testing.assert_close(mean_loss * predictions, loss.detach())


def test_a_row_that_many_pairs_move_takes_no_longer_step_than_its_curvature_allows():
    table = torch.zeros(3, 2)
    rows, gradient = torch.tensor([1, 1, 2]), torch.ones(3, 2)
    descend(table, rows, gradient, torch.tensor([200.0, 200.0, 32.0]), lr=0.1)
    # row 1: 0.1 x 400 / 4 is ten times too long; row 2: 0.8 is not
    torch.testing.assert_close(table, torch.tensor([[0.0, 0.0], [-0.02, -0.02], [-0.1, -0.1]]))


@pytest.mark.parametrize("hierarchical", [False, True])
def test_large_batches_do_not_diverge(hierarchical):
    rng = np.random.default_rng(0)
    text = encode([[f"w{i}" for i in rng.zipf(1.3, 40).clip(max=30)] for _ in range(400)], min_count=1)
    recipe = Word2Vec(dim=8, batch=16_000, hierarchical=hierarchical, subsample=0, epochs=12, lr=0.1)
    trained = train(text, recipe, progress=False)
    # the words are drawn independently, so a Huffman tree that knows nothing is as good as can be
    assert max(trained.losses) < 1.05 * trained.losses[0]


# ------------------------------------------------------------------------------------------- windows and draws
@given(
    st.lists(st.lists(st.integers(0, 5), max_size=9), min_size=2, max_size=7).filter(
        lambda sentences: len({i for s in sentences for i in s}) > 1
    ),
    st.integers(1, 4),
    st.integers(1, 6),
)
def test_blocks_hold_the_pairs_within_the_window_and_no_others(sentences, window, block):
    text = encode([[f"w{i}" for i in sentence] for sentence in sentences], min_count=1)
    recipe = tiny_recipe(window=window, block=block, batch=2)
    found, expected = Counter(), Counter()
    mask = WindowMask(recipe, CPU)
    with patch.object(torch, "randint", lambda low, high, size, **_: torch.full(size, high - 1)):  # all look far
        for near, before, after in batches(text, recipe, torch.Generator().manual_seed(0), CPU):
            for b, i, j in mask(before, after).nonzero().tolist():
                found[near[b, i + window].item(), near[b, j].item()] += 1
    for start, end in zip(text.starts[:-1], text.starts[1:], strict=True):
        ids = text.ids[start:end].tolist()
        for i, centre in enumerate(ids):
            for j in range(max(0, i - window), min(len(ids), i + window + 1)):
                if j != i:
                    expected[centre, ids[j]] += 1
    assert found == expected


def test_words_look_as_far_as_every_distance_equally_often():
    text = encode([["a", "b"] * 6000], min_count=1)
    recipe = tiny_recipe(window=5, batch=100_000)
    _, before, after = next(batches(text, recipe, torch.Generator().manual_seed(0), CPU))
    reach = before.maximum(after).flatten()
    assert stats.chisquare(reach[reach > 0].bincount()[1:]).pvalue > 1e-3


def test_frequent_words_are_left_out_as_often_as_promised():
    words = ["the"] * 60_000 + ["cat"] * 3_000 + ["rare"] * 20
    text = encode([words], min_count=1)
    recipe = tiny_recipe(subsample=1e-3, batch=10**6)
    near, before, after = next(batches(text, recipe, torch.Generator().manual_seed(0), CPU))
    w = recipe.window
    kept = near[:, w:-w][before + after > 0].bincount(minlength=3)
    for n, total, p in zip(kept.tolist(), text.counts.tolist(), keep_probability(text.counts), strict=True):
        assert stats.binomtest(n, total, p).pvalue > 1e-3
    assert keep_probability(text.counts)[2] == 1


def test_keep_probability_is_the_c_codes():
    f, t = (
        np.array([0.9, 0.09, 0.01]),
        1e-3,
    )  # word2vec.c: (sqrt(count / (sample * total)) + 1) * sample * total / count
    expected = np.minimum((np.sqrt(f / t) + 1) * t / f, 1)
    np.testing.assert_allclose(keep_probability(f * 1e6, t), expected)


def test_noise_words_are_drawn_by_their_counts_to_the_power_of_three_quarters():
    text = encode([["a"] * 500 + ["b"] * 50 + ["c"] * 5 + ["d"]], min_count=1)
    draws = NegativeSampling(text, Word2Vec(shared=40), CPU, torch.Generator().manual_seed(0)).draw(2000)
    counts = draws.flatten().bincount(minlength=4).numpy()
    expected = np.array([500, 50, 5, 1]) ** 0.75
    np.testing.assert_allclose(noise_distribution(text.counts), expected / expected.sum())
    assert stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 1e-3


def test_each_pair_gets_five_noise_words_but_for_its_own_target():
    text = encode([["a"] * 50 + ["b"] * 20 + ["c"] * 10], min_count=1)
    recipe = Word2Vec(shared=64)
    sampling = NegativeSampling(text, recipe, CPU, torch.Generator().manual_seed(0))
    targets, weights = torch.tensor([[0, 1]]).expand(500, 2), torch.tensor([[[1.0, 2.0]]]).expand(500, 1, 2)
    rows, yes, both = sampling(targets, weights)
    assert torch.equal(rows[:, :2], targets) and torch.equal(yes, weights) and torch.equal(both[..., :2], weights)
    q = noise_distribution(text.counts)
    expected = 5 * (1 * (1 - q[0]) + 2 * (1 - q[1]))  # word 0 is never noise for itself, nor is word 1
    assert both[..., 2:].sum(-1).mean().item() == pytest.approx(expected, rel=0.02)
    of_word_1 = both[..., 2:][rows[:, None, 2:] == 1]
    torch.testing.assert_close(of_word_1, torch.full_like(of_word_1, 5 / 64))  # of the pair with word 0 alone


# ---------------------------------------------------------------------------------------------------- the tree
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=40))
def test_the_tree_gives_every_word_a_path_of_its_own_and_probabilities_that_sum_to_one(counts):
    counts = np.array(sorted(counts, reverse=True))
    nodes, turns = huffman(counts)
    on_path = nodes >= 0
    codes = {tuple(turn[here]) for turn, here in zip(turns, on_path, strict=True)}
    assert len(codes) == len(counts)
    assert set(nodes[on_path]) == set(range(len(counts) - 1)) and (nodes[:, 0] == len(counts) - 2).all()
    scores = np.random.default_rng(0).standard_normal(len(counts) - 1)
    p = 1 / (1 + np.exp(-scores[nodes] * (1 - 2 * turns)))
    assert np.where(on_path, p, 1).prod(axis=1).sum() == pytest.approx(1)


def test_the_tree_is_as_short_as_gensims():
    rng = np.random.default_rng(1)
    sentences = [[f"w{i}" for i in rng.zipf(1.4, 30).clip(max=60)] for _ in range(100)]
    text = encode(sentences, min_count=1)
    model = Gensim(sentences, vector_size=2, min_count=1, hs=1, negative=0, epochs=1, workers=1)
    lengths = (huffman(text.counts)[0] >= 0).sum(axis=1)
    theirs = [len(model.wv.get_vecattr(word, "code")) for word in text.words]
    assert (lengths * text.counts).sum() == (np.array(theirs) * text.counts).sum()


# ------------------------------------------------------------------------------------------------- what is learnt
def topics(n: int = 600) -> list[list[str]]:
    """Sentences of one of three topics, eight words each, with words of no topic between."""
    rng = np.random.default_rng(0)
    names = [[f"{topic}{i}" for i in range(8)] for topic in ("ปลา", "ดาว", "word")]
    common = [f"common{i}" for i in range(8)]
    return [rng.choice(names[k % 3] * 2 + common, 14).tolist() for k in range(n)]


@pytest.mark.parametrize(
    "changes",
    [{}, {"model": "cbow"}, {"hierarchical": True}, {"model": "cbow", "hierarchical": True}, {"ngrams": (3, 4)}],
    ids=str,
)
def test_words_of_one_topic_come_to_lie_together(changes):
    text = encode(topics(), min_count=1)
    seen = []
    recipe = Word2Vec(dim=16, epochs=8, batch=128, buckets=500, lr=0.1, subsample=0, **changes)
    trained = train(text, recipe, callback=lambda epoch, vectors: seen.append((epoch, vectors)), progress=False)
    assert [epoch for epoch, _ in seen] == list(range(9)) and seen[-1][1] is trained.vectors
    assert trained.losses[-1] < trained.losses[0]
    names = [word for word in text.words if not word.startswith("common")]
    unit = trained.vectors.unit[[trained.vectors.row(word) for word in names]]
    topic = np.array([word.rstrip("01234567") for word in names])
    cosines = unit @ unit.T - 2 * np.eye(len(names))
    assert (topic[cosines.argmax(1)] == topic).all()


def test_held_out_text_is_predicted_as_well_as_by_gensim():
    sentences = topics(900)
    text = encode(sentences[:600], min_count=1)
    settings = dict(
        vector_size=16, window=5, negative=5, min_count=1, sample=0, epochs=8, alpha=0.05, workers=1, seed=1
    )
    model = Gensim(sentences[:600], sg=1, **settings)
    order = [model.wv.key_to_index[word] for word in text.words]
    trained = train(text, Word2Vec(dim=16, epochs=8, lr=0.05, subsample=0, batch=128), progress=False)
    number = {word: i for i, word in enumerate(text.words)}
    pairs = np.array([(number[s[i]], number[s[i + 2]]) for s in sentences[600:] for i in range(len(s) - 2)])
    noise = noise_distribution(text.counts)

    def loss(vectors, outputs):
        scores = vectors[pairs[:, 0]] @ outputs.T
        true = scores[np.arange(len(pairs)), pairs[:, 1]]
        return (np.logaddexp(0, -true) + 5 * (np.logaddexp(0, scores) @ noise)).mean()

    ours, theirs = loss(trained.vectors.matrix, trained.outputs), loss(model.wv.vectors[order], model.syn1neg[order])
    fresh = loss(trained.vectors.matrix, 0 * trained.outputs)
    assert theirs < fresh - 0.3  # there is something to learn
    assert ours == pytest.approx(theirs, rel=0.03)


def test_a_seed_fixes_the_result():
    text = encode(topics(60), min_count=1)
    first, again, other = (
        train(text, Word2Vec(dim=8, epochs=1, ngrams=(2, 3), buckets=50, seed=seed), progress=False)
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first.vectors.matrix, again.vectors.matrix) and np.array_equal(first.outputs, again.outputs)
    assert not np.allclose(first.vectors.matrix, other.vectors.matrix)


def test_a_word_with_ngrams_is_the_mean_of_its_rows():
    text = encode(TINY, min_count=1)
    recipe = tiny_recipe(ngrams=(2, 3), buckets=11, epochs=2)
    training = Training(text, recipe, CPU)
    training.step(*next(batches(text, recipe, training.generator, CPU)), 0.1)
    vectors, table, n = training.inputs.vectors(text), training.inputs.table.numpy(), len(text.words)
    row_of = {row: place for place, row in enumerate(training.inputs.used.tolist())}
    for i, word in enumerate(text.words):
        rows = [row_of[i], *(row_of[n + row] for row in ngram_rows(word, min_n=2, max_n=3, buckets=11))]
        np.testing.assert_allclose(vectors[word], table[rows].mean(0), atol=1e-6)
    unseen = [n + row for row in ngram_rows("ปลาทู", min_n=2, max_n=3, buckets=11)]
    trained = [table[row_of[row]] if row in row_of else np.zeros(4) for row in unseen]  # what no word uses stays 0
    np.testing.assert_allclose(vectors["ปลาทู"], np.mean(trained, axis=0), atol=1e-6)


@settings(max_examples=15)
@given(st.integers(1, 9), st.integers(1, 40))
def test_a_text_smaller_than_the_window_is_no_trouble(window, block):
    trained = train(encode([["a", "b"]], min_count=1), tiny_recipe(window=window, block=block), progress=False)
    assert np.isfinite(trained.vectors.matrix).all() and np.isfinite(trained.losses).all()


def test_a_text_that_subsampling_leaves_nothing_of_keeps_its_first_vectors():
    seen = []
    trained = train(encode([["a", "b"]], min_count=1), Word2Vec(dim=4, subsample=1e-9), progress=False,
                    callback=lambda _, vectors: seen.append(vectors.matrix))  # fmt: skip
    assert np.isnan(trained.losses).all() and len(trained.losses) == 5
    assert np.array_equal(seen[0], trained.vectors.matrix)


# ------------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "skip-gram"}, "'skipgram' or 'cbow', not 'skip-gram'"),
        ({"dim": 0}, "dim is at least 1"),
        ({"window": 0}, "window is at least 1"),
        ({"negatives": 0}, "negatives is at least 1"),
        ({"epochs": 0}, "epochs is at least 1"),
        ({"lr": 0.0}, "lr is positive"),
        ({"lr": float("nan")}, "lr is positive"),
        ({"subsample": -1e-3}, "subsample not negative"),
        ({"ngrams": (4, 3)}, "shortest and the longest"),
        ({"ngrams": (0, 3)}, "shortest and the longest"),
    ],
)
def test_a_recipe_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        train(encode(TINY, min_count=1), tiny_recipe(**changes), progress=False)


def test_a_text_without_neighbours_is_refused():
    with pytest.raises(ValueError, match="no word has a context"):
        train(encode([["a"], ["b"]], min_count=1), progress=False)


def test_divergence_is_told():
    text = encode(topics(30), min_count=1)
    with pytest.raises(ValueError, match="diverged in epoch 1: lower its lr"):
        train(text, Word2Vec(dim=4, epochs=2, lr=float("inf")), progress=False)
