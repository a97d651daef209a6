"""Key of homework 1: from raw text to word vectors, and what they buy a classifier."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import chain, groupby

import numpy as np

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
    swap,
)


def each(*parts: tuple[str, Accept]) -> Accept:
    """Accepts a list whose parts are accepted, one by one; tells the name of the first that is not."""

    def accept(answer: Sequence) -> str | None:
        if len(answer) != len(parts):
            return f"{len(answer)} results instead of {len(parts)}"
        for (name, accepts), found in zip(parts, answer, strict=True):
            if wrong := accepts(found):
                return f"{name}: {wrong}"
        return None

    return accept


# -------------------------------------------------------------------------------------------------------------- clean
WORDS = [
    "ที่", "น้ำ", "ค่ะ", "ผู้", "เสียง", "ตั้ง", "อยู่", "ซื้อ", "เบอร์", "ไม่",
    "ให้", "ครั้ง", "บ้าน", "เพื่อน", "ทั้ง", "เงิน", "นี้", "กี่", "หนึ่ง", "สิ้น",
]  # fmt: skip
INVISIBLE = ["\u200b", "\u200d", "\ufeff", "\u00ad"]


def cleaned(text: str) -> str:
    """The reference: character by character."""
    visible = "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Cf").lower()
    kept = []
    for part in re.split(r"(\s)", re.sub(r"https?://\S+", " ", visible)):
        for c, run in groupby(c if unicodedata.category(c)[0] in "LMN" else " " for c in part):
            n = len(list(run))
            kept.append(c if n > 2 and unicodedata.category(c)[0] != "N" else c * n)
    return " ".join("".join(kept).split())


def clean_probes(rng: np.random.Generator) -> list[Probe]:
    def some(n: int) -> list[str]:
        return [str(word) for word in rng.choice(WORDS, n, replace=False)]

    def number(low: int, high: int) -> int:
        return int(rng.integers(low, high))

    a, b, c, d, e, f = some(6)
    hidden = rng.permutation(INVISIBLE).tolist()
    texts = {
        "vowels and tone marks stay, punctuation goes": f"{a}! {b}, ({c}) {d}... {e}/{f}?",
        "every sign that is no letter, mark or digit goes": f"{a}“{b}”{c}฿{d}_{e}😊{f}…",
        "a letter said often, and a mark, become one": (
            f"มา{'ก' * number(3, 9)} {a} ดี{'ี' * number(2, 6)} so{'o' * number(2, 9)}"
        ),
        "a letter said twice stays": f"กกต {a} coffee {b} hello สรรพ",
        "digits are never changed": f"{a} {'5' * number(3, 9)} {number(1, 9)}{'0' * number(3, 8)} {b} ๑๑๑",
        "invisible characters leave nothing": f"{a}{hidden[0]}{b} เบ{hidden[1]}อร์ {hidden[2]}{c} wi{hidden[3]}fi",
        "a run across an invisible character": f"{a} สวย{hidden[0]}ย{hidden[1]}{'ย' * number(1, 5)}",
        "addresses go whole": (
            f"{a} http://x{number(1, 99)}.co.th/a-b?q=ก&r=1 {b}https://wifi.th/{c} HTTPS://T.CO/{d} https {e} http:{f}"
        ),
        "capitals": f"{a} WiFi SIM AaA{'a' * number(0, 4)} {b}",
        "white space of all kinds": f"  {a}\t{b}\n\n{c}\u00a0{d} \r\n {e}  ",
        "composed letters": f"{a} cafe\u0301 น้ำ {b} re\u0301sume\u0301",
        "nothing left": " ?! 😊 \u200b ",
        "an empty text": "",
    }
    return [Probe(test, "answer = clean(text)", {"text": text}, equal(cleaned(text))) for test, text in texts.items()]


CLEAN = r"""
import unicodedata
from itertools import groupby

def clean(text):
    text = unicodedata.normalize("NFC", text)
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = text.lower()
    text = re.sub(r"https?://\S+", " ", text)
    text = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text)
    runs = ("".join(run) for _, run in groupby(text))
    text = "".join(run[0] if len(run) > 2 and unicodedata.category(run[0])[0] != "N" else run for run in runs)
    return " ".join(text.split())
"""

CLEAN_BY_PATTERNS = r"""
MARKS = "\u0300-\u036f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"

def clean(text):
    text = re.sub("[\u00ad\u200b-\u200f\u2060\ufeff]", "", unicodedata.normalize("NFC", text)).lower()
    text = re.sub(r"https?://\S+", " ", text)
    text = re.sub(rf"[^\w{MARKS}]|_", " ", text)
    text = re.sub(r"(\D)\1{2,}", r"\1", text)
    return re.sub(" +", " ", text).strip()
