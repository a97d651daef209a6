"""Pretraining BERT with ``transformers``' Trainer and with ours, in one run: pieces a second, and what each step buys.

    python benchmarks/bert.py [--layers 4] [--dim 128 256] [--threads 1] [--data lee] [--vocab 8000]

The Trainer trains ``BertForPreTraining`` as its users do: DataCollatorForLanguageModeling, padding to the longest row
of a batch, the labels of next sentences beside, its own fused AdamW. Ours has the same first weights, rows in the same
order, rates, decay and clipping; only the masks are drawn by each. They take turns of a few steps: the Trainer stops
after each turn until all others had theirs, and the median turn counts, by the clock and in processor time. Only real
pieces count, no padding. The others between the two take one step after the other towards ours:

    transformers' model   in our loop and batches, padded again
    + packed              no padding: linear layers read a list of pieces, attention rows of one length
    + logits where masked the vocabulary's, and not at every position
    + last layer, too     where pieces are masked, and at [CLS]
    ours                  + sixteen bits a unit for dropout, and attention by hand

In the end the loss of all on held-out documents, after as many pieces.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import DataCollatorForLanguageModeling
from turns import InOrder, TakeTurns, options, training_arguments

from tlcourse import data, profile
from tlcourse.bert.masking import Pieces
from tlcourse.bert.model import IGNORED, Batch, Group, Layout, PretrainingModel
from tlcourse.bert.pairs import Documents, Pairs
from tlcourse.bert.pretrain import BertRecipe, PairBatches, Training, build_model, measure
from tlcourse.bert.wordpiece import train_wordpiece


# ------------------------------------------------------------------------------------------------ the contestants
def plain_dropout(model: nn.Module) -> None:
    """torch's own dropout, everywhere."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, nn.Dropout(child.p))


class Padded(PretrainingModel):
    """The model of ``transformers`` as it is."""

    def loss(self, batch: Batch, *, of: Batch | None = None) -> Tensor:
        targets = torch.full_like(batch.ids, IGNORED)
        targets[batch.masked] = batch.targets
        rows = {"input_ids": batch.ids, "token_type_ids": batch.segments, "attention_mask": torch.ones_like(batch.ids)}
        inputs = {name: pad_sequence(part.split(batch.lengths), batch_first=True) for name, part in rows.items()}
        inputs["labels"] = pad_sequence(targets.split(batch.lengths), batch_first=True, padding_value=IGNORED)
        inputs["next_sentence_label"] = batch.labels
        return self.bert(**{name: part.to(self.bert.device) for name, part in inputs.items()}).loss


