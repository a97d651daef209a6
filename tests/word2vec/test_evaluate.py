"""Measures of word vectors, against gensim, SciPy and scikit-learn, and against figures by hand."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from gensim.models import KeyedVectors
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from tlcourse.word2vec import evaluate
from tlcourse.word2vec.corpus import encode, encode_like
from tlcourse.word2vec.vectors import SubwordVectors, UnknownWord, WordVectors

WORDS = ["king", "Queen", "man", "woman", "ราชา", "ราชินี", "ชาย", "หญิง", "queen", "paris", "Paris", "PARIS"] + [
    f"w{i}" for i in range(68)
]


def random_vectors(seed=0, dim=10, words=WORDS):
    rng = np.random.default_rng(seed)
    return WordVectors(words, rng.standard_normal((len(words), dim)).astype(np.float32))


def in_gensim(vectors):
    keyed = KeyedVectors(vectors.dim)
    keyed.add_vectors(list(vectors.words), np.array(vectors.matrix))
    return keyed


def toy(**words):
    return WordVectors(list(words), np.array(list(words.values()), dtype=np.float32))


@pytest.fixture
def vectors():
    return random_vectors()


@pytest.fixture
def pairs():
    rng = np.random.default_rng(1)
    chosen = rng.choice([*WORDS, "KING", "unseen"], (60, 2))
    return pd.DataFrame({"word1": chosen[:, 0], "word2": chosen[:, 1], "score": rng.integers(0, 20, 60) / 2})


class TestWordSimilarity:
    @pytest.mark.parametrize("most_frequent", [300_000, 30])
    def test_it_is_gensims(self, vectors, pairs, tmp_path, most_frequent):
        path = tmp_path / "pairs.tsv"
        pairs.to_csv(path, sep="\t", header=False, index=False)
        _, spearman, unknown = in_gensim(vectors).evaluate_word_pairs(str(path), restrict_vocab=most_frequent)
        found = evaluate.word_similarity(vectors, pairs, most_frequent=most_frequent)
        assert found.rho == pytest.approx(spearman.statistic, abs=1e-12)
        assert found.p == pytest.approx(spearman.pvalue, abs=1e-12)
        assert found.skipped / len(pairs) == pytest.approx(unknown / 100)
        assert found.used + found.skipped == len(pairs)

    def test_it_reads_memory_mapped_vectors(self, vectors, pairs, tmp_path):
        np.save(tmp_path / "m.npy", vectors.matrix)
        mapped = WordVectors(vectors.words, np.load(tmp_path / "m.npy", mmap_mode="r"))
        assert evaluate.word_similarity(mapped, pairs) == evaluate.word_similarity(vectors, pairs)

    def test_nothing_known(self, vectors):
        pairs = pd.DataFrame({"word1": ["x", "king"], "word2": ["y", "man"], "score": [1.0, 2.0]})
        with pytest.raises(ValueError, match="of 2 pairs 1 have both"):
            evaluate.word_similarity(vectors, pairs)

    def test_a_missing_column(self, vectors, pairs):
        with pytest.raises(ValueError, match="no column score; there are word1, word2, human"):
            evaluate.word_similarity(vectors, pairs.rename(columns={"score": "human"}))


class TestCorrelation:
    def test_the_interval_covers_as_often_as_it_says(self):
        rng = np.random.default_rng(0)
        r = 0.5
        true = 6 / np.pi * np.arcsin(r / 2)  # Spearman's rho of two normal variables
        covered = 0
        for _ in range(400):
            x, y = rng.multivariate_normal([0, 0], [[1, r], [r, 1]], size=40).T
            low, high = evaluate.correlation(x, y, confidence=0.9).interval
            covered += low <= true <= high
        assert 0.86 < covered / 400 < 0.94

    def test_unknown_values_are_skipped(self):
        found = evaluate.correlation([1, 2, np.nan, 3, 4, 5], [1, 2, 9, 3, np.nan, 4])
        assert (found.rho, found.used, found.skipped, found.interval) == (1, 4, 2, (1, 1))


class TestPairCosines:
    def test_by_hand(self):
        vectors = toy(hot=[1, 0], cold=[1, 0.1], warm=[1, 0.2], car=[0, 1])
        pairs = pd.DataFrame({"kind": ["antonym", "random", "synonym"], "word1": ["hot", "hot", "hot"]})
        pairs["word2"] = ["cold", "car", "boiling"]
        found = evaluate.pair_cosines(vectors, pairs)
        assert found["cosine"].tolist() == pytest.approx([1.01**-0.5, 0, np.nan], nan_ok=True)
        assert found["rank"].tolist() == pytest.approx([1, 3, np.nan], nan_ok=True)
        assert found["kind"].tolist() == pairs["kind"].tolist()

    @given(st.integers(0, 100), st.one_of(st.none(), st.integers(1, 80)))
    @settings(max_examples=8, deadline=None)
    def test_ranks_are_gensims(self, seed, most_frequent):
        vectors = random_vectors(seed)
        chosen = np.random.default_rng(seed).choice(WORDS, (10, 2))
        found = evaluate.pair_cosines(
            vectors, pd.DataFrame(chosen, columns=["word1", "word2"]), most_frequent=most_frequent
        )
        keyed = in_gensim(vectors)
        for pair in found.itertuples():
            near = keyed.most_similar(pair.word1, topn=len(WORDS), restrict_vocab=most_frequent)
            nearer = {word for word, cosine in near if cosine > keyed.similarity(pair.word1, pair.word2)}
            assert pair.rank == len(nearer - {pair.word1, pair.word2}) + 1
            assert pair.cosine == pytest.approx(keyed.similarity(pair.word1, pair.word2), abs=1e-6)


def analogy_questions(vectors, seed=0, n=200):
    """Questions some of which are answered: d is the word nearest to b - a + c, in some case, or any word."""
    rng = np.random.default_rng(seed)
    keyed, rows = in_gensim(vectors), []
    for i in range(n):
        a, b, c, d = rng.choice(vectors.words, 4, replace=False)
        if i % 2:
            d = keyed.most_similar(positive=[b, c], negative=[a], topn=3)[i % 3][0]
        rows.append([f"category {i % 3}", a.upper() if i % 5 == 0 else a, b, c, "unseen" if i % 17 == 0 else d])
    return pd.DataFrame(rows, columns=["category", "a", "b", "c", "d"]).sort_values("category", kind="stable")


class TestAnalogies:
    @pytest.mark.parametrize("most_frequent", [30_000, 40])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_it_is_gensims(self, tmp_path, seed, most_frequent):
        vectors = random_vectors(seed)
        questions = analogy_questions(vectors, seed)
        lines = []
        for category, asked in questions.groupby("category"):
            lines += [f": {category}", *(" ".join(row) for row in asked[list("abcd")].to_numpy())]
        path = tmp_path / "questions.txt"
        path.write_text("\n".join(lines), encoding="utf-8")
        score, sections = in_gensim(vectors).evaluate_word_analogies(str(path), restrict_vocab=most_frequent)

        found = evaluate.analogies(vectors, questions, most_frequent=most_frequent)
        assert found["category"].tolist() == ["category 0", "category 1", "category 2", "total"]
        assert found["right"].tolist() == [len(section["correct"]) for section in sections]
        asked = [len(section["correct"]) + len(section["incorrect"]) for section in sections]
        assert found["asked"].tolist() == asked
        assert found["accuracy"].iloc[-1] == pytest.approx(score)
        assert (found["asked"] + found["skipped"]).iloc[-1] == len(questions)
        assert 0 < score < 1

    @pytest.mark.filterwarnings("ignore:Call to deprecated `init_sims`")  # gensim calls its own
    def test_the_multiplicative_method_is_gensims(self):
        words = [word.lower() for word in WORDS[:9]] + [f"w{i}" for i in range(60)]
        vectors = random_vectors(5, words=list(dict.fromkeys(words)))
        keyed = in_gensim(vectors)
        questions = analogy_questions(vectors, 3).query("d != 'unseen'")
        for i, row in questions.iterrows():
            if i % 2:
                (best, _), *_ = keyed.most_similar_cosmul([row.b, row.c.lower()], [row.a.lower()])
                questions.loc[i, "d"] = best
        right = [
            keyed.most_similar_cosmul([row.b, row.c], [row.a.lower()])[0][0] == row.d for row in questions.itertuples()
        ]
        found = evaluate.analogies(vectors, questions, method="mul")
        assert found["right"].iloc[-1] == sum(right)
        assert 0 < sum(right) < len(right)

    @pytest.mark.parametrize("method", ["add", "mul"])
    def test_it_answers_as_the_vectors_do(self, vectors, method):
        """One question at a time, through the vectors' own method."""
        rng = np.random.default_rng(2)
        words = [word for word in WORDS if word.islower() and word not in ("queen", "paris")]
        chosen = rng.choice(words, (40, 3))
        chosen = chosen[[len(set(row)) == 3 for row in chosen.tolist()]]
        answers = [vectors.analogy(*row, k=1, method=method).word.item() for row in chosen]
        questions = pd.DataFrame(chosen, columns=["a", "b", "c"]).assign(category="all", d=answers)
        assert evaluate.analogies(vectors, questions, method=method)["accuracy"].tolist() == [1, 1]

    def test_blocks_do_not_matter(self, vectors, monkeypatch):
        questions = analogy_questions(vectors)
        whole = evaluate.analogies(vectors, questions)
        monkeypatch.setattr(evaluate, "BLOCK", 7 * len(vectors))
        pd.testing.assert_frame_equal(evaluate.analogies(vectors, questions), whole)

    def test_a_category_of_unknown_words_has_no_accuracy(self, vectors):
        questions = pd.DataFrame([["c", "x", "king", "man", "y"]], columns=["category", "a", "b", "c", "d"])
        found = evaluate.analogies(vectors, questions).iloc[0]
        assert (found["asked"], found["skipped"], found["right"]) == (0, 1, 0)
        assert np.isnan(found["accuracy"])

    def test_refusals(self, vectors):
        questions = analogy_questions(vectors, n=3)
        with pytest.raises(ValueError, match="'add' or 'mul', not 'sum'"):
            evaluate.analogies(vectors, questions, method="sum")
        with pytest.raises(ValueError, match="no column category"):
            evaluate.analogies(vectors, questions.drop(columns="category"))


