"""Batches: every token and every example where it belongs, in every epoch, resumed or not."""

import itertools

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tlcourse.text import BOS, EOS, PAD, ClassificationBatches, LMBatches
from tlcourse.text.batches import reverse

docs_of_ids = st.lists(
    st.lists(st.integers(4, 30), max_size=12).map(lambda ids: np.array([BOS, *ids])), min_size=1, max_size=25
)
lm_options = {"batch_size": st.integers(1, 5), "bptt": st.integers(1, 7), "shuffle": st.booleans()}
classification_options = {
    "batch_size": st.integers(1, 6),
    "shuffle": st.booleans(),
    "backwards": st.booleans(),
    "max_tokens": st.none() | st.integers(1, 60),
}


def equal(batches, others) -> bool:
    pairs = itertools.zip_longest(batches, others)
    return all(a and b and torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


def rows(batches) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows of an epoch of language-model batches, whole: inputs and targets, (B, row length)."""
    xs, ys = zip(*batches, strict=True)
    return torch.cat(xs, dim=1), torch.cat(ys, dim=1)


# --- Language modelling ---------------------------------------------------------------------------------------


def test_language_model_batches_by_hand():
    docs = [np.array([BOS, 10, 11, 12]), np.array([BOS, 20]), np.array([BOS, 30, 31])]
    (x1, y1), (x2, y2) = LMBatches(docs, batch_size=2, bptt=3)  # 9 tokens: rows of (9 - 1) // 2
    assert x1.tolist() == [[BOS, 10, 11], [BOS, 20, BOS]]
    assert y1.tolist() == [[10, 11, 12], [20, BOS, 30]]
    assert x2.tolist() == [[12], [30]]  # the last batch is shorter
    assert y2.tolist() == [[BOS], [31]]
    assert x1.dtype == y1.dtype == torch.int64


@given(docs_of_ids, st.fixed_dictionaries(lm_options), st.booleans())
def test_streams_are_contiguous_and_targets_shifted_by_one(docs, options, backwards):
    stream = np.concatenate(docs)
    batch_size = options["batch_size"]
    if len(stream) <= batch_size:
        with pytest.raises(ValueError, match=f"{len(stream)} tokens are too few"):
            LMBatches(docs, **options)
        return
    batches = LMBatches(docs, **options, backwards=backwards)
    for _epoch in range(2):
        served = list(batches)
        assert len(served) == len(batches)
        assert all(x.shape == y.shape == (batch_size, options["bptt"]) for x, y in served[:-1])
        x, y = rows(served)
        assert x.shape[1] == (len(stream) - 1) // batch_size
        joined = torch.cat([x.flatten(), y[-1, -1:]]).tolist()  # row after row: the stream again
        assert y.flatten().tolist() == joined[1:]
        expected = [reverse(doc) if backwards else doc for doc in docs]
        if options["shuffle"]:  # the documents, each whole, in some order; the last one may be cut short
            cuts = [i for i, token in enumerate(joined) if token == BOS]
            pieces = [tuple(piece.tolist()) for piece in np.split(np.array(joined), cuts)[1:]]
            left = [tuple(doc.tolist()) for doc in expected]
            for piece in pieces[:-1]:
                left.remove(piece)
            assert any(doc[: len(pieces[-1])] == pieces[-1] for doc in left)
        else:
            assert joined == np.concatenate(expected)[: len(joined)].tolist()


@given(docs_of_ids, st.fixed_dictionaries(lm_options), st.booleans())
def test_a_memory_map_serves_what_the_documents_do(tmp_path_factory, docs, options, backwards):
    stream = np.concatenate(docs).astype(np.int32)
    if len(stream) <= options["batch_size"]:
        return
    path = tmp_path_factory.mktemp("ids") / "ids.npy"
    np.save(path, stream)
    mapped = LMBatches(np.load(path, mmap_mode="r"), **options, backwards=backwards)
    assert equal(mapped, LMBatches(docs, **options, backwards=backwards))


def test_one_array_without_a_beginning_is_one_document():
    tokens = np.arange(10, 21)
    (x, y), *_ = LMBatches(tokens, batch_size=2, bptt=5, shuffle=True)
    assert x.tolist() == [[10, 11, 12, 13, 14], [15, 16, 17, 18, 19]]
    assert y.tolist() == [[11, 12, 13, 14, 15], [16, 17, 18, 19, 20]]


def test_a_document_of_100_000_words():
    batches = LMBatches([np.full(100_000, 7), np.array([BOS, 8])], batch_size=10, bptt=1000, backwards=True)
    assert sum(x.numel() for x, _ in batches) == 100_000


# --- Classification -------------------------------------------------------------------------------------------


def test_classification_batches_by_hand():
    docs = [np.array([BOS, 10]), np.array([], dtype=int), np.array([BOS, 20, 21, 22]), np.array([BOS, 30, 31])]
    (x1, y1), (x2, y2) = ClassificationBatches(docs, [0, 1, 2, 3], batch_size=2)
    assert x1.tolist() == [[BOS, 20, 21, 22], [BOS, 30, 31, PAD]]
    assert y1.tolist() == [2, 3]
    assert x2.tolist() == [[BOS, 10], [BOS, PAD]]  # the empty text has its beginning
    assert y2.tolist() == [0, 1]
    assert x1.dtype == y1.dtype == torch.int64
    (x1, _), _ = ClassificationBatches(docs, [0, 1, 2, 3], batch_size=2, backwards=True)
    assert x1.tolist() == [[BOS, 22, 21, 20], [BOS, 31, 30, PAD]]


@given(docs_of_ids, st.fixed_dictionaries(classification_options), st.integers(0, 3))
def test_every_example_once_and_the_mask_is_its_length(docs, options, seed):
    labels = np.arange(len(docs))
    batches = ClassificationBatches(docs, labels, **options, seed=seed)
    for epoch in range(3):
        served = list(batches)
        assert len(served) == len(batches)
        order = torch.cat([y for _, y in served])
        assert sorted(order.tolist()) == labels.tolist()
        assert order.tolist() == np.concatenate(batches.indices(epoch)).tolist()
        for x, y in served:
            for row, label in zip(x, y, strict=True):
                doc = docs[label]
                mask = row != PAD
                assert mask.sum() == len(doc)
                assert mask[: len(doc)].all()  # all padding is on the right
                assert row[: len(doc)].tolist() == (reverse(doc) if options["backwards"] else doc).tolist()
            assert len(y) <= options["batch_size"]
            assert x.shape[1] == max(len(docs[label]) for label in y)
            if options["max_tokens"] is not None:
                assert x.numel() <= options["max_tokens"] or len(x) == 1
        assert served[0][0].shape[1] == max(map(len, docs))  # the longest comes first


def test_shuffling_changes_the_company_within_like_lengths_and_begins_with_the_longest():
    docs = [np.full(n, 9) for n in np.random.default_rng(0).integers(1, 100, size=640)]
    batches = ClassificationBatches(docs, [0] * 640, batch_size=32, shuffle=True)
    company = [{frozenset(batch.tolist()) for batch in batches.indices(epoch)} for epoch in (0, 1)]
    assert not company[0] & company[1]
    for _epoch in range(10):
        served = [x for x, _ in batches]
        assert np.mean([(x == PAD).float().mean() for x in served]) < 0.2
        lengths = [x.shape[1] for x in served]
        assert lengths[0] == 99
        assert min(lengths[1:6]) < 60  # the others at random, not from long to short


def test_no_shuffling_breaks_the_cap_on_tokens():
    docs = [np.full(n, 9) for n in np.random.default_rng(0).integers(1, 100, size=640)]
    batches = ClassificationBatches(docs, [0] * 640, batch_size=32, shuffle=True, max_tokens=400)
    for _epoch in range(5):
        sizes = [x.numel() for x, _ in batches]
        assert max(sizes) <= 400
        assert len(sizes) == len(batches)
    assert len(batches) < 2 * sum(map(len, docs)) / 400  # and the batches are not far from full


def test_no_batch_of_one_text_where_batch_normalisation_would_fail():
    docs = [np.full(n, 9) for n in range(1, 10)]
    sizes = [len(y) for _, y in ClassificationBatches(docs, [0] * 9, batch_size=4)]
    assert sizes == [4, 3, 2]


@pytest.mark.parametrize(
    ("docs", "labels", "options", "error", "message"),
    [
        ([[2], [2]], [0], {}, ValueError, "2 documents but 1 labels"),
        ([], [], {}, ValueError, "no documents"),
        ([[2, PAD]], [0], {}, ValueError, "document 0 holds the padding id"),
        ([[2], [2]], [0, -1], {}, ValueError, "-1 at position 1"),
        ([[2], [2]], [0, 3], {"n_classes": 3}, ValueError, "not from 0 to 3 - 1"),
        ([[2]], ["billing"], {}, TypeError, "cat.codes"),
        ([[2]], [0.5], {}, TypeError, "labels must be one whole number"),
        ([[2]], [[0, 1]], {}, TypeError, "labels must be one whole number"),
        ([["ก"]], [0], {}, TypeError, "document 0 must be a row of token ids"),
        ([[2], [[2]]], [0, 0], {}, TypeError, "document 1 must be a row of token ids"),
        ([[2]], [0], {"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ([[2]], [0], {"max_tokens": 0}, ValueError, "max_tokens must be at least 1"),
    ],
)
def test_classification_batches_say_what_is_wrong(docs, labels, options, error, message):
    with pytest.raises(error, match=message):
        ClassificationBatches(docs, labels, **{"batch_size": 2} | options)


@pytest.mark.parametrize(
    ("docs", "options", "error", "message"),
    [
        ([], {}, ValueError, "0 tokens are too few for batches of 2 rows.*at least 3"),
        ([[], []], {}, ValueError, "0 tokens are too few"),
        ([[2, 4]], {}, ValueError, "2 tokens are too few"),
        ([[2, 4, 5]], {"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ([[2, 4, 5]], {"bptt": 0}, ValueError, "bptt must be at least 1"),
        (["สวัสดี"], {}, TypeError, "document 0 must be a row of token ids"),
        (np.zeros((4, 4), dtype=int), {}, TypeError, "array of documents must be a row"),
        (np.zeros(9), {}, TypeError, "array of documents must be a row"),
    ],
)
def test_language_model_batches_say_what_is_wrong(docs, options, error, message):
    with pytest.raises(error, match=message):
        LMBatches(docs, **{"batch_size": 2, "bptt": 3} | options)


# --- Both -----------------------------------------------------------------------------------------------------


def lm_batches(docs, **options):
    return LMBatches(docs, batch_size=2, bptt=3, shuffle=True, **options)


def classification_batches(docs, **options):
    return ClassificationBatches(docs, range(len(docs)), batch_size=2, shuffle=True, **options)


DOCS = [np.array([BOS, *range(10 * i, 10 * i + i % 4 + 1)]) for i in range(1, 14)]
both = pytest.mark.parametrize("make", [lm_batches, classification_batches])


@both
@settings(max_examples=25)
@given(docs=docs_of_ids.filter(lambda docs: sum(map(len, docs)) > 2), data=st.data())
def test_a_resumed_run_serves_exactly_what_was_left(make, docs, data):
    whole = make(docs)
    expected = [batch for _ in range(3) for batch in whole]
    stop = data.draw(st.integers(0, len(expected) - 1))
    first = make(docs)
    served = list(itertools.islice(itertools.chain.from_iterable(first for _ in range(3)), stop))
    state = first.state_dict()
    assert state == {"epoch": stop // len(whole), "step": stop % len(whole)}
    resumed = make(docs)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    while len(served) < len(expected):
        served += resumed
    assert equal(served, expected)


@both
def test_an_iteration_given_up_begins_the_epoch_again(make):
    batches = make(DOCS)
    first = next(iter(batches))
    assert torch.equal(next(iter(batches))[0], first[0])
    assert len(list(batches)) == len(batches)


@both
def test_the_order_hangs_on_the_epoch_and_the_seed_alone(make):
    batches = make(DOCS)
    epochs = [list(batches), list(batches)]
    assert not equal(*epochs)
    assert not equal(epochs[0], make(DOCS, seed=43))
    np.random.seed(1)
    torch.manual_seed(1)
    again = make(DOCS)
    assert equal(epochs[0], again)
    assert equal(epochs[1], again)


@both
@pytest.mark.parametrize("state", [{"epoch": 0, "step": 10_000}, {"epoch": -1, "step": 0}, {"epoch": 0, "step": -1}])
def test_a_position_that_is_not_there_is_refused(make, state):
    with pytest.raises(ValueError, match=f"no batch {state['step']} of epoch {state['epoch']}"):
        make(DOCS).load_state_dict(state)


@both
def test_batches_go_to_the_device(make):
    assert all(x.device.type == y.device.type == "meta" for x, y in make(DOCS, device="meta"))


@given(st.lists(st.integers(4, 9), max_size=6), st.booleans(), st.booleans())
def test_reverse_keeps_the_ends_and_undoes_itself(ids, bos, eos):
    doc = np.array([BOS] * bos + ids + [EOS] * eos, dtype=int)
    assert reverse(doc).tolist() == [BOS] * bos + ids[::-1] + [EOS] * eos
    assert reverse(reverse(doc)).tolist() == doc.tolist()


class TinyModel(nn.Module):
    """A vote of the tokens: for the class of a text, or at each place for the next token."""

    def __init__(self, n_out: int, *, pool: bool):
        super().__init__()
        self.embedding, self.out, self.pool = nn.Embedding(200, 8, padding_idx=PAD), nn.Linear(8, n_out), pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.embedding(x)  # (B, T, 8)
        return self.out(hidden.mean(dim=1) if self.pool else hidden).flatten(end_dim=-2)


@both
def test_a_learner_of_fastai_takes_them(make):
    class Count(Callback):
        batches = 0

        def before_batch(self):
            self.batches += self.training

    def loss(logits, y):
        return nn.functional.cross_entropy(logits, y.flatten())

    train, valid, count = make(DOCS), make(DOCS), Count()
    model = TinyModel(200, pool=make is classification_batches)
    learner = Learner(DataLoaders(train, valid), model, loss_func=loss, cbs=count)
    with learner.no_logging():
        learner.fit(2, lr=1e-2)
    assert count.batches == 2 * len(train)
    assert train.state_dict() == {"epoch": 2, "step": 0}
    losses = learner.recorder.values
    assert losses[1][1] < losses[0][1]
