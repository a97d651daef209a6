"""Writing on: distributions and draws against exact ones, texts against transformers' generate."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from transformers.generation import logits_process

from tlcourse.encoders import Checkpoint
from tlcourse.gpt.generate import distribution, draw, generate, next_tokens, written

small = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "small_encoders.py")))
WORDS = small.tokeniser("bytes", template="$A")
SIZE, CONTEXT, END = len(WORDS), 24, WORDS.eos_token_id
KINDS = ["GPT2", "OpenAIGPT"]
PROMPTS = ["the bank of", "เขาตาก", "She sat on the river", "a"]


@pytest.fixture(scope="module")
def models() -> dict[str, Checkpoint]:
    """Of random weights, large enough that some tokens are much more probable than others."""
    made = {}
    for kind in KINDS:
        torch.manual_seed(3)
        settings = {"vocab_size": SIZE, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": CONTEXT}
        config = getattr(transformers, f"{kind}Config")(**settings, initializer_range=0.4, eos_token_id=END)
        made[kind] = Checkpoint(getattr(transformers, f"{kind}LMHeadModel")(config).eval(), WORDS, kind)
    return made


def blank_model(**settings) -> transformers.GPT2LMHeadModel:
    """A GPT-2 whose layers add nothing, to be given logits."""
    sizes = {"vocab_size": SIZE, "n_embd": 40, "n_layer": 1, "n_head": 1, "n_positions": 40}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, tie_word_embeddings=False, **settings))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model.eval()


def always(probabilities: dict[int, float]) -> Checkpoint:
    """A model that predicts the same after everything."""
    model = blank_model()
    model.transformer.ln_f.bias.data[0] = 1
    model.lm_head.weight.data[:, 0] = -1e4
    for token, probability in probabilities.items():
        model.lm_head.weight.data[token, 0] = np.log(probability)
    return Checkpoint(model, WORDS, "always the same")


def reciting(text: str, prompt: str = "a", *, end: bool = True) -> Checkpoint:
    """A model that goes on with one text after a prompt of one token, whatever it is."""
    assert len(WORDS(prompt)["input_ids"]) == 1
    model = blank_model()
    nn.init.eye_(model.transformer.wpe.weight)
    nn.init.ones_(model.transformer.ln_f.weight)
    for position, token in enumerate(WORDS(text)["input_ids"] + [END] * end):
        model.lm_head.weight.data[token, position] = 10
    return Checkpoint(model, WORDS, "reciting")


# ---------------------------------------------------------------------------------------------------- distributions
# Sixteenths, all different: of two that are equal but for rounding, a filter may keep either.
LOGITS = st.lists(st.integers(-320, 320).map(lambda n: n / 16), min_size=2, max_size=12, unique=True)


@given(LOGITS, st.floats(0.1, 3), st.none() | st.integers(1, 15), st.none() | st.floats(0.01, 1))
def test_a_distribution_is_that_of_transformers(logits, temperature, top_k, top_p):
    scores = torch.tensor([logits])
    expected = scores / temperature
    if top_k:
        expected = logits_process.TopKLogitsWarper(top_k)(None, expected)
    sums = expected.softmax(dim=-1).sort(descending=True).values.cumsum(dim=-1)
    if top_p:
        assume((sums - top_p).abs().min() > 1e-4)  # where they are equal but for rounding, one token more may be left
        expected = logits_process.TopPLogitsWarper(top_p)(None, expected)
    found = distribution(scores, temperature=temperature, top_k=top_k, top_p=top_p)
    assert found.sum().item() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(found, expected.softmax(dim=-1), atol=1e-5)


def test_filters_by_hand():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    assert distribution(logits, top_k=2).tolist() == pytest.approx([5 / 8, 3 / 8, 0, 0])
    assert distribution(logits, top_p=0.8).tolist() == pytest.approx([5 / 8, 3 / 8, 0, 0], abs=1e-6)
    assert distribution(logits, top_p=0.81).tolist() == pytest.approx([50 / 95, 30 / 95, 15 / 95, 0])
    assert distribution(logits, top_p=0.01).tolist() == [1, 0, 0, 0]  # one is always left
    assert distribution(logits, top_k=3, top_p=0.6).tolist() == pytest.approx([5 / 8, 3 / 8, 0, 0])
    squares = np.array([0.25, 0.09, 0.0225, 0.0025])
    assert distribution(logits, temperature=0.5).tolist() == pytest.approx((squares / squares.sum()).tolist())
    assert distribution(logits, temperature=0).tolist() == [1, 0, 0, 0]
    assert distribution(logits * 1e30, temperature=1e-30).tolist() == [1, 0, 0, 0]
    assert distribution(torch.tensor([1.0, 1, 0]), top_k=1).tolist() == [0.5, 0.5, 0]  # as probable as the last


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, "temperature is 0"),
        ({"temperature": float("nan")}, "temperature is 0"),
        ({"temperature": float("inf")}, "temperature is 0"),
        ({"top_k": 0}, "at least 1, not 0"),
        ({"top_p": 0.0}, "above 0 and up to 1, not 0.0"),
        ({"top_p": 1.2}, "not 1.2"),
    ],
)
def test_a_setting_out_of_its_range(models, settings, message):
    with pytest.raises(ValueError, match=message):
        distribution(torch.zeros(3), **settings)
    with pytest.raises(ValueError, match=message):
        generate(models["GPT2"], "a", **settings)


# ------------------------------------------------------------------------------------------------------------ draws
@given(st.lists(st.integers(0, 20), min_size=2, max_size=8).filter(any))
def test_evenly_spread_numbers_draw_each_token_as_often_as_it_is_probable(weights):
    probabilities = torch.tensor(weights) / sum(weights)
    numbers = (torch.arange(20 * sum(weights)) + 0.5) / (20 * sum(weights))
    drawn = draw(probabilities.expand(len(numbers), -1), numbers)
    assert torch.bincount(drawn, minlength=len(weights)).tolist() == [20 * weight for weight in weights]


@pytest.mark.parametrize("number", [0.0, 1 - 2**-24])
def test_what_is_impossible_is_never_drawn(number):
    probabilities = torch.tensor([[0, 0.7, 0, 0.3, 0, 0], [0, 0, 0.2, 0.3, 0.5, 0]])
    drawn = draw(probabilities, torch.tensor([number, number]))
    assert drawn.tolist() == ([1, 2] if number == 0 else [3, 4])


GIVEN = {70: 0.5, 71: 0.25, 72: 0.15, 73: 0.1}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.5, 0.25, 0.15, 0.1]),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_p": 0.8}, [50 / 90, 25 / 90, 15 / 90, 0]),
        ({"temperature": 0.5}, [0.25 / 0.345, 0.0625 / 0.345, 0.0225 / 0.345, 0.01 / 0.345]),
        ({"temperature": 2.0, "top_k": 3, "top_p": 0.75}, [2**0.5 / (2**0.5 + 1), 1 / (2**0.5 + 1), 0, 0]),
        ({"temperature": 0}, [1, 0, 0, 0]),
    ],
)
def test_tokens_come_as_often_as_they_should(settings, expected):
    texts = generate(always(GIVEN), ["a"] * 100, max_new=10, seed=1, **settings)
    ids = np.concatenate([text.ids for text in texts])
    assert set(ids) <= set(GIVEN)
    for token, probability in zip(GIVEN, expected, strict=True):
        count = int((ids == token).sum())
        assert stats.binomtest(count, len(ids), probability).pvalue > 1e-4
        chances = np.concatenate([text.chances[text.ids == token] for text in texts])
        assert chances == pytest.approx(probability, abs=1e-5)
        alone = np.concatenate([text.probabilities[text.ids == token] for text in texts])
        assert alone == pytest.approx(GIVEN[token], abs=1e-5)


def test_a_seed_draws_the_same_again_and_each_row_its_own(models):
    one, other = (generate(models["GPT2"], ["the bank"] * 3, seed=5, max_new=30) for _ in range(2))
    assert [row.ids.tolist() for row in one] == [row.ids.tolist() for row in other]
    assert len({row.text for row in one}) == 3
    assert generate(models["GPT2"], "the bank", seed=6, max_new=30).text != one[0].text


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_the_others(models, kind):
    alone = generate(models[kind], PROMPTS[0], seed=2, max_new=40)
    for others in (PROMPTS[1:], PROMPTS[1:2], [PROMPTS[2] * 2]):
        row = generate(models[kind], [PROMPTS[0], *others], seed=2, max_new=40)[0]
        assert row.ids.tolist() == alone.ids.tolist() and row.ended == alone.ended
        assert row.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


def test_no_random_numbers_of_torch_are_used(models):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    generate(models["GPT2"], "a")
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------------------------------------------- beside transformers
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_is_that_of_transformers(models, kind):
    gpt = models[kind]
    for prompt in PROMPTS:
        ids = WORDS(prompt, return_tensors="pt")
        theirs = gpt.model.generate(**ids, do_sample=False, max_new_tokens=12, pad_token_id=1)
        ours = generate(gpt, prompt, temperature=0, max_new=12)
        assert ours.ids.tolist() == theirs[0, ids["input_ids"].shape[1] :].tolist()
        assert (ours.chances == 1).all() and len(ours.pieces) == len(ours.ids) == len(ours.probabilities)
        logits = gpt.model(theirs).logits[0].log_softmax(dim=-1)
        start = ids["input_ids"].shape[1]
        own = logits[range(start - 1, theirs.shape[1] - 1), theirs[0, start:]].exp()
        assert ours.probabilities == pytest.approx(own.detach().numpy(), abs=1e-5)


@pytest.mark.parametrize("cache", [True, False])
def test_greedy_in_a_batch_is_that_of_transformers(models, cache):
    gpt = models["GPT2"]
    WORDS.padding_side = "left"
    ids = WORDS(PROMPTS, return_tensors="pt", padding=True)
    theirs = gpt.model.generate(**ids, do_sample=False, max_new_tokens=12, pad_token_id=1)
    for ours, row in zip(generate(gpt, PROMPTS, temperature=0, max_new=12, cache=cache), theirs, strict=True):
        added = row[ids["input_ids"].shape[1] :][: len(ours.ids)]
        assert ours.ids.tolist() == added.tolist()
        assert len(ours.ids) == 12 or ours.ended == "end"


# ----------------------------------------------------------------------------------------------- cache and context
@pytest.mark.parametrize("settings", [{"temperature": 0}, {"top_k": 20, "seed": 4}])
def test_a_cache_changes_nothing(models, settings):
    """Prompts of different lengths, and longer than the context in the end."""
    one, other = (generate(models["GPT2"], PROMPTS, max_new=50, cache=cache, **settings) for cache in (True, False))
    assert max(len(row.ids) for row in one) > CONTEXT
    for a, b in zip(one, other, strict=True):
        assert a.ids.tolist() == b.ids.tolist()
        assert a.probabilities == pytest.approx(b.probabilities, abs=1e-5)
        assert a.chances == pytest.approx(b.chances, abs=1e-5)


def test_with_a_cache_each_token_is_read_once(models):
    gpt, read = models["GPT2"], []
    handle = gpt.model.transformer.wte.register_forward_hook(
        lambda module, inputs, output: read.append(inputs[0].numel())
    )
    generate(gpt, "the bank", max_new=10, temperature=1.0, seed=1)
    handle.remove()
    assert read == [len(WORDS("the bank")["input_ids"])] + [1] * 9


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_context_is_read_again_from_its_newer_half(models, kind):
    gpt = models[kind]
    window = WORDS(PROMPTS[2])["input_ids"]
    expected = []
    with torch.inference_mode():
        for _ in range(50):
            expected.append(gpt.model(torch.tensor([window])).logits[0, -1].argmax().item())
            window.append(expected[-1])
            if len(window) > CONTEXT:
                window = window[-CONTEXT // 2 :]
    found = generate(gpt, PROMPTS[2], temperature=0, max_new=50).ids.tolist()
    assert len(found) > CONTEXT or found[-1] == END
    assert found == expected[: len(found)]


def test_a_prompt_as_long_as_the_context_and_one_longer(models):
    gpt = models["GPT2"]
    text = "z" * CONTEXT
    assert len(WORDS(text)["input_ids"]) == CONTEXT
    assert len(generate(gpt, text, max_new=3, seed=1).ids) == 3
    for prompt in (text + "z", ["a", text + "z"]):
        with pytest.raises(ValueError, match=r"the prompt has 25 tokens, and GPT2 reads 24: shorten it"):
            generate(gpt, prompt)
    with pytest.raises(ValueError, match="25 tokens"):
        next_tokens(gpt, text + "z")


# ------------------------------------------------------------------------------------------------------ where it ends
def test_a_text_ends_where_the_model_ends_it():
    found = generate(reciting(" river counted"), "a", temperature=0)
    assert found.text == " river counted" and found.ended == "end" and found.ids[-1] == END
    assert "".join(found.pieces) == found.text and found.pieces[-1] == ""
    cut = generate(reciting(" river counted"), "a", temperature=0, max_new=2)
    assert cut.ended == "length" and len(cut.ids) == 2 and " river counted".startswith(cut.text)


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ("\n", "one. "),
        (["nothing of it", ". "], "one"),
        (["wo", "tw"], "one. \n"),  # the earlier of those there
        ("ne", "o"),
        ("one", ""),
        ("สอง", "one. \ntwo "),
        ("a", "one. \ntwo สองสาม"),  # stands in the prompt only
        ((), "one. \ntwo สองสาม"),
    ],
)
def test_a_stop_string(stop, text):
    found = generate(reciting("one. \ntwo สองสาม"), "a", temperature=0, stop=stop)
    assert found.text == text
    assert found.ended == ("end" if text.endswith("สาม") else "stop")
    assert "".join(found.pieces).startswith(text) and len(found.pieces) == len(found.ids)


def test_of_several_texts_each_ends_by_itself(models):
    texts = generate(models["GPT2"], PROMPTS * 3, stop="a", max_new=8, seed=8)
    assert {"stop", "length"} <= {text.ended for text in texts}
    assert all("a" not in text.text for text in texts)
    for i, text in enumerate(texts):
        if text.ended == "length":
            assert len(text.ids) == 8
        elif text.ended == "stop":
            assert text.pieces[-1] and "a" in "".join(text.pieces) and "a" not in "".join(text.pieces[:-1]), i


# --------------------------------------------------------------------------------------------------- tokens as text
def test_thai_whose_bytes_are_in_several_tokens_comes_out_whole():
    text = "น้ำใจ 🐘 ก"
    tokens = WORDS(text)["input_ids"]
    assert len(tokens) > len(text)
    found = generate(reciting(text), "a", temperature=0)
    assert found.text == "".join(found.pieces) == text
    assert "" in found.pieces and not any("�" in piece for piece in found.pieces)
    for size in range(1, len(tokens)):  # cut anywhere, it is a beginning of the text
        cut = generate(reciting(text), "a", temperature=0, max_new=size).text
        assert text.startswith(cut)
        assert cut == WORDS.decode(tokens[:size]).rstrip("�")


def test_bytes_that_are_no_character_are_shown_as_such():
    first = WORDS("ก")["input_ids"][0]  # two bytes of three
    model = always({first: 1.0})
    assert generate(model, "a", max_new=5).text == ""  # more could follow
    table = next_tokens(model, "a", k=1)
    assert table.token[0] == "<E0><B8>" and table.id[0] == first


def test_a_blank_before_a_word_is_kept_by_tokenisers_that_write_none():
    """OpenAI's first marks the end of a word, and its decoder puts blanks between words."""
    vocabulary = ["<unk>", *"abc", "a</w>", "b</w>", "c</w>", "ab</w>"]
    words = transformers.OpenAIGPTTokenizer({piece: i for i, piece in enumerate(vocabulary)}, [("a", "b</w>")])
    config = transformers.OpenAIGPTConfig(vocab_size=8, n_embd=8, n_layer=1, n_head=1, n_positions=30)
    model = transformers.OpenAIGPTLMHeadModel(config).eval()
    gpt = Checkpoint(model, words, "openai-gpt")
    found = generate(gpt, "Ab c", max_new=12, seed=2)
    ids = words("Ab c", add_special_tokens=False)["input_ids"]
    assert words.decode([*ids, *found.ids]) == "ab c" + found.text
    assert "".join(found.pieces) == found.text and " " in found.text
    assert written(words, 7) == "ab</w>"
    with pytest.raises(ValueError, match="the prompt is empty, and openai-gpt has no token that a text begins with"):
        generate(gpt, "")


