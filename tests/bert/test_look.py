"""What a model puts into blanks, where it attends, which sentence it expects: against transformers."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers

from tlcourse.bert.look import attention, fill_in, next_sentence
from tlcourse.encoders import Checkpoint, load_encoder, load_masked_lm, load_next_sentence
from tlcourse.text import thai_pieces

small = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "small_encoders.py")))
HEADS = {"Bert": "ForPreTraining", "Roberta": "ForMaskedLM", "Albert": "ForMaskedLM", "Camembert": "ForMaskedLM"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An encoder of each kind of tokeniser, with the head for blanks where its kind has one."""
    return {
        kind: small.save(tmp_path_factory.mktemp(kind), kind, HEADS.get(kind, "Model"))
        for kind in ("Bert", "Roberta", "Albert", "Camembert", "XLNet")
    }


@pytest.fixture(scope="module")
def filler(folders):
    return {kind: load_masked_lm(folders[kind]) for kind in HEADS}


# ----------------------------------------------------------------------------------------------------------- blanks
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("text", ["the ___ lends money.", "เขาตาก[MASK]ริม<mask>น้ำ"])
def test_blanks_are_filled_as_by_the_pipeline_of_transformers(filler, kind, text):
    bert = filler[kind]
    filled = fill_in(bert, text, k=3)
    pipeline = transformers.pipeline("fill-mask", model=bert.model, tokenizer=bert.tokeniser, top_k=3)
    theirs = pipeline(text.replace("___", "<mask>").replace("[MASK]", "<mask>"))
    theirs = theirs if isinstance(theirs[0], list) else [theirs]  # one blank, or several
    assert filled.blank.tolist() == np.repeat(range(len(theirs)), 3).tolist()
    assert filled["rank"].tolist() == [0, 1, 2] * len(theirs)
    assert filled.probability.to_numpy() == pytest.approx([one["score"] for blank in theirs for one in blank], rel=1e-4)
    if kind != "Roberta":  # its bytes are written as letters
        ids = [one["token"] for blank in theirs for one in blank]
        assert filled.piece.tolist() == bert.tokeniser.convert_ids_to_tokens(ids)


@pytest.mark.parametrize("kind", HEADS)
def test_all_pieces_together_are_certain(filler, kind):
    size = len(filler[kind].tokeniser)
    filled = fill_in(filler[kind], "a ___ of the ____", k=size)
    assert filled.groupby("blank").probability.sum().tolist() == pytest.approx([1, 1], abs=1e-5)
    assert all(blank.is_monotonic_decreasing for _, blank in filled.groupby("blank").probability)


def test_a_model_that_learned_a_text_fills_it_in(folders):
    bert = load_masked_lm(folders["Bert"])
    words = ["she", "sat", "of", "the", "bank"]
    ids = bert.tokeniser(" ".join(words), return_tensors="pt")["input_ids"].repeat(len(words), 1)
    assert bert.tokeniser.convert_ids_to_tokens(ids[0, 1:-1]) == words
    rows = torch.arange(len(words))
    masked = ids.clone()
    masked[rows, rows + 1] = bert.tokeniser.mask_token_id  # in each row another word
    optimiser = torch.optim.Adam(bert.model.parameters(), lr=0.02)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(bert.model(masked).logits[rows, rows + 1], ids[rows, rows + 1])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for blank, word in enumerate(words):
        best = fill_in(bert, " ".join([*words[:blank], "___", *words[blank + 1 :]]), k=1).iloc[0]
        assert best.piece == word and best.probability > 0.9


def test_thai_is_cut_into_words_around_a_blank(folders, tmp_path):
    """The tokeniser that the course trains: a blank within a Thai sentence, without blanks around it."""
    bert = load_masked_lm(folders["Bert"])
    with thai_pieces.detached(thai_pieces.attach(small.tokeniser("wordpiece"))) as words:
        words.save_pretrained(tmp_path)
    bert.model.save_pretrained(tmp_path)
    ours = load_masked_lm(tmp_path)
    assert ours.tokeniser("ตากลมริมแม่น้ำ").word_ids() != bert.tokeniser("ตากลมริมแม่น้ำ").word_ids()
    filled = fill_in(ours, "เขา___ริมแม่น้ำ", k=2)
    assert len(filled) == 2 and filled.probability.between(0, 1).all()
    assert attention(ours, "เขา___ริม").tokens[0] == "<s>"


