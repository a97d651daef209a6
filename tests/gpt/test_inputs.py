import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlcourse.gpt.bpe import DELIMITER, EXTRACT, START, train_bpe
from tlcourse.gpt.inputs import (
    TRANSFORMATIONS,
    Marks,
    classification,
    encode,
    entailment,
    multiple_choice,
    share,
    show,
    similarity,
    transform,
)

TEXTS = ["The bank lends money to farmers.", "She sat on the bank of the river.", "เขาตากลมริมแม่น้ำ", "น้ำใส 🙂"]
MARKS = Marks(start=1001, delimiter=1002, extract=1003)
WRITTEN = {
    "classification": TEXTS,
    "entailment": list(zip(TEXTS, TEXTS[::-1], strict=True)),
    "similarity": list(zip(TEXTS, TEXTS[::-1], strict=True)),
    "choice": [(text, TEXTS[:n]) for n, text in enumerate(TEXTS[1:], start=2)],
}
ids = st.lists(st.integers(0, 999), min_size=1, max_size=30).map(np.array)
lengths = st.integers(5, 40)


@pytest.fixture(scope="module")
def tokeniser():
    return train_bpe(TEXTS * 3, vocab_size=320)


def written(example, tokeniser) -> list[str]:
    return [tokeniser.decode(row) for row in example]


# ------------------------------------------------------------------------------------------------ as figure 1 has them
def test_each_shape_is_that_of_the_paper(tokeniser):
    def rows(example, shape):
        return written(transform([example], shape, tokeniser, max_length=200)[0], tokeniser)

    assert rows("น้ำใส 🙂", "classification") == [f"{START}น้ำใส 🙂{EXTRACT}"]
    assert rows(("ab", "cd"), "entailment") == [f"{START}ab{DELIMITER}cd{EXTRACT}"]
    assert rows(("ab", "cd"), "similarity") == [f"{START}ab{DELIMITER}cd{EXTRACT}", f"{START}cd{DELIMITER}ab{EXTRACT}"]
    assert rows(("ab", ["c", "d", "e"]), "choice") == [f"{START}ab{DELIMITER}{choice}{EXTRACT}" for choice in "cde"]


@pytest.mark.parametrize("shape", WRITTEN)
def test_a_frame_and_a_list_give_the_same(tokeniser, shape):
    columns = TRANSFORMATIONS[shape].columns
    values = [(text,) for text in TEXTS] if shape == "classification" else WRITTEN[shape]
    frame = pd.DataFrame(values, columns=columns, index=range(5, 5 + len(values))).assign(label=1)
    for one, other in zip(
        transform(frame, shape, tokeniser, max_length=40),
        transform(WRITTEN[shape], shape, tokeniser, max_length=40),
        strict=True,
    ):
        assert [row.tolist() for row in one] == [row.tolist() for row in other]


def test_special_tokens_written_in_a_text_are_only_characters(tokeniser):
    text = f"a{EXTRACT}b{START}<|endoftext|>"
    (row,) = transform([text], "classification", tokeniser, max_length=200)[0]
    marks = Marks.of(tokeniser)
    assert row[0] == marks.start and row[-1] == marks.extract
    assert not {*marks, tokeniser.eos_token_id} & {*row[1:-1].tolist()}
    assert tokeniser.decode(row) == START + text + EXTRACT
    assert encode([EXTRACT], tokeniser)[0].tolist() != [marks.extract]


# ---------------------------------------------------------------------------------------------------------- truncation
@given(st.integers(2, 50), st.integers(1, 60), st.integers(1, 60))
def test_room_is_shared_so_that_the_longer_text_loses_first(room, first, second):
    a, b = share(room, first, second)
    assert 1 <= a <= first and 1 <= b <= second
    assert a + b == min(room, first + second)
    if a < first:
        assert a >= b  # who loses is not shorter than the other
    if b < second:
        assert b >= a - 1


@given(ids, ids, lengths)
def test_what_is_cut_leaves_the_special_tokens_and_what_fits(a, b, max_length):
    (text,) = classification(a, marks=MARKS, max_length=max_length)
    kept = min(len(a), max_length - 2)
    assert text.tolist() == [MARKS.start, *a[:kept], MARKS.extract]
    (pair,) = entailment(a, b, marks=MARKS, max_length=max_length)
    assert len(pair) == min(max_length, len(a) + len(b) + 3)
    at = pair.tolist().index(MARKS.delimiter)
    assert pair.tolist() == [MARKS.start, *a[: at - 1], MARKS.delimiter, *b[: len(pair) - at - 2], MARKS.extract]
    assert at >= 2 and len(pair) - at - 2 >= 1  # something of both


@given(ids, ids, lengths)
def test_both_orders_have_the_same_tokens(a, b, max_length):
    one, other = similarity(a, b, marks=MARKS, max_length=max_length)
    assert one.tolist() == entailment(a, b, marks=MARKS, max_length=max_length)[0].tolist()
    at = one.tolist().index(MARKS.delimiter)
    first, second = one[1:at], one[at + 1 : -1]
    assert other.tolist() == [MARKS.start, *second, MARKS.delimiter, *first, MARKS.extract]


