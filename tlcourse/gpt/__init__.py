"""GPT: one model that reads from left to right, for every task (Radford et al. 2018, 2019; Brown et al. 2020).

A GPT of our own is trained by :func:`pretrain_gpt`; those of others come through
:func:`tlcourse.encoders.load_language_model`. Either goes on writing (:func:`generate`), is asked (:func:`classify`),
or is fine-tuned with the language model's loss beside the task's (:func:`finetune_gpt`).
"""

from tlcourse.gpt.bpe import END_OF_TEXT, load_tokeniser, save_tokeniser, train_bpe
from tlcourse.gpt.finetune import FineTunedGPT, FineTuningGPT, add_marks, finetune_gpt, lm_loss, real_token_loss, states
from tlcourse.gpt.generate import Generated, distribution, generate, next_tokens
from tlcourse.gpt.inputs import show, transform
from tlcourse.gpt.lesson import (
    KINDS,
    PAPER,
    SIZES,
    Sizes,
    few,
    general_texts,
    gpt,
    lambda_runs,
    reader_of_tasks,
    shot_runs,
    tasks,
    text,
)
from tlcourse.gpt.model import gpt3_sizes, gpt_config, next_token_loss, parameters
from tlcourse.gpt.pretrain import GPTRecipe, TokenDocuments, TrainedGPT, load_gpt, pretrain_gpt
from tlcourse.gpt.prompting import Prompt, calibrated, classify, score_choices
from tlcourse.gpt.shots import accuracy_by_shots, form_tasks, task_documents

__all__ = [
    "END_OF_TEXT",
    "KINDS",
    "PAPER",
    "SIZES",
    "FineTunedGPT",
    "FineTuningGPT",
    "GPTRecipe",
    "Generated",
    "Prompt",
    "Sizes",
    "TokenDocuments",
    "TrainedGPT",
    "accuracy_by_shots",
    "add_marks",
    "calibrated",
    "classify",
    "distribution",
    "few",
    "finetune_gpt",
    "form_tasks",
    "general_texts",
    "generate",
    "gpt",
    "gpt3_sizes",
    "gpt_config",
    "lambda_runs",
    "lm_loss",
    "load_gpt",
    "load_tokeniser",
    "next_token_loss",
    "next_tokens",
    "parameters",
    "pretrain_gpt",
    "reader_of_tasks",
    "real_token_loss",
    "save_tokeniser",
    "score_choices",
    "shot_runs",
    "show",
    "states",
    "task_documents",
    "tasks",
    "text",
    "train_bpe",
    "transform",
]
