"""The demos of the lesson on GPT: what it reads, how it writes, what λ does, how it is asked, how it grew."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from html import escape
from itertools import pairwise

import ipywidgets as widgets
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from transformers import OpenAIGPTConfig, PreTrainedTokenizerFast

from tlcourse import plots
from tlcourse.data.frames import need
from tlcourse.encoders import Checkpoint, evaluated
from tlcourse.gpt.bpe import DELIMITER, EXTRACT, START
from tlcourse.gpt.generate import Generated, distribution, generate, token_ids, written
from tlcourse.gpt.inputs import TRANSFORMATIONS, Marks, readable, transform
from tlcourse.gpt.model import SIZES, gpt_config, parameters
from tlcourse.gpt.prompting import NORMALISATIONS, Prompt, Query, classify
from tlcourse.widgets.demo import Demo, live, notice, with_examples
from tlcourse.widgets.pretraining import token_box

# ----------------------------------------------------------------------------------------------------- the input
TASKS = {
    "a review, English": ("classification", "The soup was rich, but we queued for nearly an hour.", ""),
    "a review, Thai": ("classification", "ก๋วยเตี๋ยวเรือร้านนี้น้ำซุปเข้มข้น แต่ต้องรอคิวเกือบชั่วโมง", ""),
    "entailment, English": ("entailment", "Two children are feeding ducks by the pond.", "Nobody is outside."),
    "entailment, Thai": ("entailment", "แม่ค้ากำลังชั่งมะม่วงให้ลูกค้า", "มีคนกำลังซื้อผลไม้"),
    "similarity, English": ("similarity", "How do I learn to swim?", "What is the best way to start swimming?"),
    "similarity, Thai": ("similarity", "รถไฟขบวนสุดท้ายออกกี่โมง", "เที่ยวสุดท้ายของรถไฟคือเวลาใด"),
    "choice, English": (
        "choice",
        "Nida left her umbrella at school. On the way home it began to pour.",
        "She arrived soaked.\nShe opened her umbrella.\nShe went skiing.",
    ),
    "choice, Thai": (
        "choice",
        "ไฟดับทั้งหมู่บ้านตั้งแต่หัวค่ำ ย่าจึงเดินไปที่ตู้",
        "แล้วหยิบเทียนออกมาจุด\nแล้วเปิดโทรทัศน์ดูละคร",
    ),
}
"""By name a shape of :mod:`tlcourse.gpt.inputs` and its texts; choices stand a line each."""

_BOXES = {
    "classification": ("text", ""),
    "entailment": ("premise", "hypothesis"),
    "similarity": ("text A", "text B"),
    "choice": ("context", "a choice a line"),
}
_HEADS = {
    "classification": "A linear layer reads the state at &lt;extract&gt;.",
    "entailment": "A linear layer reads the state at &lt;extract&gt;.",
    "similarity": "Neither text comes first: the states at both &lt;extract&gt; are added before the linear layer.",
    "choice": "A linear layer makes one number of the state at each &lt;extract&gt;; a softmax compares the rows.",
}
_MARK, _COLOURS, _CUT = "#e3b9cf", ("#a9d8f4", "#f7d48a"), "#e0e0e0"
_ENDLESS = 10**9  # tokens


def transformations_demo(
    tokeniser: PreTrainedTokenizerFast,
    *,
    examples: Mapping[str, tuple[str, str, str]] = TASKS,
    max_length: int = 40,
) -> Demo:
    """Type texts and see the rows of tokens that each shape of task makes of them (Radford et al. 2018, figure 1).

    Controls: ``shape``, ``first``, ``second`` (choices, a line each), ``max_length``, ``example``. State: ``rows``,
    the ids of each; ``pieces``, what each reads, special tokens among it; ``cut``, how many tokens each has lost. All
    are None where no row can be made, and the text says why.

    Args:
        examples: by name a shape and what goes into the two boxes.
        max_length: the most tokens of a row, to begin with.

    Raises:
        ValueError: the tokeniser has no <start>, <delimiter> or <extract>.
    """
    marks = Marks.of(tokeniser)

    def draw(shape: str, first: str, second: str, max_length: int):
        example = first if shape == "classification" else (first, second)
        if shape == "choice":
            example = (first, [choice for choice in second.splitlines() if choice.strip()])
        try:
            (rows,) = transform([example], shape, tokeniser, max_length=max_length)
            (whole,) = transform([example], shape, tokeniser, max_length=_ENDLESS)
        except ValueError as error:
            return None, _complaint(error), dict.fromkeys(("rows", "pieces", "cut"))
        cut = [len(every) - len(row) for row, every in zip(rows, whole, strict=True)]
        colours = [_COLOURS] * len(rows)
        if shape == "similarity":
            colours = [_COLOURS, _COLOURS[::-1]]  # a text keeps its colour
        lines = map(line, rows, whole, colours, [shape] * len(rows))
        text = f"{_several(len(rows), 'row')} of {', '.join(f'<b>{len(row)}</b>' for row in rows)} tokens"
        text += f", and {', '.join(f'<b>{lost}</b>' for lost in cut)} cut off (✂). " if any(cut) else ". "
        state = {"rows": [row.tolist() for row in rows], "pieces": [read(row) for row in rows], "cut": cut}
        return None, "".join(lines) + text + _HEADS[shape], state

    def read(row: np.ndarray) -> list[str]:
        first, *others = (readable(part, tokeniser) for part in _between(row, marks))
        return [START, *first, *(piece for part in others for piece in [DELIMITER, *part]), EXTRACT]

    def line(row: np.ndarray, whole: np.ndarray, colours: tuple[str, str], shape: str) -> str:
        texts = []
        for kept, every, colour in zip(_between(row, marks), _between(whole, marks), colours, strict=False):
            left, lost = boxes(kept, colour), len(every) - len(kept)
            if not lost:
                texts.append(left)
            elif shape == "choice" and not texts:  # a context loses its beginning
                texts.append(f"<span style='opacity:.6'>{boxes(every[:lost], _CUT)}</span>✂{left}")
            else:
                texts.append(f"{left}✂<span style='opacity:.6'>{boxes(every[-lost:], _CUT)}</span>")
        row = token_box(START, _MARK) + token_box(DELIMITER, _MARK).join(texts) + token_box(EXTRACT, _MARK)
        return f"<div style='font-size:120%;line-height:1.9;margin:.4em 0'>{row}</div>"

    def boxes(ids: np.ndarray, colour: str) -> str:
        return "".join(token_box(piece.replace("\n", "⏎"), colour) for piece in readable(ids, tokeniser))

    shape, first, second = next(iter(examples.values()))
    controls = {
        "shape": widgets.ToggleButtons(options=list(TRANSFORMATIONS), value=shape, description="shape"),
        "first": widgets.Text(value=first),
        "second": widgets.Textarea(value=second, rows=3),
        "max_length": widgets.IntSlider(value=max_length, min=3, max=64, description="most tokens"),
    }

    def name_boxes(_change=None) -> None:
        for box, name in zip(("first", "second"), _BOXES[controls["shape"].value], strict=True):
            controls[box].description = name
            controls[box].layout.display = None if name else "none"

    controls["shape"].observe(name_boxes, "value")
    name_boxes()
    demo = with_examples(live(controls, draw), [controls[name] for name in ("shape", "first", "second")], examples)
    for name in ("shape", "first", "second"):
        controls[name].layout.width = "750px"
    controls["shape"].style.button_width = "120px"
    return demo


def _between(row: np.ndarray, marks: Marks) -> list[np.ndarray]:
    """What stands between the special tokens of a row: the ids of one text, or of two."""
    inner = row[1:-1]
    at = np.flatnonzero(inner == marks.delimiter)
    return np.split(inner, [*at, *at + 1])[::2]


# ------------------------------------------------------------------------------------------------------- writing
BEGINNINGS = (
    "The capital of Thailand is",
    "Once upon a time, in a village by the sea,",
    "She opened the letter and",
    "กรุงเทพมหานครเป็น",
    "เช้าวันนี้อากาศดี เราจึง",
    "ประเทศไทยมี",
)


def sampling_demo(
    checkpoint: Checkpoint, *, examples: Sequence[str] = BEGINNINGS, max_new: int = 30, shown: int = 12
) -> Demo:
    """Let a model write on, and see what temperature, top-k and top-p leave of the next token's distribution.

    Controls: ``prompt``, ``temperature`` (0: always the most probable), ``top_k`` (0: all), ``top_p``, ``seed``,
    ``example``. State: ``generated`` (:class:`tlcourse.gpt.generate.Generated`); of the token behind the prompt
    ``bars``, a frame with ``token``, ``id`` and its probability ``before`` and ``after`` the filters, the ``shown``
    most probable; how many tokens are ``left`` of all, and what they had before, ``kept``. All are None where the
    model cannot read the prompt.

    Args:
        max_new: how many tokens it writes at most.
        shown: how many bars there are.
    """

    @lru_cache(maxsize=32)
    def next_logits(prompt: str) -> torch.Tensor:  # (V,)
        ids = torch.tensor([token_ids(checkpoint, prompt)], device=checkpoint.model.device)
        with evaluated(checkpoint.model):
            return checkpoint.model(ids, logits_to_keep=1).logits[0, -1].float().cpu()

    def draw(prompt: str, temperature: float, top_k: int, top_p: float, seed: int):
        settings = {"temperature": temperature, "top_k": top_k or None, "top_p": top_p}
        try:
            logits = next_logits(prompt)
            generated = generate(checkpoint, prompt, max_new=max_new, seed=seed, **settings)
        except ValueError as error:
            nothing = dict.fromkeys(("generated", "bars", "left", "kept"))
            return notice("this cannot be written on"), _complaint(error), nothing
        before, after = logits.softmax(-1), distribution(logits, **settings)
        best = before.topk(min(shown, len(before))).indices
        bars = pd.DataFrame(
            {
                "token": [written(checkpoint.tokeniser, token) for token in best.tolist()],
                "id": best.numpy(),
                "before": before[best].numpy(),
                "after": after[best].numpy(),
            }
        )
        left, kept = int((after > 0).sum()), float(before[after > 0].sum())
        text = (
            f"At temperature {temperature:g}, top-k {top_k or 'all'} and top-p {top_p:g} <b>{left:,}</b> of "
            f"{len(after):,} tokens can be drawn next; before the filters they had {kept:.1%}. "
            f"So it goes on:<div style='font-size:125%;max-width:40em;white-space:pre-wrap'>"
            f"<b>{escape(prompt)}</b>{_shaded(generated, checkpoint)}</div>{_SCALE}"
        )
        return _filter_bars(bars), text, {"generated": generated, "bars": bars, "left": left, "kept": kept}

    quiet = {"continuous_update": False}
    controls = {
        "prompt": widgets.Text(value=examples[0], description="prompt", **quiet),
        "temperature": widgets.FloatSlider(value=0.8, min=0, max=2, step=0.1, description="temperature", **quiet),
        "top_k": widgets.IntSlider(value=0, min=0, max=100, step=5, description="top-k (0: all)", **quiet),
        "top_p": widgets.FloatSlider(value=0.9, min=0.05, max=1, step=0.05, description="top-p (1: all)", **quiet),
        "seed": widgets.IntSlider(value=0, min=0, max=50, description="seed", **quiet),
    }
    demo = with_examples(live(controls, draw), [controls["prompt"]], examples)
    controls["prompt"].layout.width = "750px"
    return demo


def _filter_bars(bars: pd.DataFrame) -> Figure:
    """The next token's probabilities: behind, grey, by the model; in front, blue, what it is drawn with."""
    figure, ax = plt.subplots(figsize=(11, 1.7 + 0.45 * len(bars)))
    rows = np.arange(len(bars))
    ax.barh(rows, bars["before"], 0.8, color="#c8c8c8", label="before: the model")
    ax.barh(rows, bars["after"], 0.42, color=plots.BLUE, label="after temperature, top-k and top-p")
    for row, (before, after) in enumerate(zip(bars["before"], bars["after"], strict=True)):
        text, colour = (f"{before:.1%} → {after:.1%}", "black") if after else (f"{before:.1%} → cut off", plots.RED)
        beside = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 14}
        ax.annotate(text, (max(before, after), row), color=colour, **beside)
    ax.set_yticks(rows, map(plots.drawable, bars["token"]), fontsize=16, parse_math=False)
    ax.set(ylim=(len(bars) - 0.5, -0.5), xlim=(0, 1.28 * bars[["before", "after"]].to_numpy().max()))
    ax.set_xlabel("probability of the next token")
    ax.xaxis.set_major_formatter(_percent)
    ax.grid(axis="y", visible=False)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=14)
    return figure


