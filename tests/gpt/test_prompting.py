"""Prompts, likelihoods against sums by hand, and calibration by hand."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tlcourse.encoders import Checkpoint
from tlcourse.gpt.prompting import Prompt, calibrated, classify, log_likelihoods, score_choices

small = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "small_encoders.py")))
WORDS = small.tokeniser("bytes", template="$A")
CONTEXT = small.POSITIONS
KINDS = ["GPT2", "OpenAIGPT"]
FILM = Prompt("Film: {text}\nVerdict: {label}", {"+": "good", "-": "not good"})
CHOICES = [" bank", "n", " boats of the river", "น้ำ"]  # of 1 to 9 tokens


@pytest.fixture(scope="module")
def models() -> dict[str, Checkpoint]:
    made = {}
    for kind in KINDS:
        torch.manual_seed(4)
        settings = {"vocab_size": len(WORDS), "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": CONTEXT}
        config = getattr(transformers, f"{kind}Config")(**settings, initializer_range=0.3)
        made[kind] = Checkpoint(getattr(transformers, f"{kind}LMHeadModel")(config).eval(), WORDS, kind)
    return made


def by_hand(gpt: Checkpoint, prompt: str, choice: str) -> tuple[float, int]:
    """The sum of the log-probabilities of a choice's tokens, read in one go; and how many there are."""
    before = WORDS(prompt)["input_ids"] or [WORDS.bos_token_id]
    after = WORDS(choice)["input_ids"]
    with torch.inference_mode():
        logs = gpt.model(torch.tensor([before + after])).logits[0].log_softmax(dim=-1)
    return sum(logs[len(before) + i - 1, token].item() for i, token in enumerate(after)), len(after)


# ----------------------------------------------------------------------------------------------------------- the prompt
def test_a_prompt_of_any_number_of_shots():
    asked = Prompt(FILM.template, FILM.verbaliser, instruction="Good or not?")
    assert FILM.write([], "Boats.") == "Film: Boats.\nVerdict:"
    assert asked.write([], "Boats.") == "Good or not?\n\nFilm: Boats.\nVerdict:"
    assert asked.write([("We slept.", "-"), ("ดูเพลิน", "+")], "Boats.") == (
        "Good or not?\n\nFilm: We slept.\nVerdict: not good\n\nFilm: ดูเพลิน\nVerdict: good\n\nFilm: Boats.\nVerdict:"
    )
    assert FILM.choices == [" good", " not good"]


def test_a_prompt_of_two_fields_and_of_braces():
    pairs = Prompt("{{{premise}}}|{hypothesis}→{label}", {True: "yes", False: "no"}, separator="\n")
    query = {"premise": "It {rains}.", "hypothesis": "Wet.", "id": "7"}
    assert pairs.write([(query, False)], query) == "{It {rains}.}|Wet.→no\n{It {rains}.}|Wet.→"
    assert pairs.choices == ["yes", "no"]
    for query in ("It rains.", {"premise": "It rains."}):
        with pytest.raises(ValueError, match=r"a text for each of \['hypothesis', 'premise'\]; .*hypothesis"):
            pairs.write([], query)


@pytest.mark.parametrize(
    ("template", "verbaliser", "message"),
    [
        ("{text}", {1: "a", 2: "b"}, r"ends in \{label\}"),
        ("{label} {text}", {1: "a", 2: "b"}, r"ends in \{label\}"),
        ("{text}{{label}}", {1: "a", 2: "b"}, r"ends in \{label\}"),
        ("{label} {text} {label}", {1: "a", 2: "b"}, "has it once"),
        ("Verdict: {label}", {1: "a", 2: "b"}, "has no field for the query"),
        ("{text} {label}", {1: "a"}, "there is nothing to choose"),
        ("{text} {label}", {}, "there is nothing to choose"),
        ("{text} {label}", {1: "a", 2: "a"}, "a choice is there twice"),
        ("{text} {label}", {1: "a", 2: " "}, "an empty choice"),
    ],
)
def test_a_prompt_that_cannot_be_asked(template, verbaliser, message):
    with pytest.raises(ValueError, match=message):
        Prompt(template, verbaliser)


def test_an_example_with_a_label_that_has_no_text():
    with pytest.raises(ValueError, match=r"no text stands for 'x': labels are \['\+', '-'\]"):
        FILM.write([("Boats.", "x")], "Boats.")


