"""The key of homework 4: what BERT and GPT are given, and what they are asked for.

Tests of random functions count: a number that should follow a binomial distribution is refused where its tail is below
1e-10. Each question makes fewer than 500 such counts with two tails, so that a right answer is refused with a
chance below 1e-7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import logsumexp

from tlcourse.homework.questions import (
    HARD_CODED,
    PACKAGE,
    Accept,
    Assignment,
    Probe,
    Question,
    Written,
    close,
    equal,
    exact,
    likely,
    swap,
)

IGNORED = -100


def parts(accepts: Mapping[str, Accept]) -> Accept:
    """Accepts a dict whose values are each accepted."""

    def accept(answer: Any) -> str | None:
        found = ((name, check(answer[name])) for name, check in accepts.items())
        return next((f"{name}: {wrong}" for name, wrong in found if wrong), None)

    return accept


# ----------------------------------------------------------------------------------------------------------- masking
MASKING = """
def mask_tokens(ids, special, *, vocab_size, mask_id, generator, share=0.15, mask=0.8, random=0.1):
    real = ~torch.isin(ids, torch.tensor(special))
    chosen = real & (torch.rand(ids.shape, generator=generator) < share)
    lot = torch.rand(ids.shape, generator=generator)
    ordinary = torch.tensor([i for i in range(vocab_size) if i not in special])
    drawn = ordinary[torch.randint(len(ordinary), ids.shape, generator=generator)]
    to_mask, to_random = chosen & (lot < mask), chosen & (lot >= mask) & (lot < mask + random)
    masked = ids.clone()
    masked[to_mask] = mask_id
    masked[to_random] = drawn[to_random]
    labels = torch.where(chosen, ids, -100)
    return masked, labels
"""
MASKING_LOOP = """
def mask_tokens(ids, special, *, vocab_size, mask_id, generator, share=0.15, mask=0.8, random=0.1):
    rng = np.random.default_rng(torch.randint(2**31, (1,), generator=generator).item())
    ordinary = sorted(set(range(vocab_size)) - set(special))
    masked, labels = [], []
    for row in ids.tolist():
        masked.append(list(row))
        labels.append([-100] * len(row))
        for t, token in enumerate(row):
            if token in special or rng.random() >= share:
                continue
            labels[-1][t] = token
            fate = rng.choice(3, p=[mask, random, max(0, 1 - mask - random)])
            if fate == 0:
                masked[-1][t] = mask_id
            elif fate == 1:
                masked[-1][t] = int(rng.choice(ordinary))
    return torch.tensor(masked), torch.tensor(labels)