class PlainAttention(PretrainingModel):
    """Ours without what only a CPU is given."""

    def attend(self, own: nn.Module, group: Group, query: Tensor, key: Tensor, value: Tensor, *, some: bool) -> Tensor:
        heads = own.num_attention_heads
        mixed = F.scaled_dot_product_attention(
            query.view(group.rows, -1, heads, query.shape[1] // heads).transpose(1, 2)
            if some
            else group.rectangle(query, heads),
            group.rectangle(key, heads),
            group.rectangle(value, heads),
            attn_mask=group.real,
            dropout_p=own.dropout.p if self.training else 0.0,
        )
        return mixed.transpose(1, 2).flatten(0, 1).flatten(1) if some else group.pieces_of(mixed)


class WholeLastLayer(PlainAttention):
    """The last layer everywhere."""

    def read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        hidden, layout = self.everywhere(batch)
        return hidden[batch.masked.to(hidden.device)], hidden[layout.starts]

    def everywhere(self, batch: Batch) -> tuple[Tensor, Layout]:
        encoder, device = self.bert.bert, self.bert.device
        ids, positions, segments = (part.to(device)[None] for part in (batch.ids, batch.positions, batch.segments))
        hidden = encoder.embeddings(ids, token_type_ids=segments, position_ids=positions)[0]  # (N, D)
        layout = Layout(batch, device)
        for layer in encoder.encoder.layer:
            hidden = self.run(layer, hidden, layout)
        return hidden, layout


class AllLogits(WholeLastLayer):
    """The vocabulary's logits everywhere."""

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        hidden, layout = self.everywhere(batch)
        pairs = self.bert.cls.seq_relationship(self.bert.bert.pooler(hidden[layout.starts][:, None]))
        return self.bert.cls.predictions(hidden), pairs

    def loss(self, batch: Batch, *, of: Batch | None = None) -> Tensor:
        pieces, pairs = self(batch)
        targets = torch.full_like(batch.ids, IGNORED)
        targets[batch.masked] = batch.targets
        return F.cross_entropy(pieces, targets.to(pieces.device)) + F.cross_entropy(
            pairs, batch.labels.to(pairs.device)
        )


STEPS = {
    "transformers' model": Padded,
    "+ packed": AllLogits,
    "+ logits where masked": WholeLastLayer,
    "+ last layer, too": PlainAttention,
    "ours": PretrainingModel,
}


# ------------------------------------------------------------------------------------------------------- the turns
def examples(pairs: Pairs, rows: int, special: np.ndarray) -> list[dict[str, list[int] | int]]:
    """Rows as a user's dataset gives them, with the special pieces marked beforehand."""
    return [
        {
            "input_ids": (ids := pairs.row(i)).tolist(),
            "token_type_ids": (np.arange(len(ids)) >= pairs.first_length[i]).astype(int).tolist(),
            "special_tokens_mask": special[ids].astype(int).tolist(),
            "next_sentence_label": int(pairs.labels[i]),
        }
        for i in range(rows)
    ]


def compare(o: argparse.Namespace, documents: Documents, valid: Documents, tokeniser, dim: int) -> None:
    pieces, steps = Pieces.of(tokeniser), o.steps * (1 + o.turns)
    recipe = BertRecipe(
        size=(o.layers, dim), max_length=o.length, batch_size=o.batch, steps=steps, lr=o.lr, warmup=0.1, seed=o.seed
    )
    batches = PairBatches(documents, recipe, pieces)
    if batches.per_epoch < steps:
        raise SystemExit(f"{o.data} has pairs for {batches.per_epoch} steps, not {steps}: lower --turns or --batch")
    pairs, device = batches.pairs, profile.current().device

    profile.seed_everything(o.seed)
    first = build_model(recipe, len(tokeniser))
    turns, models = {}, {}
    for name in STEPS if o.all else ("ours",):
        model = STEPS[name](first.config)
        model.load_state_dict(first.state_dict())
        if name != "ours":
            plain_dropout(model)
        training = Training(model.to(device), recipe, steps=steps)
        models[name], turns[name] = model, lambda step, training=training: training.step(batches.batch(step), step)
    theirs = Padded(first.config)
    theirs.load_state_dict(first.state_dict())
    plain_dropout(theirs)

    with tempfile.TemporaryDirectory() as folder:
        taking = TakeTurns(turns, o.steps)
        InOrder(
            theirs.bert,
            training_arguments(folder, recipe, steps=steps, device=device, adam_epsilon=1e-6),
            data_collator=DataCollatorForLanguageModeling(tokeniser, mlm_probability=recipe.masking.share),
            train_dataset=examples(pairs, steps * o.batch, pieces.special),
            callbacks=[taking],
        ).train()

    ends = pairs.starts[np.arange(0, steps + 1, o.steps) * o.batch]
    read = np.diff(ends)[1:]  # real pieces of each turn that counts
    speeds = {
        name: [statistics.median(turn) for turn in zip(*(read[:, None] / np.array(seconds[1:])).tolist(), strict=True)]
        for name, seconds in taking.seconds.items()
    }
    padded = sum(pairs.lengths[i * o.batch : (i + 1) * o.batch].max() * o.batch for i in range(steps))
    print(
        f"\n{o.layers} layers of {dim}, {steps} steps of {o.batch} rows, {ends[-1]:,} pieces; "
        f"{1 - ends[-1] / padded:.1%} of the Trainer's batches is padding"
    )
    print(f"{'':<22} {'pieces/s':>9} {'ratio':>6} {'pieces/cpu s':>13} {'ratio':>6} {'mlm loss':>9} {'nsp loss':>9}")
    check = PairBatches(valid, recipe, pieces)
    for name, model in {"Trainer": theirs, **models}.items():
        found = PretrainingModel(first.config)
        found.load_state_dict(model.state_dict())
        losses = measure(found.to(device), check)
        clock, processor = (
            f"{speed:,.0f} {speed / trainer:6.2f}"
            for speed, trainer in zip(speeds[name], speeds["Trainer"], strict=True)
        )
        print(f"{name:<22} {clock:>16} {processor:>20} {losses['mlm_loss']:9.3f} {losses['nsp_loss']:9.3f}", flush=True)


def main() -> None:
    o = options(__doc__, batch=32, lr=5e-4)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(o.threads)
    texts = data.load(o.data).train["text"].tolist()
    tokeniser = train_wordpiece(texts, vocab_size=o.vocab)
    held_out = max(len(texts) // 10, 2)
    documents, valid = (Documents.from_texts(part, tokeniser) for part in (texts[held_out:], texts[:held_out]))
    where = profile.current()
    print(
        f"{profile.device_name(where.device)}, torch {torch.__version__}, {where.dtype}; {o.data}: {len(documents):,}"
    )
    for dim in o.dim:
        compare(o, documents, valid, tokeniser, dim)


if __name__ == "__main__":
    main()
