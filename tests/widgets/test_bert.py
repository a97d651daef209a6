"""The demos of the lesson on BERT: every control moved, and what it changes read back."""

import numpy as np
import pandas as pd
import pytest
from transformers import BertTokenizerFast

from tlcourse.bert.look import Attention
from tlcourse.bert.masking import Masking
from tlcourse.bert.pairs import Documents, Pairs, sentence_pairs
from tlcourse.bert.wordpiece import train_wordpiece
from tlcourse.widgets.bert import (
    FOLLOWS,
    SENTENCES,
    UNDECIDED,
    attention_demo,
    blank_demo,
    input_demo,
    masking_demo,
    pairs_demo,
    parameters_demo,
)

pytestmark = pytest.mark.usefixtures("styled")

TEXTS = [
    "my dog is cute and he likes playing with the old man at the corner",
    "วันนี้ฝนตกหนักมาก ฉันเลยไม่ได้ออกไปไหน นั่งอ่านหนังสืออยู่บ้าน",
    "a dog <b>",
]


def words(demo) -> str:
    return demo.ui.children[-1].value


@pytest.fixture(scope="module")
def tokeniser():
    return train_wordpiece([text for pair in SENTENCES for text in pair] * 3 + TEXTS * 3, vocab_size=300)


class TestMasking:
    @pytest.fixture
    def demo(self, tokeniser):
        return masking_demo(tokeniser, TEXTS, draws=30)

    def test_the_text_shown(self, demo, tokeniser):
        state = demo.state
        assert state.pieces == tokeniser.convert_ids_to_tokens(tokeniser(TEXTS[0])["input_ids"])
        for piece, read, kind in zip(state.pieces, state.read, state.kinds, strict=True):
            assert (kind == "special") == (piece in ("[CLS]", "[SEP]"))
            assert (kind == "mask") == (read == "[MASK]")
            assert piece == read or kind in ("mask", "random")

    def test_counts_add_up_over_the_draws_of_all_texts(self, demo, tokeniser):
        pieces = [len(ids) - 2 for ids in tokeniser(TEXTS)["input_ids"]]
        each = sum(max(1, round(0.15 * n)) for n in pieces)
        seen = []
        for draw in (1, 2, 30, 2):
            demo.controls["draw"].value = draw
            assert demo.state.positions == draw * sum(pieces) and sum(demo.state.counts.values()) == draw * each
            seen.append((demo.state.counts, demo.state.read))
        assert seen[1] == seen[3] and seen[0][1] != seen[1][1] and f"<b>{each / sum(pieces):.1%}</b>" in words(demo)
        assert demo.state.expected == each / sum(pieces)

    def test_play_moves_the_slider(self, demo):
        demo.controls["play"].value = 7
        assert demo.controls["draw"].value == 7 and "Draw <b>7</b>" in words(demo)

    def test_another_text(self, demo, picture):
        before = picture(demo)
        demo.controls["text"].value = 2
        assert "ฝน" in demo.state.pieces and picture(demo) != before
        demo.controls["text"].value = 3
        assert demo.state.pieces == ["[CLS]", "a", "dog", "<", "b", ">", "[SEP]"]  # no padding

    @pytest.mark.parametrize(("mask", "random", "kind"), [(1, 0, "mask"), (0, 1, "random"), (0, 0, "kept")])
    def test_shares(self, demo, mask, random, kind):
        demo.controls["mask"].value = 0
        demo.controls["random"].value = random
        demo.controls["mask"].value = mask
        demo.controls["share"].value = 1
        assert set(demo.state.kinds) == {"special", kind}
        assert demo.state.counts[kind] == demo.state.positions == sum(demo.state.counts.values())

    def test_shares_of_more_than_all(self, demo, picture):
        before = picture(demo)
        demo.controls["random"].value = 0.5
        assert demo.state.counts is None and "≤ 1" in words(demo) and picture(demo) != before
        demo.controls["mask"].value = 0.5
        assert demo.state.counts is not None

    def test_whole_words(self):
        vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##want", "##ed", "a"]
        tokeniser = BertTokenizerFast(vocab={piece: i for i, piece in enumerate(vocab)})
        demo = masking_demo(tokeniser, ["unwanted a unwanted a a"], Masking(share=0.4, whole_word=True), draws=5)
        assert demo.controls["whole_word"].value and "whole word" in words(demo)
        for draw in range(1, 6):
            demo.controls["draw"].value = draw
            chosen = [kind in ("mask", "random", "kept") for kind in demo.state.kinds]
            assert len(set(chosen[1:4])) == len(set(chosen[5:8])) == 1
        demo.controls["whole_word"].value = False
        assert "whole word" not in words(demo)

    def test_no_texts(self, tokeniser):
        with pytest.raises(ValueError, match="no texts to mask"):
            masking_demo(tokeniser, [])


