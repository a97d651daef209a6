"""The sentences and word lists of the lesson on word vectors: counts, places, one token a Thai word, nothing twice."""

from collections import Counter
from itertools import combinations

import pandas as pd
import pytest

from tlcourse import data
from tlcourse.text import english_words, normalise, thai_words

CUT = {"en": english_words, "th": thai_words}
SETS = {  # the files of data/word_sets, their columns and rows
    "thai_analogies": ("category a b c d", 122),
    "odd_one_out": ("language words odd", 60),
    "word_pairs": ("language kind word1 word2", 160),
    "word_forms": ("language group word1 word2 relation", 154),
    "gender_pairs": ("language male female", 44),
    "occupations": ("language word", 80),
    "weat": ("language list word", 276),
}


def read(path: str) -> pd.DataFrame:
    return pd.read_csv(data.shipped() / path, dtype=str, keep_default_na=False, encoding="utf-8")


def places(text: str, words: list[str]) -> list[tuple[str, int, int]]:
    """Each token with its start and end in the text, which holds them in order and little but spaces between."""
    found, at = [], 0
    for word in words:
        start = text.lower().index(word, at)
        at = start + len(word)
        found.append((word, start, at))
    return found


# --- sentences ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["en", "th"])
def senses(request) -> pd.DataFrame:
    return read(f"word_senses/{request.param}.csv").assign(
        start=lambda frame: frame.start.astype(int), end=lambda frame: frame.end.astype(int)
    )


def test_eight_words_of_two_senses_with_eight_sentences_each(senses):
    assert list(senses) == ["language", "word", "sense", "text", "start", "end"]
    assert senses.word.nunique() == 8
    assert (senses.groupby("word").sense.nunique() == 2).all()
    assert (senses.groupby(["word", "sense"]).size() == 8).all()


def test_the_word_stands_at_its_place_as_one_token_and_only_there(senses):
    for row in senses.itertuples():
        assert row.text == normalise(row.text)
        assert row.text[row.start : row.end].lower() == row.word
        tokens = places(row.text, CUT[row.language](row.text))
        assert [place for place in tokens if place[0] == row.word] == [(row.word, row.start, row.end)], row.text


def test_no_two_sentences_are_near(senses):
    bags = [set(CUT[row.language](row.text)) for row in senses.itertuples()]
    for (one, a), (other, b) in combinations(zip(senses.text, bags, strict=True), 2):
        assert len(a & b) < 0.5 * len(a | b), (one, other)


def test_a_word_stands_early_and_late_in_both_senses(senses):
    position = senses.start / (senses.text.str.len() - senses.word.str.len())
    for _, where in position.groupby([senses.word, senses.sense]):
        assert where.min() < 0.4 and where.max() > 0.5


def test_no_other_word_tells_the_sense(senses):
    for word, rows in senses.groupby("word"):
        one, other = (tokens_of(sense) for _, sense in rows.groupby("sense"))
        telling = {token for token in one | other if len(token) > 3 and abs(one[token] - other[token]) > 3}
        assert telling <= ({"dogs"} if word == "cats" else set()), word  # an idiom is its words


def tokens_of(rows: pd.DataFrame) -> Counter[str]:
    """In how many of the sentences each token is, but for the word itself."""
    return Counter(
        token for row in rows.itertuples() for token in set(CUT[row.language](row.text)) if token != row.word
    )


# --- lists ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_columns_and_rows(name):
    columns, rows = SETS[name]
    frame = read(f"word_sets/{name}.csv")
    assert (" ".join(frame), len(frame)) == (columns, rows)
    assert not frame.duplicated().any() and (frame != "").all(axis=None)
    assert frame.map(lambda cell: cell == normalise(cell) == cell.lower()).all(axis=None)


def test_bytes():
    files = [*data.shipped().glob("word_senses/*.csv"), *data.shipped().glob("word_sets/*.csv")]
    assert len(files) == 2 + len(SETS)
    for file in files:
        raw = file.read_bytes()
        assert raw.endswith(b"\n") and b"\r" not in raw and not raw.startswith(b"\xef\xbb\xbf")