def _shade(text: str, probability: float, hint: str = "") -> str:
    return (
        f"<span title='{hint}' style='background:rgba(86,180,233,{probability:.2f});border-bottom:2px solid #d0d0d0;"
        f"margin-right:1px'>{escape(text)}</span>"
    )


_SCALE = (
    "<div style='font-size:85%'>Shaded by what the model gives to a token: "
    + " ".join(_shade(f" {share:.0%} ", share) for share in (0.01, 0.25, 0.5, 0.75, 1))
    + "</div>"
)


def _shaded(generated: Generated, checkpoint: Checkpoint) -> str:
    """The text written, its tokens shaded; those that are only together a letter are one, of their product."""
    html, probability, chance = "", 1.0, 1.0
    for piece, p, drawn in zip(generated.pieces, generated.probabilities, generated.chances, strict=True):
        probability, chance = probability * float(p), chance * float(drawn)
        if piece:
            html += _shade(piece, probability, f"{probability:.1%} by the model, drawn with {chance:.1%}")
            probability, chance = 1.0, 1.0
    if generated.ended == "end":
        html += _shade(checkpoint.tokeniser.eos_token, probability, f"{probability:.1%}: the text ends here")
    return html


# ------------------------------------------------------------------------------------------------------------- λ
_LOSSES = {"general": "general_loss", "own": "task_loss"}
_STYLES = {"general": ("general text", plots.ORANGE, "s"), "own": ("the task's texts", plots.BLUE, "o")}


