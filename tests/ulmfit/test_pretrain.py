"""Pretraining on a language of forty words: what is written, killed and resumed, alone and in two processes."""

import json
import math
import multiprocessing
import random
import socket
import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from fastai.optimizer import OptimWrapper
from torch.nn import functional as F

from tlcourse.text import BOS, LMBatches
from tlcourse.text.corpus import build_corpus
from tlcourse.training import fit, make_learner, schedules
from tlcourse.training.checkpoint import read_checkpoint
from tlcourse.ulmfit import load_backbone
from tlcourse.ulmfit.pretrain import (
    OPTIMISERS,
    RECIPES,
    AverageWhenStuck,
    Pretraining,
    ShareOfRows,
    WriteMetrics,
    build_model,
    count_words,
    pretrain,
)

MODULE = sys.modules["tlcourse.ulmfit.pretrain"]
TINY = replace(RECIPES["tiny"], emb_dim=8, hidden_dim=12, samples=12, batch_size=4, lr=0.1)
ASGD = replace(TINY, optimiser="asgd", lr=8.0, epochs=5, patience=1, softmax="full")
QUIET = {"every": 4, "progress": False}
TIMES = ["seconds", "tokens_per_second"]


def texts(n, seed=0):
    """Walks round a circle of forty words, each with a stride of its own."""
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{i}" for i in (rng.integers(40) + np.arange(12) * rng.integers(1, 4)) % 40) for _ in range(n)]


def make_corpus(folder, n=110, seed=0, **settings):
    settings = {"language": "en", "words": str.split, "valid": 0.2, "workers": 1, "progress": False} | settings
    return build_corpus(texts(n, seed), folder, **settings)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """An uninterrupted run of each optimiser: the recipe, the folder, the weights, the metrics."""
    done = {}
    for recipe in (TINY, ASGD):
        folder = tmp_path_factory.mktemp(recipe.optimiser)
        model, metrics = pretrain(corpus, folder, recipe, **QUIET)
        done[recipe.optimiser] = recipe, folder, model.state_dict(), metrics
    return done


def assert_same(model, weights):
    ours = model if isinstance(model, dict) else model.state_dict()
    assert ours.keys() == weights.keys()
    assert [name for name in weights if not torch.equal(ours[name], weights[name])] == []


def assert_same_rows(ours, theirs):
    pd.testing.assert_frame_equal(ours.drop(columns=TIMES), theirs.drop(columns=TIMES), check_exact=True)


class Killed(Exception):
    pass


def kill_at(monkeypatch, step):
    """Stop the training after a step, when its row is written and its checkpoint is not."""
    after_batch = WriteMetrics.after_batch

    def stopping(self):
        after_batch(self)
        if self.training and self.train_iter == step:
            raise Killed("here")

    monkeypatch.setattr(WriteMetrics, "after_batch", stopping)


