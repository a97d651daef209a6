from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix, csr_matrix
from torch import nn

from tlcourse.word2vec import glove
from tlcourse.word2vec.corpus import EncodedText, encode
from tlcourse.word2vec.glove import GloVe, cooccurrences, train_glove, weighting

KITCHEN = ["pot", "pan", "stove", "oven", "knife", "spoon", "plate", "bowl"]
HARBOUR = ["boat", "sail", "anchor", "rope", "crane", "ship", "dock", "wave"]


def two_topics(sentences: int = 300) -> EncodedText:
    """Sentences of eight words, each from one topic or the other."""
    rng = np.random.default_rng(0)
    return encode([rng.choice(KITCHEN if n % 2 else HARBOUR, 8).tolist() for n in range(sentences)])


def encoded(sentences: list[list[int]], n_words: int) -> EncodedText:
    ids = np.array([word for sentence in sentences for word in sentence], np.int32)
    starts = np.concatenate([[0], np.cumsum([len(sentence) for sentence in sentences])]).astype(np.int64)
    return EncodedText(tuple(map(str, range(n_words))), np.bincount(ids, minlength=n_words), ids, starts)


def losses_of(text: EncodedText, recipe: GloVe) -> list[float]:
    losses = []
    train_glove(text, recipe, callback=lambda epoch, loss, vectors: losses.append(loss), progress=False)
    return losses


# ------------------------------------------------------------------------------------------------------ the counts
@given(
    st.lists(st.lists(st.integers(0, 5), max_size=12), min_size=1, max_size=6),
    st.integers(1, 15),
    st.booleans(),
    st.sampled_from([1, 7, 1 << 24]),
)
def test_cooccurrences_are_those_of_two_loops(sentences, window, symmetric, pairs):
    expected = np.zeros((6, 6))
    for sentence in sentences:
        for here, word in enumerate(sentence):
            for before in range(max(here - window, 0), here):
                expected[word, sentence[before]] += 1 / (here - before)
                if symmetric:
                    expected[sentence[before], word] += 1 / (here - before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glove, "PAIRS", pairs)  # blocks of one place, of a few, of all
        counts = cooccurrences(encoded(sentences, 6), window=window, symmetric=symmetric)
    np.testing.assert_allclose(counts.toarray(), expected, rtol=1e-12)
    assert (counts.data > 0).all()


def test_weighting_is_equation_9():
    np.testing.assert_allclose(weighting(np.array([1, 50, 100, 1e6])), [0.01**0.75, 0.5**0.75, 1, 1])
    np.testing.assert_allclose(weighting(np.array([1, 4, 10]), x_max=8, alpha=0.5), [8**-0.5, 0.5**0.5, 1])