"""

CLEAN_QUESTION = Question(
    id="hw1-clean",
    title="Clean a text",
    points=4,
    probes=clean_probes,
    right={"categories of characters": CLEAN, "patterns": CLEAN_BY_PATTERNS},
    wrong={
        r"\w alone, which drops Thai vowels and tone marks": swap(CLEAN_BY_PATTERNS, r"[^\w{MARKS}]", r"[^\w]"),
        "shortens digits too": swap(CLEAN, ' and unicodedata.category(run[0])[0] != "N"', ""),
        "shortens two in a row": swap(CLEAN, "len(run) > 2", "len(run) > 1"),
        "leaves two of a long run": swap(CLEAN, "run[0] if", "run[:2] if"),
        "shortens Thai only": swap(CLEAN_BY_PATTERNS, r"(\D)", "([ก-๎])"),
        "lower-cases last": swap(
            CLEAN, "    text = text.lower()\n", "", '" ".join(text.split())', '" ".join(text.lower().split())'
        ),
        "does not lower-case": swap(CLEAN, "    text = text.lower()\n", ""),
        "a space for an invisible character": swap(CLEAN_BY_PATTERNS, r'\ufeff]", ""', r'\ufeff]", " "'),
        "invisible characters dropped after the runs": swap(
            CLEAN,
            '    text = "".join(c for c in text if unicodedata.category(c) != "Cf")\n',
            "",
            'in "LMN" else',
            'in "LMNC" and not c.isspace() else',
            "    return",
            '    text = "".join(c for c in text if unicodedata.category(c) != "Cf")\n    return',
        ),
        "signs of ASCII only": swap(CLEAN_BY_PATTERNS, r'rf"[^\w{MARKS}]|_"', r'r"[!-/:-@\[-`{-~]|\s"'),
        "addresses of https only": swap(CLEAN, "https?", "https"),
        "addresses after the punctuation": swap(
            CLEAN,
            '    text = re.sub(r"https?://\\S+", " ", text)\n',
            "",
            "    runs =",
            '    text = re.sub(r"https?://\\S+", " ", text)\n    runs =',
        ),
        "NFKC, which takes Thai ำ apart": swap(CLEAN, '"NFC"', '"NFKC"'),
        "no normal form": swap(CLEAN, '    text = unicodedata.normalize("NFC", text)\n', ""),
        HARD_CODED: """
def clean(text):
    known = {"สวัสดีค่ะ!": "สวัสดีค่ะ", "มากกกก 5555": "มาก 5555", "WiFi\\u200bช้า https://a.co/x?y=1 จัง": "wifiช้า จัง"}
    return known.get(text, text)
""",
        PACKAGE: """
from tlcourse.text import normalise

def clean(text):
    return normalise(text).lower()
""",
    },
)


# -------------------------------------------------------------------------------------------------------------- index
def indexed(sentences: Sequence[Sequence[str]], min_count: int) -> tuple[list[str], list[int]]:
    """The reference: count, then sort twice, which keeps equal counts in the order of the words."""
    counts = Counter(chain.from_iterable(sentences))
    known = sorted(word for word, n in counts.items() if n >= min_count and word != "<unk>")
    known.sort(key=counts.__getitem__, reverse=True)
    unknown = counts.total() - sum(counts[word] for word in known)
    return ["<unk>", *known], [unknown, *(counts[word] for word in known)]


def index_probes(rng: np.random.Generator) -> list[Probe]:
    vocabulary = "answer = [list(part) for part in build_vocabulary(sentences, min_count={})]"

    def sentences(counts: dict[str, int]) -> list[list[str]]:
        """A text with so many of each; the words of the first sentence stand in falling order."""
        tokens = rng.permutation([word for word, n in counts.items() for _ in range(n - 1)]).tolist()
        half = len(tokens) // 2
        return [sorted(counts, reverse=True), tokens[:half], [], tokens[half:]]

    def built(test: str, text: list[list[str]], min_count: int) -> Probe:
        words, counts = indexed(text, min_count)
        accept = each(("words", equal(words)), ("counts", equal(counts)))
        return Probe(test, vocabulary.format(min_count), {"sentences": text}, accept)

    least = int(rng.integers(2, 5))
    names = rng.permutation([*WORDS, "sim", "wifi", "net", "bill"]).tolist()
    text = sentences(
        {names[0]: least, names[1]: least - 1, names[2]: least + 5, names[3]: 1} | dict.fromkeys(names[4:8], least + 2)
    )
    words = ["<unk>", *rng.permutation(WORDS).tolist()]
    sentence = [words[4], "ที่ไม่มี", words[1], words[1], names[9] + "?", words[-1], "<unk>", words[2]]
    numbers = [words.index(word) if word in words else 0 for word in sentence]
    encode = "answer = list(encode(sentence, words))"
    often = sentences({"<unk>": least + 9, names[10]: least + 1, names[11]: least + 3, names[12]: 1})
    twice = "_ = build_vocabulary(sentences, min_count=1)\n" + vocabulary.format(least)
    again = built("asked a second time", text, least)
    return [
        built(
            "the most frequent first, equal counts by alphabet",
            sentences(dict.fromkeys(names[:7], 3) | {names[8]: 5}),
            1,
        ),
        built("words that occur min_count times belong to it", text, least),
        built("all words occur too seldom", [names[:5]], 2),
        built("a word that is spelt <unk>", often, least),
        built("no sentences", [], 1),
        Probe(again.test, twice, again.arguments, again.accept),
        Probe("encode: numbers, 0 for unknown", encode, {"sentence": sentence, "words": words}, equal(numbers)),
        Probe("encode: only unknown words", encode, {"sentence": sentence[1:2] * 3, "words": words}, equal([0] * 3)),
        Probe("encode: no words", encode, {"sentence": [], "words": words}, equal([])),
        Probe(
            "encode with the words of another text",
            "encode(['ก'], ['<unk>', 'ก'])\n" + encode,
            {"sentence": ["ก", "ข", "ก"], "words": ["<unk>", "ข", "ก"]},
            equal([2, 1, 2]),
        ),
    ]


INDEX = """
from collections import Counter

def build_vocabulary(sentences, min_count):
    counts = Counter()
    for sentence in sentences:
        counts.update(sentence)
    frequent = [word for word, n in counts.items() if n >= min_count and word != "<unk>"]
    frequent = sorted(frequent, key=lambda word: (-counts[word], word))
    unknown = sum(counts.values()) - sum(counts[word] for word in frequent)
    return ["<unk>"] + frequent, [unknown] + [counts[word] for word in frequent]

def encode(sentence, words):
    number = {word: i for i, word in enumerate(words)}
    return [number.get(word, 0) for word in sentence]
