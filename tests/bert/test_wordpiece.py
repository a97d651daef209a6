"""WordPiece of Thai and English: the same pieces each time, whole Thai letters, saved and loaded."""

import json

import pytest
from transformers import AutoTokenizer, BertTokenizerFast

from tlcourse.bert.wordpiece import SPECIALS, load_tokeniser, save_tokeniser, train_wordpiece
from tlcourse.data.general import wikipedia_texts

ENGLISH = [
    "The river rose after three days of rain, and the lower fields were under water.",
    "She reads the newspaper on the train; he prefers to look out of the window.",
    "Running and walking are both good for you, the doctor said.",
]


@pytest.fixture(scope="module")
def texts():
    return [*wikipedia_texts(), *ENGLISH * 3]


@pytest.fixture(scope="module")
def tokeniser(texts):
    return train_wordpiece(texts, vocab_size=1500)


def test_special_tokens_come_first(tokeniser):
    assert tokeniser.convert_ids_to_tokens(range(5)) == list(SPECIALS)
    assert (tokeniser.pad_token_id, tokeniser.cls_token_id, tokeniser.mask_token_id) == (0, 2, 4)
    assert len(tokeniser) == 1500 and tokeniser.is_fast


def test_the_same_texts_give_the_same_pieces(texts, tokeniser):
    assert train_wordpiece(iter(texts[::-1]), vocab_size=1500).get_vocab() == tokeniser.get_vocab()


def test_frequent_words_are_whole_and_rare_ones_are_put_together(tokeniser):
    assert tokeniser.tokenize("the ใน ประเทศ") == ["the", "ใน", "ประเทศ"]
    pieces = tokeniser.tokenize("rainwater")
    assert len(pieces) > 1 and all(piece.startswith("##") for piece in pieces[1:])
    assert "".join(piece.removeprefix("##") for piece in pieces) == "rainwater"


def test_merges_by_frequency():
    tokeniser = train_wordpiece(["ab ab ab abc bc"], vocab_size=5 + 3 + 2 + 2)
    # characters, those within words, then "ab" (4 times) and "abc" or "##bc" (1 time, too rare)
    assert sorted(tokeniser.get_vocab(), key=tokeniser.get_vocab().get)[5:] == ["a", "b", "c", "##b", "##c", "ab"]


def test_lower_case_leaves_thai_and_accents(texts, tokeniser):
    text = "น้ำผึ้งที่ร้านนี้ไม่แพง ก็ซื้อได้"
    offsets = tokeniser(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    assert "".join(text[a:b] for a, b in offsets) == text.replace(" ", "")
    assert "".join(tokeniser.tokenize(text)).replace("##", "") == text.replace(" ", "")
    assert tokeniser.tokenize("THE") == ["the"]
    assert "T" in train_wordpiece(texts[-3:], lowercase=False).get_vocab()


def test_a_row_of_two_segments(tokeniser):
    row = tokeniser("the river", "the train", return_offsets_mapping=True)
    pieces = row.tokens()
    first = pieces.index("[SEP]") + 1
    assert pieces[0] == "[CLS]" and pieces[-1] == "[SEP]" and pieces.count("[SEP]") == 2
    assert row.token_type_ids == [0] * first + [1] * (len(pieces) - first)


def test_saved_and_loaded(tokeniser, texts, tmp_path):
    save_tokeniser(tokeniser, tmp_path / "new" / "folder")
    loaded = load_tokeniser(tmp_path / "new" / "folder")
    for settings in ({}, {"truncation": True, "max_length": 20, "padding": True, "return_offsets_mapping": True}):
        assert loaded(texts, **settings).data == tokeniser(texts, **settings).data
    assert (loaded.model_max_length, loaded.do_lower_case) == (512, True)
    save_tokeniser(loaded, tmp_path / "again")
    assert load_tokeniser(str(tmp_path / "again"))(texts).data == tokeniser(texts).data


def test_saved_with_capitals(texts, tmp_path):
    tokeniser = train_wordpiece(texts, vocab_size=1500, lowercase=False)
    save_tokeniser(tokeniser, tmp_path)
    assert load_tokeniser(tmp_path).tokenize("The น้ำ") == tokeniser.tokenize("The น้ำ")


def test_transformers_opens_the_folder_without_thai_words(tokeniser, tmp_path):
    save_tokeniser(tokeniser, tmp_path)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert plain.get_vocab() == tokeniser.get_vocab()
    assert plain(ENGLISH).data == tokeniser(ENGLISH).data
    assert len(set(plain("ประเทศไทย").word_ids())) == 2 < len(set(tokeniser("ประเทศไทยใน").word_ids()))


def test_a_bert_of_somebody_else(tmp_path):
    vocab = {piece: i for i, piece in enumerate([*SPECIALS, "the", "น", "##า"])}
    BertTokenizerFast(vocab=vocab).save_pretrained(tmp_path)
    assert load_tokeniser(tmp_path).tokenize("The น้า") == ["the", "น", "##า"]  # it strips tone marks


def test_no_tokeniser_to_load(tokeniser, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        load_tokeniser(tmp_path / "nowhere")
    with pytest.raises(OSError, match="holds no tokeniser"):
        load_tokeniser(tmp_path)
    save_tokeniser(tokeniser, tmp_path)
    whole = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(whole[:1000])
    with pytest.raises(OSError, match="holds no tokeniser"):
        load_tokeniser(tmp_path)


def test_what_is_saved_names_no_python(tokeniser, tmp_path):
    save_tokeniser(tokeniser, tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["pre_tokenizer"] == {"type": "BertPreTokenizer"}


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("one text",), TypeError, "put it into a list"),
        ((["a", None],), TypeError, "text 1 must be a str, not NoneType"),
        (([],), ValueError, "no words"),
        ((["", " \n\t\u200b"],), ValueError, "no words"),
    ],
)
def test_what_cannot_be_learned_from(arguments, error, says):
    with pytest.raises(error, match=says):
        train_wordpiece(*arguments)


def test_a_vocabulary_too_small():
    with pytest.raises(ValueError, match="vocab_size=5 leaves no room beside the 5 special tokens"):
        train_wordpiece(["a"], vocab_size=5)


def test_of_more_than_a_thousand_characters_the_rarest_are_unknown():
    common = "".join(map(chr, range(0xAC00, 0xAC00 + 1000)))  # Hangul
    rare = "".join(map(chr, range(0xB000, 0xB010)))
    tokeniser = train_wordpiece([common, common, rare], vocab_size=3000)
    assert set(rare).isdisjoint(tokeniser.get_vocab()) and set(common) <= set(tokeniser.get_vocab())
    assert tokeniser.tokenize(rare[0]) == ["[UNK]"]