class TestHeldOut:
    """A language of two words that follow each other, and two others."""

    sentences = (["a", "b"], ["a", "b"], ["c", "d"])
    text = encode(sentences * 5, min_count=1)  # words in the order a, b, c, d

    def vectors(self, *, reverse=False):
        matrix = np.eye(4, dtype=np.float32) * 50
        outputs = matrix[[1, 0, 3, 2]]  # each word's output is high for its neighbour
        words = list(self.text.words)
        return (
            (WordVectors(words[::-1], matrix[::-1]), outputs[::-1])
            if reverse
            else (WordVectors(words, matrix), outputs)
        )

    @pytest.mark.parametrize("given", ["word", "window"])
    @pytest.mark.parametrize("reverse", [False, True])
    def test_an_objective_that_knows_the_language(self, given, reverse):
        vectors, outputs = self.vectors(reverse=reverse)
        found = evaluate.held_out_rank(vectors, outputs, self.text, given=given)
        assert (found.mean, found.median, found.reciprocal, found.places) == (1, 1, 1, 30)
        assert found.by_frequency == pytest.approx(np.mean([1, 2, 1, 2, 3, 4]))

    def test_without_outputs_frequency_decides(self):
        vectors, outputs = self.vectors()
        found = evaluate.held_out_rank(vectors, outputs * 0, self.text)
        assert found.mean == pytest.approx(
            (2 * 1.5 + 1 * 3.5) / 1.5 / 2, abs=0.01
        )  # words of equal count share a place
        tied = evaluate.held_out_rank(vectors, outputs * 0, self.text, noise=0)
        assert (tied.mean, tied.median) == (2.5, 2.5)

    def test_every_rank_by_sorting(self):
        """Other code for the same: each pair of neighbours in a loop, its rank by sorting."""
        rng = np.random.default_rng(0)
        sentences = [rng.choice(list("abcdefgh"), rng.integers(1, 3)).tolist() for _ in range(50)]  # two words at most
        text = encode(sentences, min_count=1)
        vectors = WordVectors(text.words, rng.standard_normal((len(text.words), 5)))
        outputs = rng.standard_normal(vectors.matrix.shape).astype(np.float32)
        ranks = []
        for sentence in (s for s in sentences if len(s) == 2):
            for word, neighbour in (sentence, sentence[::-1]):
                scores = {
                    other: outputs[i] @ vectors[word] + 0.75 * np.log(text.counts[i])
                    for i, other in enumerate(text.words)
                }
                ranks.append(sorted(scores, key=scores.get, reverse=True).index(neighbour) + 1)
        found = evaluate.held_out_rank(vectors, outputs, text)
        assert found.places == len(ranks)
        assert found.mean == pytest.approx(np.mean(ranks))
        assert found.median == np.median(ranks)
        assert found.reciprocal == pytest.approx(np.mean(1 / np.array(ranks)))

    def test_the_window_is_averaged(self):
        """x stands between words whose mean, but neither of which alone, points to it."""
        text = encode([["l", "x", "r"]] * 3, min_count=1)
        matrix = {"l": [3, 0], "r": [0, 3], "x": [0, 0]}
        outputs = {"l": [1, -1], "r": [-1, 1], "x": [0.9, 0.9]}
        vectors = WordVectors(text.words, np.array([matrix[w] for w in text.words]))
        out = np.array([outputs[w] for w in text.words], dtype=np.float32)
        found = evaluate.held_out_rank(vectors, out, text, given="window", window=1, noise=0)
        # x comes first; for l and r the window is x alone, whose vector is zeros: all three share place 2
        assert (found.mean, found.places) == (pytest.approx((1 + 2 + 2) / 3), 9)

    def test_sentences_are_kept_apart(self):
        apart = encode_like(self.text, [["a"], ["b", "unseen"], [], ["c", "d"]])
        vectors, outputs = self.vectors()
        assert evaluate.held_out_rank(vectors, outputs, apart).places == 2

    def test_a_seed_draws_the_same_places(self):
        rng = np.random.default_rng(0)
        vectors = WordVectors(self.text.words, rng.standard_normal((4, 3)))
        runs = [
            evaluate.held_out_rank(vectors, vectors.matrix[::-1], self.text, sample=7, seed=seed) for seed in (0, 0, 1)
        ]
        assert runs[0] == runs[1] != runs[2]
        assert runs[0].places == 7

    def test_refusals(self):
        vectors, outputs = self.vectors()
        with pytest.raises(ValueError, match=r"outputs are \(3, 4\), the vectors \(4, 4\)"):
            evaluate.held_out_rank(vectors, outputs[:3], self.text)
        with pytest.raises(ValueError, match="see encode_like"):
            evaluate.held_out_rank(vectors, outputs, encode([["x", "y"]], min_count=1))
        with pytest.raises(ValueError, match="there is no neighbour"):
            evaluate.held_out_rank(vectors, outputs, encode_like(self.text, [["a"], ["b"]]))
        with pytest.raises(ValueError, match="'word' or 'window'"):
            evaluate.held_out_rank(vectors, outputs, self.text, given="sentence")


