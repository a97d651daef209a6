"""Pretraining a tiny BERT: that it learns both tasks, is resumed to the bit, and is one in parts and processes."""

import json
import multiprocessing
import os
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, BertForPreTraining

from tlcourse.bert.masking import Masking, Pieces
from tlcourse.bert.pairs import Documents
from tlcourse.bert.pretrain import BertRecipe, PairBatches, Training, build_model, load_bert, pretrain_bert
from tlcourse.bert.wordpiece import load_tokeniser, save_tokeniser, train_wordpiece

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TINY = BertRecipe(size=(2, 64), max_length=24, steps=6, batch_size=8, lr=1e-3, warmup=0.2)


def sentences(documents: int, seed: int) -> list[list[str]]:
    """Each document is about few words of its own, and its sentences count up through them."""
    generator = np.random.default_rng(seed)
    texts = []
    for _ in range(documents):
        first = generator.integers(20)
        texts.append([" ".join(LETTERS[(first + i + j) % 26] * 2 for j in range(4)) for i in range(8)])
    return texts


@pytest.fixture(scope="module")
def tokeniser():
    return train_wordpiece([" ".join(text) for text in sentences(30, 0)] * 3, vocab_size=100)


@pytest.fixture(scope="module")
def documents(tokeniser) -> Documents:
    return Documents.from_sentences(sentences(20, 1), tokeniser)


@pytest.fixture(scope="module")
def valid(tokeniser) -> Documents:
    return Documents.from_sentences(sentences(6, 2), tokeniser)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, documents, tokeniser, valid):
    """A training that nothing disturbed, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return pretrain_bert(documents, tokeniser, TINY, folder, valid=valid, every=2), folder


def weights(trained) -> dict[str, torch.Tensor]:
    return trained.model.state_dict()


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


# ------------------------------------------------------------------------------------------------------- learning
def test_a_small_sample_is_learned_by_heart(documents, tokeniser):
    """Both tasks, on one batch of pairs with one masking, as Google's sample text is used."""
    recipe = BertRecipe(size=(2, 64), max_length=24, steps=80, batch_size=32, lr=5e-3, dropout=0.0, warmup=0.1)
    batches = PairBatches(documents, recipe, Pieces.of(tokeniser))
    torch.manual_seed(0)
    model = build_model(recipe, len(tokeniser))
    training = Training(model, recipe, steps=recipe.steps)
    batch = batches.batch(0)
    for step in range(recipe.steps):
        training.step(batch, step)
    model.eval()
    pieces, pairs = model(batch)
    assert (pieces.argmax(1) == batch.targets).float().mean() >= 0.98
    assert (pairs.argmax(1) == batch.labels).all() and 0 < batch.labels.sum() < len(batch)


def test_losses_are_told_as_it_learns(whole, valid):
    trained, _ = whole
    losses = trained.losses
    assert list(losses) == [
        "step", "tokens", "train_loss", "mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy",
    ]  # fmt: skip
    assert losses["step"].tolist() == [2, 4, 6]
    assert losses["train_loss"].iloc[-1] < losses["train_loss"].iloc[0]
    last = losses.iloc[-1]
    assert trained.measure(valid) == {name: pytest.approx(last[name]) for name in list(losses)[3:]}


@pytest.mark.parametrize("nsp", ["order", False])
def test_without_the_question_its_head_is_not_learned(documents, tokeniser, tmp_path, nsp):
    recipe = BertRecipe(**vars(TINY) | {"nsp": nsp, "steps": 2, "weight_decay": 0.5})
    torch.manual_seed(recipe.seed)
    fresh = build_model(recipe, len(tokeniser)).bert.bert.pooler.dense.weight
    trained = pretrain_bert(documents, tokeniser, recipe, tmp_path, valid=documents)
    assert torch.equal(trained.model.bert.bert.pooler.dense.weight, fresh) == (nsp is False)
    assert ("nsp_accuracy" in trained.losses) == bool(nsp)
    assert all(parameter.requires_grad for parameter in trained.model.parameters())