# ------------------------------------------------------------------------------------------- what a run leaves
def test_a_run_learns_and_leaves_a_backbone(corpus, whole):
    _, folder, weights, metrics = whole["adam"]
    perplexity = metrics.perplexity.dropna()
    assert perplexity.is_monotonic_decreasing and perplexity.iloc[-1] < 30  # of 44 words
    model, vocab = load_backbone(folder / "backbone.safetensors")
    assert vocab == corpus.vocab
    assert_same(model, weights)
    assert {path.name for path in folder.iterdir()} == {
        "recipe.json", "metrics.csv", "checkpoint.pt", "backbone.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize("optimiser", ["adam", "asgd"])
def test_the_last_perplexity_is_the_backbones_over_the_full_vocabulary(corpus, whole, optimiser):
    recipe, folder, _, metrics = whole[optimiser]
    model = load_backbone(folder / "backbone.safetensors")[0].eval()
    total = count = 0
    for x, y in LMBatches(corpus.valid.ids, batch_size=recipe.batch_size, bptt=recipe.bptt):
        with torch.no_grad():
            total += F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum").item()
        count += y.numel()
    assert metrics.valid_loss.iloc[-1] == pytest.approx(total / count, rel=1e-5)
    assert metrics.perplexity.iloc[-1] == pytest.approx(math.exp(total / count), rel=1e-5)


def test_the_backbone_of_asgd_is_an_average(whole):
    _, folder, weights, _ = whole["asgd"]
    last = read_checkpoint(folder / "checkpoint.pt", torch.device("cpu"))["model"]
    assert not torch.allclose(last["language_model.decoder_bias"], weights["decoder_bias"])


def test_the_rows_of_the_metrics(corpus, whole):
    recipe, _, _, metrics = whole["adam"]
    batches = LMBatches(corpus.train.ids, batch_size=recipe.batch_size, bptt=recipe.bptt)
    steps, tokens = len(batches), sum(y.numel() for _, y in batches)
    assert metrics.step.tolist() == [*range(1, recipe.epochs * steps + 1)]  # every=4: a row at each step
    assert metrics.epoch.tolist() == [1 + i // steps for i in range(recipe.epochs * steps)]
    assert metrics.tokens.iloc[-1] == recipe.epochs * tokens
    assert metrics.step[metrics.valid_loss.notna()].tolist() == [steps, 2 * steps]
    assert metrics.train_loss.notna().all() and metrics.seconds.is_monotonic_increasing
    assert metrics.lr.max() == pytest.approx(recipe.lr, rel=0.05)


@pytest.mark.parametrize(("every", "between"), [(40, 4), (7, 1)])
def test_a_row_stands_for_all_steps_since_the_row_before(corpus, tmp_path, whole, every, between):
    recipe, _, _, single = whole["adam"]
    _, metrics = pretrain(corpus, tmp_path, replace(recipe, epochs=1, optimiser="asgd", lr=1e-9), every=every)
    steps = int(metrics.step.iloc[-1])
    assert set(metrics.step) == {*range(between, steps, between), *range(every, steps, every), steps}
    weights = metrics.tokens.diff().fillna(metrics.tokens.iloc[0])
    assert (metrics.train_loss * weights).sum() / weights.sum() == pytest.approx(single.train_loss.iloc[0], rel=0.05)


@pytest.mark.parametrize("softmax", ["full", "chunked", "adaptive"])
def test_every_softmax_trains(corpus, tmp_path, softmax):
    recipe = replace(TINY, softmax=softmax, cutoffs=(15, 30) if softmax == "adaptive" else (), epochs=1)
    _, metrics = pretrain(corpus, tmp_path, recipe, **QUIET)
    assert metrics.train_loss.iloc[-3:].mean() < metrics.train_loss.iloc[:3].mean()


def test_the_text_from_its_end_and_another_seed_are_other_trainings(corpus, whole, tmp_path):
    recipe, _, _, metrics = whole["adam"]
    for change in ({"backwards": True}, {"seed": 1}):
        _, other = pretrain(corpus, tmp_path, replace(recipe, epochs=1, **change), resume=False, **QUIET)
        assert (other.train_loss != metrics.train_loss[: len(other)]).all()


def test_words_are_counted_block_by_block(corpus):
    counts = count_words(corpus.train, len(corpus.vocab), block=100)
    assert counts.tolist() == np.bincount(corpus.train.ids, minlength=len(corpus.vocab)).tolist()
    assert counts[BOS] == corpus.train.documents


# ------------------------------------------------------------------------------------------- killed and resumed
EPOCH = 18  # steps; ASGD averages in the fifth


@pytest.mark.parametrize(
    ("optimiser", "step"),
    [*[("adam", step) for step in (8, EPOCH, EPOCH + 1, 2 * EPOCH)], ("asgd", 4 * EPOCH + 2), ("asgd", 5 * EPOCH)],
)
def test_stopped_at_any_step_a_run_ends_with_the_same_weights(corpus, whole, tmp_path, monkeypatch, optimiser, step):
    recipe, _, weights, metrics = whole[optimiser]
    assert len(metrics) == recipe.epochs * EPOCH
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        with pytest.raises(Killed):
            pretrain(corpus, tmp_path, recipe, **QUIET)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write(f"{step}1,1,2")  # a row that was being written
    torch.manual_seed(7)
    model, rows = pretrain(corpus, tmp_path, recipe, **QUIET)
    assert_same(model, weights)
    assert_same_rows(rows, metrics)


def test_a_finished_run_is_loaded(corpus, whole):
    for recipe, folder, weights, metrics in whole.values():
        (folder / "backbone.safetensors").unlink()  # killed just before it was written
        model, rows = pretrain(corpus, folder, recipe, **QUIET)
        assert_same(model, weights)
        pd.testing.assert_frame_equal(rows, metrics, check_exact=True)
        assert_same(load_backbone(folder / "backbone.safetensors")[0], weights)


def test_resume_false_starts_over(corpus, whole, tmp_path, monkeypatch):
    recipe, _, weights, metrics = whole["adam"]
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(Killed):
            pretrain(corpus, tmp_path, replace(recipe, lr=1.0), **QUIET)
    model, rows = pretrain(corpus, tmp_path, recipe, resume=False, **QUIET)
    assert_same(model, weights)
    assert_same_rows(rows, metrics)


# A process that is killed is started by a server that has imported everything, with a file's worth of arguments.
PROCESS = """
import os
os.environ |= environment
from tlcourse.ulmfit.pretrain import pretrain
pretrain(corpus, folder, recipe, every=4, progress=False)
"""


@pytest.fixture(scope="module")
def start():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tlcourse.ulmfit.pretrain", "accelerate"])

    def start(corpus, folder, recipe, **environment):
        names = {"corpus": corpus, "folder": folder, "recipe": recipe, "environment": environment}
        process = context.Process(target=exec, args=(PROCESS, names))
        process.start()
        return process

    return start


def rows_written(folder):
    try:
        return (folder / "metrics.csv").read_text().count("\n") - 1
    except FileNotFoundError:
        return 0


def wait_and_kill(processes, folder, rows):
    while rows_written(folder) < rows and all(process.is_alive() for process in processes):
        time.sleep(0.02)
    time.sleep(random.random() * 0.02)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def test_killed_by_the_system_again_and_again_a_run_ends_with_the_same_weights(corpus, whole, tmp_path, start):
    recipe, _, weights, metrics = whole["adam"]
    for share in (0.2, 0.5, 0.8):
        rows = int((share + random.uniform(-0.15, 0.15)) * len(metrics))
        wait_and_kill([start(corpus, tmp_path, recipe)], tmp_path, rows)
        assert not (tmp_path / "backbone.safetensors").exists()
    (last := start(corpus, tmp_path, recipe)).join()
    assert last.exitcode == 0
    assert_same(load_backbone(tmp_path / "backbone.safetensors")[0], weights)
    assert_same_rows(pd.read_csv(tmp_path / "metrics.csv"), metrics)


# ------------------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lr": 0.5}, "recipe's lr was 0.1 and is 0.5 now"),
        ({"softmax": "full", "dropout": 0.3}, "softmax was sampled and is full now; the recipe's|dropout was 0.1"),
        ({"emb_dim": 10}, "recipe's emb_dim was 8 and is 10 now"),
        ({"epochs": 9}, "recipe's epochs was 2 and is 9 now"),
    ],
)
def test_the_checkpoint_of_another_recipe_is_refused(corpus, whole, change, says):
    recipe, folder, _, _ = whole["adam"]
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=f"belongs to another pretraining: the .*{says}.*resume=False"):
        pretrain(corpus, folder, replace(recipe, **change), **QUIET)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_the_checkpoint_of_another_corpus_is_refused(whole, tmp_path):
    recipe, folder, _, _ = whole["adam"]
    other = make_corpus(tmp_path, seed=1)
    with pytest.raises(ValueError, match=r"another pretraining: the corpus's vocabulary was .*; the corpus's train"):
        pretrain(other, folder, recipe, **QUIET)