# ------------------------------------------------------------------------------------------------------ likelihoods
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_likelihoods_are_the_sums_by_hand(models, kind, batch_size):
    """Prompts that share their beginning, one of which is nothing but that; then some that share none."""
    for prompts in (["the bank of", "the bank of the river", "the bank of เขา"], ["the river", "เขา", ""], ["a"]):
        scores, lengths = log_likelihoods(models[kind], prompts, CHOICES, batch_size=batch_size)
        expected = [[by_hand(models[kind], prompt, choice) for choice in CHOICES] for prompt in prompts]
        assert scores == pytest.approx(np.array(expected)[..., 0], abs=2e-5)
        assert lengths.tolist() == [length for _, length in expected[0]]
    assert len(set(lengths.tolist())) > 2


def test_what_prompts_share_is_read_once_and_each_prompt_once(models):
    gpt, read = models["GPT2"], []
    handle = gpt.model.transformer.wte.register_forward_hook(
        lambda module, inputs, output: read.append(inputs[0].shape)
    )
    prompts = [f"the bank of the river{text}" for text in ("z", "y", "x")]
    shared = len(WORDS("the bank of the river")["input_ids"])
    log_likelihoods(gpt, prompts, ["n", "yz", "z"])
    handle.remove()
    assert [tuple(shape) for shape in read] == [(1, shared), (3, 1), (3, 1)]  # the last: all but one of a choice's two


def test_choices_are_normalised(models):
    gpt, prompt = models["GPT2"], "the bank"
    sums, lengths = np.array([by_hand(gpt, prompt, choice) for choice in CHOICES]).T
    alone = np.array([by_hand(gpt, "", choice)[0] for choice in CHOICES])
    after = np.array([by_hand(gpt, "Answer:", choice)[0] for choice in CHOICES])
    for settings, expected in [
        ({"normalise": "none"}, sums),
        ({}, sums / lengths),
        ({"normalise": "unconditional"}, sums - alone),
        ({"normalise": "unconditional", "answer_context": "Answer:"}, sums - after),
    ]:
        assert score_choices(gpt, prompt, CHOICES, **settings) == pytest.approx(expected, abs=2e-5)
    with pytest.raises(ValueError, match="normalise is one of length, none, unconditional, not 'mean'"):
        score_choices(gpt, prompt, CHOICES, normalise="mean")


def test_a_blank_after_the_prompt_belongs_to_the_choice(models):
    gpt = models["GPT2"]
    found = score_choices(gpt, "the ", ["bank", " boats"], normalise="none")
    assert found == pytest.approx([by_hand(gpt, "the", choice)[0] for choice in (" bank", " boats")], abs=2e-5)


def test_choices_of_all_next_tokens_are_certain_together(models):
    letters = [chr(i) for i in range(ord("!"), ord("~") + 1)]
    gpt = models["GPT2"]
    found = np.exp(score_choices(gpt, "the", letters, normalise="none"))
    logits = gpt.model(**WORDS("the", return_tensors="pt")).logits[0, -1].softmax(dim=-1)
    assert found.sum() == pytest.approx(
        sum(logits[WORDS(letter)["input_ids"][0]].item() for letter in letters), abs=1e-5
    )


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (["bank"], r"there is nothing to choose: at least two choices, not \['bank'\]"),
        ([], "there is nothing to choose"),
        ("bank", "several texts, not 'bank' alone"),
        (["bank", ""], "an empty choice has no likelihood"),
        (["bank", "bank"], "a choice is there twice"),
    ],
)
def test_nothing_to_choose(models, choices, message):
    with pytest.raises(ValueError, match=message):
        score_choices(models["GPT2"], "the", choices)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_and_choice_that_just_fit_and_one_longer(models, kind):
    """The last token is predicted and not read."""
    gpt, prompt = models[kind], "z" * (CONTEXT - 2)
    found = score_choices(gpt, prompt, ["yyy", "x"], normalise="none")
    with torch.inference_mode():
        logs = gpt.model(torch.tensor([WORDS(prompt + "yy")["input_ids"]])).logits[0, -3:].log_softmax(dim=-1)
    expected = [logs[range(3), WORDS("yyy")["input_ids"]].sum(), logs[0, WORDS("x")["input_ids"][0]]]
    assert found == pytest.approx([value.item() for value in expected], abs=2e-5)
    with pytest.raises(ValueError, match=r"prompt and choice have 62 tokens together, and .* reads 60: fewer"):
        score_choices(gpt, prompt + "z", ["yyy", "x"])
    with pytest.raises(ValueError, match="the prompt has 70 tokens"):
        score_choices(gpt, "z" * 70, ["y", "x"])
    with pytest.raises(ValueError, match="reads 60: "):
        classify(gpt, FILM, [("z" * 30, "+")], ["z" * 20])