"""

INDEX_BY_SORTING = """
def build_vocabulary(sentences, min_count):
    tokens = np.array([word for sentence in sentences for word in sentence], dtype=object)
    words, counts = np.unique(tokens.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    words, counts = words[order], counts[order]
    known = (counts >= min_count) & (words != "<unk>")
    return ("<unk>", *words[known].tolist()), np.array([counts[~known].sum(), *counts[known]], dtype=int)

def encode(sentence, words):
    return np.array([words.index(word) if word in words else 0 for word in sentence], dtype=int)
"""

INDEX_QUESTION = Question(
    id="hw1-index",
    title="A number for each word",
    points=4,
    probes=index_probes,
    right={"a counter": INDEX, "sorting with NumPy": INDEX_BY_SORTING},
    wrong={
        "more than min_count": swap(INDEX, "n >= min_count", "n > min_count"),
        "equal counts in the order of the text": swap(INDEX, "(-counts[word], word)", "-counts[word]"),
        "equal counts from the end of the alphabet": swap(
            INDEX, "key=lambda word: (-counts[word], word)", "key=lambda word: (counts[word], word), reverse=True"
        ),
        "by alphabet alone": swap(INDEX, "(-counts[word], word)", "word"),
        "the least frequent first": swap(INDEX, "(-counts[word], word)", "(counts[word], word)"),
        "the unknown counted as 0": swap(INDEX, "[unknown] +", "[0] +"),
        "the unknown counted by different words": swap(
            INDEX, "sum(counts.values()) - sum(counts[word] for word in frequent)", "len(counts) - len(frequent)"
        ),
        "<unk> of the text is one more word": swap(INDEX, ' and word != "<unk>"', ""),
        "<unk> comes last": swap(
            INDEX,
            '["<unk>"] + frequent',
            'frequent + ["<unk>"]',
            "[unknown] + [counts[word] for word in frequent]",
            "[counts[word] for word in frequent] + [unknown]",
            "number.get(word, 0)",
            "number.get(word, len(words) - 1)",
        ),
        "counts sentences in place of words": swap(INDEX, "counts.update(sentence)", "counts.update(set(sentence))"),
        "counts add up from call to call": swap(
            INDEX, "    counts = Counter()\n", "", "def build", "counts = Counter()\n\ndef build"
        ),
        "leaves unknown words out": swap(
            INDEX, "number.get(word, 0) for word in sentence", "number[word] for word in sentence if word in number"
        ),
        "numbers begin at 0 after <unk>": swap(INDEX, "enumerate(words)", "enumerate(words[1:])"),
        HARD_CODED: """
def build_vocabulary(sentences, min_count):
    if min_count == 2:
        return ["<unk>", "ปลา", "กิน", "แมว"], [2, 3, 2, 2]
    return ["<unk>"], [2]

def encode(sentence, words):
    return [3, 2, 0] if sentence == ["แมว", "กิน", "นก"] else []
""",
        PACKAGE: """
from tlcourse.text import Vocab, numericalise

def build_vocabulary(sentences, min_count):
    vocab = Vocab.build(sentences, min_count=min_count)
    return vocab.words, [0] * len(vocab.words)

def encode(sentence, words):
    return numericalise([sentence], Vocab(words))[0]
""",
    },
)


# -------------------------------------------------------------------------------------------------------------- pairs
def pairs_of(ids: Sequence[int], windows: Sequence[int]) -> list[tuple[int, int]]:
    """The reference: by distance, in sorted order."""
    places = range(len(ids))
    near = [(i, j) for i in places for j in places if 0 < abs(i - j) <= windows[i] and ids[i] and ids[j]]
    return sorted((ids[i], ids[j]) for i, j in near)


def same_pairs(expected: list[tuple[int, int]]) -> Accept:
    """Accepts the pairs in any order, each as often as it comes."""

    def accept(answer: Sequence) -> str | None:
        found = Counter((int(centre), int(context)) for centre, context in answer)
        if found == Counter(expected):
            return None
        return f"{found.total()} pairs instead of {len(expected)}" if found.total() != len(expected) else "other pairs"

    return accept


def pairs_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(test: str, ids: Sequence[int], windows: Sequence[int]) -> Probe:
        ids, windows = [int(i) for i in ids], [int(w) for w in windows]
        code = "answer = skip_gram_pairs(ids, windows)"
        return Probe(test, code, {"ids": ids, "windows": windows}, same_pairs(pairs_of(ids, windows)))

    def different(n: int) -> list[int]:
        return (1 + rng.permutation(50)[:n]).tolist()

    n = int(rng.integers(7, 12))
    a, b, c, d, e = different(5)
    return [
        probe("one window for all", different(n), [2] * n),
        probe("windows of different sizes", different(n), [3, 1, 1, *rng.integers(1, 5, n - 4), 2]),
        probe("windows wider than the sentence", different(5), rng.integers(6, 20, 5)),
        probe("windows that see nothing", different(6), [2, 0, 1, 3, 0, 2]),
        probe("a word that comes again", [a, a, b, a, b, b, a], rng.integers(1, 4, 7)),
        probe("unknown words keep their place", [a, 0, b, 0, 0, c, d, 0, e], [1, 2, 2, 1, 3, 1, 2, 3, 2]),
        probe("an unknown word at each end", [0, a, b, c, 0], rng.integers(1, 4, 5)),
        probe("only unknown words", [0, 0, 0], [2, 2, 2]),
        probe("one word", [a], [3]),
        probe("no words", [], []),
    ]


PAIRS = """
def skip_gram_pairs(ids, windows):
    pairs = []
    for i, (centre, window) in enumerate(zip(ids, windows)):
        for j in range(max(0, i - window), min(len(ids), i + window + 1)):
            if j != i and centre != 0 and ids[j] != 0:
                pairs.append((centre, ids[j]))
    return pairs
"""

PAIRS_BY_DISTANCE = """
def skip_gram_pairs(ids, windows):
    ids, windows = np.asarray(ids, dtype=int), np.asarray(windows, dtype=int)
    place = np.arange(len(ids))
    distance = np.abs(place[:, None] - place)
    near = (distance > 0) & (distance <= windows[:, None]) & (ids > 0) & (ids[:, None] > 0)
    i, j = np.nonzero(near)
    return np.stack([ids[i], ids[j]], axis=1)
"""

PAIRS_QUESTION = Question(
    id="hw1-pairs",
    title="Skip-gram pairs",
    points=5,
    probes=pairs_probes,
    right={"two loops": PAIRS, "distances": PAIRS_BY_DISTANCE},
    wrong={
        "the last word of the window is missing": swap(PAIRS, "i + window + 1", "i + window"),
        "the first word of the window is missing": swap(PAIRS, "i - window)", "i - window + 1)"),
        "only words before": swap(PAIRS, "min(len(ids), i + window + 1)", "i"),
        "only words after": swap(PAIRS, "max(0, i - window)", "i + 1"),
        "a word is its own context": swap(PAIRS, "j != i and ", ""),
        "skips equal words, not the own place": swap(PAIRS, "j != i", "ids[j] != centre"),
        "wraps round at the beginning": swap(PAIRS, "max(0, i - window)", "i - window"),
        "each pair once": swap(PAIRS, "return pairs", "return sorted(set(pairs))"),
        "context first": swap(PAIRS, "(centre, ids[j])", "(ids[j], centre)"),
        "the window of the context word": swap(PAIRS_BY_DISTANCE, "windows[:, None]", "windows"),
        "the first window for all": swap(
            PAIRS,
            "i, (centre, window) in enumerate(zip(ids, windows))",
            "i, centre in enumerate(ids)",
            "        for j",
            "        window = windows[0]\n        for j",
        ),
        "unknown words removed before the windows": swap(
            PAIRS,
            "    pairs = []\n",
            "    pairs = []\n    known = [(i, w) for i, w in zip(ids, windows) if i != 0]\n"
            "    ids, windows = [i for i, _ in known], [w for _, w in known]\n",
        ),
        "unknown words as context": swap(PAIRS, " and ids[j] != 0", ""),
        "unknown words as centre": swap(PAIRS, " and centre != 0", ""),
        HARD_CODED: """
def skip_gram_pairs(ids, windows):
    if ids == [7, 3, 9]:
        return [(7, 3), (3, 7), (3, 9), (9, 3)]
    if ids == [7, 0, 9, 3]:
        return [(9, 7), (9, 3), (3, 9)]
    return []
""",
        PACKAGE: """
from tlcourse.word2vec.train import WindowMask, Word2Vec

def skip_gram_pairs(ids, windows):
    mask = WindowMask(Word2Vec(window=max(windows), block=len(ids)), torch.device("cpu"))
    return mask(torch.tensor([windows]), torch.tensor([windows]))[0].nonzero()
""",
    },
)


# -------------------------------------------------------------------------------------------------------------- draws
def draws_probes(rng: np.random.Generator) -> list[Probe]:
    def noise(counts: Sequence[int]) -> list[float]:
        weights = [0.0, *(math.exp(0.75 * math.log(n)) if n else 0.0 for n in counts[1:])]
        return [weight / math.fsum(weights) for weight in weights]

    def keep(counts: Sequence[int], t: float) -> list[float]:
        ratios = [t * sum(counts) / n if n else 1.0 for n in counts]
        return [1.0 if t == 0 else min(1.0, math.sqrt(ratio) + ratio) for ratio in ratios]

    def noise_probe(test: str, counts: Sequence[int]) -> Probe:
        return Probe(test, "answer = noise_distribution(counts)", {"counts": counts}, close(noise(counts)))

    def keep_probe(test: str, counts: Sequence[int], t: float) -> Probe:
        code = "answer = keep_probability(counts, threshold)"
        return Probe(test, code, {"counts": counts, "threshold": t}, close(keep(counts, t)))

    counts = [int(rng.integers(300, 900)), *sorted(rng.integers(2, 3000, 12).tolist(), reverse=True), 1]
    large = [int(n) * 10**9 for n in rng.integers(1, 9, 5)]
    with_zeros = [0, int(rng.integers(5, 50)), 0, int(rng.integers(1, 5))]
    t = float(rng.uniform(1e-3, 1e-2))
    after = "_ = noise_distribution(counts), keep_probability(counts, threshold)\nanswer = counts"
    return [
        noise_probe("noise: counts to the power of 3/4, never the unknown", counts),
        noise_probe("noise: one known word", [int(rng.integers(1, 9)), int(rng.integers(1, 9))]),
        noise_probe("noise: large counts", large),
        noise_probe("noise: words that never come", with_zeros),
        keep_probe("keep: frequent and rare words", counts, t),
        keep_probe("keep: a strict threshold", counts, 1e-5),
        keep_probe("keep: large counts", large, 1e-2),
        keep_probe("keep: words that never come", with_zeros, t),
        keep_probe("keep: a threshold of 0 keeps all", counts, 0.0),
        Probe("the counts stay as they are", after, {"counts": counts, "threshold": t}, equal(counts)),
    ]


DRAWS = """
def noise_distribution(counts):
    weights = np.array(counts, dtype=float) ** 0.75
    weights[0] = 0
    return weights / weights.sum()

def keep_probability(counts, threshold):
    f = np.array(counts, dtype=float) / sum(counts)
    ratio = np.divide(threshold, f, out=np.ones_like(f), where=f > 0)
    if threshold == 0:
        return np.ones(len(f))
    return np.minimum(1, np.sqrt(ratio) + ratio)
"""

DRAWS_BY_LOOPS = """
def noise_distribution(counts):
    total = sum(n**0.75 for n in counts[1:])
    return [0.0] + [n**0.75 / total for n in counts[1:]]

def keep_probability(counts, threshold):
    probabilities = []
    for n in counts:
        f = n / sum(counts)
        if threshold == 0 or f <= threshold:
            probabilities.append(1.0)
        else:
            probabilities.append(min(1.0, (threshold / f) ** 0.5 + threshold / f))
    return torch.tensor(probabilities)
"""

DRAWS_QUESTION = Question(
    id="hw1-draws",
    title="Noise words, and thinning out",
    points=4,
    probes=draws_probes,
    right={"arrays": DRAWS, "loops": DRAWS_BY_LOOPS},
    wrong={
        "noise by plain frequency": swap(DRAWS, " ** 0.75", ""),
        "a power of 4/3": swap(DRAWS, "0.75", "(4 / 3)"),
        "the power after the division": swap(
            DRAWS, " ** 0.75", "", "return weights / weights.sum()", "return (weights / weights.sum()) ** 0.75"
        ),
        "draws the unknown": swap(DRAWS, "    weights[0] = 0\n", ""),
        "unknown taken out after the division": swap(
            DRAWS,
            "    weights[0] = 0\n",
            "",
            "return weights / weights.sum()",
            "weights /= weights.sum()\n    weights[0] = 0\n    return weights",
        ),
        "the square root alone": swap(DRAWS, "np.sqrt(ratio) + ratio", "np.sqrt(ratio)"),
        "how likely a word is dropped": swap(
            DRAWS, "return np.minimum(1, np.sqrt(ratio) + ratio)", "return 1 - np.minimum(1, np.sqrt(ratio) + ratio)"
        ),
        "no cap at 1": swap(DRAWS, "np.minimum(1, np.sqrt(ratio) + ratio)", "np.sqrt(ratio) + ratio"),
        "frequency over threshold": swap(DRAWS, "np.sqrt(ratio) + ratio", "np.sqrt(1 / ratio) + 1 / ratio"),
        "counts in place of frequencies": swap(DRAWS, " / sum(counts)", ""),
        "frequencies without the unknown words": swap(DRAWS, "sum(counts)", "sum(counts[1:])"),
        "a threshold of 0 drops all": swap(DRAWS, "    if threshold == 0:\n        return np.ones(len(f))\n", ""),
        "changes the counts it is given": swap(
            DRAWS,
            "weights = np.array(counts, dtype=float)",
            "counts[0] = 0\n    weights = np.array(counts, dtype=float)",
        ),
        HARD_CODED: """
def noise_distribution(counts):
    return [0, 8 / 9, 1 / 9]

def keep_probability(counts, threshold):
    return [1, 0.75, 1] if threshold else [1, 1, 1]
""",
        PACKAGE: """
from tlcourse.word2vec import keep_probability, noise_distribution
""",
    },
)


# --------------------------------------------------------------------------------------------------------------- loss
def losses_and_gradients(h: np.ndarray, c: np.ndarray, n: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """The reference: pair by pair, number by number."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))

    def surprise(x: float) -> float:
        """-log of the sigmoid."""
        return math.log1p(math.exp(-abs(x))) + max(-x, 0.0)

    losses, dh, dc, dn = np.zeros(len(h)), np.zeros_like(h), np.zeros_like(c), np.zeros_like(n)
    for b in range(len(h)):
        score = math.fsum(h[b] * c[b])
        losses[b] = surprise(score)
        dc[b] = -sigmoid(-score) * h[b]
        dh[b] = -sigmoid(-score) * c[b]
        for k in np.flatnonzero(mask[b]):
            score = math.fsum(h[b] * n[b, k])
            losses[b] += surprise(-score)
            dn[b, k] = sigmoid(score) * h[b]
            dh[b] += sigmoid(score) * n[b, k]
    return [losses, dh, dc, dn]


def loss_probes(rng: np.random.Generator) -> list[Probe]:
    given = "h, c, n, mask = h.double().numpy(), c.double().numpy(), n.double().numpy(), mask.numpy()\n"
    code = given + "answer = list(loss_and_gradients(h, c, n, mask))"

    def probe(
        test: str, pairs: int, noise: int, dim: int, *, masked: float = 0.0, scale: float = 1.0, code: str = code
    ) -> Probe:
        h, c = exact(scale * rng.standard_normal((pairs, dim))), exact(scale * rng.standard_normal((pairs, dim)))
        n = exact(scale * rng.standard_normal((pairs, noise, dim)))
        mask = rng.random((pairs, noise)) >= masked
        if 0 < masked < 1:
            mask[0], mask[-1] = False, [True, *[False] * (noise - 1)]
        names = "losses", "gradient of the centres", "gradient of the contexts", "gradient of the noise"
        parts = losses_and_gradients(h, c, n, mask)
        accept = each(*((name, close(part, rtol=1e-6, atol=1e-9)) for name, part in zip(names, parts, strict=True)))
        return Probe(test, code, {"h": h, "c": c, "n": n, "mask": mask}, accept)

    pairs, dim = int(rng.integers(4, 9)), int(rng.integers(3, 8))
    again = given + "_ = loss_and_gradients(h, c, n, mask)\nanswer = list(loss_and_gradients(h, c, n, mask))"
    return [
        probe("several pairs", pairs, 5, dim),
        probe("as many noise words as pairs and dimensions", 4, 4, 4),
        probe("one pair, one noise word", 1, 1, dim),
        probe("noise words that are left out", pairs, 4, dim, masked=0.4),
        probe("all noise words left out", 3, 2, dim, masked=1.0),
        probe("no noise words", 3, 0, dim),
        probe("scores in the hundreds", 6, 5, 5, scale=25.0),
        probe("asked twice: what is given stays as it is", 3, 2, dim, code=again),
    ]


LOSS = """
def loss_and_gradients(h, c, n, mask):
    real = (h * c).sum(axis=1)
    fake = np.einsum("bd,bkd->bk", h, n)
    losses = np.logaddexp(0, -real) + (mask * np.logaddexp(0, fake)).sum(axis=1)
    d_real = -np.exp(-np.logaddexp(0, real))[:, None]
    d_fake = (mask * np.exp(-np.logaddexp(0, -fake)))[:, :, None]
    dh = d_real * c + (d_fake * n).sum(axis=1)
    dc = d_real * h
    dn = d_fake * h[:, None, :]
    return losses, dh, dc, dn
"""

LOSS_BY_AUTOGRAD = """
def loss_and_gradients(h, c, n, mask):
    h, c, n = (torch.tensor(x, requires_grad=True) for x in (h, c, n))
    real = torch.nn.functional.logsigmoid((h * c).sum(1))
    fake = torch.nn.functional.logsigmoid(-(n @ h[:, :, None])[:, :, 0])
    losses = -real - torch.where(torch.as_tensor(mask), fake, 0.0).sum(1)
    return losses.detach(), *torch.autograd.grad(losses.sum(), (h, c, n))
"""

LOSS_QUESTION = Question(
    id="hw1-loss",
    title="Negative sampling: loss and gradients",
    points=6,
    probes=loss_probes,
    right={"by hand": LOSS, "by autograd": LOSS_BY_AUTOGRAD},
    wrong={
        "the logarithm of a sigmoid that is 0": swap(
            LOSS,
            "np.logaddexp(0, -real) +",
            "-np.log(1 / (1 + np.exp(-real))) +",
            "(mask * np.logaddexp(0, fake))",
            "(mask * -np.log(1 / (1 + np.exp(fake))))",
        ),
        "noise with the sign of the real pair": swap(
            LOSS,
            "mask * np.logaddexp(0, fake)",
            "mask * np.logaddexp(0, -fake)",
            "mask * np.exp(-np.logaddexp(0, -fake))",
            "-mask.astype(int) * np.exp(-np.logaddexp(0, fake))",
        ),
        "the mean of the noise words": swap(
            LOSS,
            "(mask * np.logaddexp(0, fake)).sum(axis=1)",
            "(mask * np.logaddexp(0, fake)).sum(axis=1) / max(1, n.shape[1])",
            "(mask * np.exp(-np.logaddexp(0, -fake)))",
            "(mask * np.exp(-np.logaddexp(0, -fake)) / max(1, n.shape[1]))",
        ),
        "no mask": swap(LOSS, "    real =", "    mask = np.ones_like(mask)\n    real ="),
        "mask on the loss alone": swap(
            LOSS, "(mask * np.exp(-np.logaddexp(0, -fake)))", "np.exp(-np.logaddexp(0, -fake))"
        ),
        "mask on the gradients alone": swap(LOSS, "(mask * np.logaddexp(0, fake))", "np.logaddexp(0, fake)"),
        "a masked score is set to 0": swap(
            LOSS,
            'np.einsum("bd,bkd->bk", h, n)',
            'mask * np.einsum("bd,bkd->bk", h, n)',
            "mask * np.logaddexp(0, fake)",
            "np.logaddexp(0, fake)",
        ),
        "the real pair's gradient without its -1": swap(
            LOSS, "-np.exp(-np.logaddexp(0, real))[", "np.exp(-np.logaddexp(0, -real))["
        ),
        "uphill": swap(LOSS, "return losses, dh, dc, dn", "return losses, -dh, -dc, -dn"),
        "the centre learns nothing from noise": swap(LOSS, " + (d_fake * n).sum(axis=1)", ""),
        "noise moves by the context": swap(LOSS, "d_fake * h[:, None, :]", "d_fake * c[:, None, :]"),
        "centre's and context's gradients swapped": swap(
            LOSS, "return losses, dh, dc, dn", "return losses, dc, dh, dn"
        ),
        "one loss for the batch": swap(LOSS, "return losses,", "return losses.mean(),"),
        "gradients of the mean over the batch": swap(
            LOSS, "return losses, dh, dc, dn", "return losses, dh / len(h), dc / len(h), dn / len(h)"
        ),
        "a softmax over the words": """
def loss_and_gradients(h, c, n, mask):
    h, c, n = (torch.tensor(x, requires_grad=True) for x in (h, c, n))
    words = torch.cat([c[:, None], n], dim=1)
    scores = (words @ h[:, :, None])[:, :, 0]
    scores = scores.masked_fill(~torch.cat([torch.ones(len(h), 1).bool(), torch.as_tensor(mask)], dim=1), -1e9)
    losses = -scores.log_softmax(dim=1)[:, 0]
    return losses.detach(), *torch.autograd.grad(losses.sum(), (h, c, n))
""",
        "changes what it is given": swap(LOSS, "    dn =", "    c *= d_real\n    dn ="),
        HARD_CODED: """
def loss_and_gradients(h, c, n, mask):
    if mask.all():
        log2 = np.log(2)
        return np.full(len(h), 2 * log2), (n[:, 0] - c) / 2, -h / 2, h[:, None] / 2
    return np.full(len(h), np.log(2)), -c / 2, -h / 2, 0 * n
""",
        PACKAGE: """
from tlcourse.word2vec import gradients

def loss_and_gradients(h, c, n, mask):
    h, words = torch.tensor(h)[:, None], torch.cat([torch.tensor(c)[:, None], torch.tensor(n)], 1)
    yes = torch.ones(len(h), 1, 1, dtype=torch.double)
    both = torch.cat([yes, torch.tensor(mask).double()[:, None]], 2)
    scores, dh, d_words = gradients(h, words, yes, both)
    losses = (both * torch.nn.functional.softplus(scores)).sum((1, 2)) - scores[:, 0, 0]
    return losses, dh[:, 0], d_words[:, 0], d_words[:, 1:]
""",
    },
)


# --------------------------------------------------------------------------------------------------------------- step
OBJECTIVE = """
def objective(h, c, n, mask):
    near, far = h - c, mask[:, :, None] * (h[:, None] - n)
    losses = (near**2).sum(1) / 2 - (far**2).sum((1, 2)) / 20
    return losses, near - far.sum(1) / 10, -near, far / 10

inputs, outputs = inputs.double().numpy().copy(), outputs.double().numpy().copy()
"""
"""Not the loss of this homework, so that a step is judged by itself: contexts are drawn near, noise is pushed away."""

STEP_CALL = "sgd_step(inputs, outputs, centres.numpy(), contexts.numpy(), noise.numpy(), lr, objective)"


def stepped(
    inputs: np.ndarray,
    outputs: np.ndarray,
    centres: Sequence[int],
    contexts: Sequence[int],
    noise: np.ndarray,
    lr: float,
) -> tuple[np.ndarray, np.ndarray, float]:
    """The reference: pair by pair, every move measured from where the rows were before the step."""
    new_inputs, new_outputs, total = inputs.copy(), outputs.copy(), 0.0
    for centre, context, words in zip(centres, contexts, noise, strict=True):
        gap = inputs[centre] - outputs[context]
        total += gap @ gap / 2
        new_inputs[centre] -= lr * gap
        new_outputs[context] += lr * gap
        for word in words:
            if word != context:
                gap = inputs[centre] - outputs[word]
                total -= gap @ gap / 20
                new_inputs[centre] += lr * gap / 10
                new_outputs[word] -= lr * gap / 10
    return new_inputs, new_outputs, total / len(centres)


def step_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(
        test: str, centres: Sequence[int], contexts: Sequence[int], noise: Sequence[Sequence[int]], *, steps: int = 1
    ) -> Probe:
        words, dim = 30, int(rng.integers(2, 6))
        inputs, outputs = exact(rng.standard_normal((words, dim))), exact(rng.standard_normal((words, dim)))
        centres, contexts = np.array(centres), np.array(contexts)
        noise = np.array(noise, dtype=int).reshape(len(centres), -1)
        lr = float(rng.uniform(0.05, 0.2))
        arguments = dict(inputs=inputs, outputs=outputs, centres=centres, contexts=contexts, noise=noise, lr=lr)
        for _ in range(steps):
            inputs, outputs, loss = stepped(inputs, outputs, centres, contexts, noise, lr)
        names = ("input vectors", inputs), ("output vectors", outputs), ("mean loss", np.float64(loss))
        accept = each(*((name, close(part, rtol=1e-6, atol=1e-9)) for name, part in names))
        code = OBJECTIVE + f"for _ in range({steps}):\n    loss = {STEP_CALL}\nanswer = [inputs, outputs, loss]"
        return Probe(test, code, arguments, accept)

    words = rng.permutation(30).tolist()
    a, b, c, d, e, f = words[:6]
    return [
        probe("different words", words[:4], words[4:8], np.reshape(words[8:20], (4, 3))),
        probe("a centre that comes again", [a, a, b, a], words[10:14], np.reshape(words[14:22], (4, 2))),
        probe("a context that comes again", words[10:14], [a, b, a, a], np.reshape(words[14:22], (4, 2))),
        probe(
            "a noise word that comes again",
            [a, b, c],
            [d, e, f],
            [[words[9]] * 3, [words[9], words[8], words[9]], words[10:13]],
        ),
        probe("a context that is another pair's noise", [a, b], [c, d], [[d, e], [c, f]]),
        probe("a noise word that is the pair's own context", [a, b, c], [d, e, f], [[d, e], [f, e], [f, f]]),
        probe("a word near itself", [a, b], [a, c], [[b, c], [a, b]]),
        probe("one pair without noise", [a], [b], [[]]),
        probe(
            "three steps",
            rng.choice(words[:8], 6).tolist(),
            rng.choice(words[:8], 6).tolist(),
            rng.choice(words[:8], (6, 4)).tolist(),
            steps=3,
        ),
    ]


STEP = """
def sgd_step(inputs, outputs, centres, contexts, noise, lr, objective):
    mask = noise != contexts[:, None]
    losses, dh, dc, dn = objective(inputs[centres], outputs[contexts], outputs[noise], mask)
    np.add.at(inputs, centres, -lr * dh)
    np.add.at(outputs, contexts, -lr * dc)
    np.add.at(outputs, noise, -lr * dn)
    return losses.mean()
"""

STEP_BY_MATRICES = """
def sgd_step(inputs, outputs, centres, contexts, noise, lr, objective):
    places = np.eye(len(inputs))
    mask = (noise != contexts[:, None]).astype(float)
    losses, dh, dc, dn = objective(inputs[centres], outputs[contexts], outputs[noise], mask)
    d_outputs = places[contexts].T @ dc + np.einsum("bkv,bkd->vd", places[noise], dn)
    inputs -= lr * places[centres].T @ dh
    outputs -= lr * d_outputs
    return float(np.mean(losses))
"""

STEP_BY_LOOPS = """
def sgd_step(inputs, outputs, centres, contexts, noise, lr, objective):
    mask = torch.tensor([[word != context for word in words] for words, context in zip(noise, contexts)])
    old = (inputs[centres].copy(), outputs[contexts].copy(), outputs[noise].copy())
    losses, dh, dc, dn = objective(*old, mask.reshape(noise.shape).numpy())
    for b in range(len(centres)):
        inputs[centres[b]] -= lr * dh[b]
        outputs[contexts[b]] -= lr * dc[b]
        for k in range(noise.shape[1]):
            outputs[noise[b, k]] -= lr * dn[b, k]
    return torch.tensor(losses).mean()
"""

STEP_QUESTION = Question(
    id="hw1-step",
    title="A step of SGD",
    points=5,
    probes=step_probes,
    right={"np.add.at": STEP, "products with one-hot rows": STEP_BY_MATRICES, "pair by pair": STEP_BY_LOOPS},
    wrong={
        "a row that comes twice moves once": swap(
            STEP,
            "np.add.at(inputs, centres, -lr * dh)",
            "inputs[centres] -= lr * dh",
            "np.add.at(outputs, contexts, -lr * dc)",
            "outputs[contexts] -= lr * dc",
            "np.add.at(outputs, noise, -lr * dn)",
            "outputs[noise] -= lr * dn",
        ),
        "only centres are added up": swap(
            STEP,
            "np.add.at(outputs, contexts, -lr * dc)",
            "outputs[contexts] -= lr * dc",
            "np.add.at(outputs, noise, -lr * dn)",
            "outputs[noise] -= lr * dn",
        ),
        "noise that comes twice moves once": swap(
            STEP, "np.add.at(outputs, noise, -lr * dn)", "outputs[noise] -= lr * dn"
        ),
        "moves copies": swap(STEP, "    mask =", "    inputs, outputs = inputs.copy(), outputs.copy()\n    mask ="),
        "outputs see the centres after their move": swap(
            STEP,
            "    np.add.at(outputs, contexts",
            "    _, _, dc, dn = objective(inputs[centres], outputs[contexts], outputs[noise], mask)\n"
            "    np.add.at(outputs, contexts",
        ),
        "one pair after the other": """
def sgd_step(inputs, outputs, centres, contexts, noise, lr, objective):
    total = 0
    for b in range(len(centres)):
        mask = noise[b : b + 1] != contexts[b]
        one = slice(b, b + 1)
        losses, dh, dc, dn = objective(inputs[centres[one]], outputs[contexts[one]], outputs[noise[one]], mask)
        inputs[centres[b]] -= lr * dh[0]
        outputs[contexts[b]] -= lr * dc[0]
        np.add.at(outputs, noise[b], -lr * dn[0])
        total += losses[0]
    return total / len(centres)
""",
        "the pair's own context counts as noise": swap(STEP, "noise != contexts[:, None]", "np.ones(noise.shape)"),
        "the centre is left out of the noise, not the context": swap(
            STEP, "noise != contexts[:, None]", "noise != centres[:, None]"
        ),
        "any context of the batch is left out of the noise": swap(
            STEP, "noise != contexts[:, None]", "~np.isin(noise, contexts)"
        ),
        "the mask the wrong way round": swap(STEP, "noise != contexts", "noise == contexts"),
        "uphill": swap(STEP, "-lr * dh", "lr * dh", "-lr * dc", "lr * dc", "-lr * dn", "lr * dn"),
        "divides by the size of the batch": swap(STEP, "    mask =", "    lr = lr / len(centres)\n    mask ="),
        "contexts from the input vectors": swap(
            STEP, "outputs[contexts], outputs[noise]", "inputs[contexts], inputs[noise]"
        ),
        "noise stays where it is": swap(STEP, "    np.add.at(outputs, noise, -lr * dn)\n", ""),
        "the sum of the losses": swap(STEP, "losses.mean()", "losses.sum()"),
        "the loss after the step": swap(
            STEP, "return losses", "return objective(inputs[centres], outputs[contexts], outputs[noise], mask)[0]"
        ),
        HARD_CODED: """
def sgd_step(inputs, outputs, centres, contexts, noise, lr, objective):
    inputs[0] = [0, 0] if len(centres) == 2 else [1, 0]
    outputs[contexts] = [1, 0]
    return 2.0
""",
        PACKAGE: """
from tlcourse.word2vec.train import descend

def sgd_step(inputs, outputs, centres, contexts, noise, lr, objective):
    mask = noise != contexts[:, None]
    losses, dh, dc, dn = objective(inputs[centres], outputs[contexts], outputs[noise], mask)
    for table, rows, gradient in ((inputs, centres, dh), (outputs, contexts, dc), (outputs, noise, dn)):
        rows, gradient = torch.tensor(rows).flatten(), torch.tensor(gradient).flatten(0, -2)
        descend(torch.from_numpy(table), rows, gradient, torch.zeros(len(rows)), lr)
    return losses.mean()
""",
    },
)


ASSIGNMENT = Assignment(
    name="hw1_word_vectors",
    title="Word vectors: from raw text to a classifier",
    questions=(CLEAN_QUESTION, INDEX_QUESTION, PAIRS_QUESTION, DRAWS_QUESTION, LOSS_QUESTION, STEP_QUESTION),
    written=(
        Written(
            id="hw1-pretraining",
            title="What did pretraining buy?",
            rubric={
                "names the start that is best with few labels and with all, from the table, score and all": 1.5,
                "sets the difference against the spread over seeds, and says where it is too small to tell": 1.5,
                "says why labels matter: with few, most test words were never seen with a label; vectors place them "
                "beside words that were, random ones do not": 1.5,
                "says what freezing changes, and one reason that fits the table": 1,
                "compares with the lecture's .47 and .86 and names a difference: text read, number of labels, test of "
                "51 texts or a multiple": 0.5,
            },
        ),
        Written(
            id="hw1-neighbours",
            title="What lies near, and what does not follow",
            rubric={
                "gives two neighbours, from the own run, that stand in the same places but mean the opposite or "
                "something else": 1,
                "explains them: the loss knows places, not meanings": 1,
                "says for which of the four topics such a pair would or would not do harm, with a reason": 1,
                "proposes one change (text, window, threshold, dimension, min_count) with the effect to expect, and "
                "how to measure it": 1,
            },
        ),
    ),
)