def lambda_demo(runs: pd.DataFrame) -> Demo:
    """Recorded runs of L3 = L2 + λ·L1: what the task gains and what the language model forgets, by λ.

    Controls: ``task`` (a pair of its name and how many labelled texts) and ``lam``. State, of the seeds' means:
    ``accuracy``, ``gain`` (over λ = 0, of the seeds that both have) and ``higher`` (in how many of these seeds), None
    for λ = 0 and without it; ``general`` and ``own``, the perplexities of general text and of the task's (exp of the
    mean loss); ``seeds``, how many. All are None where λ was not run for the task.

    Args:
        runs: a row a run, with the columns ``task``, ``labels``, ``weights``, ``lam``, ``seed``, ``accuracy``,
            ``general_loss`` and ``task_loss`` (nats a token after fine-tuning). Shown are those whose weights are
            "pretrained".

    Raises:
        ValueError: a column is missing, or there are no runs of pretrained weights.
    """
    for column in ("task", "labels", "weights", "lam", "seed", "accuracy", *_LOSSES.values()):
        need(runs, column)
    runs = runs[runs["weights"] == "pretrained"]
    if runs.empty:
        raise ValueError("no runs to show: none has weights 'pretrained'")
    by_task = dict(list(runs.groupby(["task", "labels"], sort=False)))

    def draw(task: tuple[str, int], lam: float):
        rows = by_task[task]
        nothing = dict.fromkeys(("accuracy", "gain", "higher", "general", "own", "seeds"))
        now, without = (rows[rows["lam"] == value].set_index("seed") for value in (lam, 0))
        if now.empty:
            return notice(f"λ = {lam:g} was not run here"), "Choose another λ.", nothing
        state = {"accuracy": float(now["accuracy"].mean()), "gain": None, "higher": None, "seeds": len(now)}
        state |= {name: _perplexity(now[loss]) for name, loss in _LOSSES.items()}
        text = f"λ = {lam:g}: accuracy <b>{state['accuracy']:.1%}</b>, the mean of {_several(len(now), 'seed')}"
        gains = (now["accuracy"] - without["accuracy"]).dropna()
        compared = lam > 0 and len(gains) > 0
        if compared:
            state |= {"gain": float(gains.mean()), "higher": int((gains > 0).sum())}
            text += f", <b>{100 * state['gain']:+.1f} points</b> against λ = 0, and higher in {state['higher']} of "
            text += _several(len(gains), "seed")
        text += ". Perplexity: " + ", ".join(
            f"<b>{plots.short(state[name])}</b> of {_STYLES[name][0]}"
            + (f" (λ = 0: {plots.short(_perplexity(without[loss]))})" if compared else "")
            for name, loss in _LOSSES.items()
        )
        return _lambda_curves(rows, lam), text + ".", state

    tasks = [(f"{task}, {labels:,} texts", (task, labels)) for task, labels in by_task]
    lams = [(f"{lam:g}", lam) for lam in sorted(runs["lam"].unique())]
    controls = {
        "task": widgets.Dropdown(options=tasks, description="task"),
        "lam": widgets.SelectionSlider(options=lams, description="λ", continuous_update=False),
    }
    return live(controls, draw)