def test_from_left_to_right_every_next_piece_is_predicted(documents, tokeniser, tmp_path):
    recipe = BertRecipe(**vars(TINY) | {"nsp": False, "causal": True})
    batch = PairBatches(documents, recipe, Pieces.of(tokeniser)).batch(0)
    assert batch.labels is None
    special = torch.tensor(Pieces.of(tokeniser).special)
    assert len(batch.targets) == (~special[batch.ids]).sum()
    assert torch.equal(batch.ids[batch.masked + 1], batch.targets)
    trained = pretrain_bert(documents, tokeniser, recipe, tmp_path)
    assert trained.losses["train_loss"].iloc[-1] < trained.losses["train_loss"].iloc[0]
    assert load_bert(tmp_path).model.config.is_decoder


# ---------------------------------------------------------------------------------------------------- being cut off
class CutOff(Exception):
    pass


@pytest.mark.parametrize("at", [1, 3, 5])
def test_resumed_bit_for_bit(whole, documents, tokeniser, valid, tmp_path, monkeypatch, at):
    real = Training.step

    def step(self, batch, number):
        if number == at:
            raise CutOff
        return real(self, batch, number)

    monkeypatch.setattr(Training, "step", step)
    with pytest.raises(CutOff):
        pretrain_bert(documents, tokeniser, TINY, tmp_path, valid=valid, every=2)
    with pytest.raises(FileNotFoundError, match="pretrain_bert"):
        load_bert(tmp_path)
    monkeypatch.undo()
    torch.manual_seed(at)
    resumed = pretrain_bert(documents, tokeniser, TINY, tmp_path, valid=valid, every=2)
    assert_same(weights(resumed), weights(whole[0]))
    pd.testing.assert_frame_equal(resumed.losses, whole[0].losses)


def test_passes_go_on_where_they_were(documents, tokeniser):
    """Each pass has its own number of batches: a stream that is put in a later one gives what follows."""
    pieces = Pieces.of(tokeniser)
    stream, batches, positions = PairBatches(documents, TINY, pieces), [], []
    for step in range(4 * stream.per_epoch):
        batches.append(stream.batch(step))
        positions.append(stream.position)
    assert positions[-1][0] >= 3
    for step in (1, 2 * stream.per_epoch, 4 * stream.per_epoch - 1):
        other = PairBatches(documents, TINY, pieces)
        other.go_to(positions[step - 1])
        assert torch.equal(other.batch(step).ids, batches[step].ids)
        assert torch.equal(other.batch(step).targets, batches[step].targets)
    assert not torch.equal(batches[0].ids, batches[stream.per_epoch].ids)


def test_a_finished_training_is_loaded(whole, documents, tokeniser, valid, monkeypatch):
    trained, folder = whole
    monkeypatch.setattr(Training, "step", None)
    again = pretrain_bert(documents, tokeniser, TINY, folder, valid=valid, every=2)
    assert_same(weights(again), weights(trained))


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"lr": 0.5}, "lr was 0.001"), ({"masking": Masking(share=0.3)}, "masking"), ({"steps": 9}, "steps")],
)
def test_another_trainings_checkpoint_is_refused(whole, documents, tokeniser, valid, changes, named):
    with pytest.raises(ValueError, match=named):
        pretrain_bert(documents, tokeniser, BertRecipe(**vars(TINY) | changes), whole[1], valid=valid)


def test_starting_over_replaces_it(whole, documents, tokeniser, valid, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="damaged"):
        pretrain_bert(documents, tokeniser, TINY, tmp_path, valid=valid)
    again = pretrain_bert(documents, tokeniser, TINY, tmp_path, valid=valid, every=3, resume=False)
    assert_same(weights(again), weights(whole[0]))  # how often is measured changes nothing


# ------------------------------------------------------------------------------------------- parts and processes
def test_in_parts_the_update_is_the_same(documents, tokeniser, tmp_path):
    results = []
    for accumulate in (1, 3):
        recipe = BertRecipe(**vars(TINY) | {"dropout": 0.0, "accumulate": accumulate, "weight_decay": 0.0})
        results.append(pretrain_bert(documents, tokeniser, recipe, tmp_path / str(accumulate)))
    one, parts = map(weights, results)
    for name in one:
        torch.testing.assert_close(parts[name], one[name], atol=2e-5, rtol=1e-4, msg=name)
    assert results[1].losses["train_loss"].tolist() == pytest.approx(results[0].losses["train_loss"].tolist(), rel=1e-5)


