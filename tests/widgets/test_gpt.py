"""The demos of the lesson on GPT: every control moved, and what it changes read back."""

import re
import runpy
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from tlcourse.encoders import Checkpoint
from tlcourse.gpt.bpe import DELIMITER, EXTRACT, START, train_bpe
from tlcourse.gpt.generate import generate, next_tokens
from tlcourse.gpt.prompting import Prompt, classify
from tlcourse.widgets.gpt import (
    BEGINNINGS,
    PUBLISHED,
    TASKS,
    growth_demo,
    lambda_demo,
    prompt_demo,
    sampling_demo,
    transformations_demo,
)

pytestmark = pytest.mark.usefixtures("styled")

small = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "small_encoders.py")))


def words(demo) -> str:
    return demo.ui.children[-1].value


def read(html: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", html))


@pytest.fixture(scope="module")
def tokeniser():
    return train_bpe([text for _, *texts in TASKS.values() for text in texts if text] * 3, vocab_size=500)


@pytest.fixture(scope="module")
def checkpoint(tokeniser) -> Checkpoint:
    """Of random weights, large enough that some tokens are much more probable than others."""
    torch.manual_seed(5)
    sizes = {"vocab_size": len(tokeniser), "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 160}
    config = transformers.GPT2Config(**sizes, initializer_range=0.4, bos_token_id=0, eos_token_id=0)
    return Checkpoint(transformers.GPT2LMHeadModel(config).eval(), tokeniser, "tiny")


class TestTransformations:
    @pytest.fixture
    def demo(self, tokeniser):
        return transformations_demo(tokeniser)

    @pytest.mark.parametrize("name", list(TASKS))
    def test_every_example(self, demo, name):
        shape, first, second = TASKS[name]
        demo.controls["max_length"].value = 64
        demo.controls["example"].value = name
        expected = {
            "classification": [[first]],
            "entailment": [[first, second]],
            "similarity": [[first, second], [second, first]],
            "choice": [[first, choice] for choice in second.split("\n")],
        }[shape]
        assert ["".join(row) for row in demo.state.pieces] == [
            START + DELIMITER.join(texts) + EXTRACT for texts in expected
        ]
        assert demo.state.cut == [0] * len(expected) and "✂" not in words(demo)
        drawn = read(words(demo)).replace("␣", " ").replace("◌", "")
        assert drawn.startswith("".join("".join(row) for row in demo.state.pieces))
        assert words(demo).count("#e3b9cf") == sum(2 + (shape != "classification") for _ in expected)

    @pytest.mark.parametrize(
        ("shape", "boxes"),
        [
            ("classification", ["text"]),
            ("entailment", ["premise", "hypothesis"]),
            ("similarity", ["text A", "text B"]),
            ("choice", ["context", "a choice a line"]),
        ],
    )
    def test_boxes_are_named_after_the_shape(self, demo, shape, boxes):
        demo.controls["second"].value = "one\n\ntwo"
        demo.controls["shape"].value = shape
        shown = [demo.controls[box] for box in ("first", "second") if demo.controls[box].layout.display != "none"]
        assert [box.description for box in shown] == boxes and demo.state.rows
        assert len(demo.state.rows) == {"similarity": 2, "choice": 2}.get(shape, 1)  # no choice of an empty line

    def test_what_is_cut_is_shown_at_its_place(self, demo):
        demo.controls["example"].value = "a review, English"
        whole = demo.state.pieces[0]
        demo.controls["max_length"].value = 6
        assert demo.state.pieces == [[*whole[:5], EXTRACT]] and demo.state.cut == [len(whole) - 6]
        left, lost = read(words(demo)).split("✂")[:2]
        assert left == "".join(whole[:5]).replace(" ", "␣") and lost.startswith(whole[5].replace(" ", "␣"))

    def test_a_context_loses_its_beginning(self, demo):
        demo.controls["example"].value = "choice, English"
        whole = demo.state.pieces
        demo.controls["max_length"].value = 20
        for row, before in zip(demo.state.pieces, whole, strict=True):
            end, end_before = row.index(DELIMITER), before.index(DELIMITER)
            assert row[1:end] == before[end_before - end + 1 : end_before]
        assert read(words(demo)).startswith(f"{START}Nida") and words(demo).count("opacity") == 3

    def test_a_text_keeps_its_colour_in_both_orders(self, demo):
        demo.controls["first"].value, demo.controls["second"].value = "fish", "duck"
        demo.controls["shape"].value = "similarity"
        colours = re.findall(r"background:(#\w+)", words(demo))
        runs = [colour for i, colour in enumerate(colours) if i == 0 or colour != colours[i - 1]]
        mark, first, second = (runs[i] for i in (0, 1, 3))
        assert runs == [mark, first, mark, second, mark, second, mark, first, mark]

    @pytest.mark.parametrize(
        ("shape", "first", "second", "max_length", "said"),
        [
            ("classification", " ", "", 40, "row 0: text is empty"),
            ("entailment", "rain", "", 40, "row 0: second is empty"),
            ("choice", "rain", "only one", 40, "row 0 has 1 choice"),
            ("choice", "<b>", "\n", 40, "row 0 has 0 choice"),
            ("similarity", "rain", "snow", 4, "max_length=4 has no room"),
        ],
    )
    def test_what_makes_no_row(self, demo, shape, first, second, max_length, said):
        values = {"shape": shape, "first": first, "second": second, "max_length": max_length}
        for name, value in values.items():
            demo.controls[name].value = value
        assert said in words(demo) and demo.state.rows is demo.state.pieces is demo.state.cut is None
        demo.controls["example"].value = "similarity, Thai"
        demo.controls["max_length"].value = 40
        assert len(demo.state.rows) == 2

    @pytest.mark.parametrize("typed", ["<script>", "<extract> <delimiter>", "樺 🙂", "word " * 600, "◌ิ"])
    def test_anything_can_be_typed(self, demo, typed):
        demo.controls["first"].value = typed
        assert demo.state.pieces[0][0] == START and "<script>" not in words(demo)
        assert len(demo.state.rows[0]) <= 40

    def test_a_tokeniser_without_the_marks(self):
        with pytest.raises(ValueError, match="has no <start>"):
            transformations_demo(small.tokeniser("bytes"))


class TestSampling:
    @pytest.fixture
    def demo(self, checkpoint):
        return sampling_demo(checkpoint, max_new=12)

    def test_the_first_state(self, demo, checkpoint, picture):
        known = next_tokens(checkpoint, BEGINNINGS[0], k=12)
        assert demo.state.bars["id"].tolist() == known["id"].tolist()
        np.testing.assert_allclose(demo.state.bars["before"], known["probability"], rtol=1e-4)
        wanted = generate(checkpoint, BEGINNINGS[0], max_new=12, temperature=0.8, top_p=0.9, seed=0)
        assert demo.state.generated.text == wanted.text and picture(demo)
        assert wanted.text.replace(" ", "") in read(words(demo)).replace(" ", "")

    def test_greedy(self, demo):
        demo.controls["temperature"].value = 0
        assert demo.state.bars["after"].tolist() == [1] + [0] * 11 and demo.state.left == 1
        written = demo.state.generated.text
        demo.controls["seed"].value = 9
        assert demo.state.generated.text == written

    def test_each_filter(self, demo):
        demo.controls["temperature"].value, demo.controls["top_p"].value = 1, 1
        assert demo.state.kept == pytest.approx(1)
        np.testing.assert_allclose(demo.state.bars["after"], demo.state.bars["before"], rtol=1e-4)
        demo.controls["top_k"].value = 3
        assert demo.state.left == 3 and (demo.state.bars["after"] > 0).tolist() == [True] * 3 + [False] * 9
        assert demo.state.kept == pytest.approx(demo.state.bars["before"][:3].sum(), rel=1e-4)
        assert "<b>3</b> of" in words(demo)
        demo.controls["top_p"].value = 0.05
        assert demo.state.left == 1
        demo.controls["top_k"].value, demo.controls["top_p"].value = 0, 1
        demo.controls["temperature"].value = 2
        assert demo.state.bars["after"][0] < demo.state.bars["before"][0]

    def test_other_seeds_and_prompts(self, demo):
        texts = []
        for seed in (0, 1, 0):
            demo.controls["seed"].value = seed
            texts.append(demo.state.generated.text)
        assert texts[0] == texts[2] != texts[1]
        demo.controls["example"].value = BEGINNINGS[3]
        assert demo.controls["prompt"].value == demo.state.generated.prompt == BEGINNINGS[3]
        assert len(demo.state.generated.ids) <= 12

    def test_shades_are_the_probabilities(self, demo):
        generated = demo.state.generated
        shades = re.findall(
            r"title='([\d.]+)% by the model[^']*' style='background:rgba\(86,180,233,([\d.]+)\)", words(demo)
        )
        assert len(shades) == sum(piece != "" for piece in generated.pieces)
        whole, product = [], 1.0
        for piece, probability in zip(generated.pieces, generated.probabilities, strict=True):
            product *= probability
            if piece:  # which earlier tokens may have begun
                whole, product = [*whole, product], 1.0
        assert [float(shade) for _, shade in shades] == pytest.approx(whole, abs=0.006)
        assert [float(hint) / 100 for hint, _ in shades] == pytest.approx(whole, abs=0.0006)

    @pytest.mark.parametrize("typed", ["word " * 200, "樺" * 60])
    def test_a_prompt_longer_than_the_context(self, demo, typed, picture):
        before = picture(demo)
        demo.controls["prompt"].value = typed
        assert "tiny reads 160: shorten it" in words(demo) and picture(demo) != before
        assert demo.state.generated is demo.state.bars is demo.state.left is demo.state.kept is None
        demo.controls["prompt"].value = "rain"
        assert demo.state.generated.prompt == "rain"

    @pytest.mark.parametrize("typed", ["", "<script>", r"$\frac$", "樺 🙂"])
    def test_anything_can_be_typed(self, demo, typed):
        demo.controls["prompt"].value = typed
        assert len(demo.state.bars) == 12 and "<script>" not in words(demo)

    def test_the_end_of_a_text_is_shown(self, checkpoint):
        model = transformers.GPT2LMHeadModel(checkpoint.model.config)
        model.transformer.ln_f.weight.data.zero_()
        model.transformer.ln_f.bias.data[:] = model.lm_head.weight.data[0] * 50  # always <|endoftext|>
        demo = sampling_demo(Checkpoint(model.eval(), checkpoint.tokeniser, "silent"))
        assert demo.state.generated.ended == "end" and "&lt;|endoftext|&gt;" in words(demo)


def recorded() -> pd.DataFrame:
    rows = []
    for task, labels in (("truevoice", 200), ("truevoice", 2000), ("sst2", 200)):
        for weights, lam in (("fresh", 0.5), *(("pretrained", lam) for lam in (0.0, 0.25, 0.5))):
            for seed in range(3):
                rows.append(
                    {
                        "task": task,
                        "labels": labels,
                        "weights": weights,
                        "lam": lam,
                        "seed": seed,
                        "accuracy": 0.1 if weights == "fresh" else 0.7 + labels / 20_000 + lam / 10 * (seed > 0),
                        "macro_f1": 0.5,
                        "general_loss": np.log(200 - 100 * lam),
                        "task_loss": np.log(40 - 20 * lam) + 0.1 * (seed - 1),
                    }
                )
    return pd.DataFrame(rows)


class TestLambda:
    @pytest.fixture
    def demo(self):
        return lambda_demo(recorded())

    def test_without_the_auxiliary_loss(self, demo, picture):
        state = demo.state
        assert state.accuracy == pytest.approx(0.71) and state.gain is state.higher is None and state.seeds == 3
        assert (state.general, state.own) == (pytest.approx(200), pytest.approx(40)) and picture(demo)
        assert "<b>71.0%</b>, the mean of 3 seeds." in words(demo) and "(λ = 0" not in words(demo)

    def test_each_lam(self, demo, picture):
        seen = {picture(demo)}
        for lam, general, own, gain in ((0.25, 175, 35, 0.025), (0.5, 150, 30, 0.05)):
            demo.controls["lam"].value = lam
            assert demo.state.general == pytest.approx(general) and demo.state.own == pytest.approx(own)
            assert demo.state.gain == pytest.approx(gain * 2 / 3) and demo.state.higher == 2
            assert f"<b>{general}</b> of general text (λ = 0: 200)" in words(demo)
            seen.add(picture(demo))
        assert "<b>+3.3 points</b> against λ = 0, and higher in 2 of 3 seeds" in words(demo) and len(seen) == 3

    def test_each_task(self, demo):
        labels = [label for label, _ in demo.controls["task"].options]
        assert labels == ["truevoice, 200 texts", "truevoice, 2,000 texts", "sst2, 200 texts"]
        demo.controls["task"].value = ("truevoice", 2000)
        assert demo.state.accuracy == pytest.approx(0.8)

    def test_only_seeds_that_both_have_are_compared(self):
        runs = recorded()
        demo = lambda_demo(runs[~((runs["lam"] == 0) & (runs["seed"] > 0))])
        demo.controls["lam"].value = 0.5
        assert demo.state.gain == 0 and demo.state.higher == 0 and "higher in 0 of 1 seed." in words(demo)

    def test_a_lam_that_a_task_was_not_run_with(self, picture):
        runs = recorded()
        demo = lambda_demo(runs[~((runs["task"] == "sst2") & (runs["lam"] < 0.5))])
        before = picture(demo)
        demo.controls["task"].value = ("sst2", 200)
        assert demo.state.accuracy is None and "another λ" in words(demo) and picture(demo) != before
        demo.controls["lam"].value = 0.5  # and no λ = 0 to compare with
        assert demo.state.accuracy == pytest.approx(0.71 + 0.1 / 3) and demo.state.gain is None

    def test_runs_that_say_nothing(self):
        with pytest.raises(ValueError, match="no runs"):
            lambda_demo(recorded().query("weights == 'fresh'"))
        with pytest.raises(ValueError, match="no column 'task_loss'"):
            lambda_demo(recorded().drop(columns="task_loss"))


FOOD = Prompt("Food: {text}\nVerdict: {label}", {"+": "good", "-": "not <b>"}, instruction="Judge.")
SHOTS = [("The soup was rich.", "+"), ("We queued & left.", "-"), ("น้ำซุปเข้มข้น", "+")]
QUERIES = ["Cold noodles.", "รอคิวนานมาก"]


class TestPrompt:
    @pytest.fixture
    def demo(self, checkpoint):
        return prompt_demo(checkpoint, FOOD, SHOTS, QUERIES)

    @pytest.mark.parametrize("shots", [0, 1, 3])
    def test_the_prompt_as_it_is_written(self, demo, shots):
        demo.controls["shots"].value = shots
        assert demo.state.prompt == FOOD.write(SHOTS[:shots], QUERIES[0])
        box = words(demo)[words(demo).index("<div style='font-family") :]
        assert read(box) == demo.state.prompt + " " + FOOD.verbaliser[demo.state.label]
        shaded = re.findall(r"<span style='background:#\w+'>(.*?)</span>", box, re.DOTALL)
        assert [unescape(shot) for shot in shaded] == [
            f"Food: {text}\nVerdict: {FOOD.verbaliser[label]}\n\n" for text, label in SHOTS[:shots]
        ]

    def test_a_prompt_without_instruction(self, checkpoint):
        bare = Prompt("{text}={label}", {True: "yes", False: "no"}, separator=" ")
        demo = prompt_demo(checkpoint, bare, [("a", True), ("b", False)], ["c"])
        box = words(demo)[words(demo).index("<div style='font-family") :]
        assert demo.state.prompt == "a=yes b=no c=" and read(box) == f"a=yes b=no c={bare.verbaliser[demo.state.label]}"

    @pytest.mark.parametrize("normalise", ["length", "none", "unconditional"])
    @pytest.mark.parametrize("calibrate", [False, True])
    def test_normalisation_and_calibration(self, demo, checkpoint, normalise, calibrate):
        demo.controls["normalise"].value, demo.controls["calibrate"].value = normalise, calibrate
        wanted = classify(checkpoint, FOOD, SHOTS[:2], QUERIES[:1], normalise=normalise, calibrate=calibrate)
        assert demo.state.label == wanted["label"][0]
        np.testing.assert_allclose(demo.state.probabilities.astype(float), wanted.loc[0, ["+", "-"]].astype(float))

    def test_other_queries(self, demo, picture):
        before = picture(demo)
        demo.controls["example"].value = QUERIES[1]
        assert demo.state.prompt.endswith("Food: รอคิวนานมาก\nVerdict:") and picture(demo) != before
        demo.controls["query"].value = "<script> {text}"
        assert "{text}" in demo.state.prompt and "<script>" not in words(demo)

    @pytest.mark.parametrize(("typed", "said"), [(" ", "Type a query"), ("樺" * 60, "tiny reads 160")])
    def test_what_cannot_be_asked(self, demo, typed, said, picture):
        before = picture(demo)
        demo.controls["query"].value = typed
        assert said in words(demo) and picture(demo) != before
        assert demo.state.prompt is demo.state.probabilities is demo.state.label is None

    def test_a_prompt_of_two_fields(self, checkpoint):
        demo = prompt_demo(checkpoint, Prompt("{a} {b} {label}", {0: "x", 1: "y"}), [], QUERIES)
        assert demo.state.prompt is None and "are missing" in words(demo)

    def test_no_queries(self, checkpoint):
        with pytest.raises(ValueError, match="no query"):
            prompt_demo(checkpoint, FOOD, SHOTS, [])


class TestGrowth:
    @pytest.fixture
    def demo(self):
        return growth_demo()

    @pytest.mark.parametrize(
        ("model", "total"),
        [("GPT", 116_534_784), ("GPT-2", 124_439_808), ("GPT-3", 174_604_259_328)],
    )
    def test_published(self, demo, model, total):
        demo.controls["example"].value = "GPT-2 large"
        demo.controls["example"].value = model
        assert demo.state.model == model and demo.state.total == total == demo.state.parts["count"].sum()
        assert list(demo.state.totals) == list(PUBLISHED) and f"<b>{total:,}</b>" in words(demo)

    def test_each_slider(self, demo, picture):
        before, seen = demo.state.total, picture(demo)
        demo.controls["layers"].value = 13
        assert demo.state.model == "yours" and demo.state.totals["yours"] == demo.state.total
        layer = 12 * 768**2 + 13 * 768
        assert demo.state.total == before + layer + 2 * 768 and picture(demo) != seen  # the last norm, as GPT-2 has it
        demo.controls["vocabulary"].value = 8_000
        assert demo.state.total == before + layer + 2 * 768 - 768 * (40_478 - 8_000)
        demo.controls["context"].value = 1024
        assert demo.state.total == before + layer + 2 * 768 - 768 * (40_478 - 8_000 - 512)
        demo.controls["width"].value = 64
        assert demo.state.total == 13 * (12 * 64**2 + 13 * 64) + 64 * (8_000 + 1024 + 2)

    def test_the_slides_width(self, demo):
        assert "12,888" not in words(demo)
        demo.controls["slide"].value = True
        wide = 96 * (12 * 12_888**2 + 13 * 12_888) + 12_888 * (50_257 + 2_048 + 2)
        assert demo.state.model == "GPT-3" and demo.state.total == wide
        assert "12,888 / 96 = 134.25" in words(demo) and "96 × 128 = <b>12,288</b>" in words(demo)
        assert f"{wide / 1e9:.1f} billion" in words(demo) and "<b>174.6 billion</b>" in words(demo)
        demo.controls["slide"].value = False
        assert demo.state.total == 174_604_259_328 and "12,888" not in words(demo)
        demo.controls["example"].value = "GPT-2"
        demo.controls["slide"].value = True
        assert demo.state.model == "GPT-3" and demo.controls["width"].value == 12_288
        demo.controls["width"].value = 6_400
        assert demo.state.model == "yours" and demo.state.totals["GPT-3"] == wide