def _lambda_curves(rows: pd.DataFrame, lam: float) -> Figure:
    """Accuracy, and beside it perplexity, against λ: a point a seed, a line through the means."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 5.2))
    lams = sorted(rows["lam"].unique())
    at = rows["lam"].map(lams.index)
    _seeds(left, at, rows["accuracy"], rows.groupby("lam")["accuracy"].mean(), plots.GREEN, "o")
    left.set_ylabel("accuracy on the test texts")
    left.yaxis.set_major_formatter(_percent)
    for name, loss in _LOSSES.items():
        label, colour, marker = _STYLES[name]
        _seeds(right, at, np.exp(rows[loss]), np.exp(rows.groupby("lam")[loss].mean()), colour, marker, label)
    right.set(yscale="log", ylabel="perplexity")
    plots.perplexity_ticks(right.yaxis, np.exp(rows[list(_LOSSES.values())].to_numpy()))
    right.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=16)
    for ax in (left, right):
        ax.axvspan(lams.index(lam) - 0.25, lams.index(lam) + 0.25, color=plots.RED, alpha=0.15, lw=0)
        ax.set_xticks(range(len(lams)), [f"{value:g}" for value in lams], fontsize=16)
        ax.tick_params("y", labelsize=15)
        ax.set_xlabel("λ", fontsize=18)
        ax.yaxis.label.set_size(16)
        ax.set_xlim(-0.5, len(lams) - 0.5)
        ax.get_xticklabels()[lams.index(lam)].set(color=plots.RED, fontsize=19)
    return figure


def _perplexity(losses: pd.Series) -> float:
    return float(np.exp(losses.mean()))


def _seeds(
    ax: Axes, at: pd.Series, values: pd.Series, means: pd.Series, colour: str, marker: str, label: str = ""
) -> None:
    ax.plot(range(len(means)), means, color=colour, label=label, marker=marker, markersize=5)
    ax.plot(at, values, marker, color=colour, markersize=10, alpha=0.45, markeredgecolor="white", zorder=3)


# ------------------------------------------------------------------------------------------------------- prompts
def prompt_demo(
    checkpoint: Checkpoint,
    prompt: Prompt,
    examples: Sequence[tuple[Query, Hashable]],
    queries: Sequence[str],
    *,
    answer_context: str = "",
) -> Demo:
    """Build a prompt, and see which label a model goes on with.

    Controls: ``shots`` (the first so many examples), ``query``, ``normalise``, ``calibrate``, ``example`` (one of the
    queries). State: ``prompt`` as the model reads it, ``probabilities`` by label, (C,), and ``label``, the
    likeliest. All are None where the prompt cannot be asked, and the words say why.

    Args:
        examples: queries with their labels.
        queries: to choose from.
        answer_context: of "unconditional"; see :func:`tlcourse.gpt.prompting.score_choices`.

    Raises:
        ValueError: there are no queries.
    """
    if not queries:
        raise ValueError("no query to ask: give one at least")
    examples = list(examples)

    def draw(shots: int, query: str, normalise: str, calibrate: bool):
        nothing = dict.fromkeys(("prompt", "probabilities", "label"))
        if not query.strip():
            return notice("what is to be asked?"), "Type a query and press Enter.", nothing
        settings = {"normalise": normalise, "answer_context": answer_context, "calibrate": calibrate}
        try:
            found = classify(checkpoint, prompt, examples[:shots], [query], **settings)
            text = prompt.write(examples[:shots], query)
        except ValueError as error:  # such as a prompt that is too long
            return notice("this cannot be asked"), _complaint(error), nothing
        label, probabilities = found["label"].iloc[0], found.drop(columns="label").iloc[0]
        count = f"{_several(shots, 'example')}, {_several(len(token_ids(checkpoint, text)), 'token')}. "
        words = f"{count}The model goes on with <b>{escape(prompt.verbaliser[label])}</b>."
        words += _prompt_html(prompt, examples[:shots], query, prompt.choices[list(prompt.verbaliser).index(label)])
        state = {"prompt": text, "probabilities": probabilities, "label": label}
        return _label_bars(probabilities, prompt.verbaliser), words, state

    controls = {
        "shots": widgets.IntSlider(
            value=min(2, len(examples)), min=0, max=len(examples), description="examples", continuous_update=False
        ),
        "query": widgets.Text(value=queries[0], description="query", continuous_update=False),
        "normalise": widgets.ToggleButtons(options=NORMALISATIONS, description="normalise by"),
        "calibrate": widgets.Checkbox(value=False, description="calibrate"),
    }
    demo = with_examples(live(controls, draw), [controls["query"]], queries)
    for name in ("query", "normalise"):
        controls[name].layout.width = "750px"
    return demo


def _prompt_html(prompt: Prompt, examples: Sequence[tuple[Query, Hashable]], query: str, answer: str) -> str:
    """The prompt letter by letter: instruction, examples shaded, and the query with the answer behind it."""
    whole, bare = prompt.write(examples, query), prompt.write([], query)
    first = len(prompt.instruction + prompt.separator) if prompt.instruction else 0
    lengths = [len(prompt.write(examples[:shots], query)) - len(bare) for shots in range(len(examples) + 1)]
    ends = [0, *(first + length for length in lengths), len(whole)]
    instruction, *shots, asked = (escape(whole[start:end]) for start, end in pairwise(ends))
    shaded = "".join(
        f"<span style='background:{_COLOURS[number % 2]}'>{shot}</span>" for number, shot in enumerate(shots)
    )
    answer = f"<b style='background:{plots.GREEN};color:white'>{escape(answer)}</b>"
    style = "font-family:monospace;white-space:pre-wrap;line-height:1.5;max-width:50em;margin:.5em 0"
    return f"<div style='{style};border:1px solid #bbbbbb;padding:.5em'>{instruction}{shaded}{asked}{answer}</div>"


def _label_bars(probabilities: pd.Series, verbaliser: Mapping[Hashable, str]) -> Figure:
    """A bar a label, the likeliest blue, and a line at chance."""
    n = len(probabilities)
    figure, ax = plt.subplots(figsize=(10, 1.5 + 0.6 * n))
    colours = np.where(probabilities == probabilities.max(), plots.BLUE, plots.GREY)
    ax.barh(range(n), probabilities, 0.65, color=colours)
    ax.axvline(1 / n, color=plots.RED, linestyle="--")
    ax.text(1 / n, 1.02, "chance", transform=ax.get_xaxis_transform(), ha="center", color=plots.RED, fontsize=16)
    for row, probability in enumerate(probabilities):
        ax.text(1.02, row, f"{probability:.1%}", transform=ax.get_yaxis_transform(), va="center", fontsize=17)
    names = [text if text == str(label) else f"{label}: {text}" for label, text in verbaliser.items()]
    ax.set_yticks(range(n), map(plots.drawable, names), fontsize=17, parse_math=False)
    ax.set(xlim=(0, 1), ylim=(n - 0.5, -0.5), xlabel="probability")
    ax.xaxis.set_major_formatter(_percent)
    ax.grid(axis="y", visible=False)
    return figure


# -------------------------------------------------------------------------------------------------------- growth
PUBLISHED = {
    "GPT": "gpt",
    "GPT-2": "gpt2",
    "GPT-2 medium": "gpt2-medium",
    "GPT-2 large": "gpt2-large",
    "GPT-2 XL": "gpt2-xl",
    "GPT-3": "gpt3",
}
SLIDE_WIDTH = 12_888
"""GPT-3's in the lecture; Brown et al. (2020, table 2.1) have 12,288."""
_VOCABULARIES = {"1,000": 1_000, "8,000": 8_000, "40,478 GPT": 40_478, "50,257 GPT-2, GPT-3": 50_257}
_CONTEXTS = {"128": 128, "512 GPT": 512, "1,024 GPT-2": 1024, "2,048 GPT-3": 2048, "4,096": 4096}