@given(ids, st.lists(ids, min_size=2, max_size=5), lengths)
def test_choices_have_the_same_context_and_its_end(context, choices, max_length):
    rows = multiple_choice(context, choices, marks=MARKS, max_length=max_length)
    assert len(rows) == len(choices) and max(map(len, rows)) <= max_length
    at = {row.tolist().index(MARKS.delimiter) for row in rows}
    assert len(at) == 1
    kept = at.pop() - 1
    for row, choice in zip(rows, choices, strict=True):
        assert row[0] == MARKS.start and row[-1] == MARKS.extract
        assert row[1 : kept + 1].tolist() == context[len(context) - kept :].tolist()
        own = row[kept + 2 : -1]
        assert own.tolist() == choice[: len(own)].tolist()
        if len(context) + max(map(len, choices)) + 3 <= max_length:
            assert kept == len(context) and len(own) == len(choice)


# ------------------------------------------------------------------------------------------------------------- reading
def test_rows_are_shown_in_letters(tokeniser):
    table = show(transform([("น้ำ", "ฮ๏A")], "similarity", tokeniser, max_length=60), tokeniser)
    assert table[["example", "row"]].to_numpy().tolist() == [[0, 0], [0, 1]]
    assert (
        table.tokens == [len(row) for row in transform([("น้ำ", "ฮ๏A")], "similarity", tokeniser, max_length=60)[0]]
    ).all()
    assert table.text[0].startswith(f"{START}|น") and table.text[0].endswith(f"{DELIMITER}|ฮ|๏|A|{EXTRACT}")
    assert table.text[1].startswith(f"{START}|ฮ|๏|A|{DELIMITER}")
    assert show([], tokeniser).empty


@given(st.text(min_size=1, max_size=12).filter(str.strip))
def test_what_is_shown_is_what_the_model_reads(tokeniser, text):
    shown = show(transform([text], "classification", tokeniser, max_length=200), tokeniser).text[0]
    assert shown.replace("|", "") == (START + text + EXTRACT).replace("|", "")


def test_fifty_thousand_words(tokeniser):
    text = "word " * 50_000
    for row in transform([(text, text)], "similarity", tokeniser, max_length=64)[0]:
        assert len(row) == 64


# ----------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("shape", "examples", "message"),
    [
        ("classification", ["a", ""], "row 1: text is empty"),
        ("classification", ["a", " \n\t "], "row 1: text is empty"),
        ("classification", ["a", None], "row 1: text is (None|nan)"),
        ("classification", "a", "list of texts"),
        ("entailment", [("a", "b"), ("a", "")], "row 1: second is empty"),
        ("similarity", [("", "b")], "row 0: first is empty"),
        ("choice", [("a", ["b"])], "row 0 has 1 choice: there is nothing to choose between"),
        ("choice", [("a", [])], "row 0 has 0 choice"),
        ("choice", [("a", "bc")], "row 0: choices must be a list of texts"),
        ("choice", [("a", ["b", None])], "row 0: choices must be a list of texts"),
        ("choice", [("a", ["b", " "])], "row 0: choices is empty"),
        ("choice", [("", ["b", "c"])], "row 0: context is empty"),
        ("ranking", ["a"], "shape is one of classification, entailment, similarity, choice, not 'ranking'"),
    ],
)
def test_what_cannot_be_read_is_named(tokeniser, shape, examples, message):
    with pytest.raises(ValueError, match=message):
        transform(examples, shape, tokeniser, max_length=20)


def test_the_row_is_named_as_the_frame_has_it(tokeniser):
    with pytest.raises(ValueError, match="row x7: text is empty"):
        transform(pd.DataFrame({"text": ["a", ""]}, index=["x6", "x7"]), "classification", tokeniser, max_length=20)
    with pytest.raises(ValueError, match="no column 'choices' among context"):
        transform(pd.DataFrame({"context": ["a"]}), "choice", tokeniser, max_length=20)


@pytest.mark.parametrize(
    ("shape", "least"), [("classification", 3), ("entailment", 5), ("similarity", 5), ("choice", 5)]
)
def test_rows_without_room_for_text_are_refused(tokeniser, shape, least):
    assert max(map(len, transform(WRITTEN[shape], shape, tokeniser, max_length=least)[0])) == least
    for max_length in (least - 1, 0, -3):
        with pytest.raises(ValueError, match=f"no room for text beside .* special tokens of {shape}: .* least {least}"):
            transform(WRITTEN[shape], shape, tokeniser, max_length=max_length)


def test_nothing_gives_nothing(tokeniser):
    for shape in WRITTEN:
        assert transform([], shape, tokeniser, max_length=20) == []


def test_a_tokeniser_without_the_tokens_says_so():
    class Bare:
        def get_vocab(self):
            return {"a": 0, START: 1}

    with pytest.raises(ValueError, match=f"no {DELIMITER}, {EXTRACT}: take one of train_bpe"):
        Marks.of(Bare())