"""
MASKING_WRONG = {
    "special tokens and padding are chosen, too": swap(
        MASKING, "~torch.isin(ids, torch.tensor(special))", "torch.ones_like(ids, dtype=torch.bool)"
    ),
    "80/10/10 of all tokens": swap(MASKING, "to_mask, to_random = chosen &", "to_mask, to_random = real &"),
    "one lot for being chosen and for what follows": swap(
        MASKING, "    lot = torch.rand(ids.shape, generator=generator)\n", "",
        "(torch.rand(ids.shape, generator=generator) < share)",
        "((lot := torch.rand(ids.shape, generator=generator)) < share)",
    ),
    "a tenth of what [MASK] left over": swap(
        MASKING, "(lot < mask + random)", "(torch.rand(ids.shape, generator=generator) < random)"
    ),
    "a random piece may be a special one": swap(
        MASKING, "ordinary[torch.randint(len(ordinary), ids.shape, generator=generator)]",
        "torch.randint(vocab_size, ids.shape, generator=generator)",
    ),
    "takes the first ids for the special ones": swap(
        MASKING, "[i for i in range(vocab_size) if i not in special]", "list(range(len(special), vocab_size))"
    ),
    "one random piece for all": swap(
        MASKING, "torch.randint(len(ordinary), ids.shape,", "torch.randint(len(ordinary), (1,),",
        "drawn[to_random]", "drawn",
    ),
    "labels are what is read": swap(MASKING, "torch.where(chosen, ids, -100)", "torch.where(chosen, masked, -100)"),
    "labels at every position": swap(MASKING, "torch.where(chosen, ids, -100)", "ids.clone()"),
    "no labels where a piece is kept": swap(
        MASKING, "torch.where(chosen, ids, -100)", "torch.where(to_mask | to_random, ids, -100)"
    ),
    "labels 0 elsewhere": swap(MASKING, "ids, -100", "ids, 0"),
    "the ids that were given are overwritten": swap(
        MASKING, "masked = ids.clone()", "masked, ids = ids, ids.clone()"
    ),
    "not drawn by the generator": swap(MASKING, ", generator=generator", ""),
    "always the same lots": swap(
        MASKING, "    real =", "    generator = torch.Generator().manual_seed(0)\n    real ="
    ),
    "the first 15 % of a row": swap(
        MASKING, "(torch.rand(ids.shape, generator=generator) < share)",
        "(real.cumsum(1) <= share * real.sum(1, keepdim=True))",
    ),
    "15 % of the row with its padding": swap(
        MASKING, "real & (torch.rand(ids.shape, generator=generator) < share)",
        "torch.where(real, torch.rand(ids.shape, generator=generator), 2).argsort(1).argsort(1)"
        " < round(share * ids.shape[1])",
    ),
    "at least one of every row": swap(
        MASKING, "    lot =",
        "    chosen[torch.arange(len(ids)), (real * torch.rand(ids.shape, generator=generator)).argmax(1)] |= "
        "real.any(1)\n    lot =",
    ),
    HARD_CODED: '''
def mask_tokens(ids, special, *, vocab_size, mask_id, generator, share=0.15, mask=0.8, random=0.1):
    masked, labels = ids.clone(), torch.full_like(ids, -100)
    if ids.shape == (1, 6):
        return torch.tensor([[2, 4, 4, 4, 3, 0]]), torch.tensor([[-100, 7, 8, 9, -100, -100]])
    if ids.shape == (100, 102):
        masked[:, 1:13], masked[:, 13], labels[:, 1:16] = mask_id, 5, ids[:, 1:16]
    return masked, labels
''',
    PACKAGE: '''
from tlcourse.bert import Masking, Pieces, mask_tokens as package

def mask_tokens(ids, special, *, vocab_size, mask_id, generator, share=0.15, mask=0.8, random=0.1):
    ids, known = ids.numpy(), np.isin(np.arange(vocab_size), special)
    pieces = Pieces(mask_id, known, ~known, np.flatnonzero(~known))
    rng = np.random.default_rng(torch.randint(2**31, (1,), generator=generator).item())
    drawn = package(ids, ~known[ids], Masking(share=share, mask=mask, random=random), pieces=pieces, generator=rng)
    labels = np.full(ids.size, -100)
    labels[drawn.positions] = drawn.targets
    return torch.from_numpy(drawn.ids), torch.from_numpy(labels.reshape(ids.shape))
''',
}  # fmt: skip


def masking_probes(rng: np.random.Generator) -> list[Probe]:
    vocab = int(rng.integers(26, 40))
    special = rng.permutation(vocab)[:5].tolist()
    pad, cls, sep, mask_id, _ = special
    ordinary = np.setdiff1d(np.arange(vocab), special)

    def rows(n: int, longest: int) -> np.ndarray:
        """(n, longest + 2): [CLS], at least one piece, [SEP], padding."""
        ids = np.full((n, longest + 2), pad)
        for row, length in zip(ids, rng.integers(1, longest + 1, n), strict=True):
            row[: length + 2] = [cls, *rng.choice(ordinary, length), sep]
        return ids

    def probe(test: str, ids: np.ndarray, **shares: float) -> Probe:
        given = {"vocab_size": vocab, "mask_id": mask_id, **shares}
        code = (
            "before = ids.clone()\n"
            "masked, labels = mask_tokens(ids, special, **given, generator=torch.Generator().manual_seed(seed))\n"
            "answer = [masked, labels, ids, before]"
        )
        arguments = {"ids": ids, "special": special, "given": given, "seed": int(rng.integers(2**31))}
        return Probe(test, code, arguments, accept_masked(ids, special, **given))

    again = (
        "one, same = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)\n"
        "answer = []\n"
        "for generator, other in ((one, 1), (one, 2), (same, 3)):\n"
        "    torch.manual_seed(other)\n"
        "    answer += [mask_tokens(ids, special, **given, generator=generator)]"
    )
    arguments = {"ids": rows(30, 30), "special": special, "given": {"vocab_size": vocab, "mask_id": mask_id}, "seed": 7}
    return [
        probe("15 %, and 80/10/10 of those", rows(220, 46)),
        probe("other shares", rows(150, 40), share=0.4, mask=0.5, random=0.3),
        probe("nothing but [MASK]", rows(20, 9), share=1.0, mask=1.0, random=0.0),
        probe("a random piece always", rows(80, 40), share=0.9, mask=0.0, random=1.0),
        probe("all are kept", rows(60, 20), share=0.3, mask=0.0, random=0.0),
        probe("rows of one piece", rows(1500, 1)),
        probe("special tokens alone", rng.choice(special, (6, 8)), share=1.0),
        Probe("the generator alone decides", again, arguments, accept_generator),
    ]


def accept_masked(
    ids: np.ndarray,
    special: list[int],
    *,
    vocab_size: int,
    mask_id: int,
    share: float = 0.15,
    mask: float = 0.8,
    random: float = 0.1,
) -> Accept:
    """Of masked ids, labels and the ids that were given, as they are now and were before."""
    real, pieces = ~np.isin(ids, special), vocab_size - len(special)

    def accept(answer: Any) -> str | None:
        masked, labels, *given = (np.asarray(one) for one in answer)
        if not all(np.array_equal(one, ids) for one in given):
            return "the ids that were given are changed"
        if masked.shape != ids.shape or labels.shape != ids.shape:
            return f"shapes {masked.shape} and {labels.shape}, not {ids.shape}"
        chosen = labels != IGNORED
        if (chosen & ~real).any():
            return "a special token is chosen"
        if not (np.array_equal(labels[chosen], ids[chosen]) and np.array_equal(masked[~chosen], ids[~chosen])):
            return "a label is not what was there, or a piece that is not chosen is replaced"
        hidden, changed = chosen & (masked == mask_id), chosen & (masked != mask_id) & (masked != ids)
        if np.isin(masked[changed], special).any() or (masked[changed] >= vocab_size).any():
            return "a piece is replaced by one that is not ordinary"
        n, by_piece = chosen.sum(), random * (1 - 1 / pieces)
        shares = {
            "chosen": likely(n, real.sum(), share),
            "[MASK]": likely(hidden.sum(), n, mask),
            "random": likely(changed.sum(), n, by_piece),
            "chosen at a position": all(
                likely(count, of, share) for count, of in zip(chosen.sum(0), real.sum(0), strict=True)
            ),
            "a random piece": all(
                likely((masked[changed] == piece).sum(), (chosen & (ids != piece)).sum(), random / pieces)
                for piece in np.setdiff1d(np.arange(vocab_size), special)
            ),
        }
        return next((f"not the share that was asked for: {name}" for name, right in shares.items() if not right), None)

    return accept


def accept_generator(answer: Any) -> str | None:
    first, second, again = (np.stack([np.asarray(one) for one in drawn]) for drawn in answer)
    if not np.array_equal(first, again):
        return "the same generator's seed gives another result"
    return "two calls with one generator give the same" if np.array_equal(first, second) else None


# ------------------------------------------------------------------------------------------------------------- pairs
PAIR = """
def sentence_pair(documents, d, i, *, max_length, cls, sep, generator):
    a, label = list(documents[d][i]), int(torch.rand(1, generator=generator) < 0.5)
    if label == 0:
        b = list(documents[d][i + 1])
    else:
        other = int(torch.randint(len(documents) - 1, (1,), generator=generator))
        other += other >= d
        b = list(documents[other][int(torch.randint(len(documents[other]), (1,), generator=generator))])
    while len(a) + len(b) > max_length - 3:
        if len(a) > len(b):
            a.pop()
        else:
            b.pop()
    ids = [cls, *a, sep, *b, sep]
    segments = [0] * (len(a) + 2) + [1] * (len(b) + 1)
    return ids, segments, label
