"""The lesson's sizes and measurements, on the texts at hand and on vectors whose figures are known beforehand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tlcourse import data
from tlcourse.text import english_words, thai_words
from tlcourse.word2vec import lesson, published
from tlcourse.word2vec.classify import Recipe
from tlcourse.word2vec.corpus import encode
from tlcourse.word2vec.lesson import SIZES, Model
from tlcourse.word2vec.train import Word2Vec
from tlcourse.word2vec.vectors import SubwordVectors, WordVectors

TOKENISERS = {"en": english_words, "th": thai_words}
NAMES = ["skip-gram", "CBOW", "fastText", "GloVe"]
TINY = replace(SIZES["smoke"], recipe=Word2Vec(dim=8, epochs=1, buckets=500, subsample=0, batch=64), glove_epochs=1)


def word_sets(part: str, language: str):
    table = data.load("word_sets").splits[part]
    return table[table.language == language]


# ------------------------------------------------------------------------------------------------------------ the text
class TestText:
    def test_lines_become_words_without_punctuation(self):
        texts = {"a": ["One, two!\n\nThree\n  \nMr 5 — (six)?"], "b": ["…", "แมวกินปลา ๒ ตัว"]}
        assert lesson.lines_of_words(texts, english_words)[:2] == [["one", "two"], ["mr", "5", "six"]]
        assert lesson.lines_of_words({"b": texts["b"]}, thai_words) == [["แมว", "กิน", "ปลา", "๒", "ตัว"]]

    def test_no_text(self):
        assert lesson.lines_of_words({"a": [], "b": ["", "\n"]}, str.split) == []

    def test_the_smallest_sizes_need_no_network(self, capsys):
        sizes = replace(SIZES["smoke"], characters=20_000)
        english, thai = lesson.english_texts(sizes), lesson.thai_texts(sizes)
        assert list(english) == ["gensim_wikipedia"] and list(thai) == ["wikipedia", "orchid"]
        assert "Going on without" not in capsys.readouterr().out
        for texts, tokeniser in ((english, english_words), (thai, thai_words)):
            lengths = [list(map(len, some)) for some in texts.values()]
            assert all(sum(each[:-1]) < 20_000 for each in lengths)  # as many as begin within so many characters
            lines = lesson.lines_of_words({name: [some[0][:3000]] for name, some in texts.items()}, tokeniser)
            assert len(encode(lines, min_count=1).words) > 20

    def test_a_set_that_cannot_be_had_is_left_out(self, capsys):
        english = lesson.english_texts(replace(SIZES["laptop"], english=("wikitext2", "lee"), characters=1000))
        assert list(english) == ["lee"]
        assert "Going on without wikitext2" in capsys.readouterr().out

    @pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
    def test_the_sizes_name_what_there_is(self, sizes):
        for name in (*sizes.english, *sizes.thai, sizes.task, sizes.fallback):
            assert data.info(name).name == name
        for name in sizes.published:
            assert name in published.names()
        fallback = data.load(sizes.fallback)
        assert sizes.task_label in fallback.train and max(n or 0 for n in sizes.labels) <= len(fallback.train)


# ---------------------------------------------------------------------------------------------------------- the models
@pytest.fixture(scope="module", params=["en", "th"])
def trained(request):
    """All models of a tiny text of the words that the language's tables ask for."""
    language = request.param
    words = [word for words in word_sets("odd_one_out", language).head(4).words for word in words]
    if language == "en":
        pairs = data.load("simlex999").test.head(20)
        words += [*pairs.word1, *pairs.word2, "athens", "greece", "baghdad", "iraq"]
    else:
        words += data.load("word_sets").splits["thai_analogies"].loc[1, list("abcd")].tolist()
    words = list(dict.fromkeys(words))
    lines = np.random.default_rng(0).choice(words, (300, 6)).tolist()
    text = encode([words, *lines], min_count=1)
    return language, text, lesson.train_models(text, TINY, progress=False)


class TestModels:
    def test_there_are_four_of_the_same_words(self, trained):
        _, text, models = trained
        assert list(models) == NAMES
        for name, model in models.items():
            assert model.vectors.words == text.words and model.vectors.dim == 8 and model.seconds > 0
            assert np.isfinite(model.vectors.matrix).all()
            assert isinstance(model.vectors, SubwordVectors) == (name == "fastText")
            if name == "GloVe":
                assert model.outputs is None
            else:
                assert model.outputs.shape == (len(text.words), 8) and np.abs(model.outputs).max() > 0

    def test_each_is_another(self, trained):
        matrices = [model.vectors.matrix for model in trained[2].values()]
        assert all(not np.allclose(a, b) for i, a in enumerate(matrices) for b in matrices[:i])

    def test_they_are_judged(self, trained):
        language, text, models = trained
        held_out = np.random.default_rng(1).choice(text.words, (50, 6)).tolist()
        table = lesson.judge(models, text, held_out, language=language)
        assert list(table.columns) == ["seconds", "held-out MRR", "similarity", "3CosAdd", "3CosMul", "odd one out"]
        assert list(table.index) == NAMES
        assert table.seconds.tolist() == [model.seconds for model in models.values()]
        missing = table.isna()
        assert missing["held-out MRR"].tolist() == [name == "GloVe" for name in NAMES]
        assert missing["similarity"].tolist() == [language == "th"] * 4
        assert not missing[["3CosAdd", "3CosMul", "odd one out"]].any(axis=None)
        shares = table[["held-out MRR", "3CosAdd", "3CosMul", "odd one out"]].to_numpy()
        assert (np.isnan(shares) | ((shares >= 0) & (shares <= 1))).all()
        assert table["similarity"].dropna().abs().le(1).all()


