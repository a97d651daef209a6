"""Interactive demos: functions that return a :class:`Demo`, something to look at and its state.

A demo uses core ipywidgets alone, so it works in JupyterLab and on Colab. Its controls can be set from code
(``demo.controls["cut_frac"].value = 0.3``) and what it shows read back from ``demo.state``: that is how the tests
move every slider.
"""

from tlcourse.widgets.bert import (
    attention_demo,
    blank_demo,
    input_demo,
    masking_demo,
    pairs_demo,
    parameters_demo,
)
from tlcourse.widgets.demo import Demo
from tlcourse.widgets.elmo import layer_mixer, word_inventor
from tlcourse.widgets.gpt import growth_demo, lambda_demo, prompt_demo, sampling_demo, transformations_demo
from tlcourse.widgets.pretraining import connection_dropout, generator, nearest, next_word, segmentation
from tlcourse.widgets.teaching import Question, exercise, hints, quiz
from tlcourse.widgets.transfer import benefits_demo, labels_demo, predict_curve, surgery_demo
from tlcourse.widgets.ulmfit import schedule_explorer, sentence_box, unfreezing_timeline
from tlcourse.widgets.wikipedia import article_cleaner
from tlcourse.widgets.word2vec import (
    LiveMap,
    analogy_calculator,
    neighbours_explorer,
    project,
    sense_explorer,
    training_map,
    window_explorer,
)

__all__ = [
    "Demo",
    "LiveMap",
    "Question",
    "analogy_calculator",
    "article_cleaner",
    "attention_demo",
    "benefits_demo",
    "blank_demo",
    "connection_dropout",
    "exercise",
    "generator",
    "growth_demo",
    "hints",
    "input_demo",
    "labels_demo",
    "lambda_demo",
    "layer_mixer",
    "masking_demo",
    "nearest",
    "neighbours_explorer",
    "next_word",
    "pairs_demo",
    "parameters_demo",
    "predict_curve",
    "project",
    "prompt_demo",
    "quiz",
    "sampling_demo",
    "schedule_explorer",
    "segmentation",
    "sense_explorer",
    "sentence_box",
    "surgery_demo",
    "training_map",
    "transformations_demo",
    "unfreezing_timeline",
    "window_explorer",
    "word_inventor",
]
