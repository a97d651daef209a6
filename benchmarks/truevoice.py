"""TrueVoice, all labels: ULMFiT in both directions beside a linear SVM and fastText, in one run.

    TLCOURSE_DATA=... python benchmarks/truevoice.py [--seeds 1]

Howard and Ruder (2018), section 5, average the probabilities of a forward and a backward classifier. Rows are printed
as they are ready, with validation and test scores; what to report is chosen by the validation columns.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

from tlcourse import baselines, claims, data, profile, training, ulmfit
from tlcourse.text import Vocab, numericalise, thai_words, tokenise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="truevoice")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=None, help="of the classifier")
    parser.add_argument("--lm-epochs", type=int, default=None)
    parser.add_argument("--factor", type=float, default=2.6, help="between the rates of neighbouring layers")
    parser.add_argument("--balanced", action="store_true", help="weigh the loss so that every class counts the same")
    o = parser.parse_args()
    sizes = profile.choose(ulmfit.SIZES)
    print(profile.current())

    calls = data.load(o.data)
    tokens = {
        split: tokenise(frame["text"].tolist(), thai_words, progress=False) for split, frame in calls.splits.items()
    }
    gold = {
        split: calls.splits[split][calls.label].cat.codes.to_numpy().astype(int) for split in ("train", "valid", "test")
    }
    vocab = Vocab.build(tokens["train"] + tokens.get("unlabelled", []), min_count=2)
    docs = {split: numericalise(lists, vocab) for split, lists in tokens.items()}
    rows = []

    def score(name: str, predicted: dict[str, np.ndarray], minutes: float) -> None:
        row = {"model": name}
        for split in ("valid", "test"):
            row[f"{split} micro-F1"] = training.accuracy(gold[split], predicted[split])
            row[f"{split} macro-F1"] = training.macro_f1(gold[split], predicted[split])
        rows.append(row | {"minutes": minutes})
        print("  ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{v:28}" for k, v in rows[-1].items()), flush=True)

    for name, train in baselines.BASELINES.items():
        started = time.perf_counter()
        predict = train(tokens["train"], gold["train"])
        score(name, {s: predict(tokens[s]) for s in ("valid", "test")}, (time.perf_counter() - started) / 60)

    config = ulmfit.AWDLSTMConfig(
        len(vocab), sizes.emb_dim, sizes.hidden_dim, sizes.n_layers, ulmfit.Dropouts() * sizes.dropout
    )
    recipe = ulmfit.Recipe(
        epochs=sizes.epochs,
        lr=sizes.lr,
        batch_size=o.batch_size or sizes.batch_size,
        factor=o.factor,
        balanced=o.balanced,
    )
    runs = []
    for backwards in (False, True):
        name = "backward" if backwards else "forward"
        started = time.perf_counter()
        profile.seed_everything(42)
        language_model = ulmfit.LanguageModel(config)
        history = ulmfit.fine_tune_language_model(
            language_model,
            docs["train"] + docs.get("unlabelled", []),
            docs["valid"],
            epochs=o.lm_epochs or sizes.lm_epochs,
            lr=sizes.lm_lr,
            batch_size=sizes.lm_batch_size,
            bptt=sizes.bptt,
            backwards=backwards,
        )
        minutes = (time.perf_counter() - started) / 60
        print(
            f"{name} language model: perplexity {history['perplexity'].iloc[-1]:.2f}, {minutes:.1f} minutes", flush=True
        )
        for seed in range(o.seeds):
            started = time.perf_counter()
            model = ulmfit.build_classifier(language_model, len(calls.classes), recipe, seed=seed)
            ulmfit.fine_tune_classifier(
                model, docs["train"], gold["train"], recipe=recipe, seed=seed, backwards=backwards
            )
            runs.append({s: ulmfit.probabilities(model, docs[s], backwards=backwards) for s in ("valid", "test")})
            minutes = (time.perf_counter() - started) / 60
            score(f"ULMFiT {name}, seed {seed}", {s: p.argmax(1) for s, p in runs[-1].items()}, minutes)
    both = {s: np.mean([run[s] for run in runs], axis=0).argmax(1) for s in ("valid", "test")}
    score(f"ULMFiT, mean of {len(runs)}", both, 0.0)
    settings = f"language model {o.lm_epochs or sizes.lm_epochs} epochs, factor {o.factor}, balanced {o.balanced}"
    claims.report(f"{calls.name}, all labels, both directions; {settings}", pd.DataFrame(rows))


if __name__ == "__main__":
    main()
