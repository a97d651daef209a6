"""The demos of the lessons on what transfers: every control moved, and what it changes read back."""

import re

import numpy as np
import pandas as pd
import pytest

from tlcourse.transfer_curves import benefits
from tlcourse.transferability import Architecture
from tlcourse.widgets import benefits_demo, labels_demo, predict_curve, surgery_demo

pytestmark = pytest.mark.usefixtures("styled")


def words(demo) -> str:
    return re.sub(r"<[^>]*>", "", demo.ui.children[-1].value)


def grid(network: str, *, splits=("0", "1"), depths=(1, 2, 3), far=True) -> pd.DataFrame:
    """Base B is 0.7 and 0.72; AnB falls by 0.1 a layer, BnB is 0.01 below base B in the first split, above after."""
    rows = []
    for i, split in enumerate(splits):
        base = 0.7 + 0.02 * i
        cells = [("B", "base", 0, base), ("A", "base", 0, 0.9)]
        for n in depths:
            cells += [("B", "BnB", n, base - 0.01 + 0.02 * i), ("A", "AnB", n, base - 0.1 * n)]
            cells += [("A", "AnB+", n, base + 0.03), ("none", "random", n, base - 0.2 * n)]
            if far:
                cells += [("far", "AnB", n, base - 0.15 * n)]
        rows += [(network, split, *cell[:3], 0, cell[3], cell[3] - 0.05) for cell in cells]
    columns = ["network", "split", "source", "treatment", "n", "seed", "accuracy", "macro_f1"]
    return pd.DataFrame(rows, columns=columns)


NETWORKS = {"LSTM": Architecture(kind="LSTM", layers=3), "โครงข่าย $x": Architecture(kind="transformer", layers=5)}
TABLE = pd.concat([grid("LSTM"), grid("โครงข่าย $x", depths=(1, 5), far=False)], ignore_index=True)


class TestSurgery:
    @pytest.fixture
    def demo(self):
        return surgery_demo(TABLE, NETWORKS)

    def test_where_a_run_lands(self, demo, picture):
        assert [box.value for box in demo.controls.values()] == ["LSTM", "BnB", 3, False] and picture(demo)
        state = demo.state
        assert (state.mean, state.base, state.difference) == pytest.approx((0.71, 0.71, 0))
        assert (state.below, state.splits) == (1, 2) and state.runs["accuracy"].tolist() == pytest.approx([0.69, 0.73])
        assert "B3B of the LSTM: layers 1 to 3 are copied from base B and stay frozen; the head is fresh" in words(demo)
        assert "Accuracy 71.0%, the mean of 2 splits; base B has 71.0%: 0 points, below base B in 1 of" in words(demo)

    def test_each_control(self, demo, picture):
        seen = {picture(demo)}
        for name, value, mean in [("treatment", "AnB", 0.41), ("n", 1, 0.61), ("difference", True, 0.61)]:
            demo.controls[name].value = value
            assert demo.state.mean == pytest.approx(mean)
            seen.add(picture(demo))
        assert "layer 1 is copied from base A and stays frozen; layers 2 to 3 and the head are fresh" in words(demo)
        assert "61.0%" in words(demo) and "−10.0 points, below base B in 2 of 2 splits" in words(demo)
        demo.controls["network"].value = "โครงข่าย $x"
        assert demo.state.runs["network"].tolist() == ["โครงข่าย $x"] * 2
        assert len(seen | {picture(demo)}) == 5

    @pytest.mark.parametrize(
        ("treatment", "n", "said"),
        [
            (
                "AnB+",
                2,
                "A2B+ of the LSTM: layers 1 to 2 are copied from base A and learn on; layer 3 and the head are",
            ),
            ("AnB+", 1, "layer 1 is copied from base A and learns on;"),
            ("AnB from far", 2, "A2B from far of the LSTM: layers 1 to 2 are copied from base far and stay frozen"),
            ("random", 1, "random of the LSTM: layer 1 stays as random as it was drawn"),
            ("random", 3, "layers 1 to 3 stay as random as they were drawn; the head is fresh"),
        ],
    )
    def test_the_surgery_in_words(self, demo, treatment, n, said):
        demo.controls["treatment"].value, demo.controls["n"].value = treatment, n
        assert said in words(demo) and demo.state.mean is not None

    def test_what_was_not_run(self, demo):
        demo.controls["network"].value = "โครงข่าย $x"
        assert demo.controls["n"].max == 5 and "It was not run at n = 3, only at 1, 5." in words(demo)
        assert demo.state.mean is demo.state.runs is demo.state.difference is None
        demo.controls["n"].value = 5
        assert demo.state.splits == 2
        demo.controls["treatment"].value = "AnB from far"
        assert "It was not run at n = 5, at no depth." in words(demo)
        demo.controls["network"].value = "LSTM"  # which has no layer 5
        assert demo.controls["n"].value == demo.controls["n"].max == 3 and demo.state.mean == pytest.approx(0.26)

    def test_one_split_of_one_depth(self):
        demo = surgery_demo(grid("LSTM", splits=["0"], depths=[2], far=False), NETWORKS, metric="macro_f1")
        demo.controls["n"].value = 2
        assert demo.state.mean == pytest.approx(0.64) and demo.state.splits == 1
        assert "Macro f1 64.0%, the mean of 1 split; base B has 65.0%: −1.0 points" in words(demo)
        assert demo.controls["treatment"].options == ("BnB", "AnB", "AnB+", "random")

    def test_bad_tables(self):
        with pytest.raises(ValueError, match="no column 'seed'"):
            surgery_demo(TABLE.drop(columns="seed"), NETWORKS)
        with pytest.raises(ValueError, match="the table has no rows"):
            surgery_demo(TABLE[:0], NETWORKS)
        with pytest.raises(ValueError, match="a network 'LSTM', which is not among plain"):
            surgery_demo(TABLE, {"plain": NETWORKS["LSTM"]})
        with pytest.raises(ValueError, match="no treatment 'CnB'"):
            surgery_demo(TABLE.replace({"treatment": {"BnB": "CnB"}}), NETWORKS)
        with pytest.raises(ValueError, match="nothing but bases"):
            surgery_demo(TABLE[TABLE["treatment"] == "base"], NETWORKS)
        with pytest.raises(ValueError, match="the table has no base B"):
            surgery_demo(TABLE[TABLE["treatment"] != "base"], NETWORKS)


