"""Thai words inside a tokeniser: cuts where the words are cut, offsets into the text as it was written."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertTokenizerFast

from tlcourse.text import thai_words
from tlcourse.text.thai_pieces import MARKER, attach, detached, restore

LETTERS = "".join(map(chr, [*range(0x0E01, 0x0E3B), *range(0x0E40, 0x0E4F)]))  # ก to ฺ and เ to ๎


def characters_only(**changes) -> BertTokenizerFast:
    """A BERT whose pieces are the characters: each has its own offsets."""
    characters = [*LETTERS, *map(chr, range(33, 127)), *"ñé中"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters)]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    return BertTokenizerFast(vocab=vocab, **{"do_lower_case": True, "strip_accents": False} | changes)


@pytest.fixture(scope="module")
def tokeniser():
    return attach(characters_only())


def words(tokeniser, text: str) -> list[str]:
    """The words of a text, as the tokeniser cuts it, in the letters of the text."""
    encoding = tokeniser(text, add_special_tokens=False)
    numbers = dict.fromkeys(encoding.word_ids())
    return [text[slice(*encoding.word_to_chars(number))] for number in numbers]


@pytest.mark.parametrize(
    "text",
    [
        "อยากเช็คยอดเงินในบัญชีครับ",
        "รถไฟฟ้าสายสีม่วงเปิดให้บริการ ตั้งแต่ 05.30 น.",
        "น้ำท่วมขังหน้าโรงเรียนมาสามวันแล้ว",
        "iPhoneราคาแพงมากๆ!!",
        "ไปเที่ยวเชียงใหม่with friends",
        "😀ดีใจจัง😀😀",
        "กรุงเทพฯ,นนทบุรี",
    ],
)
def test_the_words_are_those_of_the_course(tokeniser, text):
    cut = itertools.accumulate(map(len, words(tokeniser, "".join(text.split()))))
    wanted = itertools.accumulate(map(len, thai_words("".join(text.split()))))
    assert {*wanted} <= {*cut}  # BERT cuts punctuation finer


def test_thai_written_next_to_something_else_is_parted_from_it(tokeniser):
    assert words(tokeniser, "ซื้อiPhone13ให้แม่ 2เครื่อง😀") == [
        "ซื้อ", "iPhone13", "ให้", "แม่", "2", "เครื่อง", "😀",
    ]  # fmt: skip


def test_what_is_not_thai_is_cut_as_bert_cuts_it(tokeniser):
    text = "Don't panic: it's well-made... ñandú 中文 e-mail@example.org"
    assert tokeniser(text).encodings[0].tokens == characters_only()(text).encodings[0].tokens


def test_every_character_has_its_own_offsets(tokeniser):
    text = "กำลังทำน้ำ\u200bพริก ผู้ใหญ่ก็ชอบ"
    encoding = tokeniser(text, add_special_tokens=False, return_offsets_mapping=True)
    visible = [(i, i + 1) for i, character in enumerate(text) if character not in " \u200b"]
    assert encoding.offset_mapping == visible
    assert [piece.removeprefix("##") for piece in encoding.tokens()] == [text[a] for a, _ in visible]


@pytest.mark.parametrize("family", ["👨‍👩‍👧", "👍🏽", "🇹🇭", "❤️"])
def test_offsets_behind_an_emoji_of_several_signs(tokeniser, family):
    text = f"รัก{family}น้ำ"
    encoding = tokeniser(text, add_special_tokens=False, return_offsets_mapping=True)
    begin = text.index("น้ำ")
    assert encoding.offset_mapping[-3:] == [(begin + i, begin + i + 1) for i in range(3)]
    assert encoding.offset_mapping[3][0] == 3 and encoding.tokens()[3] == "[UNK]"


texts = st.text(st.sampled_from(LETTERS + "aZ9 .,!?-\n\t\u200b\u200d\u00ad😀中é"), max_size=40)


@settings(deadline=None, max_examples=150)
@given(st.one_of(texts, st.text(max_size=30)))
def test_offsets_go_up_within_the_text_and_no_piece_crosses_a_word(tokeniser, text):
    encoding = tokeniser(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets, plain = encoding.offset_mapping, characters_only().backend_tokenizer.normalizer
    assert all(0 <= a <= b <= len(text) for a, b in offsets)
    assert offsets == sorted(offsets)
    for piece, (a, b) in zip(encoding.tokens(), offsets, strict=True):
        if piece != "[UNK]":
            assert piece.removeprefix("##") == plain.normalize_str(text[a:b]).strip()


@settings(deadline=None, max_examples=50)
@given(st.text(st.sampled_from(LETTERS), min_size=1, max_size=60))
def test_no_letter_is_lost(tokeniser, text):
    encoding = tokeniser(text, add_special_tokens=False, return_offsets_mapping=True)
    assert "".join(text[a:b] for a, b in encoding.offset_mapping) == text


def test_a_tokeniser_that_strips_accents_would_take_thai_tones():
    stripped = characters_only(strip_accents=None)
    assert "".join(stripped.tokenize("น้ำ")).replace("##", "") == "นำ"


def test_pairs_truncation_and_words_given_as_lists(tokeniser):
    rows = tokeniser(
        ["ฝนตกหนัก", "แดดออก"], ["พกร่มด้วย", "hot"], truncation=True, max_length=12, return_offsets_mapping=True
    )
    assert [len(ids) for ids in rows.input_ids] == [12, 12]
    assert rows.token_type_ids[1] == [0] * 8 + [1] * 4
    assert rows.offset_mapping[1] == [(0, 0), *((i, i + 1) for i in range(6)), (0, 0), (0, 1), (1, 2), (2, 3), (0, 0)]
    split = tokeniser(["ฝน", "ตกหนัก"], is_split_into_words=True, add_special_tokens=False)
    assert split.word_ids() == [0, 0, 1, 1, 1, 1, 1, 1]


def test_special_tokens_in_a_text_stay_whole(tokeniser):
    assert tokeniser.tokenize("ฝน[MASK]มา") == ["ฝ", "##น", "[MASK]", "ม", "##า"]


@pytest.mark.parametrize("text", ["ประเทศไทย" * 20_000, "ก" * 50_000, "a" * 50_000, "ก่" * 50_000])
def test_a_very_long_run_takes_no_quadratic_time(tokeniser, text):
    encoding = tokeniser(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    assert encoding.offset_mapping[-1][1] == len(text)


def test_attaching_again_changes_nothing():
    tokeniser = attach(characters_only())
    assert attach(tokeniser) is tokeniser
    with detached(tokeniser):
        assert words(tokeniser, "ซื้อขนม") == ["ซื้อขนม"]
    assert words(tokeniser, "ซื้อขนม") == ["ซื้อ", "ขนม"]


def test_saved_detached_and_restored(tmp_path):
    tokeniser = attach(characters_only())
    text = "ซื้อน้ำ ที่ Lotus"
    with detached(tokeniser):
        tokeniser.save_pretrained(tmp_path)
        assert words(tokeniser, "ซื้อขนม") == ["ซื้อขนม"]
    assert words(tokeniser, "ซื้อขนม") == ["ซื้อ", "ขนม"]
    opened = AutoTokenizer.from_pretrained(tmp_path)
    assert opened.init_kwargs[MARKER] == "newmm" and words(opened, "ซื้อขนม") == ["ซื้อขนม"]
    assert restore(opened)(text) == tokeniser(text)
    assert words(opened, "ซื้อขนม") == ["ซื้อ", "ขนม"]


def test_attached_again_when_saving_fails(tmp_path):
    tokeniser = attach(characters_only())
    with pytest.raises(OSError), detached(tokeniser):
        raise OSError("full")
    assert words(tokeniser, "ซื้อขนม") == ["ซื้อ", "ขนม"]


def test_other_tokenisers_are_left_as_they_are(tmp_path):
    characters_only().save_pretrained(tmp_path)
    opened = restore(AutoTokenizer.from_pretrained(tmp_path))
    assert words(opened, "ซื้อขนม") == ["ซื้อขนม"]
    with detached(opened) as same:
        assert same is opened
