"""Interactive demos: functions that return a :class:`Demo`, something to look at and its state.

A demo uses core ipywidgets alone, so it works in JupyterLab and on Colab. Its controls can be set from code
(``demo.controls["cut_frac"].value = 0.3``) and what it shows read back from ``demo.state``: that is how the tests
move every slider.
"""

from tlcourse.widgets.demo import Demo
from tlcourse.widgets.pretraining import connection_dropout, generator, nearest, next_word, segmentation
from tlcourse.widgets.teaching import Question, exercise, hints, quiz
from tlcourse.widgets.ulmfit import schedule_explorer, sentence_box, unfreezing_timeline
from tlcourse.widgets.wikipedia import article_cleaner

__all__ = [
    "Demo",
    "Question",
    "article_cleaner",
    "connection_dropout",
    "exercise",
    "generator",
    "hints",
    "nearest",
    "next_word",
    "quiz",
    "schedule_explorer",
    "segmentation",
    "sentence_box",
    "unfreezing_timeline",
]
