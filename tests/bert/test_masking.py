"""Masking: the paper's frequencies, and what must never be masked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from tlcourse.bert.masking import KEPT, MASK, RANDOM, Masking, Pieces, mask_tokens

VOCAB, MASK_ID = 500, 4


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    special = np.zeros(VOCAB, dtype=bool)
    special[[0, 1, 2, 3, MASK_ID, 77]] = True  # one in the midst of the others
    return Pieces(MASK_ID, special, np.arange(VOCAB) % 3 > 0, np.flatnonzero(~special))


def text(rows: int, length: int, seed: int = 0) -> np.ndarray:
    """[CLS] … [SEP] … [SEP], and padding of different lengths."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(5, VOCAB, (rows, length))
    lengths = generator.integers(4, length + 1, rows)
    ids[:, 0] = 2
    ids[np.arange(rows), lengths // 2] = 3
    ids[np.arange(rows), lengths - 1] = 3
    ids[np.arange(length) >= lengths[:, None]] = 0
    return ids


def inside(count: int, of: int, share: float) -> bool:
    """Whether a count is inside the bounds that a binomial leaves one time in a million."""
    low, high = binom.interval(1 - 1e-6, of, share)
    return low <= count <= high


def test_a_million_positions_keep_the_papers_frequencies(pieces):
    ids = np.random.default_rng(1).choice(pieces.ordinary, (8000, 131))
    ids[:, [0, 65, 130]] = 2, 3, 3
    masked = mask_tokens(ids, pieces.maskable(ids), Masking(), pieces=pieces, generator=np.random.default_rng(2))
    chosen = len(masked.positions)
    assert ids.size > 1e6
    assert chosen == 8000 * round(0.15 * 128)
    assert inside(np.sum(masked.kind == MASK), chosen, 0.8)
    assert inside(np.sum(masked.kind == RANDOM), chosen, 0.1)
    assert inside(np.sum(masked.kind == KEPT), chosen, 0.1)
    columns = np.bincount(masked.positions % 131, minlength=131)
    assert not columns[[0, 65, 130]].any()
    assert all(inside(count, 8000, 19 / 128) for count in np.delete(columns, [0, 65, 130]))
    random = masked.ids.ravel()[masked.positions][masked.kind == RANDOM]
    assert all(inside(count, len(random), 1 / len(pieces.ordinary)) for count in np.bincount(random)[pieces.ordinary])


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 6),
    length=st.integers(4, 40),
    seed=st.integers(0, 99),
    share=st.floats(0.01, 1),
    mask=st.floats(0, 1),
    whole_word=st.booleans(),
    most=st.none() | st.integers(1, 5),
)
def test_only_ordinary_pieces_are_chosen_and_put_in(pieces, rows, length, seed, share, mask, whole_word, most):
    ids = text(rows, length, seed)
    masking = Masking(share=share, mask=mask, random=(1 - mask) / 2, whole_word=whole_word, most=most)
    before = ids.copy()
    masked = mask_tokens(ids, pieces.maskable(ids), masking, pieces=pieces, generator=np.random.default_rng(seed))
    assert (ids == before).all()
    assert not pieces.special[masked.targets].any()
    assert (ids.ravel()[masked.positions] == masked.targets).all()
    assert (np.diff(masked.positions) > 0).all()
    new = masked.ids.ravel()[masked.positions]
    assert (new[masked.kind == MASK] == MASK_ID).all()
    assert not pieces.special[new[masked.kind == RANDOM]].any()
    assert (new[masked.kind == KEPT] == masked.targets[masked.kind == KEPT]).all()
    others = np.delete(np.arange(ids.size), masked.positions)
    assert (masked.ids.ravel()[others] == ids.ravel()[others]).all()
    chosen = np.bincount(masked.positions // length, minlength=rows)
    maskable = pieces.maskable(ids).sum(1)
    wanted = [min(max(round(share * n), 1), most or n, n) for n in maskable.tolist()]
    assert (chosen <= wanted).all() if whole_word else (chosen == wanted).all()


def test_whole_words_are_chosen_whole(pieces):
    ids = text(400, 60)
    masked = mask_tokens(
        ids, pieces.maskable(ids), Masking(whole_word=True), pieces=pieces, generator=np.random.default_rng(0)
    )
    chosen = np.zeros(ids.size, dtype=bool)
    chosen[masked.positions] = True
    chosen = chosen.reshape(ids.shape)
    continues = pieces.maskable(ids) & ~pieces.starts_word[ids]
    continues[:, 1:] &= pieces.maskable(ids)[:, :-1]
    continues[:, 0] = False
    assert continues.any()
    assert (chosen[:, 1:] == chosen[:, :-1])[continues[:, 1:]].all()
    assert 0.13 < chosen.sum() / pieces.maskable(ids).sum() < 0.16  # short of it where a word is too long


def test_each_draw_is_another(pieces):
    ids, generator = text(4, 60), np.random.default_rng(0)
    first, second = (
        mask_tokens(ids, pieces.maskable(ids), Masking(), pieces=pieces, generator=generator) for _ in range(2)
    )
    assert not np.array_equal(first.positions, second.positions)
    again = mask_tokens(ids, pieces.maskable(ids), Masking(), pieces=pieces, generator=np.random.default_rng(0))
    assert np.array_equal(first.ids, again.ids)


@pytest.mark.parametrize("whole_word", [False, True])
def test_rows_of_special_pieces_alone_stay_as_they_are(pieces, whole_word):
    ids = np.array([[2, 3, 3, 0], [2, 9, 3, 0]])
    masked = mask_tokens(
        ids,
        pieces.maskable(ids),
        Masking(whole_word=whole_word),
        pieces=pieces,
        generator=np.random.default_rng(0),
    )
    assert masked.positions.tolist() == [5] and masked.targets.tolist() == [9]


@pytest.mark.parametrize("wrong", [{"share": 0}, {"share": 1.5}, {"mask": 0.95}, {"random": -0.1}, {"most": 0}])
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Masking(**wrong)


def tokeniser(vocab: dict[str, int], **special: str):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordPiece(vocab, unk_token="[UNK]")), **special)


def test_pieces_are_read_from_a_tokeniser():
    vocab = {piece: i for i, piece in enumerate(["[PAD]", "[UNK]", "a", "[MASK]", "##b", "ค", "##น"])}
    pieces = Pieces.of(tokeniser(vocab, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"))
    assert pieces.mask_id == 3
    assert pieces.ordinary.tolist() == [2, 4, 5, 6]
    assert np.flatnonzero(~pieces.starts_word).tolist() == [4, 6]


def test_a_tokeniser_that_cannot_mask_is_refused():
    with pytest.raises(ValueError, match=r"\[MASK\]"):
        Pieces.of(tokeniser({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    with pytest.raises(ValueError, match="only special"):
        Pieces.of(tokeniser({"[UNK]": 0, "[MASK]": 1}, unk_token="[UNK]", mask_token="[MASK]"))