def growth_demo() -> Demo:
    """How many parameters a GPT has and where: those published, and any other; and what a wrong width would make.

    Controls: ``layers``, ``width``, ``vocabulary``, ``context``, ``slide`` (GPT-3 as wide as the lecture's slide has
    it; moves the sliders to GPT-3), ``example``. State: ``model`` ("yours" if the sliders' was not published),
    ``parts`` (see :func:`tlcourse.gpt.model.parameters`), ``total``, and ``totals`` of all models drawn.
    """
    sizes = {_sizes(name): model for model, name in PUBLISHED.items()}
    counts = {model: parameters(gpt_config(name)) for model, name in PUBLISHED.items()}
    counts["GPT"] = parameters(OpenAIGPTConfig())  # has no last norm
    gpt3 = _sizes("gpt3")
    heads, wrong = SIZES["gpt3"].heads, (gpt3[0], SLIDE_WIDTH, *gpt3[2:])
    slides = _count(*wrong)

    def draw(layers: int, width: int, vocabulary: int, context: int, slide: bool):
        chosen = (layers, width, vocabulary, context)
        model = sizes.get(chosen, "yours")
        drawn = counts | ({"GPT-3": slides} if slide else {})
        if model == "yours":
            drawn[model] = _count(*chosen)
        if slide and model == "GPT-3":
            width = SLIDE_WIDTH
        totals = {name: int(parts["count"].sum()) for name, parts in drawn.items()}
        parts, total = drawn[model], totals[model]
        inside = int(parts.loc[parts["of"] == "layers", "count"].sum())
        text = (
            f"{model}, {layers} layers of {width:,} units: <b>{total:,}</b> parameters, {inside / total:.1%} of them "
            f"in the layers, nearly {layers} · 12 · {width:,}² = {12 * layers * width**2:,}. In 16 bits each, "
            f"<b>{2 * total / 1e9:,.2f} GB</b>."
        )
        if slide:
            right, much = int(counts["GPT-3"]["count"].sum()), totals["GPT-3"]
            text += (
                f"<br><b style='color:{plots.RED}'>The slide's {SLIDE_WIDTH:,}</b> is not divisible by {heads} heads: "
                f"{SLIDE_WIDTH:,} / {heads} = {SLIDE_WIDTH / heads:g}. The paper's are {heads} × {gpt3[1] // heads} = "
                f"<b>{gpt3[1]:,}</b>. The slide's would make {much / 1e9:.1f} billion parameters, the paper's make "
                f"<b>{right / 1e9:.1f} billion</b>; the paper says 175."
            )
        state = {"model": model, "parts": parts, "total": total, "totals": totals}
        return _growth(parts, totals, model, slide=slide), text, state

    quiet = {"continuous_update": False}
    start = _sizes("gpt")
    controls = {
        "layers": widgets.IntSlider(value=start[0], min=1, max=128, description="layers", **quiet),
        "width": widgets.IntSlider(value=start[1], min=64, max=16_384, step=64, description="width", **quiet),
        "vocabulary": widgets.SelectionSlider(
            value=start[2], options=list(_VOCABULARIES.items()), description="vocabulary", **quiet
        ),
        "context": widgets.SelectionSlider(
            value=start[3], options=list(_CONTEXTS.items()), description="context", **quiet
        ),
    }
    sliders = list(controls.values())
    controls["slide"] = widgets.Checkbox(value=False, description=f"GPT-3 as on the slide: width {SLIDE_WIDTH:,}")

    def move(change) -> None:
        for slider, value in zip(sliders, gpt3, strict=True):
            slider.value = value if change["new"] else slider.value

    controls["slide"].observe(move, "value")  # before the demo draws
    return with_examples(live(controls, draw), sliders, {model: _sizes(name) for model, name in PUBLISHED.items()})