# --------------------------------------------------------------------------------------------------- the objective
def test_the_gradient_is_that_of_autograd():
    text = two_topics(20)
    counts = cooccurrences(text, window=3)
    generator = torch.Generator().manual_seed(1)
    words, contexts = (5 * table.double() for table in glove.starting_tables(len(text.words), 4, generator))
    words[:, -1] = contexts[:, -2] = 1
    cells = glove.Cells.of(counts, GloVe(x_max=3))
    exact = {
        "minus_log": cells.minus_log.double(),
        "weight": torch.from_numpy(weighting(counts.data, x_max=3)),
    }
    exact["minus_log"].values().copy_(torch.from_numpy(-np.log(counts.data)))
    loss, *gradients = glove.loss_and_gradients(replace(cells, **exact), words, contexts)

    w, u = (table[:, :4].clone().requires_grad_() for table in (words, contexts))
    b, c = words[:, 4].clone().requires_grad_(), contexts[:, 5].clone().requires_grad_()
    x = torch.from_numpy(counts.toarray())
    f = torch.from_numpy(weighting(counts.toarray(), x_max=3))  # 0 where there is no cell
    score = w @ u.T + b[:, None] + c
    half = (f * (score - x.clamp(min=1e-9).log()) ** 2).sum() / 2
    half.backward()
    torch.testing.assert_close(loss, half.detach(), rtol=1e-9, atol=0)
    nothing = torch.zeros(len(w), 1)
    torch.testing.assert_close(gradients[0], torch.cat([w.grad, b.grad[:, None], nothing], 1), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(gradients[1], torch.cat([u.grad, nothing, c.grad[:, None]], 1), rtol=1e-6, atol=1e-9)


def test_batches_are_all_cells_once():
    text = two_topics()
    counts = cooccurrences(text)
    batches = glove.random_batches(counts, GloVe(batch=50), torch.device("cpu"))
    assert max(len(cells.weight) for cells in batches) <= 50
    assert len(batches) == -(-counts.nnz // 50)
    total = sum(cells.minus_log.to_dense() for cells in batches).numpy()
    np.testing.assert_allclose(np.exp(-total[counts.toarray() > 0]), counts.toarray()[counts.toarray() > 0], rtol=1e-5)
    for cells in batches:  # the two orders are of the same cells
        shape = cells.minus_log.shape
        by_rows = csr_matrix((cells.weight, cells.minus_log.col_indices(), cells.minus_log.crow_indices()), shape)
        by_columns = csr_matrix((cells.weight[cells.by_column], cells.rows, cells.column_starts), shape)
        assert (by_rows != by_columns.T).nnz == 0


# -------------------------------------------------------------------------------------------------------- training
def cell_by_cell(counts: csr_matrix, recipe: GloVe) -> list[float]:
    """The C code's loop: the mean loss of each epoch."""
    cells, rng = coo_matrix(counts), np.random.default_rng(5)
    n, lr = counts.shape[0], recipe.lr
    w, u = (rng.random((2, n, recipe.dim + 1)) - 0.5) / recipe.dim
    squares_w, squares_u = np.ones((2, n, recipe.dim + 1))
    losses = []
    for _ in range(recipe.epochs):
        total = 0
        for at in rng.permutation(cells.nnz):
            i, j, x = cells.row[at], cells.col[at], cells.data[at]
            error = w[i, :-1] @ u[j, :-1] + w[i, -1] + u[j, -1] - np.log(x)
            pull = weighting(x, x_max=recipe.x_max, alpha=recipe.alpha) * error
            total += pull * error / 2
            step_w = lr * pull * np.append(u[j, :-1], 1)
            step_u = lr * pull * np.append(w[i, :-1], 1)
            w[i] -= step_w / np.sqrt(squares_w[i])
            u[j] -= step_u / np.sqrt(squares_u[j])
            squares_w[i] += step_w**2
            squares_u[j] += step_u**2
        losses.append(total / cells.nnz)
    return losses


def test_the_loss_falls_as_cell_by_cell():
    rng = np.random.default_rng(2)
    text = encode([rng.zipf(1.5, 12).clip(max=80).astype(str).tolist() for _ in range(200)], min_count=2)
    recipe = GloVe(dim=10, window=5, x_max=20, epochs=6, batch=25)
    losses = losses_of(text, recipe)
    assert losses == sorted(losses, reverse=True)
    np.testing.assert_allclose(losses, cell_by_cell(cooccurrences(text, window=5), recipe), rtol=0.05)


def test_a_step_is_one_of_autograd_and_torchs_adagrad():
    text, recipe = two_topics(), GloVe(dim=6, x_max=30, epochs=8, batch=10_000)  # all cells in one batch
    cells = coo_matrix(cooccurrences(text))
    rows, columns = torch.from_numpy(cells.row).long(), torch.from_numpy(cells.col).long()
    log_x = torch.from_numpy(np.log(cells.data)).float()
    weight = torch.from_numpy(weighting(cells.data, x_max=30)).float()
    words, contexts = glove.starting_tables(len(text.words), 6, torch.Generator().manual_seed(recipe.seed))
    start = (words[:, :6], contexts[:, :6], words[:, 6:7], contexts[:, 7:8])
    w, u, b, c = tables = [nn.Embedding.from_pretrained(table.clone(), freeze=False) for table in start]
    # The C code's sums of squares hold the rate: in torch's terms it is 1, and they start at 1 / lr^2.
    optimiser = torch.optim.Adagrad([t.weight for t in tables], lr=1, initial_accumulator_value=1 / recipe.lr**2)
    expected = []
    for _ in range(recipe.epochs):
        score = (w(rows) * u(columns)).sum(1) + b(rows)[:, 0] + c(columns)[:, 0]
        loss = (weight * (score - log_x) ** 2).sum() / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        expected.append(loss.item() / cells.nnz)
    np.testing.assert_allclose(losses_of(text, recipe), expected, rtol=1e-4)
    vectors = train_glove(text, recipe, progress=False)
    np.testing.assert_allclose(vectors.matrix, (w.weight + u.weight).detach().numpy(), atol=1e-4)


def test_two_topics_come_apart():
    vectors = train_glove(two_topics(), GloVe(dim=8, epochs=30), progress=False)
    cosines = vectors.unit @ vectors.unit.T
    topic = np.array([word in KITCHEN for word in vectors.words])
    same = topic[:, None] == topic
    np.fill_diagonal(cosines, np.nan)
    assert np.nanmin(cosines[same]) > np.nanmax(cosines[~same])


def test_the_seed_fixes_the_vectors():
    text = two_topics()
    one, same, other = (train_glove(text, GloVe(dim=5, epochs=3, seed=s), progress=False).matrix for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01


def test_counts_at_hand_give_the_vectors_of_the_text():
    text, recipe = two_topics(), GloVe(dim=5, window=2, epochs=2)
    counts = cooccurrences(text, window=2)
    before = counts.copy()
    vectors = train_glove(text, recipe, counts=counts, progress=False)
    np.testing.assert_array_equal(vectors.matrix, train_glove(text, recipe, progress=False).matrix)
    assert (counts != before).nnz == 0
    assert vectors.words == text.words and vectors.dim == 5
    np.testing.assert_array_equal(vectors.counts, text.counts)


def test_cells_given_twice_add_up():
    text, recipe = two_topics(), GloVe(dim=4, epochs=2)
    counts = cooccurrences(text).tocoo()
    twice = coo_matrix(
        (np.tile(counts.data / 2, 2), (np.tile(counts.row, 2), np.tile(counts.col, 2))), shape=counts.shape
    )
    once, added = (train_glove(text, recipe, counts=x, progress=False).matrix for x in (counts, twice))
    np.testing.assert_allclose(once, added, atol=1e-5)


def test_the_callback_sees_each_epoch():
    seen = []
    vectors = train_glove(
        two_topics(), GloVe(dim=4, epochs=3), callback=lambda *each: seen.append(each), progress=False
    )
    assert [epoch for epoch, _, _ in seen] == [1, 2, 3]
    np.testing.assert_array_equal(seen[-1][2].matrix, vectors.matrix)
    assert np.abs(seen[0][2].matrix - vectors.matrix).max() > 0.001  # a copy, not the table that goes on changing


@pytest.mark.usefixtures("no_warning")
def test_training_warns_of_nothing():
    train_glove(two_topics(20), GloVe(dim=2, epochs=1), progress=False)


# ------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    "setting",
    [
        *({name: 0} for name in ("dim", "window", "epochs", "batch", "x_max", "lr")),
        {"x_max": float("nan")},
        {"alpha": -1},
        {"lr": float("inf")},
    ],
)
def test_a_setting_out_of_range_is_named(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"^{name} is "):
        GloVe(**setting)


def test_a_window_below_one_is_refused():
    with pytest.raises(ValueError, match="window is 0"):
        cooccurrences(two_topics(), window=0)


def test_a_text_shorter_than_the_window_is_fine():
    text = encode([["a", "b", "c"]], min_count=1)
    assert cooccurrences(text, window=100).nnz == 6
    assert np.isfinite(train_glove(text, GloVe(dim=2, epochs=2), progress=False).matrix).all()


def test_a_text_without_pairs_is_refused():
    with pytest.raises(ValueError, match="no two words"):
        train_glove(encode([["a"], ["b"]], min_count=1), GloVe(), progress=False)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_counts_that_are_no_positive_numbers_are_refused(value):
    text = two_topics()
    counts = cooccurrences(text)
    counts.data[3] = value
    with pytest.raises(ValueError, match="positive numbers"):
        train_glove(text, GloVe(), counts=counts, progress=False)


def test_counts_of_another_text_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 3\).*16 words"):
        train_glove(two_topics(), GloVe(), counts=csr_matrix(np.ones((3, 3))), progress=False)
