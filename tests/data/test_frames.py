import numpy as np
import pandas as pd
import pytest

from tlcourse.data.frames import classes_of, label_column, labels_of, numbered, texts_of

FRAME = pd.DataFrame({"first": ["a", "b"], "second": ["c", "d"], "label": ["x", "y"]}, index=[7, 9])


def test_texts_of_a_frame_and_of_tuples_are_the_same():
    wanted = {"first": ["a", "b"], "second": ["c", "d"]}
    assert texts_of(FRAME, ("first", "second")) == wanted
    assert texts_of([("a", "c"), ("b", "d")], ("first", "second")) == wanted
    assert texts_of(["a"], ("text",)) == {"text": ["a"]}
    assert texts_of([], ("first", "second")) == {"first": [], "second": []}


@pytest.mark.parametrize("bad", [None, 3, np.nan, ["a"]])
def test_what_is_no_text_is_named_by_its_row(bad):
    with pytest.raises(ValueError, match="row 9: second is "):
        texts_of(FRAME.assign(second=pd.Series(["c", bad], index=FRAME.index, dtype=object)), ("first", "second"))


def test_the_label_column_is_the_one_that_is_left():
    assert label_column(FRAME, ("first", "second"), None) == "label"
    assert label_column(FRAME, ("first",), "second") == "second"
    with pytest.raises(ValueError, match="could be any of"):
        label_column(FRAME, ("first",), None)
    with pytest.raises(ValueError, match="no rows"):
        label_column(FRAME.head(0), ("first", "second"), None)
    with pytest.raises(ValueError, match="no column 'tag' among first, second, label"):
        label_column(FRAME, ("first", "second"), "tag")


def test_labels_have_no_gaps_and_at_least_two_classes():
    assert labels_of(FRAME, "label") == ["x", "y"]
    with pytest.raises(ValueError, match="row 7 has no label"):
        labels_of(FRAME.assign(label=[None, "y"]), "label")
    assert classes_of(["b", "a", "b"]) == ["a", "b"]
    assert classes_of([True, False]) == [False, True]
    for labels, message in ((["a", "a"], "nothing to tell apart"), ([0.5, 1.0], "fraction")):
        with pytest.raises(ValueError, match=message):
            classes_of(labels)


def test_the_same_label_has_the_same_number_in_each_list():
    a, b = numbered(["x", "y", "x"], ["z", "x"])
    assert a.tolist() == [0, 1, 0]
    assert b.tolist() == [2, 0]