class TestPredict:
    @pytest.fixture
    def demo(self):
        return predict_curve(TABLE, "LSTM")

    def test_nothing_is_told_before(self, demo, picture):
        assert list(demo.controls) == ["n=1", "n=2", "n=3", "show"] and picture(demo)
        assert demo.state.predicted == {1: 0.71, 2: 0.71, 3: 0.71}
        assert demo.state.measured is demo.state.error is None
        assert "base B has 71.0%. Set what you expect of AnB, then press «show»." in words(demo)

    def test_each_slider_and_the_button(self, demo, picture):
        seen = {picture(demo)}
        for n, share in ((1, 62), (2, 50), (3, 30)):
            demo.controls[f"n={n}"].value = share
            assert demo.state.predicted[n] == share / 100 and demo.state.measured is None
            seen.add(picture(demo))
        demo.controls["show"].value = True
        assert demo.state.measured == pytest.approx({1: 0.61, 2: 0.51, 3: 0.41})
        assert demo.state.error == pytest.approx((1 + 1 + 11) / 3) and len(seen | {picture(demo)}) == 5
        assert "You were 4.3 points away" in words(demo) and "at n = 3: you said 30%, measured were 41.0%" in words(
            demo
        )
        demo.controls["n=3"].value = 41
        assert demo.state.error == pytest.approx(2 / 3)

    def test_fewer_sliders_are_spread(self):
        table = grid("LSTM", depths=range(1, 8))
        assert list(predict_curve(table, sliders=3).controls) == ["n=1", "n=4", "n=7", "show"]
        assert list(predict_curve(table, sliders=1).controls) == ["n=1", "show"]

    def test_other_curves(self):
        demo = predict_curve(grid("LSTM", splits=["0"], depths=[2]), treatment="AnB from far", metric="macro_f1")
        demo.controls["show"].value = True
        assert demo.state.measured == pytest.approx({2: 0.35}) and demo.controls["n=2"].description == "A2B from far, %"

    def test_bad_input(self):
        with pytest.raises(ValueError, match="say whose curve: network= one of LSTM, โครงข่าย"):
            predict_curve(TABLE)
        with pytest.raises(ValueError, match="no network 'CNN', only LSTM"):
            predict_curve(TABLE, "CNN")
        with pytest.raises(ValueError, match=r"the table has no BnB\+"):
            predict_curve(TABLE, "LSTM", treatment="BnB+")
        with pytest.raises(ValueError, match="one slider at least"):
            predict_curve(TABLE, "LSTM", sliders=0)
        with pytest.raises(ValueError, match="no column 'accuracy'"):
            predict_curve(TABLE.drop(columns="accuracy"))


