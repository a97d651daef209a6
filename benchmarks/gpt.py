"""Pretraining GPT with ``transformers``' Trainer and with ours, in one run: tokens a second, and what each step buys.

    python benchmarks/gpt.py [--layers 4] [--dim 128 256] [--threads 1] [--data lee] [--vocab 8000]

The Trainer trains ``GPT2LMHeadModel`` as its users do: its own configuration, packed rows that are their own labels,
its own fused AdamW. Ours has the same first weights, rows in the same order, rates, decay and clipping, and both
predict as many tokens of each row. They take turns of a few steps: the Trainer stops after each turn until all others
had theirs, and the median turn counts, by the clock and in processor time. The others between the two take one step
after the other towards ours:

    transformers' model   in our loop and batches
    + one GELU            torch's own in place of eight operations
    + sparing             sixteen bits a unit for dropout, and on a CPU attention by hand
    ours                  + the logits of a part of the tokens at a time, their gradients at once

In the end the loss of all on held-out documents, after as many tokens.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel, default_data_collator, get_cosine_schedule_with_warmup
from turns import InOrder, TakeTurns, options, training_arguments

from tlcourse import data, profile
from tlcourse.gpt.bpe import train_bpe
from tlcourse.gpt.model import make_sparing, next_token_loss
from tlcourse.gpt.pretrain import Batch, GPTRecipe, PackedBatches, TokenDocuments, build_model, measure
from tlcourse.training.pretraining import Training
from tlcourse.training.schedules import warmup_cosine


# ------------------------------------------------------------------------------------------------ the contestants
def their_loss(model: GPT2LMHeadModel, ids: Tensor) -> Tensor:
    return model(input_ids=ids, labels=ids, use_cache=False).loss


STEPS = {  # activation, sparing, loss
    "transformers' model": ("gelu_new", False, their_loss),
    "+ one GELU": ("gelu_pytorch_tanh", False, their_loss),
    "+ sparing": ("gelu_pytorch_tanh", True, their_loss),
    "ours": ("gelu_pytorch_tanh", True, next_token_loss),
}


def like(first: GPT2LMHeadModel, activation: str) -> GPT2LMHeadModel:
    """The same weights with another activation."""
    config = copy.deepcopy(first.config)
    config.activation_function = activation
    model = GPT2LMHeadModel(config)
    model.load_state_dict(first.state_dict())
    return model


# ------------------------------------------------------------------------------------------------------- the turns
class WithCosine(InOrder):
    """The Trainer, with rows in the order given and the paper's schedule."""

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        self.lr_scheduler = get_cosine_schedule_with_warmup(
            optimizer or self.optimizer, self.args.warmup_steps, num_training_steps
        )
        return self.lr_scheduler


def compare(o: argparse.Namespace, documents: TokenDocuments, valid: TokenDocuments, tokeniser, dim: int) -> None:
    steps = o.steps * (1 + o.turns)
    recipe = GPTRecipe(
        size=(o.layers, dim), max_length=o.length, batch_size=o.batch, steps=steps, lr=o.lr, warmup=0.1, seed=o.seed
    )
    # The Trainer's model also reads the last token of a row, which predicts nothing: its place must be there
    room = GPTRecipe(**vars(recipe) | {"max_length": o.length + 1})
    batches = PackedBatches(documents, recipe)
    stream: list[Batch] = [batches.batch(step) for step in range(steps)]
    device = profile.current().device

    profile.seed_everything(o.seed)
    first = build_model(room, tokeniser)
    turns, models = {}, {}
    for name in STEPS if o.all else ("ours",):
        activation, sparing, loss = STEPS[name]
        model = like(first, activation).to(device)
        training = Training(
            make_sparing(model) if sparing else model,
            lambda part, whole, model=model, loss=loss: loss(model, part.ids.to(device)) * part.tokens / whole.tokens,
            recipe,
            warmup_cosine(warmup=recipe.warmup),
            steps=steps,
        )
        models[name], turns[name] = model, lambda step, training=training: training.step(stream[step], step)
    theirs = like(first, "gelu_new")

    with tempfile.TemporaryDirectory() as folder:
        taking = TakeTurns(turns, o.steps)
        WithCosine(
            theirs,
            training_arguments(folder, recipe, steps=steps, device=device),
            data_collator=default_data_collator,
            train_dataset=[{"input_ids": row, "labels": row} for batch in stream for row in batch.ids.tolist()],
            callbacks=[taking],
        ).train()

    read = o.steps * o.batch * batches.length  # tokens predicted in a turn
    speeds = {
        name: [statistics.median(read / spent for spent in turn) for turn in zip(*seconds[1:], strict=True)]
        for name, seconds in taking.seconds.items()
    }
    print(f"\n{o.layers} layers of {dim}, {steps} steps of {o.batch} rows of {batches.length}")
    print(f"{'':<22} {'tokens/s':>9} {'ratio':>6} {'tokens/cpu s':>13} {'ratio':>6} {'loss':>7}")
    for name, model in {"Trainer": theirs, **models}.items():
        loss = measure(model.to(device), valid, length=o.length)["loss"]
        clock, processor = (
            f"{speed:,.0f} {speed / trainer:6.2f}"
            for speed, trainer in zip(speeds[name], speeds["Trainer"], strict=True)
        )
        print(f"{name:<22} {clock:>16} {processor:>20} {loss:7.3f}", flush=True)


def main() -> None:
    o = options(__doc__, batch=16, lr=1e-3)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(o.threads)
    texts = data.load(o.data).train["text"].tolist()
    tokeniser = train_bpe(texts, vocab_size=o.vocab)
    held_out = max(len(texts) // 10, 2)
    documents, valid = (TokenDocuments.from_texts(part, tokeniser) for part in (texts[held_out:], texts[:held_out]))
    where = profile.current()
    print(
        f"{profile.device_name(where.device)}, torch {torch.__version__}, {where.dtype}; {o.data}: "
        f"{len(documents):,} tokens"
    )
    for dim in o.dim:
        compare(o, documents, valid, tokeniser, dim)


if __name__ == "__main__":
    main()
