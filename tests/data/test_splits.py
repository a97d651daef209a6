"""Properties of the cuts: nothing lost, nothing on both sides, the same rows whatever their order."""

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tlcourse import data

rows = st.lists(st.tuples(st.sampled_from("กขคงจฉชซ"), st.sampled_from("abc")), min_size=2, max_size=80)
seeds = st.integers(0, 1000)


def frame_of(drawn) -> pd.DataFrame:
    frame = pd.DataFrame(drawn, columns=["text", "label"])
    assume(frame.label.nunique() > 1)
    return frame


@settings(max_examples=60, deadline=None)
@given(rows, st.floats(0.05, 0.95), seeds)
def test_holdout_cuts_in_two_without_a_text_on_both_sides(drawn, fraction, seed):
    frame = frame_of(drawn)
    rest, held = data.holdout(frame, by="label", fraction=fraction, seed=seed)
    assert sorted([*rest.index, *held.index]) == list(frame.index)
    assert not set(rest.text) & set(held.text)
    assert rest.index.is_monotonic_increasing and held.index.is_monotonic_increasing
    first = frame.drop_duplicates("text")  # a text counts for the class of its first row
    for _, texts in first.groupby("label").text:
        if len(texts) > 1:
            assert set(texts) & set(rest.text) and set(texts) & set(held.text)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 200), st.integers(2, 200), st.floats(0.05, 0.95), seeds)
def test_holdout_is_stratified(n_a, n_b, fraction, seed):
    frame = pd.DataFrame({"text": [f"{i}" for i in range(n_a + n_b)], "label": ["a"] * n_a + ["b"] * n_b})
    _, held = data.holdout(frame, by="label", fraction=fraction, seed=seed)
    for label, n in {"a": n_a, "b": n_b}.items():
        assert (held.label == label).sum() == min(max(round(fraction * n), 1), n - 1)


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False), seeds)
def test_the_order_of_the_rows_does_not_matter(random, seed):
    frame = pd.DataFrame({"text": [f"ข้อความ {i}" for i in range(60)], "label": list("aab") * 20})
    shuffled = frame.loc[random.sample(range(60), 60)]
    for cut in (
        lambda f: data.holdout(f, by="label", fraction=0.2, seed=seed)[1],
        lambda f: data.labelled_subset(f, by="label", n=10, seed=seed),
    ):
        assert set(cut(frame).text) == set(cut(shuffled).text)


def test_the_rows_are_the_same_on_every_machine():
    frame = pd.DataFrame({"text": [f"ข้อความ {i}" for i in range(60)], "label": list("aab") * 20})
    _, held = data.holdout(frame, by="label", fraction=0.1, seed=0)
    assert held.index.tolist() == [3, 13, 32, 40, 47, 51]
    drawn = [data.labelled_subset(frame, by="label", n=6, seed=seed).index.tolist() for seed in (0, 1)]
    assert drawn[0] == [7, 14, 15, 19, 29, 33] != drawn[1]


def test_holdout_can_keep_documents_together_and_take_all_rows_as_one_class():
    frame = pd.DataFrame({"words": [["ก"]] * 50, "file": [i // 5 for i in range(50)]})
    rest, held = data.holdout(frame, by=None, fraction=0.2, seed=3, group="file")
    assert len(held) == 10 and not set(rest.file) & set(held.file)


@settings(max_examples=60, deadline=None)
@given(rows, seeds, st.data())
def test_labelled_subsets_have_each_class_and_are_nested(drawn, seed, draw):
    frame = frame_of(drawn)
    k = frame.label.nunique()
    small = draw.draw(st.integers(k, len(frame)))
    large = draw.draw(st.integers(small, len(frame)))
    a, b = (data.labelled_subset(frame, by="label", n=n, seed=seed) for n in (small, large))
    assert (len(a), len(b)) == (small, large) and set(a.index) <= set(b.index)
    assert a.label.nunique() == k
    share = frame.label.value_counts() / len(frame)
    assert ((a.label.value_counts() - small * share).abs() <= k).all()


def test_equal_texts_are_drawn_like_any_other_rows():
    frame = pd.DataFrame({"text": ["ครับ"] * 100 + [f"{i}" for i in range(100)], "label": list("ab") * 100})
    alike = [(data.labelled_subset(frame, by="label", n=20, seed=s).text == "ครับ").sum() for s in range(20)]
    assert 5 < sum(alike) / 20 < 15


def test_categories_survive():
    frame = pd.DataFrame({"text": list("กขคง"), "label": pd.Categorical(list("aabb"), categories=list("abc"))})
    rest, held = data.holdout(frame, by="label", fraction=0.5, seed=0)
    drawn = data.labelled_subset(frame, by="label", n=2, seed=0)
    assert all(part.label.cat.categories.tolist() == list("abc") for part in (rest, held, drawn))


FRAME = pd.DataFrame({"text": list("กขคง"), "label": list("aabb")})


@pytest.mark.parametrize(
    "frame, says",
    [
        (FRAME.assign(label="a"), "two classes or more; the frame has only the class 'a'"),
        (FRAME.iloc[:0], "two classes or more; the frame has no row"),
        (FRAME.drop(columns="text"), "no column 'text'; it has label"),
        (FRAME.drop(columns="label"), "no column 'label'; it has text"),
        (FRAME.assign(label=["a", None, "b", "b"]), "1 of 4 rows have no 'label'"),
    ],
)
def test_a_frame_that_cannot_be_stratified_is_explained(frame, says):
    with pytest.raises(data.DataError, match=says):
        data.holdout(frame, by="label", fraction=0.5, seed=0)
    with pytest.raises(data.DataError, match=says):
        data.labelled_subset(frame, by="label", n=2, seed=0)


@pytest.mark.parametrize("fraction", [-1, 0, 1, 10])
def test_a_fraction_outside_0_to_1(fraction):
    with pytest.raises(data.DataError, match="between 0 and 1"):
        data.holdout(FRAME, by="label", fraction=fraction, seed=0)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_number_of_rows_that_cannot_be_had(n):
    with pytest.raises(data.DataError, match=r"between 2 \(one a class\) and 4 \(all rows\)"):
        data.labelled_subset(FRAME, by="label", n=n, seed=0)
