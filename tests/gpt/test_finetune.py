import copy
import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tlcourse.encoders import Checkpoint
from tlcourse.gpt import finetune
from tlcourse.gpt.bpe import DELIMITER, EXTRACT, START, train_bpe
from tlcourse.gpt.finetune import (
    ExampleBatches,
    FineTuningGPT,
    add_marks,
    finetune_gpt,
    lm_loss,
    real_token_loss,
    states,
)
from tlcourse.training import cross_entropy

TEXTS = ["The bank lends money to farmers.", "She sat on the river bank.", "เขาตากลม", "น้ำใส 🙂 b", "no"]
FRAMES = {
    "classification": pd.DataFrame({"text": TEXTS * 2, "label": [*"abcab"] * 2}),
    "entailment": pd.DataFrame({"first": TEXTS, "second": TEXTS[::-1], "label": [True, False, True, False, True]}),
    "similarity": pd.DataFrame({"first": TEXTS, "second": TEXTS[::-1], "label": [*"abaab"]}),
    "choice": pd.DataFrame(
        {"context": TEXTS, "choices": [TEXTS[:n] for n in (2, 4, 2, 3, 2)], "label": [1, 3, 0, 2, 1]},
    ),
}
SHORT = FineTuningGPT(epochs=1, lr=1e-3, batch_size=4, max_length=60)
STILL = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)


@pytest.fixture(scope="module")
def tokeniser():
    return train_bpe(TEXTS * 3, vocab_size=300)


def config(kind: str = "GPT2", **changes):
    sizes = dict(n_embd=32, n_layer=2, n_head=2, n_positions=64, vocab_size=300, initializer_range=0.1)
    return getattr(transformers, f"{kind}Config")(**sizes | STILL | changes)


@pytest.fixture(scope="module")
def models(tokeniser):
    """A GPT of each kind, tiny, random and without dropout."""

    def made(kind):
        torch.manual_seed(0)
        head = {"GPT2": "GPT2LMHeadModel", "OpenAIGPT": "OpenAIGPTLMHeadModel"}[kind]
        return Checkpoint(getattr(transformers, head)(config(kind)).eval(), tokeniser, f"tiny {kind}")

    return {kind: made(kind) for kind in ("GPT2", "OpenAIGPT")}


@pytest.fixture(scope="module")
def gpt(models):
    return models["GPT2"]


def tuned(gpt, shape, recipe=SHORT, **more):
    return finetune_gpt(gpt, FRAMES[shape], None, recipe, shape=shape, label="label", progress=False, **more)


def untrained(gpt, shape, **recipe):
    """A model whose head was made and (at a rate of next to nothing) not trained."""
    return tuned(gpt, shape, FineTuningGPT(**dict(epochs=1, lr=1e-30, weight_decay=0, max_length=60) | recipe))


def batch(model, shape) -> tuple[torch.Tensor, torch.Tensor]:
    """All examples of a shape in one batch."""
    examples = model.examples(FRAMES[shape])
    return next(iter(ExampleBatches(examples, model._targets(FRAMES[shape], examples), batch_size=99)))


def losses(model, shape) -> tuple[torch.Tensor, torch.Tensor]:
    """L2 and L1 of all examples of a shape."""
    x, y = batch(model, shape)
    model.network.auxiliary = True
    l2 = cross_entropy(model.network(x), y)
    return l2, model.network.lm_loss


