"""What the tests of the larger demos share: quick pictures in the course's style, and nothing left open."""

import logging
import warnings

import ipywidgets
import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from tlcourse import plots


@pytest.fixture
def picture():
    """For tests that look at a demo's picture; for others it is not rendered, which takes most of the time."""

    def picture(demo) -> bytes:
        (image,) = (child for child in demo.ui.children if isinstance(child, ipywidgets.Image))
        return bytes(image.value)

    return picture


def unrendered(figure) -> bytes:
    plt.close(figure)
    return b"a picture"


@pytest.fixture
def styled(caplog, request, monkeypatch):
    """The course's font; no glyph is missing in any picture, and no figure stays open."""
    if not {"picture", "notebook"} & set(request.fixturenames):
        monkeypatch.setattr("tlcourse.widgets.demo.png", unrendered)
    with mpl.rc_context(), warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.filterwarnings("error", message="Glyph")
        plots.use_course_style()
        mpl.rcParams.update({"figure.dpi": 20, "savefig.bbox": None, "figure.constrained_layout.use": False})  # quicker
        yield
    assert [record.message for record in caplog.records if record.name != "asyncio"] == []
    assert plt.get_fignums() == []
