"""General Thai for the lessons: texts, backbone, measurements."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from tlcourse import data, ulmfit
from tlcourse.text import BOS, Vocab

SMALL = dataclasses.replace(ulmfit.GENERAL["smoke"], characters=20_000, max_vocab=800)


@pytest.fixture(scope="module")
def texts():
    return ulmfit.general_texts(SMALL)


def test_offline_there_is_wikipedia_and_orchid(texts):
    assert list(texts) == ["wikipedia", "orchid"]
    assert all(texts.values())
    assert any(text.startswith("จังหวัดเชียงใหม่\n") for text in texts["wikipedia"])


def test_a_set_that_cannot_be_had_is_left_out_and_named(capsys, monkeypatch):
    def refuse(name, **options):
        if name == "thaigov":
            raise data.DownloadError("thaigov could not be downloaded.")
        return load(name, **options)

    load = data.load
    monkeypatch.setattr(data, "load", refuse)
    found = ulmfit.general_texts(dataclasses.replace(SMALL, sources=("thaigov",)))
    assert list(found) == ["wikipedia", "orchid"]
    assert "without thaigov" in capsys.readouterr().out


def test_the_backbone_is_trained_once_and_knows_words_of_the_task(texts, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TLCOURSE_CACHE", str(tmp_path))
    corpus = ulmfit.general_corpus(SMALL, texts)
    recipe = dataclasses.replace(SMALL.recipe, emb_dim=8, hidden_dim=8, epochs=1)
    sizes = dataclasses.replace(SMALL, recipe=recipe)
    path = ulmfit.general_backbone(sizes, corpus, progress=False)
    assert "Pretraining on" in capsys.readouterr().out
    written = path.read_bytes()
    assert ulmfit.general_backbone(sizes, corpus, progress=False).read_bytes() == written
    assert "Pretraining on" not in capsys.readouterr().out
    model, vocab = ulmfit.load_backbone(path)
    assert vocab == corpus.vocab
    assert len(vocab) == model.config.vocab_size <= SMALL.max_vocab
    assert (
        ulmfit.general_backbone(dataclasses.replace(sizes, recipe=dataclasses.replace(recipe, seed=1)), corpus) != path
    )


def test_words_of_the_task_are_those_its_vocabulary_has():
    task = data.load("thai_intents")
    words = ulmfit.task_words("thai_intents")
    assert len(words) == len(set(words)) > 500
    assert not set(words) & set(Vocab.SPECIALS)
    assert any(word in text for word in words[:20] for text in task.train["text"])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ulmfit.LanguageModel(ulmfit.AWDLSTMConfig(30, 8, 8, 2)).eval()


def test_token_losses_average_to_the_perplexity(model):
    docs = [np.array([BOS, *np.random.default_rng(i).integers(4, 30, 40)]) for i in range(8)]
    targets, losses = ulmfit.token_losses(model, docs)
    assert np.exp(losses.mean()) == pytest.approx(ulmfit.lm_perplexity(model, docs), rel=1e-5)
    assert len(targets) == len(losses)
    logits = model(torch.tensor(docs[0][None, :2])).detach()  # the first batch begins with the first document
    assert losses[0] == pytest.approx(float(F.cross_entropy(logits[0, :1], torch.tensor(docs[0][1:2]))), rel=1e-5)
    assert targets[0] == docs[0][1]


def test_bands_hold_every_word_and_no_special():
    targets = np.array([BOS, 4, 4, 5, 13, 14, 200])
    losses = np.array([9.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0])
    bands = ulmfit.frequency_bands(targets, losses, edges=(10, 100))
    assert bands["band"].tolist() == ["rank 1 to 10", "rank 11 to 100", "beyond rank 100"]
    assert np.log(bands["perplexity"]).round(6).tolist() == [1.25, 3.0, 4.0]
    assert bands["share"].round(6).tolist() == [round(4 / 7, 6), round(1 / 7, 6), round(1 / 7, 6)]


def test_the_race_gives_each_softmax_the_same_tokens(texts, tmp_path, monkeypatch):
    monkeypatch.setenv("TLCOURSE_CACHE", str(tmp_path))
    corpus = ulmfit.general_corpus(SMALL, texts)
    softmaxes = {"full": ulmfit.FullSoftmax(), "all sampled": ulmfit.SampledSoftmax(np.ones(900), samples=900)}
    curves = ulmfit.race(corpus, softmaxes, width=900, tokens=2000, parts=2, dim=4)
    full, sampled = (curves[curves["method"] == name] for name in softmaxes)
    pd.testing.assert_series_equal(full["tokens"], sampled["tokens"], check_index=False)
    assert full["perplexity"].tolist() == pytest.approx(
        sampled["perplexity"].tolist(), rel=1e-5
    )  # a sample of all words
    assert (curves["seconds"] > 0).all()
    assert full["seconds"].is_monotonic_increasing


def test_speed_is_a_positive_number():
    config = ulmfit.AWDLSTMConfig(50, 4, 4, 1)
    assert ulmfit.tokens_per_second(config, ulmfit.FullSoftmax(), batch_size=2, bptt=3, steps=1) > 0