# ---------------------------------------------------------------------------- beside transformers and by hand
@pytest.mark.parametrize("kind", ["GPT2", "OpenAIGPT"])
def test_both_losses_are_those_of_the_double_heads_model(models, kind):
    model = untrained(models[kind], "choice")
    frame = FRAMES["choice"].assign(choices=[TEXTS[:3]] * 5, label=[1, 2, 0, 2, 1])  # theirs has no ragged choices
    examples = model.examples(frame)
    x, y = next(iter(ExampleBatches(examples, frame.label, batch_size=9)))
    real = x >= 0
    assert not real.all() and x.shape[:2] == (5, 3)

    theirs = getattr(transformers, f"{kind}DoubleHeadsModel")(config(kind)).eval()
    theirs.transformer.load_state_dict(model.network.lm.transformer.state_dict())
    head = theirs.multiple_choice_head
    projection = head.summary
    projection.load_state_dict(model.network.head.linear.state_dict())
    want = theirs(
        input_ids=x.clamp(min=0),
        attention_mask=real.long() if kind == "GPT2" else None,  # OpenAIGPT's takes none for choices
        mc_token_ids=real.sum(2) - 1,
        labels=x.masked_fill(~real, -100),
        mc_labels=y,
    )
    model.network.auxiliary = True
    scores = model.network(x)
    torch.testing.assert_close(scores, want.mc_logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(cross_entropy(scores, y), want.mc_loss, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.network.lm_loss, want.loss, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", FRAMES)
def test_both_losses_are_those_computed_by_hand(gpt, shape):
    model = untrained(gpt, shape)
    lm, linear = model.network.lm, model.network.head.linear
    token_losses, example_losses = [], []
    examples = model.examples(FRAMES[shape])
    with torch.no_grad():
        for rows, y in zip(examples, model._targets(FRAMES[shape], examples), strict=True):
            at_extract = []
            for row in rows:  # each alone: no padding at all
                ids = torch.from_numpy(row)[None]
                out = lm(ids, output_hidden_states=True)
                log_p = out.logits[0].log_softmax(1)
                token_losses += [-log_p[t - 1, row[t]].item() for t in range(1, len(row))]
                at_extract.append(out.hidden_states[-1][0, -1])
            if shape == "choice":
                scores = torch.stack([linear.weight[0] @ h + linear.bias[0] for h in at_extract])
            else:
                scores = linear.weight @ sum(at_extract) + linear.bias  # of similarity both orders' states, added
            example_losses.append(-math.log(scores.exp()[y] / scores.exp().sum()))
    l2, l1 = losses(model, shape)
    assert l1.item() == pytest.approx(np.mean(token_losses), abs=1e-5)
    assert l2.item() == pytest.approx(np.mean(example_losses), abs=1e-5)


def test_l1_counts_every_real_token_with_one_before_it(gpt):
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, -1, -1], [11, -1, -1, -1]])
    loss, n = real_token_loss(gpt.model, states(gpt.model, ids), ids)
    assert n == 4
    with torch.no_grad():
        want = gpt.model(torch.tensor([[5, 6, 7, 8]])).logits[0, :3], gpt.model(torch.tensor([[9, 10]])).logits[0, :1]
    by_hand = F.cross_entropy(torch.cat(want), torch.tensor([6, 7, 8, 10]))
    torch.testing.assert_close(loss, by_hand, atol=1e-5, rtol=0)


def test_padding_changes_no_state_and_has_no_gradient(gpt):
    row = torch.tensor([[5, 6, 7]])
    padded = F.pad(row, (0, 9), value=-1)
    torch.testing.assert_close(states(gpt.model, padded)[:, :3], states(gpt.model, row), atol=1e-5, rtol=0)
    grads = []
    for ids in (row, padded):
        loss, _ = real_token_loss(gpt.model, states(gpt.model, ids), ids)
        grads.append(torch.autograd.grad(loss, list(gpt.model.parameters())))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