def planted(**directions) -> WordVectors:
    return WordVectors(list(directions), np.array(list(directions.values()), dtype=float))


class TestJudge:
    def test_vectors_that_are_always_right(self):
        """The figures are those of the planted vectors, and each column is its own measure."""
        capitals = {"athens": "greece", "baghdad": "iraq", "bangkok": "thailand"}
        axes = np.eye(30)
        words = {}
        for i, (capital, country) in enumerate(capitals.items()):
            words[capital], words[country] = axes[i] + axes[3], axes[i] + axes[4]
        pairs = data.load("simlex999").test
        compared = pd.concat([pairs.word1, pairs.word2])
        sets = word_sets("odd_one_out", "en")
        odd = next(row for row in sets.itertuples() if not set(row.words) & set(compared))
        words |= {word: axes[5 + (word == odd.odd)] for word in odd.words}
        once = set(compared.drop_duplicates(keep=False))
        pairs = pairs[pairs.word1.isin(once) & pairs.word2.isin(once)].head(8)
        for i, pair in enumerate(pairs.itertuples(), start=10):
            words[pair.word1], words[pair.word2] = axes[i], pair.score / 10 * axes[i] + axes[i + 10]
        vectors = planted(**words)
        text = encode([list(words)], min_count=1)
        order = [vectors.row(word) for word in text.words]
        vectors = WordVectors(text.words, vectors.matrix[order])
        table = lesson.judge({"right": Model(vectors, None, 1.5)}, text, [], language="en")
        figures = table.loc["right"]
        assert figures.seconds == 1.5 and np.isnan(figures["held-out MRR"])
        assert figures[["similarity", "3CosAdd", "3CosMul", "odd one out"]].tolist() == pytest.approx([1, 1, 1, 1])

    def test_held_out_text_that_the_outputs_foretell(self):
        text = encode([["ก", "ข", "ค", "ง"]], min_count=1)
        vectors = WordVectors(text.words, np.eye(4))
        after = np.roll(np.eye(4), 1, axis=0)  # the output of each word is the vector of the one before it
        models = {"right": Model(vectors, 50 * after, 0.0), "wrong": Model(vectors, -50 * after, 0.0)}
        table = lesson.judge(models, text, [["ก", "ข"]] * 3 + [["เขา"]], language="th")
        places = table["held-out MRR"]
        # One of each pair is foretold, its neighbour is not: the mean of 1 and one of the other places' 1 / 2 … 1 / 4.
        assert 0.5 < places["right"] <= 0.75 and places["wrong"] < places["right"]
        assert table[["similarity", "3CosAdd", "3CosMul", "odd one out"]].isna().all(axis=None)

    def test_too_few_known_pairs_are_said(self):
        text = encode([["cat", "dog"]], min_count=1)
        vectors = WordVectors(text.words, np.eye(2))
        with pytest.raises(ValueError, match="a correlation needs four"):
            lesson.judge({"small": Model(vectors, None, 0.0)}, text, [], language="en")


@pytest.mark.parametrize("language", ["en", "th"])
class TestOddOnesOut:
    def test_the_odd_one_is_found_where_it_lies_apart(self, language):
        first, second, third = word_sets("odd_one_out", language).head(3).itertuples()
        words = {}
        for i, row in enumerate((first, second)):
            apart = row.odd if row is first else row.words[0] if row.words[0] != row.odd else row.words[1]
            words |= {word: np.eye(4)[2 * i + (word == apart)] for word in row.words}
        words[third.words[0]] = np.ones(4)  # one word of the third set, the others are unknown
        table = lesson.odd_ones_out(planted(**words), language=language)
        assert list(table.columns) == ["words", "odd", "answer", "found"]
        assert table.words.tolist() == [first.words, second.words] and table.odd.tolist() == [first.odd, second.odd]
        assert table.answer.iloc[0] == first.odd and table.answer.iloc[1] in second.words
        assert table.found.tolist() == [True, False]

    def test_no_set_is_known(self, language):
        table = lesson.odd_ones_out(planted(a=[1], b=[2]), language=language)
        assert table.empty and np.isnan(table.found.mean())