class TestBias:
    pairs = (("woman", "man"), ("Queen", "king"), ("หญิง", "ชาย"))

    def test_the_direction_is_scikit_learns_first_component(self, vectors):
        found = evaluate.bias_direction(vectors, self.pairs)
        rows = []
        for pair in self.pairs:
            unit = np.array([vectors[word] / np.linalg.norm(vectors[word]) for word in pair])
            rows += list(unit - unit.mean(axis=0))
        component = PCA(1).fit(rows).components_[0]
        assert abs(found @ component) == pytest.approx(1, abs=1e-5)

    @given(st.integers(0, 10_000))
    @settings(max_examples=20, deadline=None)
    def test_it_points_to_the_first_words(self, seed):
        vectors = random_vectors(seed)
        towards = evaluate.bias_direction(vectors, self.pairs)
        back = evaluate.bias_direction(vectors, [(b, a) for a, b in self.pairs])
        assert np.linalg.norm(towards) == pytest.approx(1, abs=1e-5)
        assert towards == pytest.approx(-back, abs=1e-4)
        assert (
            towards @ np.sum([vectors.unit[vectors.row(a)] - vectors.unit[vectors.row(b)] for a, b in self.pairs], 0)
            > 0
        )

    def test_projections_by_hand(self):
        vectors = toy(she=[1, 1], he=[-1, 1], nurse=[3, 4], engineer=[-1, 0], stone=[0, 2])
        found = evaluate.projections(vectors, ["nurse", "engineer", "stone", "dragon"], [("she", "he")])
        assert found["projection"].tolist() == pytest.approx([0.6, -1, 0, np.nan], abs=1e-6, nan_ok=True)
        assert found["word"].tolist() == ["nurse", "engineer", "stone", "dragon"]

    def test_unseen_words_are_composed(self):
        inputs = np.random.default_rng(0).standard_normal((2 + 50, 4))
        vectors = SubwordVectors(["she", "he"], inputs)
        found = evaluate.projections(vectors, ["nurses"], [("she", "he")])["projection"].item()
        expected = vectors["nurses"] / np.linalg.norm(vectors["nurses"])
        assert found == pytest.approx(expected @ evaluate.bias_direction(vectors, [("she", "he")]), abs=1e-6)

    def test_refusals(self, vectors):
        with pytest.raises(UnknownWord, match="womin"):
            evaluate.bias_direction(vectors, [("womin", "man")])
        with pytest.raises(ValueError, match="one pair"):
            evaluate.bias_direction(vectors, [])