# -------------------------------------------------------------------------------------------------------------- lambda
@pytest.mark.parametrize("shape", FRAMES)
def test_the_gradient_of_lambda_is_l1_and_that_of_the_weights_is_the_sum(gpt, shape):
    model = untrained(gpt, shape)
    lam = torch.tensor(0.3, requires_grad=True)
    weights = list(model.network.parameters())
    l2, l1 = losses(model, shape)
    l3 = l2 + lam * l1
    (by_lam,) = torch.autograd.grad(l3, lam, retain_graph=True)
    assert by_lam == l1
    of = [torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True) for loss in (l3, l2, l1)]
    for joint, task, language in zip(*of, strict=True):
        want = task if language is None else task + 0.3 * language
        torch.testing.assert_close(joint, want, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("lam", [0.0, 0.5, lambda done: 2 * done])
def test_training_minimises_l3(gpt, lam):
    """Three steps in one batch each are those of plain AdamW on L2 + lam L1."""
    frame = FRAMES["classification"].head(5)
    recipe = FineTuningGPT(lam=lam, epochs=3, lr=1e-2, batch_size=8, dropout=0.0, warmup=0.4, max_length=60)
    model = finetune_gpt(gpt, frame, None, recipe, progress=False)
    plain = untrained(gpt, "classification", dropout=0.0).network.train()
    examples = model.examples(frame)
    x, y = next(iter(ExampleBatches(examples, model._targets(frame, examples), batch_size=8)))
    decays = {True: [], False: []}
    for weight in plain.parameters():
        decays[weight.ndim > 1].append(weight)
    groups = [{"params": decays[True], "weight_decay": 0.01}, {"params": decays[False], "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, eps=1e-8)
    plain.auxiliary, seen = True, []
    for step, rate in enumerate([1e-2 / 2, 1e-2, 1e-2 / 2]):
        weight = lam(step / 2) if callable(lam) else lam
        for group in adam.param_groups:
            group["lr"] = rate
        l2 = cross_entropy(plain(x), y)
        seen.append((l2.item(), plain.lm_loss.item(), weight))
        adam.zero_grad()
        (l2 + weight * plain.lm_loss).backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        adam.step()
    theirs = dict(plain.named_parameters())
    for name, ours in model.network.named_parameters():
        settled = torch.ones_like(ours, dtype=torch.bool)
        if name.endswith("c_attn.bias"):
            settled[32:64] = False  # keys' biases change no attention: their gradient is rounding, which Adam enlarges
        torch.testing.assert_close(ours[settled], theirs[name][settled], atol=2e-4, rtol=1e-3)
    for row, (l2, l1, weight) in zip(model.history.itertuples(), seen, strict=True):
        assert row.train_loss == pytest.approx(l2, abs=1e-3)
        assert row.lam == pytest.approx(weight)
        assert math.isnan(row.lm_loss) if weight == 0 else row.lm_loss == pytest.approx(l1, abs=1e-3)


def test_at_lambda_0_no_language_model_is_computed(gpt, monkeypatch):
    sizes = []
    real = F.linear

    def counting(x, weight, *bias):
        sizes.append(len(weight))
        return real(x, weight, *bias)

    monkeypatch.setattr(F, "linear", counting)
    model = tuned(gpt, "classification", FineTuningGPT(lam=0, epochs=1, max_length=60))
    model.score(FRAMES["classification"])
    assert 3 in sizes and 300 not in sizes  # classes, and the vocabulary
    assert model.history.lm_loss.isna().all()
    tuned(
        gpt, "classification", FineTuningGPT(lam=lambda done: float(done == 1), epochs=1, batch_size=2, max_length=60)
    )
    assert sizes.count(300) == 1  # in the last of five steps


def test_validation_computes_no_language_model(gpt, monkeypatch):
    rows = []
    real = finetune.real_token_loss
    monkeypatch.setattr(finetune, "real_token_loss", lambda *given: rows.append(len(given[2])) or real(*given))
    frame = FRAMES["classification"]
    model = finetune_gpt(gpt, frame, frame.head(3), SHORT, progress=False)
    assert sum(rows) == len(frame)  # those of training alone
    model.predict(["a"])
    assert sum(rows) == len(frame)
    assert {"valid_loss", "accuracy", "macro_f1", "lm_loss", "lam"} <= {*model.history}


@settings(max_examples=20)
@given(st.integers(1, 50), st.floats(0, 10))
def test_lambda_is_a_number_or_a_function_of_what_is_done(steps, lam):
    assert FineTuningGPT(lam=lam).lambdas(steps).tolist() == [lam] * steps
    falling = FineTuningGPT(lam=lambda done: lam * (1 - done)).lambdas(steps)
    assert falling[0] == lam and len(falling) == steps
    assert steps == 1 or falling[-1] == 0


@pytest.mark.parametrize("lam", [-0.1, -1e-9, math.nan, math.inf])
def test_a_negative_lambda_is_refused(gpt, lam):
    with pytest.raises(ValueError, match=r"lam is .* with 0% of the training done: a loss weighs 0 or more"):
        FineTuningGPT(lam=lam)
    with pytest.raises(ValueError, match="with 100% of the training done"):
        tuned(gpt, "similarity", FineTuningGPT(lam=lambda done: lam if done == 1 else 0.5, epochs=2, max_length=60))


# ----------------------------------------------------------------------------------------------------------- training
WORDS = ["bank", "river", "boats", "money"]


def forty(shape: str) -> pd.DataFrame:
    """Forty examples; what is wanted of each follows from its words."""
    rng = np.random.default_rng(0)
    first = rng.choice(WORDS[:2], 40)
    second = rng.choice(WORDS[:2], 40)
    if shape == "classification":
        return pd.DataFrame({"text": [f"the {word} is" for word in first], "label": first})
    if shape == "choice":
        orders = [rng.permutation(WORDS).tolist() for _ in range(40)]
        return pd.DataFrame({"context": "the", "choices": orders, "label": [order.index("bank") for order in orders]})
    label = first == second if shape == "similarity" else second
    return pd.DataFrame({"first": first, "second": second, "label": label})


@pytest.mark.parametrize("shape", FRAMES)
def test_forty_examples_are_learned(gpt, shape):
    frame = forty(shape)
    recipe = FineTuningGPT(epochs=8, lr=5e-3, batch_size=8, warmup=0.1)
    model = finetune_gpt(gpt, frame, None, recipe, shape=shape, label="label", progress=False)
    assert model.score(frame)["accuracy"] >= 0.9, model.history
    assert model.history.lm_loss.iloc[-1] < model.history.lm_loss.iloc[0] / 2
    assert len(model.history) == 8
    assert model.score(frame).keys() == ({"accuracy"} if shape == "choice" else {"accuracy", "macro_f1"})


@pytest.mark.parametrize("kind", ["GPT2", "OpenAIGPT"])
@pytest.mark.parametrize("shape", FRAMES)
def test_every_kind_serves_and_stays_as_it_was(models, kind, shape):
    given_model = models[kind].model
    before = {name: weight.clone() for name, weight in given_model.state_dict().items()}
    model = tuned(models[kind], shape)
    table = model.probabilities(FRAMES[shape])
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-5)
    predicted = model.predict(FRAMES[shape])
    assert predicted == [table.columns[i] for i in table.fillna(0).to_numpy().argmax(1)]
    for name, weight in given_model.state_dict().items():
        assert torch.equal(weight, before[name])
    assert model.predict(FRAMES[shape].head(0)) == [] == model.predict([])


def test_both_orders_of_a_pair_are_alike_to_similarity_and_not_to_entailment(gpt):
    pairs = list(pairwise(TEXTS))
    turned = [pair[::-1] for pair in pairs]
    for shape, alike in (("similarity", True), ("entailment", False)):
        model = untrained(gpt, shape)
        one, other = (model.probabilities(some).to_numpy() for some in (pairs, turned))
        assert np.allclose(one, other, atol=1e-6) == alike


def test_an_example_scores_the_same_alone_and_among_others(gpt):
    for shape in FRAMES:
        model = untrained(gpt, shape)
        together = model.probabilities(FRAMES[shape]).to_numpy()
        for i in range(len(together)):
            alone = model.probabilities(FRAMES[shape].iloc[[i]]).to_numpy()[0]
            np.testing.assert_allclose(together[i, : len(alone)], alone, atol=1e-5)
            assert np.isnan(together[i, len(alone) :]).all()


def test_the_same_seed_gives_the_same_weights_and_another_does_not(gpt):
    torch.manual_seed(9)
    state = torch.get_rng_state()
    runs = [untrained(gpt, "entailment", seed=seed).network.head.linear.weight for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_training_that_was_cut_off_goes_on_bit_for_bit(gpt, tokeniser, tmp_path, monkeypatch):
    torch.manual_seed(0)
    wobbly = Checkpoint(
        transformers.GPT2LMHeadModel(config(resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)), tokeniser, "wobbly"
    )
    frame = FRAMES["classification"]
    recipe = FineTuningGPT(lam=lambda done: done, epochs=3, lr=1e-3, batch_size=4, max_length=60)
    whole = finetune_gpt(wobbly, frame, frame, recipe, progress=False)
    metric, calls = finetune.accuracy, []

    def accuracy(*numbers):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return metric(*numbers)

    monkeypatch.setattr(finetune, "accuracy", accuracy)
    there = dict(checkpoint=tmp_path / "state", progress=False)
    with pytest.raises(KeyboardInterrupt):
        finetune_gpt(wobbly, frame, frame, recipe, **there)
    with pytest.raises(ValueError, match="belongs to another training: callbacks"):
        finetune_gpt(
            wobbly, frame, frame, FineTuningGPT(lam=0, epochs=3, lr=1e-3, batch_size=4, max_length=60), **there
        )
    resumed = finetune_gpt(wobbly, frame, frame, recipe, **there)
    for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(a, b)
    pd.testing.assert_frame_equal(whole.history, resumed.history)


@pytest.mark.parametrize("shape", FRAMES)
def test_mixed_precision_trains(gpt, shape, monkeypatch):
    monkeypatch.setattr(finetune.profile, "autocast_dtype", lambda device: torch.bfloat16)
    model = tuned(gpt, shape)
    assert np.isfinite(model.history[["train_loss", "lm_loss"]].to_numpy()).all()
    assert all(weight.dtype == torch.float32 for weight in model.network.parameters())


def test_long_texts_are_cut_and_read(gpt):
    model = untrained(gpt, "classification", max_length=None)
    assert model.max_length == 64  # what the model takes
    assert model.predict(["word " * 50_000])[0] in "abc"
    assert max(len(row) for row in model.examples(["word " * 50_000])[0]) == 64


def test_examples_of_like_length_are_together_and_each_is_served_once():
    examples = [[np.full(n, 7)] * k for n in range(1, 40) for k in (1, 2, 3)]
    batches = ExampleBatches(examples, range(len(examples)), batch_size=8, shuffle=True)
    seen, padded, real = [], 0, 0
    for x, y in batches:
        seen += y.tolist()
        there = x[..., 0] >= 0
        assert there.sum(1).tolist() == [len(examples[i]) for i in y]
        padded += int((x[there] < 0).sum())
        real += int((x >= 0).sum())
    assert sorted(seen) == list(range(len(examples)))
    assert padded < real


# ---------------------------------------------------------------------------------------------------------- forgetting
def test_lm_loss_is_the_mean_over_all_tokens(gpt, tokeniser):
    total, count = 0.0, 0
    with torch.no_grad():
        for text in TEXTS:
            ids = torch.tensor([[tokeniser.bos_token_id, *tokeniser(text)["input_ids"]]])
            total += gpt.model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
            count += ids.shape[1] - 1
    assert lm_loss(gpt, TEXTS) == pytest.approx(total / count, abs=1e-5)


def test_lm_loss_of_a_long_text_counts_each_token_once(gpt, tokeniser, monkeypatch):
    text = " ".join(TEXTS) * 5
    counted = []
    real = finetune.real_token_loss

    def counting(lm, hidden, ids):
        loss, n = real(lm, hidden, ids)
        counted.append(n)
        assert ids.shape[1] <= 64
        return loss, n

    monkeypatch.setattr(finetune, "real_token_loss", counting)
    assert math.isfinite(lm_loss(gpt, [text]))
    assert sum(counted) == len(tokeniser(text)["input_ids"]) > 64


def test_forgetting_is_measured_and_the_auxiliary_loss_lessens_it(gpt):
    held_out = ["the bank is", "the river is"]
    frame = forty("classification")
    after = {}
    for lam in (0.0, 1.0):
        recipe = FineTuningGPT(lam=lam, epochs=5, lr=3e-3, batch_size=10)
        model = finetune_gpt(gpt, frame, None, recipe, progress=False)
        after[lam] = model.lm_loss(held_out)
        assert after[lam] == lm_loss(model.language_model, held_out)
        assert not model.network.lm.training
    assert after[1.0] < lm_loss(gpt, held_out) and after[1.0] < after[0.0]


def test_lm_loss_without_a_beginning_predicts_from_the_second_token_on(models, tokeniser):
    class Bare:
        bos_token_id = None

        def __call__(self, *given, **settings):
            return tokeniser(*given, **settings)

    bare = Checkpoint(models["OpenAIGPT"].model, Bare(), "bare")
    ids = torch.tensor([tokeniser(TEXTS[0])["input_ids"]])
    with torch.no_grad():
        want = bare.model(ids, labels=ids).loss.item()
    assert lm_loss(bare, TEXTS[:1]) == pytest.approx(want, abs=1e-5)
    with pytest.raises(ValueError, match="no token that another comes before"):
        lm_loss(bare, ["1"])


# ---------------------------------------------------------------------------------------------- tokenisers of others
def other_tokeniser():
    """A tokeniser as GPT-2's, without the tasks' tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    end = "<|endoftext|>"
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token=end, eos_token=end)


def test_the_tokens_are_added_to_models_that_have_them_not(gpt):
    words = other_tokeniser()
    model = copy.deepcopy(gpt.model)
    with torch.no_grad():
        model.transformer.ln_f.bias += 5 * torch.ones(32)
        model.transformer.wte.weight -= 0.5  # logits of all tokens far below 0, as GPT-2's
    theirs = Checkpoint(model, words, "theirs")
    before, size = lm_loss(theirs, TEXTS), len(words)
    marked = add_marks(theirs)
    assert marked.tokeniser.convert_ids_to_tokens([size, size + 1, size + 2]) == [START, DELIMITER, EXTRACT]
    assert len(words) == size and theirs.model.get_input_embeddings().num_embeddings == 300  # as they were
    assert marked.model.get_input_embeddings().num_embeddings == max(300, size + 3)
    assert marked.model.lm_head.weight is marked.model.transformer.wte.weight
    assert lm_loss(marked, TEXTS) == pytest.approx(before, abs=0.2)  # the new ones are not thought probable
    model = tuned(theirs, "similarity")
    assert 0 <= model.score(FRAMES["similarity"])["accuracy"] <= 1


def test_a_tokeniser_that_has_the_tokens_is_taken_as_it_is(gpt):
    assert add_marks(gpt).tokeniser is gpt.tokeniser
    assert add_marks(gpt).model is not gpt.model


# ----------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("shape", "changes", "message"),
    [
        ("classification", {"text": [*TEXTS, *TEXTS[:4], ""]}, "row 9: text is empty"),
        ("classification", {"label": "a"}, "nothing to tell apart"),
        ("classification", {"label": [None, *"bcab", *"abcab"]}, "row 0 has no label"),
        ("entailment", {"second": ["", *TEXTS[1:]]}, "row 0: second is empty"),
        ("similarity", {"first": 3}, "row 0: first is 3"),
        ("choice", {"choices": [["a"]] * 5}, "row 0 has 1 choice: there is nothing to choose between"),
        ("choice", {"label": [0, 4, 0, 0, 0]}, "row 1: label is 4, which numbers none of its 4 choices"),
        ("choice", {"label": [-1, 0, 0, 0, 0]}, "row 0: label is -1"),
        ("choice", {"label": [*"abcde"]}, "row 0: label is 'a'"),
        ("choice", {"label": [True, False, True, True, True]}, "row 0: label is True"),
        ("choice", {"label": [0.5, 0, 0, 0, 0]}, "row 0: label is 0.5"),
    ],
)
def test_examples_that_cannot_be_learned_are_named(gpt, shape, changes, message):
    with pytest.raises(ValueError, match=message):
        finetune_gpt(gpt, FRAMES[shape].assign(**changes), None, SHORT, shape=shape, label="label", progress=False)


def test_labels_that_training_had_not(gpt):
    frame = FRAMES["classification"]
    new = frame.assign(label=["new"] * 9 + ["a"])
    model = finetune_gpt(gpt, frame, new, SHORT, progress=False)
    assert model.score(new)["accuracy"] <= 0.1
    assert model.history.accuracy.iloc[-1] in (0, 1)  # of the one row
    with pytest.raises(ValueError, match="none of valid has a label that training had"):
        finetune_gpt(gpt, frame, frame.assign(label="z"), SHORT, progress=False)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"max_length": 4}, "no room for text beside the 3 special tokens of entailment: it is at least 5"),
        ({"max_length": 65}, "max_length=65: tiny GPT2 takes at most 64 tokens"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_recipes_that_cannot_be_followed_are_refused(gpt, recipe, message):
    with pytest.raises(ValueError, match=message):
        tuned(gpt, "entailment", FineTuningGPT(**recipe))


def test_a_model_of_four_positions_has_no_room(tokeniser):
    model = transformers.GPT2LMHeadModel(config(n_positions=4))
    with pytest.raises(ValueError, match="max_length=4 has no room"):
        finetune_gpt(Checkpoint(model, tokeniser, "short"), FRAMES["similarity"], shape="similarity", progress=False)


def test_other_mistakes_are_named(gpt, tokeniser):
    frame = FRAMES["classification"]
    with pytest.raises(ValueError, match="shape is one of"):
        finetune_gpt(gpt, frame, shape="ranking", progress=False)
    with pytest.raises(ValueError, match="no rows to train on"):
        finetune_gpt(gpt, frame.head(0), progress=False)
    with pytest.raises(ValueError, match="no column 'text'"):
        finetune_gpt(gpt, frame.drop(columns="text"), label="label", progress=False)
    with pytest.raises(ValueError, match="row 1: text is empty"):
        untrained(gpt, "classification").predict(["a", ""])
    with pytest.raises(ValueError, match="text 1 is empty"):
        lm_loss(gpt, ["a", " "])
    with pytest.raises(ValueError, match="list of texts"):
        lm_loss(gpt, "a")
    wrong = Checkpoint(transformers.GPT2LMHeadModel(config(vocab_size=200)), tokeniser, "wrong")
    with pytest.raises(ValueError, match="another model's: it has a token 299, the model 200 rows"):
        finetune_gpt(wrong, frame, progress=False)
