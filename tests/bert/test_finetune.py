import runpy
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcourse.bert import finetune
from tlcourse.bert.finetune import (
    FineTuning,
    Network,
    Row,
    RowBatches,
    best_span,
    cut_windows,
    finetune_answers,
    finetune_pairs,
    finetune_sentences,
    finetune_tags,
)
from tlcourse.encoders import Checkpoint, load_encoder
from tlcourse.training import cross_entropy, gradual_unfreezing

small = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "small_encoders.py")))
KINDS = [kind for kind in small.KINDS if kind != "GPT2"]
SHORT = FineTuning(epochs=1, lr=1e-3)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """An encoder of each kind, tiny and random."""
    return {kind: load_encoder(small.save(tmp_path_factory.mktemp(kind), kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def bert(encoders):
    return encoders["Bert"]


def bert_config(**changes) -> transformers.BertConfig:
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    return transformers.BertConfig(**sizes, vocab_size=90, pad_token_id=1, **changes)


def quiet_bert(bert: Checkpoint, **changes) -> Checkpoint:
    """A BERT of two layers and no dropout, for `bert`'s tokeniser."""
    torch.manual_seed(0)
    config = bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **changes)
    return Checkpoint(transformers.BertModel(config).eval(), bert.tokeniser, "quiet")


SENTENCES = pd.DataFrame({"text": [*small.TEXTS, ""] * 2, "label": [*"abcab"] * 2})
PAIRS = pd.DataFrame({"first": small.TEXTS * 2, "second": small.TEXTS[::-1] * 2, "label": [*"ab"] * 4})
ANSWERS = pd.DataFrame(
    {
        "context": [small.TEXTS[0], small.TEXTS[1], small.TEXTS[1]],
        "question": ["Where?", "What?", "Who?"],
        "answer": ["the river", "money", "farmers"],
        "start": [23, 15, 24],
    }
)
TAGS = pd.DataFrame({"words": [text.split() for text in small.TEXTS[:2]]})
TAGS["tags"] = [["B-X" if word[0] in "Tb" else "O" for word in words] for words in TAGS.words]
SHAPES = {
    "sentences": (finetune_sentences, SENTENCES),
    "pairs": (finetune_pairs, PAIRS),
    "answers": (finetune_answers, ANSWERS),
    "tags": (finetune_tags, TAGS),
}


def batch(rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """All rows in one batch, and their mask."""
    return next(iter(RowBatches(rows, pad=1, batch_size=len(rows))))


def untrained(function, bert, frame, **recipe):
    """A model whose head was made and (at a rate of next to nothing) not trained."""
    return function(bert, frame, recipe=FineTuning(epochs=1, lr=1e-30, weight_decay=0, **recipe), progress=False)


# ------------------------------------------------------------------------------------------ beside transformers' heads
def test_classification_is_that_of_transformers(bert):
    quiet = quiet_bert(bert)
    model = untrained(finetune_sentences, quiet, SENTENCES)
    theirs = transformers.BertForSequenceClassification(bert_config(num_labels=3)).eval()
    theirs.bert.load_state_dict(quiet.model.state_dict())  # with its pooler
    theirs.classifier.load_state_dict(model.network.head.linear.state_dict())
    x, y = batch(model._rows({"text": SENTENCES.text.tolist()}, [0, 1, 2, 0, 1] * 2))
    want = theirs(input_ids=x[0], attention_mask=x[1], token_type_ids=x[2], labels=y)
    got = model.network(x)
    torch.testing.assert_close(got, want.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(cross_entropy(got, y), want.loss, atol=1e-5, rtol=0)


def test_answers_are_those_of_transformers(bert):
    quiet = quiet_bert(bert)
    model = untrained(finetune_answers, quiet, ANSWERS)
    theirs = transformers.BertForQuestionAnswering(bert_config()).eval()
    theirs.bert.load_state_dict(quiet.model.state_dict(), strict=False)
    theirs.qa_outputs.load_state_dict(model.network.head.linear.state_dict())
    rows, _ = model._rows(ANSWERS[["context", "question"]].to_dict("list"), finetune.answer_spans(ANSWERS))
    x, y = batch(rows)
    asked = dict(input_ids=x[0], attention_mask=x[1], token_type_ids=x[2])
    want = theirs(**asked)
    got, read = model.network(x), x[3].bool()
    torch.testing.assert_close(got[:, 0][read], want.start_logits[read], atol=1e-5, rtol=0)
    torch.testing.assert_close(got[:, 1][read], want.end_logits[read], atol=1e-5, rtol=0)
    assert torch.isinf(got[:, 0][~read]).all()
    # theirs has the softmax run over the question and the padding, too
    everywhere = torch.stack([*x[:3], torch.ones_like(x[0])])
    start, end = y.view(-1, 2).T
    want = theirs(**asked, start_positions=start, end_positions=end).loss
    torch.testing.assert_close(cross_entropy(model.network(everywhere), y), want, atol=1e-5, rtol=0)


def test_tags_are_those_of_transformers(bert):
    quiet = quiet_bert(bert)
    model = untrained(finetune_tags, quiet, TAGS)
    theirs = transformers.BertForTokenClassification(bert_config(num_labels=2)).eval()
    theirs.bert.load_state_dict(quiet.model.state_dict(), strict=False)
    theirs.classifier.load_state_dict(model.network.head.linear.state_dict())
    rows, _ = model._rows(TAGS.words.tolist(), [[len(tag) % 2 for tag in tags] for tags in TAGS.tags])
    x, y = batch(rows)
    labels = torch.full_like(x[0], -100)
    labels[x[3].bool()] = y
    want = theirs(input_ids=x[0], attention_mask=x[1], token_type_ids=x[2], labels=labels)
    torch.testing.assert_close(model.network(x), want.logits[x[3].bool()], atol=1e-5, rtol=0)
    torch.testing.assert_close(cross_entropy(model.network(x), y), want.loss, atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------------------------ training
COLOURS, ANIMALS = ["bank", "river", "boats", "money"], ["the", "of", "on", "to"]


def forty(shape: str) -> pd.DataFrame:
    """Forty rows of words in random order; what is wanted of each follows from its words."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation([rng.choice(COLOURS), *rng.choice(ANIMALS, 4)]).tolist() for _ in range(40)]
    wanted = [next(word for word in row if word in COLOURS) for row in rows]
    texts = [" ".join(row) for row in rows]
    if shape == "sentences":
        return pd.DataFrame({"text": texts, "label": wanted})
    if shape == "pairs":
        same = [i % 2 == 0 for i in range(40)]
        second = [word if is_same else "She" for word, is_same in zip(wanted, same, strict=True)]
        return pd.DataFrame({"first": texts, "second": second, "label": same})
    if shape == "answers":
        starts = [text.index(word) for text, word in zip(texts, wanted, strict=True)]
        return pd.DataFrame({"context": texts, "question": "What ?", "answer": wanted, "start": starts})
    return pd.DataFrame({"words": rows, "tags": [["B-X" if word in COLOURS else "O" for word in row] for row in rows]})


@pytest.mark.parametrize(("shape", "frozen"), [*((shape, False) for shape in SHAPES), ("tags", True)])
def test_forty_rows_are_learned(bert, shape, frozen):
    frame = forty(shape)
    epochs = 40 if frozen else 20
    recipe = FineTuning(epochs=epochs, lr=2e-2 if frozen else 2e-3, batch_size=20, frozen=frozen)
    model = SHAPES[shape][0](quiet_bert(bert, initializer_range=0.2), frame, frame, recipe, progress=False)
    score = "exact_match" if shape == "answers" else "accuracy"
    assert model.score(frame)[score] >= 0.95, model.score(frame)
    assert model.history.train_loss.iloc[-1] < model.history.train_loss.iloc[0] / 3
    assert len(model.history) == epochs


@pytest.mark.parametrize("shape", SHAPES)
def test_frozen_equals_fine_tuning_with_all_groups_but_the_head_frozen(bert, shape):
    train, frame = SHAPES[shape]
    quiet = quiet_bert(bert)
    steps = dict(epochs=3, lr=1e-2, batch_size=2)
    frozen = train(quiet, frame, frame, FineTuning(frozen=True, **steps), progress=False)
    whole = train(quiet, frame, frame, FineTuning(freeze_below=3, **steps), progress=False)
    exact = dict(atol=1e-5, rtol=1e-4) if shape != "answers" else dict(atol=2e-3, rtol=0)  # remembered in float16
    for a, b in zip(frozen.network.parameters(), whole.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, **exact)
    assert np.allclose(frozen.history.valid_loss, whole.history.valid_loss, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_kind_of_encoder_serves(encoders, kind, shape):
    train, frame = SHAPES[shape]
    encoder = encoders[kind]
    before = {name: weight.clone() for name, weight in encoder.model.state_dict().items()}
    model = train(encoder, frame, None, SHORT, progress=False)
    assert all(0 <= score <= 1 for score in model.score(frame).values())
    assert len(model.predict(frame)) == len(frame)
    for name, weight in encoder.model.state_dict().items():  # what was given is as it was
        assert torch.equal(weight, before[name])
    assert encoder.model.pooler is not None if kind in ("Bert", "Roberta", "Albert") else True


def test_the_same_seed_gives_the_same_weights_and_another_does_not(bert):
    runs = [
        finetune_sentences(bert, SENTENCES, None, FineTuning(epochs=1, seed=seed), progress=False) for seed in (0, 0, 1)
    ]
    scores = [run.probabilities(SENTENCES).to_numpy() for run in runs]
    assert (scores[0] == scores[1]).all()
    assert (scores[0] != scores[2]).any()


def test_a_training_that_was_cut_off_goes_on_bit_for_bit(bert, tmp_path, monkeypatch):
    recipe = FineTuning(epochs=3, lr=1e-3, batch_size=4)
    whole = finetune_sentences(bert, SENTENCES, SENTENCES, recipe, progress=False)
    metric, calls = finetune.FineTuned.metrics[0], []

    def stopping(*numbers):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return metric(*numbers)

    stopping.__name__ = "accuracy"
    monkeypatch.setattr(finetune.FineTuned, "metrics", (stopping, finetune.FineTuned.metrics[1]))
    with pytest.raises(KeyboardInterrupt):
        finetune_sentences(bert, SENTENCES, SENTENCES, recipe, checkpoint=tmp_path / "state", progress=False)
    resumed = finetune_sentences(bert, SENTENCES, SENTENCES, recipe, checkpoint=tmp_path / "state", progress=False)
    for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert len(resumed.history) == 3


def test_groups_that_are_frozen_stay_and_the_others_learn(bert):
    model = finetune_tags(bert, TAGS, None, FineTuning(epochs=2, lr=1e-2, freeze_below=2), progress=False)
    was = Network(bert.model, model.network.head, types=True).layer_groups()
    for number, (now, before) in enumerate(zip(model.network.layer_groups()[:3], was[:3], strict=True)):
        pairs = [pair for pair in zip(now, before, strict=False) if pair[0].shape == pair[1].shape]
        changed = [not torch.equal(a, b) for a, b in pairs]
        assert all(changed) if number == 2 else not any(changed)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_mixed_precision_trains_all_shapes(bert, shape, frozen, monkeypatch):
    monkeypatch.setattr(finetune.profile, "autocast_dtype", lambda device: torch.bfloat16)
    train, frame = SHAPES[shape]
    model = train(bert, frame, frame, FineTuning(epochs=1, frozen=frozen), progress=False)
    assert np.isfinite(model.history[["train_loss", "valid_loss"]].to_numpy()).all()
    assert all(parameter.dtype == torch.float32 for parameter in model.network.parameters())


def test_groups_thaw_one_after_the_other(bert):
    recipe = FineTuning(epochs=4, plan=gradual_unfreezing, factor=2.6)
    model = finetune_sentences(bert, SENTENCES, None, recipe, progress=False)
    assert model.history.trainable.tolist() == [1, 2, 3, 4]


def test_a_row_scores_the_same_alone_and_among_longer_ones(bert):
    model = finetune_sentences(bert, SENTENCES, None, SHORT, progress=False)
    together = model.probabilities(SENTENCES).to_numpy()
    alone = np.concatenate([model.probabilities([text]).to_numpy() for text in SENTENCES.text])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_means_are_over_all_pieces_and_no_padding(bert):
    model = finetune_sentences(bert, SENTENCES, None, FineTuning(epochs=1, summary="mean"), progress=False)
    x, _ = batch(model._rows({"text": small.TEXTS[:2]}))
    with torch.no_grad():
        states = model.network.states(x)
        for b, row in enumerate(x[0]):
            own = row[x[1, b].bool()]
            alone = model.network.encoder(input_ids=own[None]).last_hidden_state[0].mean(0)
            torch.testing.assert_close(states[b], alone, atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------------------- rows and windows
@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_as_the_tokeniser_has_them(encoders, kind):
    tokeniser = encoders[kind].tokeniser
    one, two = small.TEXTS[:2]
    first, second = (np.array(tokeniser(text, add_special_tokens=False)["input_ids"]) for text in (one, two))
    ids, types, (at,) = finetune.Template.of(tokeniser, 1).fill(first)
    want = tokeniser(one, return_token_type_ids=True)
    assert (ids.tolist(), types.tolist()) == (want["input_ids"], want["token_type_ids"])
    assert (ids[at : at + len(first)] == first).all()
    ids, types, (_, at) = finetune.Template.of(tokeniser, 2).fill(first, second)
    want = tokeniser(one, two, return_token_type_ids=True)
    assert (ids.tolist(), types.tolist()) == (want["input_ids"], want["token_type_ids"])
    assert (ids[at : at + len(second)] == second).all()


def test_the_head_reads_cls_where_it_is(encoders):
    for kind, place in (("Bert", 0), ("XLNet", -1)):
        model = untrained(finetune_sentences, encoders[kind], SENTENCES)
        for row in model._rows({"text": ["the bank", "<s> <s> in the text", ""]}):
            assert row.read.sum() == 1 and row.read[place]
            assert row.ids[place] == model.tokeniser.cls_token_id


@given(st.integers(0, 60), st.integers(1, 20))
def test_windows_cover_all_and_overlap_by_half(n, size):
    windows = cut_windows(n, size)
    assert {piece for start, stop in windows for piece in range(start, stop)} == set(range(n))
    assert all(stop - start == min(size, n) for start, stop in windows)
    assert all(0 < b[0] - a[0] <= max(size // 2, 1) for a, b in pairwise(windows))


@given(st.integers(1, 8), st.integers(0, 3), st.integers(1, 5), st.integers(0, 2**31))
def test_the_best_span_is_the_best_of_all(n, at, longest, seed):
    scores = np.random.default_rng(seed).normal(size=(2, at + n + 1)).astype(np.float32)
    first, last = (np.exp(some) / np.exp(some).sum() for some in scores)
    spans = {(i, j): first[at + i] * last[at + j] for i in range(n) for j in range(i, min(n, i + longest))}
    probability, i, j = best_span(scores, at, n, longest=longest)
    assert (i, j) == max(spans, key=spans.get)
    assert probability == pytest.approx(spans[i, j], rel=1e-4)


@settings(max_examples=20)
@given(st.data())
def test_the_target_of_a_window_is_its_answer(bert, data):
    model = untrained(finetune_answers, bert, ANSWERS, max_length=16)
    words = data.draw(st.lists(st.sampled_from([*COLOURS, "lends", "farmers"]), min_size=1, max_size=30))
    number = data.draw(st.integers(0, len(words) - 1))
    start = len(" ".join(words[:number])) + (number > 0)
    context, span = " ".join(words), (start, start + len(words[number]))
    rows, windows = model._rows({"context": [context], "question": ["What?"]}, pd.Series([span]))
    held = 0
    for row, window in zip(rows, windows, strict=True):
        assert len(row.ids) <= 16
        first, last = row.targets
        if first == 0:  # [CLS]: not the whole answer is here
            inside = (window.offsets[:, 0] < span[1]) & (window.offsets[:, 1] > span[0])
            assert not (inside.any() and window.offsets[inside][0, 0] == span[0] and window.offsets[-1, 1] >= span[1])
        else:
            held += 1
            assert window.offsets[first - window.at, 0] == span[0]
            assert window.offsets[last - window.at, 1] == span[1]
            assert row.read[first] and row.read[last]
        assert row.read.sum() == 1 + len(window.offsets)  # [CLS] and the context, not the question
    assert held >= 1


def test_a_long_sentence_has_a_tag_for_each_word_and_trains_on_each_once(bert):
    model = untrained(finetune_tags, bert, TAGS, max_length=10)
    words = small.TEXTS[0].split() * 20
    assert len(model.predict([words])[0]) == len(words)
    rows, places = model._rows([words, ["bank"]], [[0] * len(words), [1]])
    assert sorted(np.concatenate(places).tolist()) == list(range(len(words) + 1))
    assert max(len(row.ids) for row in rows) == 10
    for row, mine in zip(rows, places, strict=True):
        for place, word in zip(np.flatnonzero(row.read), mine, strict=True):  # the word's own first piece
            pieces = model.tokeniser([*words, "bank"][word], add_special_tokens=False)["input_ids"]
            assert row.ids[place] == pieces[0]


def test_words_without_a_piece_get_the_tag_they_had_in_training(bert):
    frame = pd.DataFrame({"words": [["the", " ", "bank", "\x00"]], "tags": [["D", "P", "N", "Q"]]})
    frame = pd.concat([frame, frame.assign(words=[["the", " ", "bank", " "]], tags=[["D", "P", "N", "P"]])])
    model = finetune_tags(bert, frame, frame, SHORT, progress=False)
    assert model.predict([[" ", "\x00", "\u200b"], []]) == [["P", "Q", "P"], []]
    assert model.score(frame).keys() == {"accuracy", "macro_f1"}


def test_entities_are_scored_where_tags_name_them(bert):
    assert untrained(finetune_tags, bert, TAGS).score(TAGS).keys() == {"accuracy", "macro_f1", "entity_f1"}


# ----------------------------------------------------------------------------------------------------- unusual texts
def test_fifty_thousand_words_are_read(bert):
    text = " ".join(small.TEXTS[0].split()[:10] * 5000)
    sentences = finetune_sentences(
        bert, pd.concat([SENTENCES, SENTENCES.assign(text=text)]), None, SHORT, progress=False
    )
    assert sentences.predict([text, ""])[0] in "abc"
    last = text.rindex("counted")
    frame = pd.DataFrame({"context": [text], "question": ["What?"], "answer": ["counted"], "start": [last]})
    answers = untrained(finetune_answers, bert, ANSWERS)
    assert answers.predict(frame)["end"].iloc[0] <= len(text)
    assert answers._rows({"context": [text], "question": ["?"]}, pd.Series([(last, last + 7)]))[0][-1].targets[0] > 0
    tags = untrained(finetune_tags, bert, TAGS)
    assert len(tags.predict([text.split()])[0]) == 50_000


def test_nothing_to_predict(bert):
    assert untrained(finetune_sentences, bert, SENTENCES).predict([]) == []
    assert untrained(finetune_tags, bert, TAGS).predict([]) == []
    model = untrained(finetune_answers, bert, ANSWERS)
    assert len(model.predict([])) == 0
    assert model.predict([("", "Who?")]).iloc[0].tolist() == ["", 0, 0, 0.0]


def test_predicted_answers_are_what_the_context_has(encoders):
    for kind in ("Bert", "Roberta", "XLNet"):
        model = untrained(finetune_answers, encoders[kind], ANSWERS)
        for row, context in zip(model.predict(ANSWERS).itertuples(), ANSWERS.context, strict=True):
            assert row.answer == context[row.start : row.end] == row.answer.strip()
            assert 0 < row.probability < 1


def test_labels_that_training_had_not_are_wrong_and_not_in_the_history(bert):
    new = SENTENCES.assign(label=["new"] * 9 + ["a"])
    model = finetune_sentences(bert, SENTENCES, new, SHORT, progress=False)
    assert model.score(new)["accuracy"] <= 0.1
    assert model.history.accuracy.iloc[-1] in (0, 1)  # of the one row
    words = TAGS.assign(tags=[["B-NEW"] * len(tags) for tags in TAGS.tags])
    assert finetune_tags(bert, TAGS, None, SHORT, progress=False).score(words)["entity_f1"] == 0


# ---------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("shape", "changes", "message"),
    [
        ("sentences", {"label": "a"}, "nothing to tell apart"),
        ("sentences", {"label": [0.5, 1.5] * 5}, "with a fraction"),
        ("sentences", {"label": [None, *"bcab", *"abcab"]}, "row 0 has no label"),
        ("sentences", {"text": [*small.TEXTS, None, *small.TEXTS, ""]}, "row 4: text is (None|nan)"),
        ("sentences", {"other": 1}, r"label=…; it could be any of \['label', 'other'\]"),
        ("pairs", {"second": 3}, "row 0: second is 3"),
        ("answers", {"start": [22, 15, 24]}, "row 0: at 22 the context has ' the rive', not the answer 'the river'"),
        ("answers", {"start": [23, 15, 999]}, "row 2: the answer 'farmers' cannot be 7 characters at 999"),
        ("answers", {"start": [23, -1, 24]}, "row 1: the answer 'money' cannot be"),
        ("answers", {"answer": ["the river", "", "farmers"]}, "row 1: the answer '' cannot be"),
        ("answers", {"answer": ["the river", None, "farmers"]}, "row 1: answer is (None|nan)"),
        ("answers", {"context": "\x00", "answer": "\x00", "start": 0}, "row 0.*nothing"),
        ("tags", {"words": [["a"], ["b"]]}, r"row 0 has 1 words and \d+ tags"),
        ("tags", {"words": "a b"}, "row 0: words must be a list"),
        ("tags", {"words": [[" "], [" "]], "tags": [["A"], ["B"]]}, "no word of any sentence has a piece"),
    ],
)
def test_rows_that_cannot_be_learned_are_named(bert, shape, changes, message):
    train, frame = SHAPES[shape]
    with pytest.raises(ValueError, match=message):
        train(bert, frame.assign(**changes), None, SHORT, progress=False)


@pytest.mark.parametrize("shape", SHAPES)
def test_frames_that_cannot_be_learned_are_refused(bert, shape):
    train, frame = SHAPES[shape]
    with pytest.raises(ValueError, match="no rows to train on"):
        train(bert, frame.head(0), progress=False)
    missing = frame.columns[0]
    with pytest.raises(ValueError, match=f"no column '{missing}'"):
        train(
            bert,
            frame.drop(columns=missing),
            progress=False,
            **({"label": frame.columns[-1]} if shape != "answers" else {}),
        )


def test_a_valid_set_of_other_labels_is_refused(bert):
    with pytest.raises(ValueError, match="none of valid"):
        finetune_sentences(bert, SENTENCES, SENTENCES.assign(label="z"), SHORT, progress=False)


def test_a_tokeniser_of_another_model_is_refused(encoders, bert):
    wrong = Checkpoint(bert.model, encoders["Roberta"].tokeniser, "tiny")
    with pytest.raises(ValueError, match="the tokeniser is not that of tiny: it has a piece"):
        finetune_sentences(wrong, SENTENCES, progress=False)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"summary": "max"}, "neither cls nor mean"),
        ({"max_length": 61}, "takes 8 to 60 pieces"),
        ({"max_length": 3}, "takes 8 to 60 pieces"),
        ({"freeze_below": 4}, "4 layer groups leaves none"),
        ({"freeze_below": 1, "frozen": True}, "1 layer groups leaves none"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_recipes_that_cannot_be_followed_are_refused(bert, recipe, message):
    with pytest.raises(ValueError, match=message):
        finetune_sentences(bert, SENTENCES, None, FineTuning(**recipe), progress=False)


def test_a_question_that_leaves_no_room_is_refused(bert):
    with pytest.raises(ValueError, match="no room"):
        finetune_answers(bert, ANSWERS.assign(question="?" * 90), None, FineTuning(max_length=60), progress=False)


def test_one_text_is_not_a_list_of_texts(bert):
    with pytest.raises(ValueError, match="list of texts"):
        untrained(finetune_sentences, bert, SENTENCES).predict("one text")