class TestInput:
    @pytest.fixture
    def demo(self, tokeniser):
        return input_demo(tokeniser)

    def test_two_sentences(self, demo, tokeniser):
        ids = tokeniser(*SENTENCES[0])["input_ids"]
        assert demo.state.ids == ids and demo.state.positions == list(range(len(ids)))
        last = demo.state.pieces.index("[SEP]")
        assert demo.state.segments == [0] * (last + 1) + [1] * (len(ids) - last - 1)
        assert f">{ids[1]}</td>" in words(demo) and ">dog</td>" in words(demo)

    def test_examples_and_one_sentence(self, demo, picture):
        before = picture(demo)
        demo.controls["example"].value = " / ".join(SENTENCES[2])
        assert "ฝน" in demo.state.pieces and 1 in demo.state.segments and picture(demo) != before
        demo.controls["second"].value = ""
        assert set(demo.state.segments) == {0} and demo.state.pieces.count("[SEP]") == 1

    @pytest.mark.parametrize("typed", ["", "<script>", r"$\frac$", "樺 🙂", "word " * 600])
    def test_anything_can_be_typed(self, demo, typed, picture):
        demo.controls["first"].value = typed
        assert demo.state.pieces[0] == "[CLS]" and "<script>" not in words(demo)
        assert ("the first 16 of them drawn" in words(demo)) == (len(demo.state.pieces) > 16)


