"""Rows of BERT: what is next is next, what is not is from elsewhere, and nothing is lost but what is truncated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare

from tlcourse.bert.pairs import Documents, sentence_pairs, split_sentences
from tlcourse.bert.wordpiece import train_wordpiece
from tlcourse.text.shards import CorpusError

CLS, SEP = 2, 3


def documents_of(lengths: list[list[int]]) -> Documents:
    """Documents of sentences of so many pieces; each piece tells its own position: 5, 6, 7 …"""
    sentences = [length for document in lengths for length in document]
    ids = np.arange(5, 5 + sum(sentences), dtype="<u4")
    per_document = [len(document) for document in lengths]
    return Documents(ids, np.cumsum([0, *sentences]), np.cumsum([0, *per_document]), CLS, SEP)


def random_documents(n: int, *, sentences: int, longest: int, seed: int = 0) -> Documents:
    rng = np.random.default_rng(seed)
    return documents_of([rng.integers(1, longest + 1, rng.integers(1, sentences + 1)).tolist() for _ in range(n)])


def segments(pairs, i: int) -> tuple[list[int], list[int]]:
    """The positions in the documents of the pieces of A and of B; checks the special tokens."""
    row, first = pairs.row(i).tolist(), int(pairs.first_length[i])
    assert (row[0], row[first - 1], row[-1]) == (CLS, SEP, SEP)
    a, b = row[1 : first - 1], row[first:-1]
    assert min(a + b) >= 5
    return [piece - 5 for piece in a], [piece - 5 for piece in b]


many_lengths = st.lists(st.lists(st.integers(1, 70), min_size=1, max_size=8), min_size=2, max_size=8)


# --- Rows ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=80)
@given(
    many_lengths,
    st.integers(5, 60),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from([True, "order"]),
    st.integers(0, 99),
)
def test_every_row_is_two_stretches_of_text_in_the_order_that_its_label_says(lengths, max_length, short, nsp, seed):
    documents = documents_of(lengths)
    pairs = sentence_pairs(documents, max_length=max_length, short=short, nsp=nsp, seed=seed)
    assert (pairs.lengths <= max_length).all()
    assert pairs.labels.tolist() == [0 if true else 1 for true in pairs.is_next]
    for i in range(len(pairs)):
        for positions, (begin, end) in zip(segments(pairs, i), pairs.source[i].tolist(), strict=True):
            assert positions and positions == list(range(positions[0], positions[-1] + 1))
            assert begin <= positions[0] and positions[-1] < end
            assert len(positions) == end - begin or pairs.lengths[i] == max_length  # truncated only where it must be
    (a_begin, a_end), (b_begin, b_end) = pairs.source.transpose(1, 2, 0)
    a, b = documents.document_of(a_begin), documents.document_of(b_begin)
    assert (documents.document_of(a_end - 1) == a).all() and (documents.document_of(b_end - 1) == b).all()
    true = pairs.is_next
    assert (a_end == b_begin)[true].all() and (a == b)[true].all()
    if nsp == "order":
        assert (b_end == a_begin)[~true].all()
    else:
        assert (a != b)[~true].all()


@settings(deadline=None, max_examples=60)
@given(many_lengths, st.integers(5, 60), st.sampled_from([True, "order"]))
def test_every_piece_has_its_turn(lengths, max_length, nsp):
    documents = documents_of(lengths)
    pairs = sentence_pairs(documents, max_length=max_length, nsp=nsp)
    turns = np.zeros(len(documents), int)
    for source, true in zip(pairs.source, pairs.is_next, strict=True):
        for begin, end in source[: 2 if true or nsp == "order" else 1]:
            turns[begin:end] += 1
    assert turns.max(initial=0) <= 1  # what is given back is used once
    for missing in np.flatnonzero(turns == 0):  # a last sentence of one piece, or what is left of a longer one
        assert missing + 1 in documents.begins


def test_segments_are_whole_sentences_where_those_are_short():
    documents = random_documents(200, sentences=12, longest=20)
    pairs = sentence_pairs(documents, max_length=64)
    last = np.isin(pairs.source[:, 0, 0], documents.sentence_starts[documents.document_starts[1:] - 1])
    assert np.isin(pairs.source[~last], documents.sentence_starts).all()


def test_the_longer_side_is_truncated_from_both_ends():
    documents = documents_of([[30] * 3_000, [30] * 3_000])
    pairs = sentence_pairs(documents, max_length=80, short=0)  # three sentences for 77 pieces
    kept, front, end = set(), 0, 0
    for i in range(len(pairs)):
        sides = segments(pairs, i)
        kept.add((len(sides[0]), len(sides[1])))
        for side, (begin, stop) in zip(sides, pairs.source[i].tolist(), strict=True):
            front += side[0] - begin
            end += stop - 1 - side[-1]
    assert {(30, 47), (47, 30)} <= kept
    assert front + end > 10_000 and binomtest(front, front + end).pvalue > 1e-6


# --- Frequencies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nsp", [True, "order"])
@pytest.mark.parametrize(("sentences", "longest"), [(1, 40), (3, 10), (12, 60)])
def test_half_of_the_rows_are_true(nsp, sentences, longest):
    documents = random_documents(20_000 // sentences, sentences=sentences, longest=longest)
    true = np.concatenate([sentence_pairs(documents, nsp=nsp, epoch=epoch).is_next for epoch in range(8)])
    assert len(true) > 20_000
    assert binomtest(int(true.sum()), len(true)).pvalue > 1e-6


def test_one_row_in_ten_is_short():
    documents = documents_of([[1] * 10_000] * 16)
    rows = sentence_pairs(documents, max_length=32).lengths
    short = int((rows < 32).sum())  # of those gathered short, one in 28 has the whole room: 2, 3 … 29 pieces
    assert binomtest(short, len(rows), 0.1 * 27 / 28).pvalue > 1e-6
    assert np.bincount(sentence_pairs(documents, max_length=32, short=1).lengths)[5:].min() > 200
    assert (sentence_pairs(documents, max_length=32, short=0).lengths < 32).mean() < 0.01  # the ends of documents


def test_any_sentence_of_any_other_document_may_be_b():
    documents = documents_of([[3] * 10] * 4)
    begins = np.zeros((4, len(documents)), int)  # of B by the document of A
    for epoch in range(200):
        source = (pairs := sentence_pairs(documents, max_length=20, seed=2, epoch=epoch)).source[~pairs.is_next]
        np.add.at(begins, (documents.document_of(source[:, 0, 0]), source[:, 1, 0]), 1)
    own = np.repeat(np.eye(4, dtype=bool), 10, axis=1)
    drawn = begins[:, ::3]  # (4 documents, 40 sentences)
    assert not drawn[own].any() and begins.sum() == drawn.sum()
    for of_one_document, elsewhere in zip(drawn, ~own, strict=True):
        assert chisquare(of_one_document[elsewhere]).pvalue > 1e-6


def test_a_text_without_sentence_ends_is_used_to_its_end():
    documents = documents_of([[50_000], [1]])
    pairs = sentence_pairs(documents, max_length=128)
    used = np.zeros(len(documents), int)
    for source, true in zip(pairs.source, pairs.is_next, strict=True):
        for begin, end in source[: 2 if true else 1]:
            used[begin:end] += 1
    assert (used[:-1] == 1).all()
    whole = sentence_pairs(documents, nsp="order", short=0)
    assert (whole.lengths > 120).mean() > 0.99


# --- The same again -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("nsp", [True, "order", False])
def test_seed_and_epoch_alone_decide(nsp):
    documents = random_documents(50, sentences=9, longest=40)
    rows = [sentence_pairs(documents, nsp=nsp, seed=s, epoch=e) for s, e in [(1, 2), (1, 2), (1, 3), (2, 2), (2, 1)]]
    for name in ("ids", "starts", "first_length", "is_next", "source"):
        assert np.array_equal(getattr(rows[0], name), getattr(rows[1], name))
    assert len({row.ids.tobytes() for row in rows}) == 4


# --- Full sentences -----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(1, 70), min_size=1, max_size=8), min_size=1, max_size=8), st.integers(5, 60))
def test_full_sentences_hold_every_piece_once(lengths, max_length):
    documents = documents_of(lengths)
    pairs = sentence_pairs(documents, max_length=max_length, nsp=False)
    assert (pairs.lengths <= max_length).all() and not pairs.is_next.any() and not pairs.source[:, 1].any()
    assert np.array_equal(pairs.first_length, pairs.lengths)  # one segment: token type 0 throughout
    for i in np.argsort(pairs.source[:, 0, 0]):
        row = pairs.row(i)
        assert row[0] == CLS and row[-1] == SEP
        wanted = []
        for position in range(*pairs.source[i, 0]):
            wanted += [SEP] * (bool(wanted) and position in documents.begins) + [position + 5]
        assert row[1:-1].tolist() == wanted
    ordered = pairs.source[np.argsort(pairs.source[:, 0, 0]), 0]
    assert ordered[0, 0] == 0 and ordered[-1, 1] == len(documents)
    assert (ordered[1:, 0] == ordered[:-1, 1]).all()


def test_full_sentences_leave_no_room_for_another():
    documents = random_documents(300, sentences=9, longest=20)
    pairs = sentence_pairs(documents, max_length=64, nsp=False)
    for length, (_, end) in zip(pairs.lengths, pairs.source[:, 0], strict=True):
        if end < len(documents):
            following = np.searchsorted(documents.sentence_starts, end)
            sentence = documents.sentence_starts[following + 1] - end
            assert length + sentence + (end in documents.begins) > 64


# --- Bad input ----------------------------------------------------------------------------------------------


def test_one_document_has_no_other():
    documents = documents_of([[5, 6, 7]])
    with pytest.raises(ValueError, match="there is only one: give two or more"):
        sentence_pairs(documents)
    assert len(sentence_pairs(documents, nsp="order")) == 1 == len(sentence_pairs(documents, nsp=False))


def test_documents_of_one_piece_make_no_rows():
    documents = documents_of([[1], [1]])
    pairs = sentence_pairs(documents)
    assert len(pairs) == 0 == len(pairs.ids) and pairs.source.shape == (0, 2, 2)
    with pytest.raises(IndexError, match="no row 0 of 0"):
        pairs.row(0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"max_length": 4}, "max_length=4 leaves no room"),
        ({"short": 1.5}, "short=1.5 is no share"),
        ({"short": float("nan")}, "short=nan is no share"),
        ({"nsp": "random"}, "nsp='random' must be"),
    ],
)
def test_arguments_out_of_range(arguments, says):
    with pytest.raises(ValueError, match=says):
        sentence_pairs(documents_of([[5], [5]]), **arguments)


# --- Documents ----------------------------------------------------------------------------------------------

TEXTS = [
    "The kettle boils. Tea is made at four! Who wants milk?\nNobody answers.",
    "",
    "ร้านเปิดหกโมงเช้า คนมารอกันตั้งแต่ตีห้าครึ่งแล้ว บางคนเอาหนังสือมาอ่านระหว่างที่รอ ขนมปังหมดก่อนเก้าโมงทุกวัน",
    " \n\u200b ",
    "One sentence only",
    "He wrote [SEP] and [MASK] on the board.",
]


@pytest.fixture(scope="module")
def tokeniser():
    return train_wordpiece(TEXTS * 3, vocab_size=400)


def test_from_texts(tokeniser):
    documents = Documents.from_texts(TEXTS, tokeniser)
    assert (documents.documents, documents.empty, documents.ids.dtype) == (4, 2, np.dtype("<u2"))
    assert np.diff(documents.document_starts).tolist() == [4, 2, 1, 1]
    first = documents.ids[: documents.sentence_starts[1]]
    assert first.tolist() == tokeniser("The kettle boils.", add_special_tokens=False).input_ids
    assert documents.document_of(documents.begins[:-1]).tolist() == [0, 1, 2, 3]
    assert not np.isin(documents.ids, [0, 2, 3, 4]).any()  # "[SEP]" in a text is letters and brackets
    assert tokeniser.tokenize("[MASK]") == ["[MASK]"]  # elsewhere it is itself, as before


def test_any_settings_of_the_tokeniser_before_do_not_matter(tokeniser):
    wanted = Documents.from_texts(TEXTS, tokeniser).digest
    tokeniser(TEXTS, truncation=True, max_length=4, padding="max_length")
    assert Documents.from_texts(iter(TEXTS), tokeniser).digest == wanted
    assert Documents.from_texts(TEXTS[:3], tokeniser).digest != wanted
    assert Documents.from_sentences(list(map(split_sentences, TEXTS)), tokeniser).digest == wanted


def test_more_sentences_than_the_tokeniser_is_given_at_a_time(tokeniser):
    documents = Documents.from_sentences([["tea"] * 5_000, [], ["milk"] * 4_000], tokeniser)
    assert np.diff(documents.document_starts).tolist() == [5_000, 4_000] and documents.empty == 1


@pytest.mark.parametrize("texts", [[], [""], ["", "\n"]])
def test_no_pieces_at_all(tokeniser, texts):
    with pytest.raises(ValueError, match="no document has a piece"):
        Documents.from_texts(texts, tokeniser)


def test_a_text_is_no_list_of_sentences(tokeniser):
    with pytest.raises(TypeError, match=r"document 1 is a text \('tea and"):
        Documents.from_sentences([["tea"], "tea and milk"], tokeniser)


def test_saved_and_loaded(tokeniser, tmp_path):
    documents = Documents.from_texts(TEXTS, tokeniser)
    documents.save(tmp_path / "new")
    loaded = Documents.load(tmp_path / "new")
    assert isinstance(loaded.ids, np.memmap) and loaded.digest == documents.digest and loaded.empty == 2
    a, b = (sentence_pairs(which, max_length=20) for which in (documents, loaded))
    assert np.array_equal(a.ids, b.ids)


@pytest.mark.parametrize("name", ["ids.npy", "sentence_starts.npy", "document_starts.npy", "documents.json"])
def test_damaged_documents_are_refused(tokeniser, tmp_path, name):
    Documents.from_texts(TEXTS, tokeniser).save(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    for damage in (whole[:-2], whole[:40], b""):
        path.write_bytes(damage)
        with pytest.raises(CorpusError, match="damaged"):
            Documents.load(tmp_path)
    path.unlink()
    with pytest.raises(CorpusError, match="has not been run" if name.endswith("json") else "damaged"):
        Documents.load(tmp_path)


def test_documents_of_several_makings_are_refused(tokeniser, tmp_path):
    Documents.from_texts(TEXTS, tokeniser).save(tmp_path / "a")
    Documents.from_texts(TEXTS[::-1] + TEXTS, tokeniser).save(tmp_path / "b")
    for name in ("ids.npy", "sentence_starts.npy", "document_starts.npy"):
        whole = (tmp_path / "a" / name).read_bytes()
        (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
        with pytest.raises(CorpusError, match="are not of one another"):
            Documents.load(tmp_path / "a")
        (tmp_path / "a" / name).write_bytes(whole)
    assert Documents.load(tmp_path / "a").documents == 4


# --- Sentences ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        (" \n\t\n", []),
        ("No end", ["No end"]),
        ("It rained. We stayed in.", ["It rained.", "We stayed in."]),
        ("Dr. Fell came at 3.30 p.m. on Monday. Who? J. Smith, e.g. him!", None),
        ('"Why?" she asked. "Because." Silence…  Then (at last) a word.', None),
        ("A title\nIts text. More", ["A title", "Its text.", "More"]),
        ("ราคา 20 บาท", ["ราคา 20 บาท"]),
    ],
)
def test_sentences(text, sentences):
    wanted = {
        "Dr": ["Dr. Fell came at 3.30 p.m. on Monday.", "Who?", "J. Smith, e.g. him!"],
        '"W': ['"Why?" she asked.', '"Because."', "Silence…", "Then (at last) a word."],
    }
    assert split_sentences(text) == (wanted[text[:2]] if sentences is None else sentences)


def test_thai_is_parted_at_blanks_into_stretches_of_some_length():
    clauses = split_sentences(TEXTS[2])
    assert len(clauses) == 2 and " ".join(clauses) == TEXTS[2]
    assert all(len(clause) >= 40 for clause in clauses)
    assert split_sentences("ก" * 100_000) == ["ก" * 100_000]


@settings(deadline=None)
@given(st.text(st.sampled_from("กขคabA. !?…\n\t\"')\u2028"), max_size=80) | st.text())
def test_sentences_lose_nothing_but_blanks(text):
    sentences = split_sentences(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence and sentence == sentence.strip() for sentence in sentences)