def thai_entries() -> list[tuple[str, str]]:
    """(file, word) of each Thai word that is meant to be one token."""
    found = []
    for name in SETS:
        frame = read(f"word_sets/{name}.csv")
        if "language" in frame:
            frame = frame[frame.language == "th"].drop(columns="language")
        if name == "word_forms":
            frame["word2"] = frame.word2.where(frame.relation != "misspelling", frame.word1)
        cells = (
            frame.drop(columns=["category", "kind", "group", "relation", "list"], errors="ignore").to_numpy().ravel()
        )
        found += [(name, word) for cell in cells for word in cell.split()]
    return found


def test_thai_words_are_one_token():
    entries = thai_entries()
    assert {name for name, _ in entries} == set(SETS)
    assert [entry for entry in entries if thai_words(entry[1]) != [entry[1]]] == []


def test_analogies():
    questions = read("word_sets/thai_analogies.csv")
    assert questions.category.value_counts().min() >= 8 and questions.category.nunique() == 12
    assert (questions[["a", "b", "c", "d"]].nunique(axis=1) == 4).all()
    assert questions.iloc[0].tolist() == ["man-woman", "ผู้ชาย", "ราชา", "ผู้หญิง", "ราชินี"]


def test_the_odd_one_is_in_its_list_and_not_always_at_one_place():
    lists = read("word_sets/odd_one_out.csv")
    assert lists.language.value_counts().to_dict() == {"en": 30, "th": 30}
    words = lists.words.str.split(" ")
    assert (words.map(len) == 5).all() and (words.map(lambda row: len(set(row))) == 5).all()
    place = pd.Series([row.index(odd) for row, odd in zip(words, lists.odd, strict=True)])
    assert (place.groupby(lists.language).value_counts() == 6).all()


def test_pairs_are_of_two_words_and_stand_once():
    pairs = read("word_sets/word_pairs.csv")
    assert (pairs.groupby(["language", "kind"]).size() == 40).all() and pairs.groupby(["language", "kind"]).ngroups == 4
    for name, kinds in [("word_pairs", ["language"]), ("word_forms", ["language", "relation"])]:
        frame = read(f"word_sets/{name}.csv")
        assert (frame.word1 != frame.word2).all()
        either_way = (
            frame.word1.where(frame.word1 < frame.word2, frame.word2) + " " + frame[["word1", "word2"]].max(axis=1)
        )
        assert not pd.concat([frame[kinds], either_way], axis=1).duplicated().any()


def test_forms_share_letters():
    forms = read("word_sets/word_forms.csv")
    assert forms.relation.value_counts().to_dict() == {"misspelling": 64, "part": 44, "form only": 26, "stem": 20}
    assert forms.groupby("language").relation.value_counts().unstack().misspelling.min() >= 25
    parts = forms[forms.relation.isin(["part", "form only"])]
    for row in parts.itertuples():
        letters = row.group.strip("-")
        ends = str.endswith if row.group.startswith("-") else str.startswith
        assert ends(row.word1, letters) and ends(row.word2, letters), row
    for row in forms[forms.relation == "misspelling"].itertuples():
        assert set(trigrams(row.word1)) & set(trigrams(row.word2)), row


def trigrams(word: str) -> list[str]:
    return [f"<{word}>"[i : i + 3] for i in range(len(word))]


def test_lists_that_are_compared_are_of_one_length():
    weat = read("word_sets/weat.csv")
    size = weat.groupby(["language", "list"]).size()
    for language in ("en", "th"):
        for one, other in [
            ("flowers", "insects"),
            ("pleasant", "unpleasant"),
            ("career", "family"),
            ("math", "arts"),
            ("male", "female"),
        ]:
            assert size[language, one] == size[language, other] >= 8
            both = weat[(weat.language == language) & weat["list"].isin([one, other])]
            assert both.word.is_unique
    assert read("word_sets/occupations.csv").language.value_counts().to_dict() == {"en": 40, "th": 40}
    genders = read("word_sets/gender_pairs.csv")
    assert genders.language.value_counts().to_dict() == {"en": 22, "th": 22}
    assert not set(genders.male) & set(genders.female)