class TestPairs:
    @pytest.fixture
    def pairs(self, tokeniser) -> Pairs:
        def row(first: str, second: str):
            return tokeniser(first, second)

        rows = [row("my dog is cute", "he likes playing"), row("วันนี้ฝนตกหนักมาก", "<b>a dog</b>"), row("a man", "he")]
        ids = [np.array(r["input_ids"]) for r in rows]
        return Pairs(
            np.concatenate(ids),
            np.cumsum([0, *map(len, ids)]),
            np.array([r["token_type_ids"].index(1) for r in rows]),
            np.array([True, False, True]),
            np.zeros((3, 2, 2), dtype=int),
        )

    def test_guess_first_then_see(self, pairs, tokeniser):
        demo = pairs_demo(pairs, tokeniser)
        assert (demo.state.first, demo.state.second) == ("my dog is cute", "he likes playing")
        assert demo.state.guess is None and demo.state.guessed == 0 and "right" not in words(demo)
        demo.controls["guess"].value = FOLLOWS
        assert demo.state.follows and demo.state.right == demo.state.guessed == 1
        assert f"<b>{FOLLOWS}.</b> Your guess was right: 1 of 1" in words(demo) and "model" not in words(demo)

    def test_another_pair_takes_the_guess_back(self, pairs, tokeniser):
        demo = pairs_demo(pairs, tokeniser)
        demo.controls["guess"].value = FOLLOWS
        demo.controls["pair"].value = 2
        assert demo.controls["guess"].value == UNDECIDED and demo.state.guessed == 1 and demo.state.guess is None
        assert "&lt;b&gt;" in words(demo).replace(" ", "") and "elsewhere" not in words(demo)
        assert demo.state.first == "วันนี้ฝนตกหนักมาก"  # without the blanks between pieces
        demo.controls["guess"].value = FOLLOWS
        assert (demo.state.right, demo.state.guessed) == (1, 2) and "elsewhere: another document" in words(demo)
        demo.controls["guess"].value = "another document"
        assert (demo.state.right, demo.state.guessed, demo.state.guess) == (1, 2, True)  # the first guess counts

    def test_a_model_guesses_too(self, pairs, tokeniser):
        asked = []

        def probability(first: str, second: str) -> float:
            asked.append((first, second))
            return 0.9 if first == "my dog is cute" else 0.2

        demo = pairs_demo(pairs, tokeniser, probability=probability, otherwise="swapped")
        assert asked == []  # not before the guess
        for pair, model_right in ((1, 1), (2, 2), (3, 2)):
            demo.controls["pair"].value = pair
            demo.controls["guess"].value = "swapped"
            assert demo.state.model_right == model_right and f"{model_right} of {pair}." in words(demo)
        assert len(asked) == 3 and demo.state.right == 1 and "<b>20%</b>" in words(demo)

    def test_drawn_pairs(self, tokeniser):
        documents = Documents.from_texts(["\n".join([a, b, a, b]) for a, b in SENTENCES if b], tokeniser)
        pairs = sentence_pairs(documents, max_length=24, seed=1)
        demo = pairs_demo(pairs, tokeniser)
        for i in range(len(pairs)):
            demo.controls["pair"].value = i + 1
            assert demo.state.first and demo.state.second and demo.state.follows == pairs.is_next[i]

    def test_single_texts(self, tokeniser):
        documents = Documents.from_texts(TEXTS, tokeniser)
        with pytest.raises(ValueError, match="no pairs to guess"):
            pairs_demo(sentence_pairs(documents, max_length=24, nsp=False), tokeniser)


def fill(text: str, *, k: int) -> pd.DataFrame:
    if len(text) > 100:
        raise ValueError("the text has too many <pieces>")
    rows = [(b, r, f"{'ab'[b % 2]}{r}", 0.5 / (r + 1)) for b in range(text.count("___")) for r in range(k)]
    return pd.DataFrame(rows, columns=["blank", "rank", "piece", "probability"]).sample(frac=1, random_state=0)


class TestBlanks:
    @pytest.fixture
    def demo(self):
        other = {"อื่น": lambda text, *, k: fill(text, k=k).assign(piece="<i>")}
        return blank_demo({"ours": fill} | other, examples=["We ___.", "กิน___กับ___", "[MASK]"])

    def test_the_likeliest_goes_in(self, demo):
        assert demo.state.best == "We a0." and "We <b>a0</b>." in words(demo)

    def test_two_blanks(self, demo, picture):
        before = picture(demo)
        demo.controls["example"].value = "กิน___กับ___"
        assert demo.state.best == "กินa0กับb0" and picture(demo) != before

    def test_how_many(self, demo, picture):
        demo.controls["k"].value = 9
        assert len(demo.state.filled) == 9 and picture(demo)

    def test_another_model(self, demo):
        demo.controls["model"].value = "อื่น"
        assert demo.state.best == "We <i>." and "<b>&lt;i&gt;</b>" in words(demo)

    @pytest.mark.parametrize(
        ("typed", "said"), [("", "Write ___"), ("no blank", "Write ___"), ("___" * 40, "&lt;pieces&gt;")]
    )
    def test_what_cannot_be_filled(self, demo, typed, said, picture):
        before = picture(demo)
        demo.controls["text"].value = typed
        assert demo.state.filled is None and demo.state.best is None and said in words(demo)
        assert picture(demo) != before

    def test_no_model(self):
        with pytest.raises(ValueError, match="no model"):
            blank_demo({})