@pytest.mark.parametrize(
    ("text", "k", "message"),
    [
        ("the bank", 5, "there is no blank in 'the bank': write ___"),
        ("a snake_case name", 5, "there is no blank"),
        ("", 5, "there is no blank in ''"),
        ("___ " + "bank " * 70, 5, r"the text has 73 pieces, and .* reads 60 at once"),
        ("the ___", 0, "k is from 1 to the 90 pieces of the vocabulary, not 0"),
        ("the ___", 91, "not 91"),
    ],
)
def test_texts_that_cannot_be_filled_in(filler, text, k, message):
    with pytest.raises(ValueError, match=message):
        fill_in(filler["Bert"], text, k=k)


def test_an_encoder_without_a_head_fills_nothing_in(folders):
    with pytest.raises(ValueError, match="minilm has no head that fills in blanks: load it with load_masked_lm"):
        fill_in(load_encoder("minilm"), "the ___")
    with pytest.raises(ValueError, match="has no head that fills in blanks"):
        fill_in(load_encoder(folders["Bert"]), "the ___")


def test_a_model_in_the_midst_of_training_is_looked_at_without_dropout(filler):
    bert = filler["Bert"]
    expected = fill_in(bert, "the ___")
    bert.model.train()
    assert fill_in(bert, "the ___").equals(expected)
    assert bert.model.training
    bert.model.eval()


# -------------------------------------------------------------------------------------------------------- attention
@pytest.mark.parametrize("kind", ["Bert", "Roberta", "Albert", "Camembert", "XLNet"])
def test_attention_is_that_of_the_plain_way(folders, kind):
    encoder = load_encoder(folders[kind])
    text, pair = "She sat on the bank.", "ตากลม"
    seen = attention(encoder, text, pair)
    plain = transformers.AutoModel.from_pretrained(folders[kind], attn_implementation="eager").eval()
    read = encoder.tokeniser(text, pair, return_tensors="pt")
    with torch.no_grad():
        expected = torch.cat(plain(**read, output_attentions=True).attentions)
    length = read["input_ids"].shape[1]
    assert seen.weights.shape == (2, 2, length, length) and seen.weights.dtype == np.float32
    assert seen.weights == pytest.approx(expected.numpy(), abs=1e-6)
    assert seen.weights.sum(-1) == pytest.approx(np.ones((2, 2, length)), abs=1e-5)
    assert len(seen.tokens) == length and seen.tokens.count("</s>") == 2


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "Albert", "Camembert", "XLNet"])
def test_afterwards_attention_is_computed_as_before(folders, kind):
    encoder = load_encoder(folders[kind])
    before = encoder.model.config._attn_implementation
    attention(encoder, "the bank")
    assert encoder.model.config._attn_implementation == before
    encoder.model.forward = lambda **_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        attention(encoder, "the bank")
    assert encoder.model.config._attn_implementation == before


def test_attention_of_a_model_with_a_head(filler):
    body = Checkpoint(filler["Bert"].model.base_model, filler["Bert"].tokeniser, "body")
    assert attention(filler["Bert"], "the bank").weights == pytest.approx(attention(body, "the bank").weights)


def test_a_text_too_long_for_attention(filler):
    with pytest.raises(ValueError, match="reads 58 at once"):
        attention(filler["Roberta"], "bank " * 58)


def test_bytes_are_written_as_letters(filler):
    tokens = attention(filler["Roberta"], "the bank").tokens
    assert tokens[0] == "<s>" and "".join(tokens[1:-1]) == "the▁bank"
    assert fill_in(filler["Roberta"], "the ___", k=330).piece.str.startswith("▁").any()


# ----------------------------------------------------------------------------------------------------- next sentences
def test_the_next_sentence_is_that_of_transformers(folders):
    loaded = load_next_sentence(folders["Bert"])
    first, second = "She sat on the bank.", "The river counted boats."
    logits = loaded.model(**loaded.tokeniser(first, second, return_tensors="pt")).logits
    probability = next_sentence(loaded, first, second)
    assert probability == pytest.approx(logits.softmax(-1)[0, 0].item(), abs=1e-6)
    assert probability != next_sentence(loaded, second, first)


def test_both_heads_in_one_model(folders, filler):
    both = Checkpoint(
        transformers.BertForPreTraining.from_pretrained(folders["Bert"]), filler["Bert"].tokeniser, "pretrained"
    )
    pair = "the river.", "the bank."
    assert next_sentence(both, *pair) == pytest.approx(next_sentence(load_next_sentence(folders["Bert"]), *pair))
    assert fill_in(both, "the ___").equals(fill_in(filler["Bert"], "the ___"))


def test_a_model_without_the_head_and_a_pair_too_long(folders, filler):
    with pytest.raises(ValueError, match="has no head that tells the next sentence: load it with load_next_sentence"):
        next_sentence(filler["Bert"], "a", "b")
    with pytest.raises(ValueError, match="the text has 83 pieces"):
        next_sentence(load_next_sentence(folders["Bert"]), "bank " * 40, "bank " * 40)