def run_process(number: int, port: int, documents: Documents, recipe: BertRecipe, folder: Path) -> None:
    os.environ |= {
        "WORLD_SIZE": "2", "RANK": str(number), "LOCAL_RANK": str(number), "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    torch.set_num_threads(1)
    pretrain_bert(documents, load_tokeniser(folder), recipe, folder, progress=False)


def test_two_processes_take_the_steps_of_one(documents, tokeniser, tmp_path):
    recipe = BertRecipe(**vars(TINY) | {"dropout": 0.0, "steps": 4})
    save_tokeniser(tokeniser, tmp_path / "two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tlcourse.bert.pretrain", "accelerate"])
    arguments = port, documents, recipe, tmp_path / "two"
    processes = [context.Process(target=run_process, args=(i, *arguments)) for i in range(2)]
    for process in processes:
        process.start()
    one = pretrain_bert(documents, tokeniser, recipe, tmp_path / "one")
    for process in processes:
        process.join(timeout=300)
    assert [process.exitcode for process in processes] == [0, 0]
    two = load_bert(tmp_path / "two")
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, atol=2e-5, rtol=1e-4, msg=name)
    assert two.losses["train_loss"].tolist() == pytest.approx(one.losses["train_loss"].tolist(), rel=1e-5)


# -------------------------------------------------------------------------------------------------------- on disk
def test_what_is_written_is_read(whole, valid):
    trained, folder = whole
    loaded = load_bert(folder)
    assert_same(weights(loaded), weights(trained))
    assert loaded.recipe == TINY
    pd.testing.assert_frame_equal(loaded.losses, trained.losses)
    assert loaded.measure(valid) == trained.measure(valid)


def test_transformers_reads_it(whole):
    trained, folder = whole
    inputs = trained.tokeniser("aa bb cc", "dd ee", return_tensors="pt")
    for kind in (AutoModel, AutoModelForMaskedLM, BertForPreTraining):
        model, report = kind.from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"]
        model.eval()(**inputs)
    expected = trained.model.bert(**inputs).prediction_logits
    torch.testing.assert_close(AutoModelForMaskedLM.from_pretrained(folder).eval()(**inputs).logits, expected)


def test_a_damaged_folder_is_named(whole, tmp_path):
    for name in ("recipe.json", "losses.csv"):
        (tmp_path / name).write_bytes((whole[1] / name).read_bytes())
    with pytest.raises(ValueError, match="damaged"):
        load_bert(tmp_path)


# ------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"steps": 0}, "steps"),
        ({"lr": -1.0}, "lr"),
        ({"warmup": 1.0}, "warmup"),
        ({"causal": True}, "nsp=False"),
    ],
)
def test_settings_out_of_range_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        BertRecipe(**changes)


def test_a_tokeniser_that_does_not_match_is_refused(documents, tokeniser, valid, tmp_path):
    other = train_wordpiece(["a b"], vocab_size=8)
    with pytest.raises(ValueError, match="documents were not made with this tokeniser"):
        pretrain_bert(documents, other, TINY, tmp_path)
    ids = np.full_like(valid.ids, len(tokeniser))
    wrong = Documents(ids, valid.sentence_starts, valid.document_starts, valid.cls, valid.sep)
    with pytest.raises(ValueError, match="valid were not made"):
        pretrain_bert(documents, tokeniser, TINY, tmp_path, valid=wrong)


def test_the_default_recipe_is_saved_as_plain_figures(whole):
    assert json.loads((whole[1] / "recipe.json").read_text())["masking"]["share"] == 0.15


def test_epochs_are_passes(documents, tokeniser, tmp_path):
    recipe = BertRecipe(**vars(TINY) | {"steps": None, "epochs": 2, "batch_size": 64})
    trained = pretrain_bert(documents, tokeniser, recipe, tmp_path)
    per_epoch = PairBatches(documents, recipe, Pieces.of(tokeniser)).per_epoch
    assert trained.losses["step"].iloc[-1] == 2 * per_epoch
    assert (tmp_path / "checkpoint.pt").is_file()