class TestAttention:
    calls = 0

    def attend(self, first: str, second: str | None) -> Attention:
        """Head 1 of layer 1 looks at [SEP], head 2 at itself; layer 2 at the piece before, and after."""
        self.calls += 1
        if "long" in first:
            raise ValueError("the text has 9,999 pieces")
        tokens = ["[CLS]", *first.split(), "[SEP]"] + (["$b$", "[SEP]"] if second else [])
        n = len(tokens)
        last, own, before, after = np.eye(n)[[n - 1] * n], np.eye(n), np.eye(n, k=-1), np.eye(n, k=1)
        return Attention(tokens, np.array([[last, own], [before, after]], dtype=np.float32))

    @pytest.fixture
    def demo(self):
        return attention_demo(self.attend, examples=[("my dog is cute", "yes"), ("แมว กิน ปลา", "")])

    def test_every_head(self, demo, picture):
        seen, pieces = [], 8
        for layer, head, to, share in (
            (1, 1, "special tokens", 1),
            (1, 2, "itself", 5 / 8),
            (2, 1, "the piece before", 5 / 8),
        ):
            demo.controls["layer"].value, demo.controls["head"].value = layer, head
            assert demo.state.to[to] == pytest.approx(share) and demo.state.weights.shape == (pieces, pieces)
            assert f"Layer <b>{layer}</b>, head <b>{head}</b>" in words(demo)
            seen.append(picture(demo))
        assert len(set(seen)) == 3 and self.calls == 1  # attention is computed once a sentence
        assert (demo.controls["layer"].max, demo.controls["head"].max) == (2, 2)

    def test_where_it_goes_is_counted_once(self, demo):
        for layer in (1, 2):
            for head in (1, 2):
                demo.controls["layer"].value, demo.controls["head"].value = layer, head
                assert sum(demo.state.to.values()) <= 1 + 1e-6

    def test_views(self, demo, picture):
        seen = set()
        for view in demo.controls["view"].options:
            demo.controls["view"].value = view
            seen.add(picture(demo))
        assert len(seen) == 3

    def test_lines_of_one_piece(self, demo, picture):
        demo.controls["view"].value, demo.controls["head"].value = "lines", 2
        before = picture(demo)
        demo.controls["piece"].value = 3
        assert "<b>dog</b> looks most at dog (100%)" in words(demo) and picture(demo) != before
        demo.controls["piece"].value = 30  # there is none: all
        assert "looks most" not in words(demo)

    def test_other_sentences(self, demo, picture):
        demo.controls["example"].value = "แมว กิน ปลา"
        assert demo.state.tokens == ["[CLS]", "แมว", "กิน", "ปลา", "[SEP]"] and picture(demo)

    @pytest.mark.parametrize(
        ("typed", "said"), [(" ", "Type a sentence"), ("long", "9,999"), ("a " * 50, "at most 40")]
    )
    def test_what_cannot_be_shown(self, demo, typed, said):
        demo.controls["first"].value = typed
        assert demo.state.weights is None and said in words(demo)


class TestParameters:
    def test_base_and_large_as_the_paper_counts(self):
        demo = parameters_demo()
        assert demo.state.total == 109_482_240 == demo.state.parts["count"].sum()
        assert (demo.state.weights, demo.state.training) == (4 * 109_482_240, 16 * 109_482_240)
        demo.controls["example"].value = "BERT large"
        assert demo.controls["layers"].value == 24 and demo.state.total == 335_141_888
        assert "335,141,888" in words(demo) and "1.34 GB" in words(demo) and "5.36 GB" in words(demo)

    def test_each_slider(self, picture):
        demo = parameters_demo()
        before, seen = demo.state.total, picture(demo)
        demo.controls["layers"].value = 13
        layer = demo.state.total - before
        demo.controls["layers"].value = 14
        assert demo.state.total == before + 2 * layer and picture(demo) != seen
        demo.controls["layers"].value = 12
        demo.controls["vocabulary"].value = 1_000
        assert demo.state.total == before - 768 * (30_522 - 1_000)
        demo.controls["width"].value = 64
        assert "1 heads" not in words(demo) and "1 head:" in words(demo) and demo.state.total < 1e6