# ------------------------------------------------------------------------------------------------------- the relatives
@pytest.mark.parametrize("language", ["en", "th"])
class TestRelatives:
    @pytest.fixture
    def planted(self, language):
        """Of two pairs of words one word, of a third both, and words that share no letter with them."""
        table = word_sets("word_forms", language)
        table = table[table.word1.str.len().gt(4) & table.word2.str.len().gt(4)].drop_duplicates("word1")
        one, two, three = table[~table.word1.isin(table.word2)].drop_duplicates("word2").head(3).itertuples()
        words = [one.word1, two.word2, three.word1, three.word2, *(f"{i}_{i}" for i in range(10))]
        rng = np.random.default_rng(0)
        inputs = np.concatenate([np.zeros((len(words), 50)), rng.standard_normal((20_000, 50))])
        fasttext = SubwordVectors(words, inputs, min_n=2, max_n=6)
        word2vec = WordVectors(words, rng.standard_normal((len(words), 50)))
        return {"skip-gram": word2vec, "fastText": fasttext}, one, two, three

    def test_only_subwords_find_a_word_that_was_never_seen(self, planted, language):
        models, one, two, three = planted
        table = lesson.relatives(models, language=language, k=5)
        assert list(table.columns) == ["relation", "seen", "unseen", "skip-gram", "fastText"]
        assert not table["skip-gram"].any()
        found = table.set_index(["seen", "unseen"])
        assert found.loc[(one.word1, one.word2), ["relation", "fastText"]].tolist() == [one.relation, True]
        assert found.loc[(two.word2, two.word1), ["relation", "fastText"]].tolist() == [two.relation, True]
        known = set(models["skip-gram"].words)
        assert set(table.seen) <= known and not set(table.unseen) & known
        assert (three.word1, three.word2) not in found.index

    def test_k_counts_the_neighbours(self, planted, language):
        models = planted[0]
        fasttext = models["fastText"]
        nearest = lesson.relatives(models, language=language, k=1)
        firsts = [fasttext.nearest(unseen, k=1).word.item() for unseen in nearest.unseen]
        assert nearest.fastText.tolist() == [first == seen for first, seen in zip(firsts, nearest.seen, strict=True)]
        assert lesson.relatives(models, language=language, k=len(fasttext)).fastText.all()  # each is a neighbour

    def test_no_pair(self, planted, language):
        table = lesson.relatives({"a": WordVectors(["x"], [[1]])}, language=language)
        assert list(table.columns) == ["relation", "seen", "unseen", "a"] and table.empty


# ---------------------------------------------------------------------------------------------------------- agreement
class TestAgreement:
    words = tuple(f"w{i}" for i in range(60))
    counts = np.r_[np.full(20, 500), np.full(20, 50), np.full(20, 5)]

    def vectors(self, seed: int) -> WordVectors:
        """The 20 most frequent words stay where they are, the others are drawn anew, far from them."""
        kept, drawn = np.random.default_rng(9), np.random.default_rng(seed)
        frequent = np.c_[np.ones(20) * 20, kept.standard_normal((20, 6))]
        return WordVectors(
            self.words, np.r_[frequent, np.c_[np.zeros(40), drawn.standard_normal((40, 6))]], self.counts
        )

    def test_by_frequency(self):
        shares = lesson.agreement(self.vectors(0), self.vectors(1), k=5)
        assert list(shares.index) == ["5 to 19 times", "20 to 99 times", "100 to 999 times"]
        assert shares.iloc[2] == 1 and 0 <= shares.iloc[:2].max() < 0.6
        assert (lesson.agreement(self.vectors(0), self.vectors(0), k=5) == 1).all()

    def test_a_sample_of_each_band(self):
        few = lesson.agreement(self.vectors(0), self.vectors(1), k=5, sample=1)
        assert set(few * 5 % 1) == {0}  # of one word, a whole number of fifths


# --------------------------------------------------------------------------------------------------------- the homework
def test_the_homework():
    sizes = replace(
        SIZES["smoke"], recipe=Word2Vec(dim=6, block=64, shared=64), labels=(100, None), seeds=2,
        classifier=Recipe(steps=2),
    )  # fmt: skip
    general = WordVectors(["สวัสดี", "ค่ะ", "เน็ต"], np.random.default_rng(0).standard_normal((3, 6)))
    runs, name = lesson.homework(sizes, general)
    assert name == "thai_intents"
    assert list(runs.columns) == ["start", "labels", "seed", "accuracy", "precision", "macro_f1"]
    starts = ["random"] + [
        f"{text}, {how}" for text in ("general text", "the task's text") for how in ("frozen", "tuned")
    ]
    assert list(dict.fromkeys(runs.start)) == starts
    all_of_them = len(data.load("thai_intents").train)
    assert runs.groupby("start").labels.apply(list).tolist() == [[100, 100, all_of_them, all_of_them]] * 5
    assert runs[["accuracy", "precision", "macro_f1"]].stack().between(0, 1).all()
    assert runs.groupby("start").accuracy.mean().nunique() > 1


# ---------------------------------------------------------------------------------------------------------- the senses
@pytest.mark.parametrize("language", ["en", "th"])
def test_the_place_of_each_ambiguous_word(language):
    senses = data.load("word_senses").test
    senses = senses[senses.language == language]
    words, places = lesson.places_of_words(senses, TOKENISERS[language])
    assert len(words) == len(places) == len(senses) == 128
    for row, own, place in zip(senses.itertuples(), words, places, strict=True):
        assert own == TOKENISERS[language](row.text)
        assert own[place] == row.text[row.start : row.end].lower()
