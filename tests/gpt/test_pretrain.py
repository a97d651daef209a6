"""Pretraining a tiny GPT: its rows, that it learns, is resumed to the bit, and is one in parts and processes."""

import json
import math
import multiprocessing
import os
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

from tlcourse.gpt.bpe import END_OF_TEXT, load_tokeniser, save_tokeniser, train_bpe
from tlcourse.gpt.pretrain import (
    Batch,
    GPTRecipe,
    PackedBatches,
    TokenDocuments,
    Training,
    build_model,
    load_gpt,
    measure,
    pretrain_gpt,
)
from tlcourse.text.shards import CorpusError

TINY = GPTRecipe(size=(2, 64), max_length=16, steps=6, batch_size=8, lr=1e-2, warmup=0.2)
TEXTS = [
    "ฝนตกตั้งแต่เช้า ถนนหน้าบ้านเลยมีน้ำขัง",
    "The ferry leaves at noon, and nobody on board is in a hurry.",
    "ร้านขนมครกเจ้านี้ขายมาตั้งแต่รุ่นยาย 😀",
    "My neighbour keeps bees; every autumn she gives us a jar of honey.",
    "แมวสามตัวนอนอยู่บนหลังคา",
    "Trains to the coast are late again.",
]


@pytest.fixture(scope="module")
def tokeniser():
    return train_bpe(TEXTS, vocab_size=300)


@pytest.fixture(scope="module")
def documents(tokeniser) -> TokenDocuments:
    return TokenDocuments.from_texts(TEXTS[:4], tokeniser)


