"""Pretraining a biLM on a language of a few words: what is predicted from what, and what an interruption changes."""

import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tlcourse.elmo import ELMoConfig, character_ids
from tlcourse.elmo.pretrain import (
    BiLMRecipe,
    BiLMWithLoss,
    TwoWayBatches,
    WordLSTMs,
    encode,
    leaky_bidirectional,
    load_bilm,
    train_bilm,
)
from tlcourse.text import BOS, EOS, PAD, UNK
from tlcourse.training.checkpoint import SaveCheckpoints
from tlcourse.training.softmax import SampledSoftmax

CONFIG = ELMoConfig(filters=((1, 4), (2, 8)), projection_dim=12, lstm_dim=16, char_dim=4)
RECIPE = BiLMRecipe(config=CONFIG, min_count=1, epochs=2, lr=0.02, batch_size=4, bptt=5, samples=12)
QUIET = {"every": 3, "progress": False}


def walks(n, seed=0):
    """Walks round a circle of thirty words, each with a stride of its own."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, n)
    return [[f"คำ{i}" for i in (rng.integers(30) + np.arange(t) * rng.integers(1, 3)) % 30] for t in lengths]


@pytest.fixture(scope="module")
def text():
    return encode(walks(60), min_count=1)


def make_model(text, config=CONFIG, softmax=None, seed=0):
    torch.manual_seed(seed)
    return BiLMWithLoss(config, len(text.vocab), softmax, text.spellings(config.longest))


# -------------------------------------------------------------------------------------------------------- the text
def test_a_word_out_of_the_vocabulary_is_read_and_not_predicted():
    text = encode([["ก", "ข", "ก"], [], ["ก", "ฃ"]], min_count=2)
    assert text.vocab.words[4:] == ["ก"] and text.words[4:] == ["ก", "ข", "ฃ"]
    assert text.ids.tolist() == [BOS, 4, 5, 4, EOS, BOS, 4, 6, EOS]
    assert text.targets(text.ids).tolist() == [BOS, 4, UNK, 4, EOS, BOS, 4, UNK, EOS]
    assert text.counts().tolist() == [2, 0, 2, 2, 3]
    assert len(text) == 7  # four words and an end, two words and an end


def test_words_are_spelt_as_published_models_spell_them():
    text = encode([["คำ", "a"]], min_count=1)
    assert torch.equal(text.spellings(50)[text.ids].long(), character_ids([["คำ", "a"]])[0])


def test_more_text_goes_on_with_the_numbers():
    text = encode([["ก", "ข"]], min_count=1)
    more = encode([["ค", "ข", "<pad>"]], like=text)
    assert more.vocab is text.vocab and more.words == [*text.words, "ค", "<pad>"]
    assert more.ids.tolist() == [BOS, 6, 5, 7, EOS]
    assert more.targets(more.ids).tolist() == [BOS, UNK, 5, UNK, EOS]


@given(st.lists(st.lists(st.sampled_from("abcde"), max_size=6), min_size=1, max_size=12), st.integers(1, 3), st.data())
def test_each_word_is_predicted_once_from_each_side(sentences, batch_size, data):
    if not any(sentences):
        with pytest.raises(ValueError, match="no sentence has a word"):
            encode(sentences, min_count=1)
        return
    text = encode(sentences, min_count=1)
    if len(text) < batch_size:
        with pytest.raises(ValueError, match="too few for"):
            TwoWayBatches(text, batch_size=batch_size, bptt=2)
        return
    shuffle = data.draw(st.booleans())
    batches = TwoWayBatches(text, batch_size=batch_size, bptt=data.draw(st.integers(1, 7)), shuffle=shuffle)
    served = list(batches)
    assert len(served) == len(batches)
    x, y = (torch.cat(part, 2).transpose(0, 1).flatten(1) for part in zip(*served, strict=True))  # (2, stream)
    pairs = [[BOS, *text.vocab.encode(sentence), EOS] for sentence in sentences if sentence]
    if not shuffle:
        n = len(text) // batch_size * batch_size
        for direction, turn in ((0, 1), (1, -1)):
            assert x[direction].tolist() == [i for ids in pairs for i in ids[::turn][:-1]][:n]
            assert y[direction].tolist() == [i for ids in pairs for i in ids[::turn][1:]][:n]
    assert not (x == PAD).any() and not (x[0] == EOS).any() and not (y[0] == BOS).any()
    assert not (x[1] == BOS).any() and not (y[1] == EOS).any()
    assert ((x[0] == BOS) == (x[1] == EOS)).all()  # both are in the same sentence at every moment


def test_batches_go_on_where_they_stopped(text):
    settings = {"batch_size": 3, "bptt": 4, "shuffle": True, "seed": 1}
    batches = TwoWayBatches(text, **settings)
    first, second = [list(batches), list(batches)]
    assert not torch.equal(first[0][0], second[0][0])
    again = TwoWayBatches(text, **settings)
    again.load_state_dict({"epoch": 1, "step": 5})
    rest = list(again)
    assert len(rest) == len(second) - 5
    for ours, theirs in zip(rest, second[5:], strict=True):
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    assert {x.shape for x, _ in first[:-1]} == {(3, 2, 4)}


@pytest.mark.parametrize("sentences", [[], [[]], [[], []]])
def test_no_text_is_named(sentences):
    with pytest.raises(ValueError, match="nothing to read"):
        encode(sentences)


def test_other_bad_text_is_named():
    with pytest.raises(TypeError, match="expected a list of words"):
        encode(["ข้อความ"])
    with pytest.raises(ValueError, match="none of them 2 times"):
        encode([["ก"]])


# -------------------------------------------------------------------------------------------------------- the loss
def test_the_loss_is_the_joint_likelihood(text):
    model = make_model(text).eval()
    x, y = next(iter(TwoWayBatches(text, batch_size=3, bptt=7)))
    loss = model.loss(model(x), y).item()
    model.reset()
    hidden = model(x)
    logits = hidden @ model.weight.T + model.bias  # (B, 2, T, V)
    assert loss == pytest.approx(F.cross_entropy(logits.flatten(0, 2), y.flatten()).item(), abs=1e-5)
    by_hand = 0.0
    for row, direction, t in np.ndindex(*y.shape):
        scores = model.weight @ hidden[row, direction, t] + model.bias
        by_hand -= (scores[y[row, direction, t]] - scores.logsumexp(0)).item() / y.numel()
    assert loss == pytest.approx(by_hand, abs=1e-5)
    assert loss == pytest.approx(sum(part.item() for part in model.by_direction) / 2)


def test_the_streams_see_what_the_model_sees_in_a_sentence(text):
    sentence = walks(1, seed=5)[0]
    alone = encode([sentence], like=text)
    model = make_model(alone).eval()
    x, _ = next(iter(TwoWayBatches(alone, batch_size=1, bptt=50)))
    hidden = model(x)  # (1, 2, T + 1, P)
    ids = character_ids([sentence])
    forwards = model.bilm(ids[:, :-1])[0].forward[-1]
    backwards = model.bilm(ids[:, 1:])[0].backward[-1].flip(1)
    torch.testing.assert_close(hidden, torch.stack([forwards, backwards], 1))


@pytest.mark.parametrize("position", [1, 3, 5])
def test_no_prediction_sees_its_answer(text, position):
    """Another spelling of word k changes only the predictions of those after it, and of those before it."""
    sentence = [f"คำ{i}" for i in range(6)]
    changed = [*sentence[: position - 1], "อื่น", *sentence[position:]]
    hidden = []
    for words in (sentence, changed):
        alone = encode([words], like=text)
        x, _ = next(iter(TwoWayBatches(alone, batch_size=1, bptt=50)))
        hidden.append(make_model(alone).eval()(x)[0])
    moved = (hidden[0] - hidden[1]).abs().amax(-1) > 1e-7  # (2, 7), by the number of words read
    assert moved[0].tolist() == [read >= position for read in range(7)]
    assert moved[1].tolist() == [read >= 7 - position for read in range(7)]


def test_a_state_goes_on_in_both_directions(text):
    model = make_model(text).eval()
    whole = torch.cat([model(x) for x, _ in TwoWayBatches(text, batch_size=2, bptt=1000)], 2)
    model.reset()
    parts = torch.cat([model(x) for x, _ in TwoWayBatches(text, batch_size=2, bptt=6)], 2)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)
    model.reset()
    *_, (last, _) = TwoWayBatches(text, batch_size=2, bptt=6)
    assert not torch.allclose(model(last), whole[:, :, -last.shape[2] :])


def test_sampling_is_for_training_alone(text):
    x, y = next(iter(TwoWayBatches(text, batch_size=3, bptt=7)))
    full, sampled = make_model(text), make_model(text, softmax=SampledSoftmax(text.counts(), samples=3))
    hidden = full.eval()(x)
    assert sampled.eval().loss(hidden, y).item() == pytest.approx(full.loss(hidden, y).item(), abs=1e-6)
    assert sampled.train().loss(hidden, y).item() != pytest.approx(full.loss(hidden, y).item(), abs=1e-4)


def test_half_precision_is_close(text):
    model = make_model(text).eval()
    x, y = next(iter(TwoWayBatches(text, batch_size=3, bptt=7)))
    exact = model.loss(model(x), y)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.train().loss(model(x), y)  # with the state of the batch before
    loss.backward()
    assert loss.item() == pytest.approx(exact.item(), rel=0.1)


# -------------------------------------------------------------------------------------------------------- training
class Killed(Exception):
    pass


class KillAfter(Callback):
    """Stop after a step or after an epoch, when its checkpoint is written if one is due."""

    order = SaveCheckpoints.order + 1

    def __init__(self, what, step):
        self.what, self.step = what, step

    def after_batch(self):
        if self.what == "step" and self.training and self.train_iter == self.step:
            raise Killed("here")

    def after_epoch(self):
        if self.what == "epoch" and self.train_iter == self.step:
            raise Killed("here")


def train(folder):
    return train_bilm(walks(60), RECIPE, folder, valid=walks(9, seed=1), **QUIET)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole"))


def assert_same(ours, theirs):
    weights, others = ours.language_model.state_dict(), theirs.language_model.state_dict()
    assert weights.keys() == others.keys()
    assert [name for name in weights if not torch.equal(weights[name], others[name])] == []


STEPS = 21  # of an epoch


@pytest.mark.parametrize(("what", "step"), [("step", STEPS - 4), ("epoch", STEPS), ("step", STEPS + 5)])
def test_a_killed_training_goes_on_bit_for_bit(whole, tmp_path, monkeypatch, what, step):
    module = sys.modules["tlcourse.elmo.pretrain"]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, "make_learner", partial(module.make_learner, cbs=[KillAfter(what, step)]))
        train(tmp_path)
    torch.manual_seed(12345)
    resumed = train(tmp_path)
    assert_same(resumed, whole)
    assert resumed.losses.equals(whole.losses)


def test_what_is_saved_is_what_was_trained(whole, tmp_path):
    trained = train(tmp_path)
    assert_same(trained, whole)
    loaded = load_bilm(tmp_path)
    assert_same(loaded, trained)
    assert loaded.vocab == trained.vocab and loaded.model.config == CONFIG
    assert loaded.losses.equals(trained.losses)
    assert loaded.perplexities(walks(5, seed=2)) == trained.perplexities(walks(5, seed=2))
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.json", "checkpoint.pt", "bilm.safetensors"}


def test_the_last_row_is_the_models_perplexity(whole):
    last = whole.losses.iloc[-1]
    measured = whole.perplexities(walks(9, seed=1))
    assert measured["forward"] == pytest.approx(last["forward perplexity"], rel=1e-4)
    assert measured["backward"] == pytest.approx(last["backward perplexity"], rel=1e-4)
    assert measured["both"] == pytest.approx((measured["forward"] * measured["backward"]) ** 0.5)
    assert measured["both"] == pytest.approx(last["perplexity"], rel=1e-4)


def test_a_small_text_is_learnt_by_heart_in_both_directions(tmp_path):
    sentences = [["แมว", "กิน", "ปลา"], ["หมา", "เห่า", "ดัง", "มาก"], ["ฝน", "ตก"]] * 30
    recipe = replace(RECIPE, config=replace(CONFIG, dropout=0.0), epochs=4, lr=0.05, batch_size=2, bptt=8, samples=100)
    trained = train_bilm(sentences, recipe, tmp_path, progress=False)
    reached = trained.perplexities(sentences[:60], batch_size=1)
    assert reached["forward"] < 1.6 and reached["backward"] < 1.6  # which sentence comes next is chance
    assert list(trained.losses)[:2] == ["epoch", "train_loss"]


@pytest.mark.parametrize("sentences", [[["ก", "ข", "ค"]], [["ก"]], [["ก"], [], ["ก"]]], ids=["one", "word", "empty"])
def test_hardly_any_text_is_enough(tmp_path, sentences):
    trained = train_bilm(sentences, replace(RECIPE, batch_size=1), tmp_path, progress=False)
    assert np.isfinite(list(trained.perplexities([["ก"], ["ฮ"]]).values())).all()


def test_too_little_text_is_named(tmp_path):
    with pytest.raises(ValueError, match="2 words and ends of sentences are too few for 4 rows"):
        train_bilm([["ก"]], RECIPE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_training_is_not_gone_on_with(tmp_path):
    train_bilm(walks(20), replace(RECIPE, epochs=1), tmp_path, **QUIET)
    with pytest.raises(ValueError, match="its recipe are not these"):
        train_bilm(walks(20), replace(RECIPE, epochs=1, samples=5), tmp_path, **QUIET)
    with pytest.raises(ValueError, match="its text and valid are not these"):
        train_bilm(walks(21), replace(RECIPE, epochs=1), tmp_path, **QUIET)
    train_bilm(walks(21), replace(RECIPE, epochs=1), tmp_path, resume=False, **QUIET)
    (tmp_path / "recipe.json").write_text("[")
    with pytest.raises(ValueError, match="cannot be read"):
        train_bilm(walks(21), replace(RECIPE, epochs=1), tmp_path, **QUIET)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"lr": -1.0}, {"samples": 0}, {"clip": 0}, {"bptt": 0}])
def test_a_wrong_recipe_is_named(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.* must be above 0"):
        replace(RECIPE, **wrong)


# --------------------------------------------------------------------------------------------------------- on disk
def test_a_damaged_model_is_named(whole, tmp_path):
    with pytest.raises(FileNotFoundError, match="train one with train_bilm"):
        load_bilm(tmp_path)
    path = tmp_path / "bilm.safetensors"
    for content in (b"", b"pickle", (8).to_bytes(8, "little") + b"{}      "):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"bilm\.safetensors is damaged or no bidirectional"):
            load_bilm(tmp_path)


# ----------------------------------------------------------------------------------------------------- the leakage
@pytest.mark.parametrize("leaky", [False, True])
def test_only_the_leaky_network_reads_the_answer(leaky):
    torch.manual_seed(0)
    model = WordLSTMs(20, 8, leaky=leaky)
    x = torch.arange(4, 12)[None]
    other = x.clone()
    other[0, 4] = 15
    for before, after, reads in zip(model(x), model(other), ([3], [5]), strict=True):
        moved = (before - after).abs().amax(-1)[0] > 1e-7
        assert moved[reads].all() == leaky  # the neighbour from which word 4 is predicted


def test_the_leaky_network_ends_far_below_the_honest_one(text):
    frame = leaky_bidirectional(text, walks(40, seed=1), dim=16, epochs=15, batch_size=4, piece=8, points=4, lr=0.02)
    assert list(frame) == ["method", "tokens", "perplexity"]
    honest, leaky = (frame[frame["method"] == name] for name in ("two language models", "bidirectional LSTM"))
    assert honest["tokens"].tolist() == leaky["tokens"].tolist() and honest["tokens"].iloc[0] == 0
    assert len(honest) == 4 and leaky["perplexity"].iloc[-1] < 0.5 * honest["perplexity"].iloc[-1]