# ------------------------------------------------------------------------------------------------------ classification
EXAMPLES = [("Boats.", "+"), ("น้ำ", "-")]
QUERIES = ["river", "the bank", "เขา"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_likeliest_label_is_given(models, kind):
    gpt = models[kind]
    short = Prompt("{text} = {label}", FILM.verbaliser)
    table = classify(gpt, short, EXAMPLES, QUERIES, normalise="none", batch_size=2)
    assert table.columns.tolist() == ["label", "+", "-"]
    for query, row in zip(QUERIES, table.itertuples(index=False), strict=True):
        scores = [by_hand(gpt, short.write(EXAMPLES, query), choice)[0] for choice in short.choices]
        odds = np.exp(scores)
        assert row[1:] == pytest.approx(odds / odds.sum(), abs=1e-4)
        assert row.label == "+-"[int(np.argmax(scores))]


def test_a_calibrated_prompt_prefers_nothing_where_nothing_is_asked(models):
    short = Prompt("{text} = {label}", FILM.verbaliser)
    for content_free in (["N/A"], ["N/A", "[MASK]", ""]):
        settings = {"calibrate": True, "content_free": content_free}
        plain = classify(models["GPT2"], short, EXAMPLES, [*QUERIES, *content_free])[["+", "-"]].to_numpy()
        found = classify(models["GPT2"], short, EXAMPLES, [*QUERIES, *content_free], **settings)
        prior = plain[len(QUERIES) :].mean(axis=0)
        odds = plain / prior
        assert found[["+", "-"]].to_numpy() == pytest.approx(odds / odds.sum(axis=1, keepdims=True), abs=1e-5)
        assert found.label.tolist() == [["+", "-"][i] for i in odds.argmax(axis=1)]
    assert classify(models["GPT2"], short, EXAMPLES, ["N/A"], calibrate=True, content_free=["N/A"])[
        ["+", "-"]
    ].to_numpy() == pytest.approx(np.full((1, 2), 0.5))


def test_no_query_no_row(models):
    table = classify(models["GPT2"], FILM, [], [], calibrate=False)
    assert len(table) == 0 and table.columns.tolist() == ["label", "+", "-"]


# --------------------------------------------------------------------------------------------------------- calibration
def test_calibration_by_hand():
    """The model says yes to everything: 0.8 to nothing at all, so a yes of 0.7 is a no. W = diag(1.25, 5)."""
    found = calibrated(np.array([[0.8, 0.2], [0.7, 0.3], [0.9, 0.1]]), np.array([0.8, 0.2]))
    weighed = np.array([[1, 1], [0.875, 1.5], [1.125, 0.5]])
    assert found == pytest.approx(weighed / weighed.sum(axis=1, keepdims=True))
    assert found.argmax(axis=1)[1:].tolist() == [1, 0]
    averaged = calibrated(np.array([[0.7, 0.3]]), np.array([[0.9, 0.1], [0.7, 0.3]]))
    assert averaged == pytest.approx(found[1:2])


@given(arrays(float, (4, 3), elements=st.floats(0.01, 1)), arrays(float, 3, elements=st.floats(0.01, 1)))
def test_calibration_is_the_affine_map_of_the_paper(weights, prior):
    probabilities, prior = weights / weights.sum(axis=1, keepdims=True), prior / prior.sum()
    mapped = np.linalg.inv(np.diag(prior)) @ probabilities[..., None] + np.zeros((3, 1))  # W p + b
    found = calibrated(probabilities, prior)
    assert found.sum(axis=1) == pytest.approx(1)
    assert found * mapped[..., 0].sum(axis=1, keepdims=True) == pytest.approx(mapped[..., 0])
    assert calibrated(probabilities, np.full(3, 1 / 3)) == pytest.approx(probabilities)


def test_what_cannot_be_calibrated():
    with pytest.raises(ValueError, match="probability 0 without content"):
        calibrated(np.array([[0.5, 0.5]]), np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"\(2,\) labels, and \(3,\) without content"):
        calibrated(np.array([[0.5, 0.5]]), np.ones(3) / 3)