@pytest.fixture(scope="module")
def valid(tokeniser) -> TokenDocuments:
    return TokenDocuments.from_texts(TEXTS[4:], tokeniser)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, documents, tokeniser, valid):
    """A training that nothing disturbed, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return pretrain_gpt(documents, tokeniser, TINY, folder, valid=valid, every=2), folder


def weights(trained) -> dict[str, torch.Tensor]:
    return trained.model.state_dict()


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


# --------------------------------------------------------------------------------------------------------- the data
def test_documents_are_end_to_end(tokeniser):
    documents = TokenDocuments.from_texts(["ฝนตก", "", "The ferry", "\n"], tokeniser)
    assert (documents.documents, documents.empty) == (3, 1)
    assert tokeniser.decode(documents.ids) == f"ฝนตก{END_OF_TEXT}The ferry{END_OF_TEXT}\n{END_OF_TEXT}"
    assert [tokeniser.decode(documents.ids[[end - 1]]) for end in documents.starts[1:]] == [END_OF_TEXT] * 3
    assert documents.ids.dtype == np.uint16


def test_an_end_that_is_written_in_a_text_is_letters(tokeniser):
    documents = TokenDocuments.from_texts([f"a{END_OF_TEXT}b"], tokeniser)
    assert (documents.ids == documents.end).sum() == 1


def test_texts_come_in_portions(tokeniser, monkeypatch, documents):
    monkeypatch.setattr("tlcourse.gpt.pretrain._BATCH", 3)
    assert TokenDocuments.from_texts(iter([*TEXTS[:2], "", *TEXTS[2:4]]), tokeniser).digest == documents.digest


def some_documents(lengths: list[int]) -> TokenDocuments:
    """Tokens 1, 2, 3 … in documents of these lengths, each with its end, 0."""
    count = iter(range(1, sum(lengths) + 1))
    ids = [0 if i == length else next(count) for length in lengths for i in range(length + 1)]
    return TokenDocuments(np.array(ids), np.cumsum([0, *(length + 1 for length in lengths)]), 0)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=9), st.integers(1, 9), st.integers(1, 5), st.integers(0, 3))
def test_each_token_is_predicted_once_from_what_is_before_it(lengths, length, rows, epoch):
    documents = some_documents(lengths)
    recipe = GPTRecipe(max_length=length, batch_size=rows)
    batches = PackedBatches(documents, recipe)
    ids = torch.cat([batches.batch(epoch * batches.per_epoch + i).ids for i in range(batches.per_epoch)])
    length = min(length, len(documents))
    assert ids.shape == (len(documents) // length, length + 1)
    predicted = ids[:, 1:].flatten().tolist()
    real = [token for token in predicted if token]
    assert len(set(real)) == len(real)
    assert len(documents) - len(predicted) == len(documents) % length
    firsts = {int(documents.ids[start]) for start in documents.starts[:-1]}
    for before, token in zip(ids[:, :-1].flatten().tolist(), predicted, strict=True):
        if token in firsts:
            assert before == 0
        elif token:
            assert before == token - 1


def test_each_pass_has_another_order_and_the_seed_decides(documents):
    recipe = GPTRecipe(max_length=8, batch_size=4)
    one, again, other = (PackedBatches(documents, GPTRecipe(**vars(recipe) | {"seed": seed})) for seed in (1, 1, 2))
    steps = range(2 * one.per_epoch)
    batches = [one.batch(step).ids for step in steps]
    assert all(torch.equal(again.batch(step).ids, batches[step]) for step in steps)
    assert not torch.equal(batches[0], batches[one.per_epoch])
    assert not torch.equal(batches[0], other.batch(0).ids)


def test_in_parts_no_row_is_lost():
    batch = Batch(torch.arange(35).view(7, 5))
    parts = list(batch.split(3))
    assert [len(part.ids) for part in parts] == [3, 2, 2] and sum(part.tokens for part in parts) == batch.tokens == 28
    assert len(list(batch.split(9))) == 7


def test_documents_saved_and_loaded(documents, tmp_path):
    documents.save(tmp_path / "new")
    loaded = TokenDocuments.load(tmp_path / "new")
    assert isinstance(loaded.ids, np.memmap) and loaded.digest == documents.digest
    with (tmp_path / "new" / "ids.npy").open("r+b") as file:
        file.truncate(150)
    with pytest.raises(CorpusError, match="damaged"):
        TokenDocuments.load(tmp_path / "new")
    with pytest.raises(CorpusError):
        TokenDocuments.load(tmp_path)


@pytest.mark.parametrize(
    ("texts", "error", "says"),
    [
        ("one text", TypeError, "put it into a list"),
        (["a", None], TypeError, "must be a str, not NoneType"),
        ([], ValueError, "no document has a token"),
        (["", ""], ValueError, "no document has a token"),
    ],
)
def test_what_are_no_documents(tokeniser, texts, error, says):
    with pytest.raises(error, match=says):
        TokenDocuments.from_texts(texts, tokeniser)


# ------------------------------------------------------------------------------------------------------- learning
def test_a_few_sentences_are_learned_by_heart(tokeniser, tmp_path):
    texts = TEXTS[:3]
    documents = TokenDocuments.from_texts(texts, tokeniser)
    recipe = GPTRecipe(size=(2, 64), max_length=100, steps=200, batch_size=2, lr=1e-2, dropout=0.0, warmup=0.1)
    trained = pretrain_gpt(documents, tokeniser, recipe, tmp_path)
    assert trained.measure(documents)["loss"] < 0.2
    prompt = tokeniser(END_OF_TEXT + "The ferry", return_tensors="pt")
    written = trained.model.generate(**prompt, do_sample=False, max_new_tokens=60, pad_token_id=0)
    assert tokeniser.decode(written[0], skip_special_tokens=True) == texts[1]


def test_losses_are_told_as_it_learns(whole, valid, documents):
    trained, _ = whole
    losses = trained.losses
    assert list(losses) == ["step", "tokens", "train_loss", "valid_loss", "valid_perplexity"]
    assert losses["step"].tolist() == [2, 4, 6]
    per_epoch = PackedBatches(documents, TINY).per_epoch
    assert losses["tokens"].iloc[-1] == 6 // per_epoch * (len(documents) // 16 * 16)
    assert losses["train_loss"].iloc[-1] < losses["train_loss"].iloc[0]
    last = losses.iloc[-1]
    assert trained.measure(valid) == {name: pytest.approx(last[f"valid_{name}"]) for name in ("loss", "perplexity")}


def test_first_losses_are_those_of_transformers(tokeniser, documents, tmp_path):
    recipe = GPTRecipe(**vars(TINY) | {"dropout": 0.0, "steps": 1})
    torch.manual_seed(recipe.seed)
    model, batch = build_model(recipe, tokeniser), PackedBatches(documents, recipe).batch(0)
    theirs = model(batch.ids[:, :-1]).logits.flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(theirs, batch.ids[:, 1:].flatten()).item()
    trained = pretrain_gpt(documents, tokeniser, recipe, tmp_path)
    assert trained.losses["train_loss"][0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("length", [5, 16])
def test_measured_over_every_token_as_by_hand(whole, valid, length):
    model = whole[0].model
    stream = [valid.end, *valid.ids.tolist()]
    total = 0.0
    for start in range(0, len(valid), length):
        row = torch.tensor(stream[start : start + length + 1])
        log_p = model(row[None, :-1]).logits[0].log_softmax(-1)
        total -= log_p.gather(1, row[1:, None]).sum().item()
    found = measure(model, valid, length=length, batch_size=2)
    assert found["loss"] == pytest.approx(total / len(valid), abs=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(total / len(valid)), rel=1e-5)


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
        pretrain_gpt(documents, tokeniser, TINY, tmp_path, valid=valid, every=2)
    with pytest.raises(FileNotFoundError, match="pretrain_gpt"):
        load_gpt(tmp_path)
    monkeypatch.undo()
    torch.manual_seed(at)
    resumed = pretrain_gpt(documents, tokeniser, TINY, tmp_path, valid=valid, every=2)
    assert_same(weights(resumed), weights(whole[0]))
    pd.testing.assert_frame_equal(resumed.losses, whole[0].losses)


def test_a_finished_training_is_loaded(whole, documents, tokeniser, valid, monkeypatch):
    trained, folder = whole
    monkeypatch.setattr(Training, "step", None)
    again = pretrain_gpt(documents, tokeniser, TINY, folder, valid=valid, every=2)
    assert_same(weights(again), weights(trained))


@pytest.mark.parametrize(("changes", "named"), [({"lr": 0.5}, "lr was 0.01"), ({"steps": 9}, "steps")])
def test_another_trainings_checkpoint_is_refused(whole, documents, tokeniser, valid, changes, named):
    with pytest.raises(ValueError, match=named):
        pretrain_gpt(documents, tokeniser, GPTRecipe(**vars(TINY) | changes), whole[1], valid=valid)


def test_starting_over_replaces_it(whole, documents, tokeniser, valid, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="damaged"):
        pretrain_gpt(documents, tokeniser, TINY, tmp_path, valid=valid)
    again = pretrain_gpt(documents, tokeniser, TINY, tmp_path, valid=valid, every=3, resume=False)
    assert_same(weights(again), weights(whole[0]))  # how often is measured changes nothing


# ------------------------------------------------------------------------------------------- parts and processes
def test_in_parts_the_update_is_the_same(documents, tokeniser, tmp_path):
    results = []
    for accumulate in (1, 3):
        recipe = GPTRecipe(**vars(TINY) | {"dropout": 0.0, "accumulate": accumulate, "lr": 1e-3})
        results.append(pretrain_gpt(documents, tokeniser, recipe, tmp_path / str(accumulate)))
    one, parts = map(weights, results)
    for name in one:
        torch.testing.assert_close(parts[name], one[name], atol=2e-5, rtol=1e-4, msg=name)
    assert results[1].losses["train_loss"].tolist() == pytest.approx(results[0].losses["train_loss"].tolist(), rel=1e-5)


def run_process(number: int, port: int, documents: TokenDocuments, recipe: GPTRecipe, folder: Path) -> None:
    os.environ |= {
        "WORLD_SIZE": "2", "RANK": str(number), "LOCAL_RANK": str(number), "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    torch.set_num_threads(1)
    pretrain_gpt(documents, load_tokeniser(folder), recipe, folder, progress=False)


def test_two_processes_take_the_steps_of_one(documents, tokeniser, tmp_path):
    recipe = GPTRecipe(**vars(TINY) | {"dropout": 0.0, "steps": 4, "lr": 1e-3})
    save_tokeniser(tokeniser, tmp_path / "two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tlcourse.gpt.pretrain", "accelerate"])
    arguments = port, documents, recipe, tmp_path / "two"
    processes = [context.Process(target=run_process, args=(i, *arguments)) for i in range(2)]
    for process in processes:
        process.start()
    one = pretrain_gpt(documents, tokeniser, recipe, tmp_path / "one")
    for process in processes:
        process.join(timeout=300)
    assert [process.exitcode for process in processes] == [0, 0]
    two = load_gpt(tmp_path / "two")
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, atol=2e-5, rtol=1e-4, msg=name)
    assert two.losses["train_loss"].tolist() == pytest.approx(one.losses["train_loss"].tolist(), rel=1e-5)


# -------------------------------------------------------------------------------------------------------- on disk
def test_what_is_written_is_read(whole, valid):
    trained, folder = whole
    loaded = load_gpt(folder)
    assert_same(weights(loaded), weights(trained))
    assert loaded.recipe == TINY and not loaded.model.training
    pd.testing.assert_frame_equal(loaded.losses, trained.losses)
    assert loaded.measure(valid) == {name: pytest.approx(value) for name, value in trained.measure(valid).items()}
    assert loaded.tokeniser(TEXTS).input_ids == trained.tokeniser(TEXTS).input_ids


def test_transformers_reads_it(whole):
    trained, folder = whole
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert isinstance(model, GPT2LMHeadModel) and not report["missing_keys"]
    rows = trained.tokeniser(TEXTS[1:3], truncation=True, max_length=16, padding=True, return_tensors="pt")
    torch.testing.assert_close(model.eval()(**rows).logits, trained.model(**rows).logits)


def test_a_damaged_folder_is_named(whole, tmp_path):
    for name in ("recipe.json", "losses.csv"):
        (tmp_path / name).write_bytes((whole[1] / name).read_bytes())
    with pytest.raises(ValueError, match="damaged"):
        load_gpt(tmp_path)


# ------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"max_length": 0}, "max_length"),
        ({"steps": 0}, "steps"),
        ({"lr": -1.0}, "lr"),
        ({"warmup": 1.0}, "warmup"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_settings_out_of_range_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        GPTRecipe(**changes)


def test_a_tokeniser_that_does_not_match_is_refused(documents, tokeniser, valid, tmp_path):
    other = train_bpe(["ab"], vocab_size=260)
    with pytest.raises(ValueError, match="documents were not made with this tokeniser"):
        pretrain_gpt(documents, other, TINY, tmp_path)
    wrong = TokenDocuments(valid.ids, valid.starts, end=7)
    with pytest.raises(ValueError, match="valid were not made"):
        pretrain_gpt(documents, tokeniser, TINY, tmp_path, valid=wrong)


def test_epochs_are_passes(documents, tokeniser, tmp_path):
    recipe = GPTRecipe(**vars(TINY) | {"steps": None, "epochs": 2, "batch_size": 4})
    trained = pretrain_gpt(documents, tokeniser, recipe, tmp_path)
    assert trained.losses["step"].iloc[-1] == 2 * PackedBatches(documents, recipe).per_epoch
    assert json.loads((tmp_path / "recipe.json").read_text())["size"] == [2, 64]