def test_how_tokens_are_written():
    assert [written(WORDS, i) for i in WORDS("a ")["input_ids"]] == ["a", "▁"]
    tokens = WORDS("กé")["input_ids"]
    assert "".join(written(WORDS, i) for i in tokens) == "<E0><B8><81><C3><A9>"
    assert written(WORDS, END) == "</s>"


# ------------------------------------------------------------------------------------------------------ the next token
@pytest.mark.parametrize("kind", KINDS)
def test_the_next_tokens_are_the_most_probable(models, kind):
    gpt = models[kind]
    table = next_tokens(gpt, "the bank", k=SIZE)
    logits = gpt.model(**WORDS("the bank", return_tensors="pt")).logits[0, -1].detach()
    assert table.probability.to_numpy() == pytest.approx(
        logits.softmax(0).sort(descending=True).values.numpy(), abs=1e-6
    )
    assert table.probability.sum() == pytest.approx(1, abs=1e-5)
    assert table.id[0] == logits.argmax() and table.token[0] == written(WORDS, table.id[0])
    assert len(next_tokens(gpt, "the bank")) == 10
    for k in (0, SIZE + 1):
        with pytest.raises(ValueError, match=f"k is from 1 to the {SIZE} tokens"):
            next_tokens(gpt, "a", k=k)


def test_an_empty_prompt_begins_a_text(models):
    gpt = models["GPT2"]
    logits = gpt.model(torch.tensor([[WORDS.bos_token_id]])).logits[0, -1]
    assert next_tokens(gpt, "", k=1).id[0] == logits.argmax()
    assert generate(gpt, "", temperature=0, max_new=1).ids[0] == logits.argmax()


def test_what_cannot_be_written(models):
    for settings, message in [
        ({"prompt": []}, "there is no prompt"),
        ({"max_new": 0}, "max_new is how many tokens are added at most, at least 1, not 0"),
        ({"stop": ""}, "an empty stop string"),
        ({"stop": ["\n", ""]}, "an empty stop string"),
    ]:
        with pytest.raises(ValueError, match=message):
            generate(models["GPT2"], **{"prompt": "a", **settings})


def test_a_model_in_training_reads_without_dropout_and_stays_in_training(models):
    gpt = models["GPT2"]
    expected = generate(gpt, PROMPTS, seed=1)
    gpt.model.train()
    try:
        found = generate(gpt, PROMPTS, seed=1)
        assert gpt.model.training
    finally:
        gpt.model.eval()
    assert [row.text for row in found] == [row.text for row in expected]