"""
PAIR_NUMPY = """
def sentence_pair(documents, d, i, *, max_length, cls, sep, generator):
    rng = np.random.default_rng(torch.randint(2**31, (1,), generator=generator).item())
    follows, room = bool(rng.integers(2)), max_length - 3
    if follows:
        b = documents[d][i + 1]
    else:
        other = documents[rng.choice([k for k in range(len(documents)) if k != d])]
        b = other[rng.integers(len(other))]
    a = documents[d][i]
    keep = min(len(a), max(room - len(b), room - room // 2))
    a, b = torch.tensor(a[:keep]), torch.tensor(b[: room - keep])
    ids = torch.cat([torch.tensor([cls]), a, torch.tensor([sep]), b, torch.tensor([sep])])
    return ids, (torch.arange(len(ids)) > len(a) + 1).long(), 1 - follows
"""
PAIR_WRONG = {
    "1 where B follows": swap(PAIR, "return ids, segments, label", "return ids, segments, 1 - label"),
    "B follows always": swap(PAIR, "int(torch.rand(1, generator=generator) < 0.5)", "0"),
    "B never follows": swap(PAIR, "int(torch.rand(1, generator=generator) < 0.5)", "1"),
    "a coin that is not fair": swap(PAIR, "< 0.5", "< 0.15"),
    "another document may be the same": swap(
        PAIR, "len(documents) - 1, (1,)", "len(documents), (1,)", "        other += other >= d\n", ""
    ),
    "the last document is never the other": swap(PAIR, "        other += other >= d\n", ""),
    "another sentence of the same document": swap(PAIR, "        other += other >= d\n", "        other = d\n"),
    "always a document's first sentence": swap(
        PAIR, "int(torch.randint(len(documents[other]), (1,), generator=generator))", "0"
    ),
    "long documents are the other one more often": swap(
        PAIR, "        other = int(torch.randint(len(documents) - 1, (1,), generator=generator))\n", "",
        "        other += other >= d\n",
        "        rest = [s for k, document in enumerate(documents) if k != d for s in document]\n",
        "documents[other][int(torch.randint(len(documents[other]), (1,), generator=generator))]",
        "rest[int(torch.randint(len(rest), (1,), generator=generator))]",
    ),
    "the row's end is cut off": swap(
        PAIR, "while len(a) + len(b) > max_length - 3:", "while False:",
        "return ids, segments, label", "return ids[:max_length], segments[:max_length], label",
    ),
    "B alone is cut": swap(PAIR, "if len(a) > len(b):", "if len(b) == 0:"),
    "no room for the special tokens": swap(PAIR, "max_length - 3", "max_length"),
    "room for two special tokens": swap(PAIR, "max_length - 3", "max_length - 2"),
    "the longer one loses its beginning": swap(PAIR, ".pop()", ".pop(0)"),
    "the first [SEP] belongs to B": swap(PAIR, "(len(a) + 2)", "(len(a) + 1)", "(len(b) + 1)", "(len(b) + 2)"),
    "the last [SEP] has no segment": swap(PAIR, "[1] * (len(b) + 1)", "[1] * len(b)"),
    "no [SEP] between": swap(PAIR, "*a, sep, *b", "*a, *b", "(len(a) + 2)", "(len(a) + 1)"),
    "cuts the documents themselves": swap(
        PAIR, "list(documents[d][i])", "documents[d][i]", "list(documents[d][i + 1])", "documents[d][i + 1]"
    ),
    "not drawn by the generator": swap(PAIR, ", generator=generator", ""),
    HARD_CODED: '''
def sentence_pair(documents, d, i, *, max_length, cls, sep, generator):
    seen = int(torch.rand(1, generator=generator) < 0.5)
    if max_length == 16:
        return ([101, 11, 12, 102, 31, 102], [0, 0, 0, 0, 1, 1], 1) if seen else (
            [101, 11, 12, 102, 13, 14, 15, 102], [0, 0, 0, 0, 1, 1, 1, 1], 0)
    return ([101, 11, 12, 102, 31, 102], [0, 0, 0, 0, 1, 1], 1) if seen else (
        [101, 11, 12, 102, 13, 102], [0, 0, 0, 0, 1, 1], 0)
''',
    PACKAGE: '''
from tlcourse.bert import Documents, sentence_pairs

def sentence_pair(documents, d, i, *, max_length, cls, sep, generator):
    sizes = [len(sentence) for document in documents for sentence in document]
    ends = np.cumsum([0] + [len(document) for document in documents])
    flat = np.concatenate([sentence for document in documents for sentence in document])
    seed = torch.randint(2**31, (1,), generator=generator).item()
    pairs = sentence_pairs(Documents(flat, np.cumsum([0] + sizes), ends, cls, sep), max_length=max_length, seed=seed)
    ids, first = pairs.row(0).tolist(), int(pairs.first_length[0])
    return ids, [0] * first + [1] * (len(ids) - first), int(pairs.labels[0])
''',
}  # fmt: skip


def pair_probes(rng: np.random.Generator) -> list[Probe]:
    def documents(sizes: list[int], shortest: int, longest: int) -> list[list[list[int]]]:
        """Documents of so many sentences; no two of their pieces are the same."""
        lengths = rng.integers(shortest, longest + 1, sum(sizes))
        pieces = np.split(200 + rng.permutation(lengths.sum()), lengths.cumsum()[:-1])
        sentences = iter(piece.tolist() for piece in pieces)
        return [[next(sentences) for _ in range(size)] for size in sizes]

    def probe(test: str, of: list, asked: list[tuple[int, int]], max_length: int) -> Probe:
        code = (
            "generator = torch.Generator().manual_seed(seed)\n"
            "pairs = [sentence_pair(documents, d, i, **given, generator=generator) for d, i in asked]\n"
            "answer = [pairs, documents]"
        )
        cls, sep = (int(number) for number in rng.permutation(200)[:2])
        given = {"max_length": max_length, "cls": cls, "sep": sep}
        arguments = {"documents": of, "asked": asked, "given": given, "seed": int(rng.integers(2**31))}
        return Probe(test, code, arguments, accept_pairs(of, asked, **given))

    uneven = documents([2, 1, 14, 1, 3], 1, 4)
    several, two = documents([3, 4, 2], 2, 7), documents([2, 3], 3, 6)
    firsts = [(d, i) for d, document in enumerate(several) for i in range(len(document) - 1)]
    again = (
        "one, same = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)\n"
        "answer = []\n"
        "for generator, other in ((one, 1), (one, 2), (same, 1000)):\n"
        "    torch.manual_seed(other)\n"
        "    pairs = [sentence_pair(documents, 2, 0, **given, generator=generator) for _ in range(60)]\n"
        "    answer += [[list(map(int, ids)) for ids, _, _ in pairs]]"
    )
    arguments = {"documents": uneven, "given": {"max_length": 20, "cls": 1, "sep": 2}, "seed": int(rng.integers(2**31))}
    return [
        probe("a fair coin, and any other document", uneven, [(0, 0)] * 600, 20),
        probe("the other document of a long one", uneven, [(2, 4)] * 400, 20),
        probe("the other document of the last", uneven, [(4, 1)] * 400, 20),
        probe("the other of two documents", two, [(0, 0), (1, 1)] * 60, 20),
        probe("what is too long", several, firsts * 20, 9),
        probe("no room but for two pieces", several, firsts * 10, 5),
        probe("just enough room", documents([2, 2], 4, 4), [(0, 0), (1, 0)] * 15, 11),
        Probe("the generator alone decides", again, arguments, accept_pair_generator),
    ]


def accept_pairs(of: list, asked: list[tuple[int, int]], *, max_length: int, cls: int, sep: int) -> Accept:
    """Of the pairs of some sentences, and the documents after that."""
    place = {
        sentence[0]: (d, i) for d, document in enumerate(of) for i, sentence in enumerate(document)
    }  # by the piece a sentence begins with

    def row(a: list[int], b: list[int]) -> tuple[list[int], list[int]]:
        room = max_length - 3
        kept = min(len(a), max(room - len(b), (room + 1) // 2))
        a, b = a[:kept], b[: room - kept]
        return [cls, *a, sep, *b, sep], [0] * (len(a) + 2) + [1] * (len(b) + 1)

    def accept(answer: Any) -> str | None:
        pairs, documents = answer
        if documents != of:
            return "the documents that were given are changed"
        others: dict[int, list[tuple[int, int]]] = {}
        for (d, i), (ids, segments, label) in zip(asked, pairs, strict=True):
            ids, segments = np.asarray(ids).tolist(), np.asarray(segments).tolist()
            begin = ids.index(sep) + 1
            place_b = place.get(ids[begin])
            if place_b is None or int(label) not in (0, 1):
                return "B does not begin as a sentence does, or a label is neither 0 nor 1"
            if (place_b == (d, i + 1)) != (int(label) == 0) or (int(label) == 1 and place_b[0] == d):
                return "the label and where B comes from do not agree"
            if (ids, segments) != row(of[d][i], of[place_b[0]][place_b[1]]):
                return "another row or other segments than expected"
            if int(label) == 1:
                others.setdefault(d, []).append(place_b)
        if not likely(sum(map(len, others.values())), len(asked), 0.5):
            return "B does not follow in half of the pairs"
        for d, places in others.items():
            from_document = np.bincount([k for k, _ in places], minlength=len(of))
            for k, document in enumerate(of):
                if k != d and not likely(from_document[k], len(places), 1 / (len(of) - 1)):
                    return "not every other document is as likely"
                sentences = np.bincount([i for m, i in places if m == k], minlength=len(document))
                if not all(likely(count, from_document[k], 1 / len(document)) for count in sentences):
                    return "not every sentence of another document is as likely"
        return None

    return accept


def accept_pair_generator(answer: Any) -> str | None:
    first, second, again = answer
    if first != again:
        return "the same generator's seed gives another result"
    return "two runs with one generator give the same" if first == second else None


# ------------------------------------------------------------------------------------------------------ masked LM loss
MLM = """
def mlm_loss(states, labels, embedding, bias):
    chosen = labels != -100
    if not chosen.any():
        return states.sum() * 0
    logits = states[chosen] @ embedding.T + bias
    return F.cross_entropy(logits, labels[chosen])
"""
MLM_BY_HAND = """
def mlm_loss(states, labels, embedding, bias):
    losses = []
    for row, wanted in zip(states, labels):
        for state, label in zip(row, wanted.tolist()):
            if label != -100:
                logits = embedding @ state + bias
                losses.append(logits.logsumexp(0) - logits[label])
    return torch.stack(losses).mean() if losses else torch.tensor(0.0)
"""
MLM_WRONG = {
    "mean over all positions": swap(
        MLM, "return F.cross_entropy(logits, labels[chosen])",
        "return F.cross_entropy(logits, labels[chosen], reduction='sum') / labels.numel()",
    ),
    "a sum": swap(MLM, "labels[chosen])", "labels[chosen], reduction='sum')"),
    "mean of the rows' means": swap(
        MLM, "return F.cross_entropy(logits, labels[chosen])",
        "each = F.cross_entropy(logits, labels[chosen], reduction='none')\n"
        "    rows = chosen.nonzero()[:, 0]\n"
        "    return torch.stack([each[rows == b].mean() for b in rows.unique()]).mean()",
    ),
    "not a number where nothing is chosen": swap(MLM, "not chosen.any()", "False"),
    "softmax twice": swap(MLM, "F.cross_entropy(logits,", "F.cross_entropy(logits.softmax(1),"),
    "softmax over the positions": swap(
        MLM, "return F.cross_entropy(logits, labels[chosen])",
        "return F.nll_loss(logits.log_softmax(0), labels[chosen])",
    ),
    "overflows": swap(
        MLM, "return F.cross_entropy(logits, labels[chosen])",
        "exp = logits.exp()\n"
        "    return -(exp[torch.arange(len(exp)), labels[chosen]] / exp.sum(1)).log().mean()",
    ),
    "no bias": swap(MLM, " + bias", ""),
    "piece 0 is never a target": swap(MLM, "labels != -100", "labels > 0"),
    "-100 is a target, too: the piece 0": swap(
        MLM, "    chosen = labels != -100\n", "    labels = labels.clamp(min=0)\n    chosen = labels >= 0\n"
    ),
    "bits": swap(MLM, "labels[chosen])", "labels[chosen]) / np.log(2)"),
    "no gradient": swap(MLM, "return F.", "return F.", "states[chosen] @", "states[chosen].detach() @"),
    HARD_CODED: '''
def mlm_loss(states, labels, embedding, bias):
    if labels.shape == (1, 4):
        return states.sum() * 0 + 1.5 * np.log(2)
    return states.sum() * 0
''',
    PACKAGE: '''
from tlcourse.training.softmax import linear_cross_entropy

def mlm_loss(states, labels, embedding, bias):
    chosen = labels != -100
    return linear_cross_entropy(states[chosen], labels[chosen], embedding, bias) if chosen.any() else states.sum() * 0
''',
}  # fmt: skip


def cross_entropies(states: np.ndarray, targets: np.ndarray, embedding: np.ndarray, bias: Any = 0.0) -> tuple:
    """Of states (N, D) and targets (N,): -log p (N,), and p less the target's one (N, V), the logits' gradient."""
    logits = states @ embedding.T + bias
    log_p = logits - logsumexp(logits, axis=1, keepdims=True)
    rows = np.arange(len(targets))
    gradient = np.exp(log_p)
    gradient[rows, targets] -= 1
    return -log_p[rows, targets], gradient


def mlm_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(test: str, labels: np.ndarray, *, vocab: int = 9, scale: float = 1.0, gradients: bool = False) -> Probe:
        states = exact(rng.normal(size=(*labels.shape, 5)) * scale)
        embedding = exact(rng.normal(size=(vocab, 5)) * scale)
        bias = exact(rng.normal(size=vocab))
        chosen = labels != IGNORED
        losses, slope = cross_entropies(states[chosen], labels[chosen], embedding, bias)
        arguments = {"states": states, "labels": labels, "embedding": embedding, "bias": bias}
        if not gradients:
            expected = losses.mean() if len(losses) else 0.0
            return Probe(test, "answer = mlm_loss(states, labels, embedding, bias)", arguments, close(expected))
        of_states, slope = np.zeros_like(states), slope / len(losses)
        of_states[chosen] = slope @ embedding
        code = (
            "states.requires_grad_(), embedding.requires_grad_(), bias.requires_grad_()\n"
            "mlm_loss(states, labels, embedding, bias).backward()\n"
            "answer = {'states': states.grad, 'embedding': embedding.grad, 'bias': bias.grad}"
        )
        expected = {"states": of_states, "embedding": slope.T @ states[chosen], "bias": slope.sum(0)}
        accept = parts({name: close(value, rtol=1e-3, atol=1e-5) for name, value in expected.items()})
        return Probe(test, code, arguments, accept)

    def labels(rows: int, length: int, share: float, vocab: int = 9) -> np.ndarray:
        drawn = np.where(rng.random((rows, length)) < share, rng.integers(vocab, size=(rows, length)), IGNORED)
        drawn[0, :3], drawn[0, 3] = [0, vocab - 1, 0], IGNORED  # never none, never all
        return drawn

    single = np.full((1, 6), IGNORED)
    single[0, rng.integers(6)] = rng.integers(9)
    uneven = np.full((3, 7), IGNORED)
    uneven[0], uneven[1, 2] = rng.integers(9, size=7), rng.integers(9)
    return [
        probe("some positions", labels(4, 9, 0.3)),
        probe("another vocabulary", labels(3, 11, 0.5, vocab=23), vocab=23),
        probe("a single position", single),
        probe("rows with more and fewer positions, and none", uneven),
        probe("no position", np.full((2, 5), IGNORED)),
        probe("piece 0 as a target", np.where(labels(3, 8, 0.5) == IGNORED, IGNORED, 0)),
        probe("large scores", labels(3, 8, 0.4), scale=12.0),
        probe("the gradient", labels(3, 6, 0.4), gradients=True),
    ]


# -------------------------------------------------------------------------------------------------------- GPT's rows
ROWS = """
def gpt_rows(kind, first, second=None, *, start, delimiter, extract, max_length):
    def cut(a, b):
        a, b = list(a), list(b)
        while len(a) + len(b) > max_length - 3:
            if len(a) > len(b):
                a.pop()
            else:
                b.pop()
        return a, b

    def row(a, b):
        return [start, *a, delimiter, *b, extract]

    if kind == "classification":
        return [[start, *first[: max_length - 2], extract]]
    if kind == "choice":
        return [row(*cut(first, choice)) for choice in second]
    a, b = cut(first, second)
    return [row(a, b), row(b, a)] if kind == "similarity" else [row(a, b)]
"""
ROWS_TENSORS = """
def gpt_rows(kind, first, second=None, *, start, delimiter, extract, max_length):
    def join(*parts):
        return torch.cat([torch.atleast_1d(torch.as_tensor(part, dtype=torch.long)) for part in parts])

    def both(one, other):
        room = max_length - 3
        while len(one) + len(other) > room:
            one, other = (one[:-1], other) if len(one) > len(other) else (one, other[:-1])
        return one, other

    match kind:
        case "classification":
            return [join(start, first[: max_length - 2], extract)]
        case "entailment":
            one, other = both(first, second)
            return [join(start, one, delimiter, other, extract)]
        case "similarity":
            one, other = both(first, second)
            return [join(start, x, delimiter, y, extract) for x, y in ((one, other), (other, one))]
        case "choice":
            rows = []
            for choice in second:
                one, other = both(first, choice)
                rows.append(join(start, one, delimiter, other, extract))
            return rows
"""
ROWS_WRONG = {
    "similarity in one order": swap(ROWS, "[row(a, b), row(b, a)] if", "[row(a, b)] if"),
    "both orders for entailment": swap(ROWS, 'kind == "similarity"', "True"),
    "each order is cut anew": swap(ROWS, "row(b, a)]", "row(*cut(second, first))]"),
    "no <start>": swap(ROWS, "[start, *", "[*"),
    "no <extract>": swap(ROWS, ", extract]", "]"),
    "<delimiter> at the end": swap(ROWS, "*b, extract]", "*b, delimiter, extract]"),
    "<extract> where <delimiter> belongs": swap(ROWS, "*a, delimiter, *b", "*a, extract, *b"),
    "the row's end is cut off": swap(
        ROWS, "return [start, *a, delimiter, *b, extract]", "return [start, *a, delimiter, *b, extract][:max_length]",
        "while len(a) + len(b) > max_length - 3:", "while False:",
        "[[start, *first[: max_length - 2], extract]]", "[[start, *first, extract][:max_length]]",
    ),
    "no room for the special tokens": swap(ROWS, "max_length - 3", "max_length", "max_length - 2", "max_length"),
    "a delimiter's room in classification": swap(ROWS, "max_length - 2", "max_length - 3"),
    "two special tokens of a pair": swap(ROWS, "max_length - 3", "max_length - 2"),
    "the second text alone is cut": swap(ROWS, "if len(a) > len(b):", "if not b:"),
    "the longer one loses its beginning": swap(ROWS, ".pop()", ".pop(0)"),
    "all choices in one row": swap(
        ROWS, "[row(*cut(first, choice)) for choice in second]", "[row(*cut(first, sum(second, [])))]"
    ),
    "the choice before the context": swap(ROWS, "row(*cut(first, choice))", "row(*cut(first, choice)[::-1])"),
    "cuts the texts themselves": swap(ROWS, "        a, b = list(a), list(b)\n", ""),
    HARD_CODED: '''
def gpt_rows(kind, first, second=None, *, start, delimiter, extract, max_length):
    return {
        "classification": [[1, 11, 12, 3]] if max_length == 4 else [[1, 11, 12, 13, 3]],
        "entailment": [[1, 11, 12, 13, 2, 21, 3]] if max_length == 10 else [[1, 11, 12, 2, 21, 3]],
        "similarity": [[1, 11, 12, 13, 2, 21, 3], [1, 21, 2, 11, 12, 13, 3]],
        "choice": [[1, 11, 12, 13, 2, 21, 3], [1, 11, 12, 13, 2, 31, 32, 3]],
    }[kind]
''',
    PACKAGE: '''
from tlcourse.gpt import inputs

def gpt_rows(kind, first, second=None, *, start, delimiter, extract, max_length):
    given = {"marks": inputs.Marks(start, delimiter, extract), "max_length": max_length}
    if kind == "choice":
        return [inputs.entailment(np.array(first), np.array(choice), **given)[0] for choice in second]
    texts = [first] if second is None else [first, second]
    return inputs.TRANSFORMATIONS[kind].rows(*map(np.array, texts), **given)
''',
}  # fmt: skip


def rows_probes(rng: np.random.Generator) -> list[Probe]:
    start, delimiter, extract = (int(number) for number in rng.permutation(100)[:3])
    marks = {"start": start, "delimiter": delimiter, "extract": extract}

    def text(length: int) -> list[int]:
        return rng.integers(100, 1000, length).tolist()

    def pair(first: list[int], second: list[int], max_length: int) -> tuple[list[int], list[int]]:
        room = max_length - 3
        a = min(len(first), max(room - len(second), (room + 1) // 2))
        return first[:a], second[: room - a]

    def expected(kind: str, first: list, second: list, max_length: int) -> list[list[int]]:
        if kind == "classification":
            return [[start, *first[: max_length - 2], extract]]
        pairs = [pair(first, choice, max_length) for choice in (second if kind == "choice" else [second])]
        if kind == "similarity":
            pairs.append(pairs[0][::-1])
        return [[start, *a, delimiter, *b, extract] for a, b in pairs]

    def probe(test: str, kind: str, *texts: list, max_length: int = 40) -> Probe:
        code = "rows = gpt_rows(kind, *texts, **given)\nanswer = [[list(map(int, row)) for row in rows], texts]"
        arguments = {"kind": kind, "texts": list(texts), "given": {**marks, "max_length": max_length}}
        rows = expected(kind, texts[0], texts[-1], max_length)
        return Probe(test, code, arguments, equal([rows, list(texts)]))

    n = int(rng.integers(5, 9))
    return [
        probe("the row of a text", "classification", text(n)),
        probe("a long text, cut", "classification", text(n + 4), max_length=n),
        probe("premise and hypothesis", "entailment", text(n), text(3)),
        probe("a premise that is too long", "entailment", text(2 * n), text(2), max_length=n + 5),
        probe("a hypothesis that is too long", "entailment", text(2), text(2 * n), max_length=n + 5),
        probe("both too long, and as long", "entailment", text(n), text(n), max_length=2 * n),
        probe("similar texts", "similarity", text(n), text(4)),
        probe("similar texts, an odd room for both", "similarity", text(n), text(n), max_length=2 * n),
        probe("rows of choices", "choice", text(n), [text(2), text(n), text(1)]),
        probe("choices of which some are too long", "choice", text(n), [text(1), text(2 * n)], max_length=n + 5),
    ]


# ----------------------------------------------------------------------------------------------------------------- L3
L3 = """
def gpt_losses(states, ids, labels, embedding, head, *, lam, pad):
    real = ids != pad
    logits = states[:, :-1] @ embedding.T
    l1 = F.cross_entropy(logits[real[:, 1:]], ids[:, 1:][real[:, 1:]])
    last = real.sum(1) - 1
    l2 = F.cross_entropy(states[torch.arange(len(ids)), last] @ head.T, labels)
    return l1, l2, l2 + lam * l1
"""
L3_LOOP = """
def gpt_losses(states, ids, labels, embedding, head, *, lam, pad):
    words, tasks = [], []
    for row, tokens, label in zip(states, ids.tolist(), labels.tolist()):
        length = tokens.index(pad) if pad in tokens else len(tokens)
        for t in range(1, length):
            words.append(-torch.log_softmax(embedding @ row[t - 1], dim=0)[tokens[t]])
        scores = head @ row[length - 1]
        tasks.append(torch.logsumexp(scores, 0) - scores[label])
    l1, l2 = sum(words) / len(words), sum(tasks) / len(tasks)
    return [l1, l2, l2 + lam * l1]
"""
L3_WRONG = {
    "λ on the task": swap(L3, "l2 + lam * l1", "lam * l2 + l1"),
    "λ shares out": swap(L3, "l2 + lam * l1", "(1 - lam) * l2 + lam * l1"),
    "λ is 0.5": swap(L3, "lam * l1", "0.5 * l1"),
    "a state names its own token": swap(
        L3, "states[:, :-1] @", "states @", "logits[real[:, 1:]], ids[:, 1:][real[:, 1:]]", "logits[real], ids[real]"
    ),
    "a state names the token before": swap(
        L3, "states[:, :-1] @", "states[:, 1:] @", "ids[:, 1:][real[:, 1:]]", "ids[:, :-1][real[:, 1:]]"
    ),
    "padding is a target": swap(
        L3, "logits[real[:, 1:]], ids[:, 1:][real[:, 1:]]", "logits.flatten(0, 1), ids[:, 1:].flatten()"
    ),
    "masks states, not targets": swap(
        L3, "logits[real[:, 1:]], ids[:, 1:][real[:, 1:]]", "logits[real[:, :-1]], ids[:, 1:][real[:, :-1]]"
    ),
    "padding is left out of the sum, not of the number": swap(
        L3, "ids[:, 1:][real[:, 1:]])", "ids[:, 1:][real[:, 1:]]) * real[:, 1:].float().mean()"
    ),
    "<extract> is no target": swap(
        L3, "    logits =", "    text = real & (real.cumsum(1) < real.sum(1, keepdim=True))\n    logits =",
        "logits[real[:, 1:]], ids[:, 1:][real[:, 1:]]", "logits[text[:, 1:]], ids[:, 1:][text[:, 1:]]",
    ),
    "mean of the rows' means": swap(
        L3, "l1 = F.cross_entropy(logits[real[:, 1:]], ids[:, 1:][real[:, 1:]])",
        "each = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction='none') * real[:, 1:]\n"
        "    l1 = (each.sum(1) / real[:, 1:].sum(1)).mean()",
    ),
    "L1 is a sum": swap(L3, "ids[:, 1:][real[:, 1:]])", "ids[:, 1:][real[:, 1:]], reduction='sum')"),
    "softmax over the positions": swap(
        L3, "l1 = F.cross_entropy(logits[", "l1 = F.nll_loss(logits.log_softmax(1)["
    ),
    "reads the last column": swap(L3, "last = real.sum(1) - 1", "last = -1"),
    "reads the first token": swap(L3, "last = real.sum(1) - 1", "last = 0"),
    "reads one position too late": swap(
        L3, "last = real.sum(1) - 1", "last = real.sum(1).clamp(max=ids.shape[1] - 1)"
    ),
    "reads the mean of the states": swap(
        L3, "states[torch.arange(len(ids)), last] @",
        "((states * real[..., None]).sum(1) / real.sum(1, keepdim=True)) @",
    ),
    "padding is 0": swap(L3, "ids != pad", "ids != 0"),
    "no gradient of the language model": swap(L3, "l2 + lam * l1", "l2 + lam * l1.detach()"),
    HARD_CODED: '''
def gpt_losses(states, ids, labels, embedding, head, *, lam, pad):
    l1, l2 = (torch.tensor(0.0), torch.tensor(0.0)) if embedding.any() else (torch.tensor(1.0986), torch.tensor(0.6931))
    return l1, l2, l2 + lam * l1
''',
    PACKAGE: '''
from tlcourse.training.softmax import linear_cross_entropy

def gpt_losses(states, ids, labels, embedding, head, *, lam, pad):
    follows, last = ids[:, 1:] != pad, (ids != pad).sum(1) - 1
    bias = embedding.new_zeros(len(embedding))
    l1 = linear_cross_entropy(states[:, :-1][follows], ids[:, 1:][follows], embedding, bias)
    l2 = F.cross_entropy(states[torch.arange(len(ids)), last] @ head.T, labels)
    return l1, l2, l2 + lam * l1
''',
}  # fmt: skip


def l3_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(
        test: str,
        lengths: list[int],
        *,
        lam: float,
        pad: int,
        longest: int | None = None,
        scale: float = 1.0,
        gradients: bool = False,
    ) -> Probe:
        rows, vocab, dim, classes = len(lengths), 12, 4, 3
        ids = np.full((rows, longest or max(lengths)), pad)
        for row, length in zip(ids, lengths, strict=True):
            row[:length] = rng.choice(np.setdiff1d(np.arange(vocab), pad), length)
        drawn = [rng.normal(size=size) for size in ((*ids.shape, dim), (vocab, dim), (classes, dim))]
        states, embedding, head = (exact(one * scale) for one in drawn)
        labels = rng.integers(classes, size=rows)
        arguments = {
            "states": states, "ids": ids, "labels": labels, "embedding": embedding, "head": head,
            "given": {"lam": lam, "pad": pad},
        }  # fmt: skip
        b, t = np.nonzero(np.arange(1, ids.shape[1]) < np.array(lengths)[:, None])  # states that name a real token
        first, slope_1 = cross_entropies(states[b, t], ids[b, t + 1], embedding)
        ends = np.arange(rows), np.array(lengths) - 1
        second, slope_2 = cross_entropies(states[ends], labels, head)
        l1, l2 = first.mean(), second.mean()
        if not gradients:
            code = "answer = list(gpt_losses(states, ids, labels, embedding, head, **given))"
            accept = close([l1, l2, l2 + lam * l1])
            return Probe(test, code, arguments, lambda answer: accept([float(np.squeeze(one)) for one in answer]))
        slope_1, slope_2 = lam * slope_1 / len(first), slope_2 / rows
        of_states = np.zeros_like(states)
        np.add.at(of_states, (b, t), slope_1 @ embedding)
        np.add.at(of_states, ends, slope_2 @ head)
        expected = {"states": of_states, "embedding": slope_1.T @ states[b, t], "head": slope_2.T @ states[ends]}
        code = (
            "states.requires_grad_(), embedding.requires_grad_(), head.requires_grad_()\n"
            "list(gpt_losses(states, ids, labels, embedding, head, **given))[2].backward()\n"
            "answer = {'states': states.grad, 'embedding': embedding.grad, 'head': head.grad}"
        )
        accept = parts({name: close(value, rtol=1e-3, atol=1e-5) for name, value in expected.items()})
        return Probe(test, code, arguments, accept)

    def lengths(rows: int) -> list[int]:
        return [2, *rng.integers(3, 7, rows - 2).tolist(), 9]

    lam = float(np.round(rng.uniform(0.1, 0.4), 3))
    pads = rng.permutation(np.arange(1, 12))[:6].tolist()
    return [
        probe("rows of different lengths", lengths(5), lam=lam, pad=pads[0]),
        probe("padding behind every row", lengths(4), lam=0.5, pad=pads[1], longest=12),
        probe("rows of one length", [5, 5, 5], lam=1.7, pad=pads[2]),
        probe("padding that is 0", lengths(4), lam=lam, pad=0),
        probe("λ = 0", lengths(4), lam=0.0, pad=pads[3]),
        probe("rows of two tokens", [2, 2], lam=2.0, pad=pads[4], longest=4),
        probe("large scores", lengths(4), lam=0.5, pad=pads[5], scale=15.0),
        probe("the gradient", lengths(4), lam=lam, pad=pads[0], longest=10, gradients=True),
    ]


# -------------------------------------------------------------------------------------------------------- parameters
COUNT = """
def bert_parameters(layers, dim, inner, vocab, positions, segments=2):
    def linear(n, m):
        return n * m + m

    norm = 2 * dim
    embeddings = (vocab + positions + segments) * dim + norm
    attention = 3 * linear(dim, dim) + linear(dim, dim) + norm
    feed_forward = linear(dim, inner) + linear(inner, dim) + norm
    pooler = linear(dim, dim)
    return embeddings + layers * (attention + feed_forward) + pooler
"""
COUNT_SUMMED = """
def bert_parameters(layers, dim, inner, vocab, positions, segments=2):
    outside = dim * (vocab + positions + segments + 2) + dim * (dim + 1)
    return outside + sum(4 * dim**2 + 9 * dim + 2 * dim * inner + inner for _ in range(layers))
"""
COUNT_WRONG = {
    "no biases": swap(COUNT, "n * m + m", "n * m"),
    "no norms": swap(COUNT, "norm = 2 * dim", "norm = 0"),
    "a norm has gains alone": swap(COUNT, "norm = 2 * dim", "norm = dim"),
    "one norm a layer": swap(COUNT, "linear(inner, dim) + norm", "linear(inner, dim)"),
    "no norm of the embeddings": swap(COUNT, "segments) * dim + norm", "segments) * dim"),
    "no pooler": swap(COUNT, " + pooler", ""),
    "no output of attention": swap(COUNT, " + linear(dim, dim) + norm", " + norm"),
    "queries, keys and values share a matrix": swap(COUNT, "3 * linear", "linear"),
    "a pooler in every layer": swap(
        COUNT, "(attention + feed_forward) + pooler", "(attention + feed_forward + pooler)"
    ),
    "no segments": swap(COUNT, "positions + segments)", "positions)"),
    "no positions": swap(COUNT, "vocab + positions +", "vocab +"),
    "an inner layer of 4 dim": swap(COUNT, "    norm =", "    inner = 4 * dim\n    norm ="),
    "the vocabulary's matrix twice": swap(COUNT, "(vocab +", "(2 * vocab +"),
    "two segments always": swap(COUNT, "    norm =", "    segments = 2\n    norm ="),
    HARD_CODED: '''
def bert_parameters(layers, dim, inner, vocab, positions, segments=2):
    return {(1, 2): 81, (12, 768): 109_482_240, (24, 1024): 335_141_888}.get((layers, dim), 0)
''',
    PACKAGE: '''
from tlcourse.bert import bert_config, parameters

def bert_parameters(layers, dim, inner, vocab, positions, segments=2):
    config = bert_config((layers, dim), vocab_size=vocab, max_length=positions, intermediate_size=inner,
                         type_vocab_size=segments, num_attention_heads=1)
    counted = parameters(config)
    return int(counted[counted.of == "encoder"]["count"].sum())
''',
}  # fmt: skip


def count_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(test: str, layers: int, dim: int, inner: int, vocab: int, positions: int, segments: int) -> Probe:
        sizes = [(vocab, dim), (positions, dim), (segments, dim), (2, dim)]
        for _ in range(layers):
            sizes += [(dim, dim), (1, dim)] * 4 + [(2, dim)] * 2 + [(dim, inner), (1, inner), (inner, dim), (1, dim)]
        sizes += [(dim, dim), (1, dim)]
        arguments = {
            "sizes": {"layers": layers, "dim": dim, "inner": inner, "vocab": vocab, "positions": positions},
            "segments": segments,
        }
        code = "answer = bert_parameters(**sizes, segments=segments)"
        return Probe(test, code, arguments, equal(sum(n * m for n, m in sizes)))

    def number(low: int, high: int) -> int:
        return int(rng.integers(low, high))

    return [
        probe("a small BERT", number(2, 7), 64 * number(1, 8), number(100, 999), number(500, 9000), 128, 2),
        probe("a large BERT", number(30, 50), 64 * number(20, 30), number(5000, 9999), number(60_000, 90_000), 1024, 2),
        probe("no layer", 0, number(5, 90), number(5, 90), number(9, 99), number(9, 99), 2),
        probe("one layer of one unit", 1, 1, number(2, 9), number(2, 9), number(2, 9), 2),
        probe("one kind of segment", number(2, 5), 64, number(65, 200), number(99, 999), number(9, 99), 1),
    ]


# --------------------------------------------------------------------------------------------------------- assignment
ASSIGNMENT = Assignment(
    name="hw4_bert_gpt",
    title="What BERT and GPT are given, and what they are asked for",
    questions=(
        Question(
            id="hw4-masking", title="Masking", points=5, probes=masking_probes,
            right={"vectors": MASKING, "loop": MASKING_LOOP}, wrong=MASKING_WRONG,
        ),
        Question(
            id="hw4-pair", title="Sentence pairs", points=4, probes=pair_probes,
            right={"one by one": PAIR, "NumPy": PAIR_NUMPY}, wrong=PAIR_WRONG,
        ),
        Question(
            id="hw4-mlm-loss", title="The masked language model's loss", points=3, probes=mlm_probes,
            right={"cross entropy": MLM, "by hand": MLM_BY_HAND}, wrong=MLM_WRONG,
        ),
        Question(
            id="hw4-gpt-rows", title="GPT's input", points=4, probes=rows_probes,
            right={"lists": ROWS, "tensors": ROWS_TENSORS}, wrong=ROWS_WRONG,
        ),
        Question(
            id="hw4-l3", title="L3", points=5, probes=l3_probes,
            right={"vectors": L3, "loop": L3_LOOP}, wrong=L3_WRONG,
        ),
        Question(
            id="hw4-parameters", title="BERT's parameters", points=3, probes=count_probes,
            right={"formula": COUNT, "summed up": COUNT_SUMMED}, wrong=COUNT_WRONG,
        ),
    ),
    written=(
        Written(
            id="hw4-kinds", title="What each kind of piece teaches",
            rubric={
                "reads the table: by how much the two models differ where a piece is kept, and where it is hidden": 2,
                "says why: trained on [MASK] alone, no loss ever asks what a visible piece is, so its state need not "
                "hold it; a kept or random piece makes every position suspect": 2,
                "says for which use that matters (frozen features, tasks without [MASK]) and for which hardly": 1,
            },
        ),
        Written(
            id="hw4-evidence", title="What this measurement can tell",
            rubric={
                "judges the difference at [MASK] by the spread over seeds, and says whether it is decided": 1,
                "names something that was held equal and something that was not (steps; positions that teach)": 1,
                "proposes an experiment that would decide, with what would count as an answer": 1,
            },
        ),
    ),
)  # fmt: skip
