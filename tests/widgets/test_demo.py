"""What all demos share: moving a control draws anew, and a fault is seen."""

import io
from types import SimpleNamespace

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest

from tlcourse.widgets import Demo
from tlcourse.widgets import demo as demo_module
from tlcourse.widgets.demo import live, notice, png, with_examples

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    plt.close("all")
    yield
    assert plt.get_fignums() == []


@pytest.fixture
def parabola():
    """Two controls, a picture, a line of text."""

    def draw(power, label):
        figure, ax = plt.subplots(figsize=(2, 2))
        ax.plot(np.arange(5) ** power)
        return figure, f"{label} {power}", {"power": power}

    controls = {
        "power": ipywidgets.IntSlider(value=1, min=1, max=4),
        "label": ipywidgets.Text(value="power"),
    }
    return live(controls, draw)


def shown(demo: Demo) -> tuple[bytes, str]:
    picture, words = demo.ui.children[-2:]
    return bytes(picture.value), words.value


class TestLive:
    def test_it_shows_something_at_once(self, parabola):
        picture, words = shown(parabola)
        assert picture.startswith(PNG) and "power 1" in words
        assert vars(parabola.state) == {"power": 1, "text": "power 1"}
        assert parabola.ui.children[:2] == (parabola.controls["power"], parabola.controls["label"])

    def test_each_control_draws_anew(self, parabola):
        before, _ = shown(parabola)
        parabola.controls["power"].value = 3
        picture, words = shown(parabola)
        assert parabola.state.power == 3 and picture != before and picture.startswith(PNG)
        assert "power 3" in words
        parabola.controls["label"].value = "degree"
        assert parabola.state.text == "degree 3" and "degree 3" in shown(parabola)[1]

    def test_going_back_shows_the_same_again(self, parabola):
        before = shown(parabola), dict(vars(parabola.state))
        parabola.controls["power"].value = 4
        parabola.controls["power"].value = 1
        assert (shown(parabola), vars(parabola.state)) == before

    def test_what_the_picture_raises_comes_out_of_the_control(self):
        def draw(number):
            return None, f"{1 / number}", {"number": number}

        demo = live({"number": ipywidgets.IntSlider(value=1, min=0, max=2)}, draw)
        with pytest.raises(ZeroDivisionError):
            demo.controls["number"].value = 0
        assert demo.state.number == 1  # what is still shown
        demo.controls["number"].value = 2
        assert demo.state.text == "0.5"

    def test_a_demo_that_cannot_draw_its_start_raises(self):
        with pytest.raises(ZeroDivisionError):
            live({}, lambda: 1 / 0)

    def test_without_a_picture_there_is_no_empty_frame(self):
        demo = live({"n": ipywidgets.IntText(value=1)}, lambda n: (None, "words", {}))
        assert [type(child) for child in demo.ui.children] == [ipywidgets.IntText, ipywidgets.HTML]

    def test_a_control_that_draw_does_not_know(self):
        with pytest.raises(TypeError, match="'other'"):
            live({"other": ipywidgets.IntText()}, lambda n: (None, "", {}))


class TestWithExamples:
    def test_one_box(self):
        box = ipywidgets.Text(value="one")
        demo = live({"word": box}, lambda word: (None, word, {}))
        assert with_examples(demo, [box], ["one", "สอง"]) is demo
        choose = demo.controls["example"]
        assert demo.ui.children[:2] == (choose, box) and choose.options == ("one", "สอง")
        choose.value = "สอง"
        assert box.value == demo.state.text == "สอง"

    def test_a_value_for_each_box(self, parabola):
        boxes = [parabola.controls[name] for name in ("power", "label")]
        with_examples(parabola, boxes, {"line": (1, "slope"), "cubic": (3, "degree")})
        parabola.controls["example"].value = "cubic"
        assert parabola.state.text == "degree 3"

    def test_as_many_values_as_boxes(self, parabola):
        with_examples(parabola, [parabola.controls["power"]], {"line": (1,), "both": (2, "degree")})
        with pytest.raises(ValueError, match="longer"):
            parabola.controls["example"].value = "both"


def test_a_notice_fills_a_figure_or_one_axes_of_it():
    (text,) = notice("no such word").axes[0].texts
    assert text.get_text() == "no such word"
    figure, (left, right) = plt.subplots(1, 2)
    assert notice("unknown", ax=right) is figure and not right.axison
    assert [len(ax.texts) for ax in (left, right)] == [0, 1]
    plt.close("all")


def test_png_is_the_figure_and_closes_it():
    figure, ax = plt.subplots(figsize=(2, 1), dpi=50)
    ax.axis("off")
    ax.add_patch(plt.Rectangle((0, 0), 1, 1, color="red"))
    image = plt.imread(io.BytesIO(png(figure)))
    assert image.shape[1] > image.shape[0] > 10
    assert np.allclose(image[image.shape[0] // 2, image.shape[1] // 2, :3], [1, 0, 0])


def test_a_cell_that_ends_in_a_demo_shows_its_widget(monkeypatch):
    displayed = []
    monkeypatch.setattr(demo_module, "display", displayed.append)
    button = ipywidgets.Button()
    Demo(button, {"button": button}, SimpleNamespace())._ipython_display_()
    assert displayed == [button]