STEPS = (0, 10, 20, 40)
CURVES = pd.DataFrame(
    [
        (name, seed, step, start + (0.01 + gain / 4) * seed + gain * step)
        for name, start, gain in [("$tuned", 0.6, 0.005), ("scratch", 0.5, 0.001), ("ตรึง", 0.55, 0.003)]
        for seed in (0, 1, 2)
        for step in STEPS
    ],
    columns=["treatment", "seed", "steps", "score"],
)


class TestBenefits:
    @pytest.fixture
    def demo(self):
        return benefits_demo(CURVES, last=1, levels={"chance": 0.5})

    def test_numbers(self, demo, picture):
        assert demo.controls["start"].value == 0 and demo.controls["rise"].value == 10 and picture(demo)
        wanted = benefits(CURVES, start=0, rise=10, last=1)
        assert set(demo.state.table["treatment"]) == {"ตรึง", "$tuned"}
        both = demo.state.table.merge(wanted, on=["treatment", "benefit"])
        np.testing.assert_allclose(both["difference_x"], both["difference_y"])
        assert "higher slope, points / 100 steps+40.0 (+40.0 to +40.0)+20.0" in words(demo)

    def test_each_slider(self, demo, picture):
        seen = {picture(demo)}
        demo.controls["start"].value = 20
        starts = demo.state.table.query("benefit == 'start'").set_index("treatment")["difference"]
        assert starts["$tuned"] == pytest.approx(0.1 + 0.08 + 0.001)
        seen.add(picture(demo))
        demo.controls["rise"].value = 40
        seen.add(picture(demo))
        assert len(seen) == 3

    def test_check_boxes(self, demo, picture):
        seen = {picture(demo)}
        for name, left in (("ตรึง", {"$tuned"}), ("$tuned", None)):
            demo.controls[name].value = False
            table = demo.state.table
            assert (table is None) == (left is None) and (table is None or set(table["treatment"]) == left)
            seen.add(picture(demo))
        assert "Tick a treatment to compare with scratch." in words(demo) and len(seen) == 3
        demo.controls["ตรึง"].value = True
        assert set(demo.state.table["treatment"]) == {"ตรึง"}

    def test_bad_curves(self):
        with pytest.raises(ValueError, match="no column 'score'"):
            benefits_demo(CURVES.drop(columns="score"))
        with pytest.raises(ValueError, match="the baseline 'words' is not among"):
            benefits_demo(CURVES, baseline="words")
        with pytest.raises(ValueError, match="nothing to compare with the baseline 'scratch'"):
            benefits_demo(CURVES[CURVES["treatment"] == "scratch"])
        with pytest.raises(ValueError, match="two finite values"):
            benefits_demo(CURVES[CURVES["seed"] == 0])


class TestLabels:
    frame = pd.DataFrame(
        [
            (name, seed, labels, start + gain * labels + 0.02 * seed)
            for name, start, gain in [("words", 0.5, 0.001), ("ตรึง $", 0.55, 0.0005)]
            for seed in (0, 1)
            for labels in (300, 10)
        ],
        columns=["treatment", "seed", "labels", "score"],
    )

    def test_each_count(self, picture):
        demo = labels_demo(self.frame, chance=0.5)
        assert demo.state.means == pytest.approx({"words": 0.52, "ตรึง $": 0.565}) and demo.state.best == "ตรึง $"
        assert "With 10 labels ตรึง $ is best, 56.5%, the mean of 2 seeds; words follows 4.5 points below." in words(
            demo
        )
        before = picture(demo)
        demo.controls["labels"].value = 300
        assert demo.state.best == "words" and demo.state.lead == pytest.approx(10.0) and picture(demo) != before

    def test_what_was_not_run(self):
        demo = labels_demo(self.frame[(self.frame["labels"] == 10) | (self.frame["treatment"] == "words")])
        demo.controls["labels"].value = 300
        assert list(demo.state.means) == ["words"] and demo.state.lead is None

    def test_bad_curves(self):
        with pytest.raises(ValueError, match="no column 'labels'"):
            labels_demo(self.frame.drop(columns="labels"))
        with pytest.raises(ValueError, match="no scores"):
            labels_demo(self.frame[:0])
        with pytest.raises(ValueError, match="chance is a share from 0 to 1, not 50"):
            labels_demo(self.frame, chance=50)
