"""What pretraining on general Thai buys: scratch, stages 2+3 and stages 1+2+3 on one task, in one run.

    TLCOURSE_DATA=... python benchmarks/general_thai.py truevoice --backbone general.safetensors

Prints a row as soon as it is ready: validation accuracy and macro-F1 of the fine-tuned classifier, and of a linear
model on the frozen encoder's features (concat pooling), which separates encoders with less noise than fine-tuning
does. The linear SVM on words stands beside them. All networks of a task have the same words and sizes; `--csv` keeps
the rows.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tlcourse import baselines, data, profile, training, ulmfit
from tlcourse.text import ClassificationBatches, Vocab, numericalise, thai_words, tokenise
from tlcourse.training.softmax import SampledSoftmax

STARTS = {"scratch": (False, False), "1": (True, False), "2+3": (False, True), "1+2+3": (True, True)}


@torch.no_grad()
def features(language_model: ulmfit.LanguageModel, docs: list[np.ndarray]) -> np.ndarray:
    """The frozen encoder's pooled texts, (texts, 3 D)."""
    model = ulmfit.build_classifier(language_model, 2).eval()
    batches = ClassificationBatches(docs, np.zeros(len(docs), dtype=int), batch_size=128)
    rows = np.concatenate([model.encode(x).float().numpy() for x, _ in batches])
    ordered = np.empty_like(rows)
    ordered[np.concatenate(batches.indices())] = rows
    return ordered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--backbone", type=Path)
    parser.add_argument("--starts", nargs="+", default=list(STARTS), choices=STARTS)
    parser.add_argument("--counts", default="100:5,500:3,all:1", help="labels:seeds, …")
    parser.add_argument("--max-vocab", type=int, default=8000)
    parser.add_argument("--lm-epochs", type=int, default=5)
    parser.add_argument("--lm-lr", type=float, default=8e-3)
    parser.add_argument("--lm-factor", type=float, default=1.0, help="between layers, for a pretrained model")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for the fine-tuned language models")
    o = parser.parse_args()
    sizes = profile.choose(ulmfit.SIZES)
    print(profile.current(), flush=True)

    task = data.load(o.data)
    tokens = {s: tokenise(task.splits[s]["text"].tolist(), thai_words, progress=False) for s in ("train", "valid")}
    gold = {s: task.splits[s][task.label].cat.codes.to_numpy().astype(int) for s in ("train", "valid")}
    vocab = Vocab.build(tokens["train"], min_count=2, max_size=o.max_vocab)
    docs = {split: numericalise(lists, vocab) for split, lists in tokens.items()}
    occurrences = np.bincount(np.concatenate(docs["train"]), minlength=len(vocab))
    config = ulmfit.AWDLSTMConfig(
        len(vocab), sizes.emb_dim, sizes.hidden_dim, sizes.n_layers, ulmfit.Dropouts() * sizes.dropout
    )
    print(f"{task.name}: {len(vocab):,} words, {vocab.oov_rate(tokens['valid']):.1%} of validation unknown", flush=True)
    counts = [part.split(":") for part in o.counts.split(",")]
    counts = [(len(docs["train"]) if n == "all" else int(n), int(seeds)) for n, seeds in counts]
    rows = []

    def report(**row) -> None:
        rows.append({"data": task.name, **row})
        print("  ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
        if o.csv:
            pd.DataFrame(rows).to_csv(o.csv, index=False)

    for n, seeds in counts:
        for seed in range(seeds):
            chosen = data.labelled_subset(task.train.reset_index(drop=True), by=task.label, n=n, seed=seed).index
            predict = baselines.linear_svm([tokens["train"][i] for i in chosen], gold["train"][chosen])
            right = predict(tokens["valid"])
            report(
                start="linear SVM",
                how="words",
                labels=n,
                seed=seed,
                accuracy=training.accuracy(gold["valid"], right),
                macro_f1=training.macro_f1(gold["valid"], right),
            )

    for name in o.starts:
        pretrained, fine_tuned = STARTS[name]
        profile.seed_everything(42)
        if pretrained:
            model = ulmfit.load_backbone(o.backbone, vocab, dropouts=config.dropouts)[0]
        else:
            model = ulmfit.LanguageModel(config)
        started = time.perf_counter()
        if fine_tuned:
            history = ulmfit.fine_tune_language_model(
                model,
                docs["train"],
                docs["valid"],
                epochs=o.lm_epochs,
                lr=o.lm_lr,
                batch_size=sizes.lm_batch_size,
                bptt=sizes.bptt,
                factor=o.lm_factor if pretrained else 1.0,
                softmax=SampledSoftmax(occurrences) if len(vocab) > 4000 else None,
                progress=False,
            )
            print(history[["epoch", "perplexity"]].round(1).T.to_string(header=False), flush=True)
        if pretrained or fine_tuned:
            found = ulmfit.lm_perplexity(model, docs["valid"])
            print(f"{name}: validation perplexity {found:.2f}, {time.perf_counter() - started:.0f} s", flush=True)
            if o.keep:
                ulmfit.save_backbone(model, vocab, o.keep / f"{task.name}-{name}.safetensors")
        encoded = {split: features(model, docs[split]) for split in docs}
        for n, seeds in counts:
            epochs = sizes.few_epochs if n < len(docs["train"]) else sizes.epochs
            recipe = ulmfit.Recipe(epochs=epochs, lr=sizes.lr, batch_size=sizes.batch_size)
            if name == "scratch":
                recipe = replace(recipe, factor=1.0, unfreezing="all")
            for seed in range(seeds):
                started = time.perf_counter()
                start = config if name == "scratch" else model
                _, scores = ulmfit.few_label_run(
                    start,
                    docs["train"],
                    task.train,
                    label=task.label,
                    valid=(docs["valid"], gold["valid"]),
                    n=n,
                    seed=seed,
                    recipe=recipe,
                )
                report(
                    start=name,
                    how="fine-tuned",
                    labels=n,
                    seed=seed,
                    **scores,
                    seconds=round(time.perf_counter() - started),
                )
                chosen = data.labelled_subset(task.train.reset_index(drop=True), by=task.label, n=n, seed=seed).index
                linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
                linear.fit(encoded["train"][chosen], gold["train"][chosen])
                right = linear.predict(encoded["valid"])
                report(
                    start=name,
                    how="frozen, linear",
                    labels=n,
                    seed=seed,
                    accuracy=training.accuracy(gold["valid"], right),
                    macro_f1=training.macro_f1(gold["valid"], right),
                )

    frame = pd.DataFrame(rows).groupby(["how", "start", "labels"], sort=False)[["accuracy", "macro_f1"]]
    print(frame.agg(["mean", "std", "count"]).round(3).to_string())


if __name__ == "__main__":
    main()