class TestWeat:
    def test_by_hand(self):
        """Cosines 1 and 0 only: x leans to a by 1, y to b by 1; all of the difference lies between the sets."""
        vectors = toy(a=[1, 0], b=[0, 1], x1=[2, 0], x2=[3, 0], y1=[0, 1], y2=[0, 9])
        found = evaluate.weat(vectors, ["x1", "x2"], ["y1", "y2"], ["a"], ["b"])
        assert found.effect == pytest.approx(2)  # associations 1, 1, -1, -1: difference 2, deviation 1
        assert found.p == pytest.approx(1 / 6)  # of the six ways to deal out four words only this one gives so much
        back = evaluate.weat(vectors, ["y1", "y2"], ["x1", "x2"], ["a"], ["b"])
        assert (back.effect, back.p) == (pytest.approx(-2), 1)

    @given(st.integers(0, 10_000))
    @settings(max_examples=10, deadline=None)
    def test_against_loops(self, seed):
        """Caliskan's formulas word by word, and every partition in turn."""
        vectors = random_vectors(seed)
        chosen = np.random.default_rng(seed).choice(WORDS, 14, replace=False).tolist()
        X, Y, A, B = chosen[:4], chosen[4:8], chosen[8:11], chosen[11:]

        def lean(word):
            to_a, to_b = ([vectors.similarity(word, other) for other in others] for others in (A, B))
            return np.mean(to_a) - np.mean(to_b)

        leans = {word: lean(word) for word in X + Y}

        def statistic(first):
            return sum(leans[word] * (1 if word in first else -1) for word in X + Y)

        values = list(leans.values())
        found = evaluate.weat(vectors, X, Y, A, B)
        assert found.effect == pytest.approx((np.mean(values[:4]) - np.mean(values[4:])) / np.std(values), abs=1e-4)
        as_large = [statistic(first) >= statistic(X) - 1e-9 for first in combinations(X + Y, 4)]
        assert found.p == pytest.approx(np.mean(as_large))
        assert abs(found.effect) <= 2

    def test_drawn_partitions_come_near_all_of_them(self, vectors):
        sets = WORDS[12:18], WORDS[18:24], WORDS[24:28], WORDS[28:32]
        exact, drawn = (evaluate.weat(vectors, *sets, permutations=n) for n in (1000, 900))  # 924 partitions
        assert drawn.effect == exact.effect
        assert exact.p * 924 == pytest.approx(round(exact.p * 924))
        assert abs(drawn.p - exact.p) < 0.06
        assert drawn == evaluate.weat(vectors, *sets, permutations=900)

    def test_refusals(self, vectors):
        with pytest.raises(UnknownWord, match="flower"):
            evaluate.weat(vectors, ["flower", "king"], ["man", "woman"], ["w1"], ["w2"])
        with pytest.raises(ValueError, match="X 1, Y 2, A 1, B 0"):
            evaluate.weat(vectors, ["king"], ["man", "woman"], ["w1"], [])
