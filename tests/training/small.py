"""Models and data small enough to train in a test, and a training that can be run as a process of its own."""

import sys
import time

import numpy as np
import torch
from fastai.callback.core import Callback
from torch import nn

from tlcourse.text import ClassificationBatches, LMBatches
from tlcourse.training import (
    ActivationRegularisation,
    Perplexity,
    accuracy,
    cross_entropy,
    fit,
    gradual_unfreezing,
    macro_f1,
    make_learner,
    schedules,
)

WORDS, CLASSES = 20, 3


class Classifier(nn.Module):
    """Embedding, LSTM, and a head with dropout and batch normalisation."""

    def __init__(self, dim=6):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, dim, padding_idx=1)
        self.lstm = nn.LSTM(dim, dim, batch_first=True)
        self.head = nn.Sequential(nn.BatchNorm1d(dim), nn.Dropout(0.3), nn.Linear(dim, CLASSES))

    def layer_groups(self):
        return [self.embedding, self.lstm, self.head]

    def forward(self, token_ids):  # (B, T)
        hidden, _ = self.lstm(self.embedding(token_ids))  # (B, T, D)
        return self.head(hidden.mean(1))  # (B, C)


class LanguageModel(nn.Module):
    """Embedding, LSTM with a state that is carried on, dropout, and a decoder tied to the embedding."""

    def __init__(self, dim=6):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, dim)
        self.lstm = nn.LSTM(dim, dim, batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.decoder = nn.Linear(dim, WORDS)
        self.decoder.weight = self.embedding.weight
        self.reset()

    def reset(self):
        self.state = None

    def layer_groups(self):
        return [self.embedding, self.lstm, [self.decoder.bias]]

    def forward(self, token_ids):  # (B, T)
        if self.state is not None and self.state[0].shape[1] != len(token_ids):
            self.reset()
        self.raw_output, state = self.lstm(self.embedding(token_ids), self.state)  # (B, T, D)
        self.state = tuple(part.detach() for part in state)
        self.dropped_output = self.dropout(self.raw_output)
        return self.decoder(self.dropped_output)  # (B, T, V)


class BagOfWords(nn.Module):
    """The mean of the words' embeddings, and a linear layer: half precision on any CPU, unlike an LSTM."""

    def __init__(self, dim=6):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, dim)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(dim, CLASSES))

    def layer_groups(self):
        return [self.embedding, self.head]

    def forward(self, token_ids):  # (B, T)
        logits = self.head(self.embedding(token_ids).mean(1))  # (B, C)
        self.computed_in = logits.dtype
        return logits


def documents(n, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(2, WORDS, rng.integers(1, 9)) for _ in range(n)]


def classes(docs):
    return [int(doc.sum()) % CLASSES for doc in docs]


def classifier_learner(*, model=Classifier, seed=0, batch_seed=0, data_seed=0, **settings):
    """A learner of a classifier: 5 steps an epoch."""
    torch.manual_seed(seed)
    docs, held = documents(20, seed=data_seed), documents(7, seed=1)
    train = ClassificationBatches(docs, classes(docs), batch_size=4, shuffle=True, seed=batch_seed)
    valid = ClassificationBatches(held, classes(held), batch_size=4)
    settings = {"metrics": (accuracy, macro_f1), "grad_clip": 1.0} | settings
    return make_learner(model(), train, valid, device="cpu", **settings)


def language_model_learner(*, seed=0, **settings):
    """A learner of the language model: 5 steps an epoch."""
    torch.manual_seed(seed)
    train = LMBatches(documents(15), batch_size=4, bptt=4, shuffle=True)
    valid = LMBatches(documents(10, seed=1), batch_size=4, bptt=4)  # its hidden state would fit the training's rows
    settings = {"metrics": (Perplexity,), "cbs": [ActivationRegularisation()]} | settings
    return make_learner(LanguageModel(), train, valid, device="cpu", **settings)


def half_precision_learner(**settings):
    """A learner whose loss is scaled, and whose first steps overflow and are left out: 5 steps an epoch."""

    def large_loss(logits, y):
        return 100 * cross_entropy(logits, y)

    return classifier_learner(model=BagOfWords, dtype=torch.float16, loss=large_loss, **settings)


LEARNERS = {
    "classifier": classifier_learner,
    "language model": language_model_learner,
    "half precision": half_precision_learner,
}


def train(learner, **settings):
    """A stage for each layer group, 20 steps in all."""
    stages = gradual_unfreezing(len(learner.model.layer_groups()), 4)
    return fit(learner, stages, lr=0.01, schedule=schedules.slanted_triangular(), **settings)


class Wait(Callback):
    """Take a while over each step, and for ever over the 15th, so that there is time to be killed."""

    run_valid = False

    def after_batch(self):
        time.sleep(0.05 if self.train_iter < 15 else 600)


if __name__ == "__main__":
    train(classifier_learner(cbs=[Wait()]), checkpoint=sys.argv[1], every=1, progress=False)