def _sizes(name: str) -> tuple[int, int, int, int]:
    """Layers, width, vocabulary and context of a published model."""
    size = SIZES[name]
    return size.layers, size.dim, size.vocab_size, size.max_length


def _count(layers: int, width: int, vocabulary: int, context: int) -> pd.DataFrame:
    """By part; how many heads there are changes nothing."""
    return parameters(gpt_config((layers, width), vocab_size=vocabulary, max_length=context, n_head=1))


def _growth(parts: pd.DataFrame, totals: Mapping[str, int], model: str, *, slide: bool) -> Figure:
    """Left the parts of one model, right how large all are."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(15, 5))
    colours = parts["of"].map({"embeddings": plots.BLUE, "layers": plots.ORANGE})
    left.barh(range(len(parts)), parts["count"], 0.7, color=colours)
    left.set_yticks(range(len(parts)), parts["part"], fontsize=15)
    left.set(xlim=(0, 1.25 * parts["count"].max()), title=f"{model}: where they are", xlabel="parameters")
    left.xaxis.set_major_locator(plt.MaxNLocator(4))
    left.xaxis.set_major_formatter(lambda value, _: plots.engineering(value))
    rows = [plots.RED if name == model else plots.GREY for name in totals]
    right.scatter(totals.values(), range(len(totals)), s=200, c=rows, zorder=3)
    names = ["GPT-3, slide" if slide and name == "GPT-3" else name for name in totals]
    right.set_yticks(range(len(totals)), names, fontsize=16)
    for tick, colour in zip(right.get_yticklabels(), rows, strict=True):
        tick.set_color(plots.RED if colour == plots.RED else "black")
    right.set(xscale="log", title="how many, on a logarithmic scale", xlabel="parameters")
    right.set_xticks(10.0 ** np.arange(5, 13), ["100 k", "1 M", "10 M", "100 M", "1 B", "10 B", "100 B", "1,000 B"])
    right.set_xlim(min(5e7, min(totals.values()) / 2), 30 * max(totals.values()))
    right.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    for ax, counts in ((left, parts["count"]), (right, totals.values())):
        for row, count in enumerate(counts):
            beside = {"xytext": (8 if ax is left else 14, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate(plots.engineering(count), (count, row), fontsize=16, **beside)
        ax.set_ylim(len(counts) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
    return figure


# ------------------------------------------------------------------------------------------------ what they share
def _complaint(error: ValueError) -> str:
    return f"<b style='color:{plots.RED}'>{escape(str(error))}</b>"


def _several(count: int, name: str) -> str:
    return f"{count:,} {name}" + "s" * (count != 1)


def _percent(value: float, _position: int | None = None) -> str:
    return f"{100 * value:.3g}%"