def test_another_number_of_processes_is_refused(corpus, whole, monkeypatch):
    recipe, folder, _, _ = whole["adam"]
    monkeypatch.setattr(MODULE, "join_processes", lambda: (0, 2))
    with pytest.raises(ValueError, match="the run's processes was 1 and is 2 now"):
        pretrain(corpus, folder, recipe, **QUIET)


@pytest.mark.parametrize("content", [None, "", "[]", '{"format": 1}', '{"recipe": [], "corpus": 3}'])
def test_a_checkpoint_that_nothing_is_known_of_is_refused(corpus, whole, tmp_path, content):
    recipe, folder, _, _ = whole["adam"]
    (tmp_path / "checkpoint.pt").write_bytes((folder / "checkpoint.pt").read_bytes())
    if content is not None:
        (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(ValueError, match=r"recipe\.json should say what checkpoint\.pt belongs to and cannot be read"):
        pretrain(corpus, tmp_path, recipe, **QUIET)


def test_a_damaged_checkpoint_is_refused(corpus, whole, tmp_path):
    recipe, folder, _, _ = whole["adam"]
    (tmp_path / "recipe.json").write_bytes((folder / "recipe.json").read_bytes())
    (tmp_path / "checkpoint.pt").write_bytes((folder / "checkpoint.pt").read_bytes()[:-400])
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
        pretrain(corpus, tmp_path, recipe, **QUIET)


def test_what_a_run_cannot_do_is_said_before_it_starts(corpus, tmp_path, monkeypatch):
    short = make_corpus(tmp_path / "short", n=4, valid=0.0)
    with pytest.raises(ValueError, match="too few for batches of 100 rows"):
        pretrain(short, tmp_path / "run", replace(TINY, batch_size=100), **QUIET)
    with pytest.raises(ValueError, match="build the corpus with valid documents"):
        pretrain(short, tmp_path / "run", ASGD, **QUIET)
    with pytest.raises(ValueError, match=r"cutoffs .* must ascend"):
        pretrain(corpus, tmp_path / "run", replace(TINY, softmax="adaptive"), **QUIET)
    monkeypatch.setattr(MODULE, "join_processes", lambda: (0, 3))
    with pytest.raises(ValueError, match="4 rows of a batch do not divide among 3 processes"):
        pretrain(corpus, tmp_path / "run", TINY, **QUIET)


@pytest.mark.parametrize(
    "wrong", [{"softmax": "hierarchical"}, {"optimiser": "lamb"}, {"epochs": 0}, {"lr": -1.0}, {"grad_clip": 0}]
)
def test_a_recipe_with_a_wrong_value_names_it(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Pretraining(**wrong)


def test_without_validation_a_run_has_no_perplexity(tmp_path):
    corpus = make_corpus(tmp_path / "corpus", n=40, valid=0.0)
    _, metrics = pretrain(corpus, tmp_path / "run", replace(TINY, epochs=1), **QUIET)
    assert metrics.perplexity.isna().all() and metrics.train_loss.notna().all()


def test_recipes_of_the_paper_and_of_thai2fit():
    sizes = {name: (recipe.emb_dim, recipe.hidden_dim, recipe.n_layers) for name, recipe in RECIPES.items()}
    assert sizes["paper"] == (400, 1150, 3) and sizes["thai2fit"] == (400, 1550, 4)
    small = replace(RECIPES["paper"], emb_dim=4, hidden_dim=5, samples=10)
    assert build_model(small, 30, np.ones(30)).language_model.config.layer_dims() == [(4, 5), (5, 5), (5, 4)]


# --------------------------------------------------------------------------------------- averaging, TensorBoard
class Weights(Callback):
    """The decoder's bias after each step."""

    run_valid = False

    def __init__(self):
        self.seen = []

    def after_batch(self):
        self.seen.append(self.model.language_model.decoder_bias.detach().clone())


def overfitting_learner(opt, cbs):
    """Trains on one random text and validates on another: the validation soon gets worse."""
    rng = np.random.default_rng(0)
    train, valid = (np.array([BOS, *rng.integers(4, 20, 60)]) for _ in range(2))
    torch.manual_seed(0)
    model = build_model(replace(ASGD, dropout=0.0), 20, np.ones(20))
    batches = [LMBatches(text, batch_size=2, bptt=6) for text in (train, valid)]
    return make_learner(model, *batches, loss=model.loss, opt=opt, weight_decay=0.0, cbs=cbs, device="cpu")


def train_plainly(learner, epochs):
    fit(learner, epochs, lr=5.0, schedule=schedules.constant(), factor=1, progress=False)


def test_sgd_turns_to_averaging_when_the_validation_stops_improving():
    averaging, weights = AverageWhenStuck(patience=2), Weights()
    learner = overfitting_learner(OPTIMISERS["asgd"], [averaging, weights])
    train_plainly(learner, 10)
    losses, steps = learner.history.valid_loss.tolist(), len(learner.dls.train)
    stuck = next(t for t in range(3, 10) if losses[t] > min(losses[: t - 2]))
    assert stuck < 8 and averaging.started
    assert torch.equal(learner.model.language_model.decoder_bias, weights.seen[-1])
    averaging.swap()
    mean = torch.stack(weights.seen[(stuck + 1) * steps :]).mean(0)
    torch.testing.assert_close(learner.model.language_model.decoder_bias.detach(), mean)


def test_until_then_it_is_sgd_and_never_averages_while_it_improves():
    plain, asgd = Weights(), Weights()
    train_plainly(overfitting_learner(partial(OptimWrapper, opt=torch.optim.SGD), [plain]), 3)
    averaging = AverageWhenStuck(patience=2)
    train_plainly(overfitting_learner(OPTIMISERS["asgd"], [averaging, asgd]), 3)
    assert not averaging.started  # two checks come before the first that counts
    torch.testing.assert_close(asgd.seen, plain.seen)


def test_tensorboard_gets_the_rows_once(corpus, tmp_path, monkeypatch):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    recipe = replace(TINY, epochs=1)
    with monkeypatch.context() as patch:
        kill_at(patch, 10)
        with pytest.raises(Killed):
            pretrain(corpus, tmp_path, recipe, tensorboard=True, **QUIET)
    _, metrics = pretrain(corpus, tmp_path, recipe, tensorboard=True, **QUIET)
    found = events.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    scalars = found.Scalars("train_loss")
    assert [event.step for event in scalars] == metrics.step.tolist()
    assert [event.value for event in scalars] == pytest.approx(metrics.train_loss.tolist(), rel=1e-5)
    assert len(found.Scalars("perplexity")) == 1


def test_tensorboard_missing_is_said_before_anything_is_written(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        pretrain(corpus, tmp_path / "run", TINY, tensorboard=True, **QUIET)
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------- several processes
def test_the_rows_of_all_processes_are_the_batch(corpus):
    settings = {"batch_size": 8, "bptt": 5, "shuffle": True, "seed": 3}
    whole = LMBatches(corpus.train.ids, **settings)
    shares = [ShareOfRows(corpus.train.ids, process=i, processes=4, **settings) for i in range(4)]
    for _ in range(2):
        for (x, y), *parts in zip(whole, *shares, strict=True):
            assert torch.equal(torch.cat([part[0] for part in parts]), x)
            assert torch.equal(torch.cat([part[1] for part in parts]), y)
    position = {"epoch": 1, "step": 2}
    for batches in (whole, shares[3]):
        batches.load_state_dict(position)
    assert torch.equal(next(iter(shares[3]))[0], next(iter(whole))[0][6:])


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def test_two_processes_take_the_steps_of_one_even_when_killed(corpus, tmp_path, start):
    recipe = replace(TINY, softmax="full", dropout=0.0, epochs=1)
    alone, expected = pretrain(corpus, tmp_path / "one", recipe, **QUIET)
    folder = tmp_path / "two"

    def start_two():
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "GLOO_SOCKET_IFNAME": "lo"}
        return [start(corpus, folder, recipe, RANK=str(i), LOCAL_RANK=str(i), **shared) for i in range(2)]

    wait_and_kill(start_two(), folder, rows=11)
    assert (folder / "checkpoint-1.pt").exists()
    for process in (together := start_two()):
        process.join()
    assert [process.exitcode for process in together] == [0, 0]
    model, _ = load_backbone(folder / "backbone.safetensors")
    for name, weight in alone.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, atol=1e-4, rtol=1e-4)
    metrics = pd.read_csv(folder / "metrics.csv")
    pd.testing.assert_frame_equal(metrics.drop(columns=TIMES), expected.drop(columns=TIMES), atol=1e-4, rtol=1e-4)
    assert json.loads((folder / "recipe.json").read_text())["run"] == {"processes": 2}
