"""A word's vector in its sentence: against transformers, for each kind of tokeniser and encoder; and its senses."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcourse import contextual, encoders
from tlcourse.contextual import (
    Encoder,
    anisotropy,
    context_average,
    find,
    seconds_per_word,
    sense_curve,
    sense_separation,
)

small = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_encoders.py"))))
TEXTS, KINDS = small.TEXTS, small.KINDS


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: small.save(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture(scope="module")
def tiny(folders):
    return {kind: Encoder.load(folder) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def minilm():
    return Encoder.load("minilm")


def by_hand(folder, text: str) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """Each layer's states of a text (layers, T, dim) and the characters of each piece, special tokens dropped."""
    words = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    read = words(text, return_tensors="pt", return_offsets_mapping=True, return_special_tokens_mask=True)
    own = read["special_tokens_mask"][0] == 0
    with torch.no_grad():
        output = model(read["input_ids"], attention_mask=read["attention_mask"], output_hidden_states=True)
    return torch.cat(output.hidden_states)[:, own], read["offset_mapping"][0][own].tolist()


# ------------------------------------------------------------------------------------------------- against transformers
@pytest.mark.parametrize("kind", KINDS)
def test_each_word_is_the_mean_of_its_pieces_in_each_layer(folders, tiny, kind):
    for text in TEXTS[:2]:
        words = text.split()
        [vectors] = tiny[kind].encode([words])
        hidden, offsets = by_hand(folders[kind], text)
        assert vectors.shape == (3, len(words), 16) and vectors.dtype == np.float32
        end = 0
        for i, word in enumerate(words):
            start = text.index(word, end)
            end = start + len(word)
            # a piece may begin with the blank before the word, and be nothing else
            mine = [t for t, (a, b) in enumerate(offsets) if b <= end and b > start and text[a:b].strip()]
            mine = [t for t in mine if tiny[kind].pieces(text)[t] not in ("▁", "Ġ")]
            assert len(mine) >= 1
            assert vectors[:, i] == pytest.approx(hidden[:, mine].mean(1).numpy(), abs=1e-5)


@pytest.mark.parametrize("kind", ["Bert", "GPT2"])
def test_the_last_layer_is_that_of_the_feature_extraction_pipeline(folders, tiny, kind):
    extract = transformers.pipeline("feature-extraction", model=str(folders[kind]), device="cpu")
    text = "The bank lends money"
    states = np.array(extract(text)[0])[1:-1]  # without <s> and </s>
    offsets = by_hand(folders[kind], text)[1]
    [vectors] = tiny[kind].encode([(text, [(max(b - 1, a), b) for a, b in offsets])], layers=-1)
    assert vectors[0] == pytest.approx(states, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_thai_words_are_found_by_their_characters(folders, tiny, kind):
    text, spans = "เขาตากลม", [(0, 3), (3, 5), (5, 8)]
    hidden, offsets = by_hand(folders[kind], text)
    pieces = tiny[kind].pieces(text)
    [vectors] = tiny[kind].encode([(text, spans)])
    for i, (start, end) in enumerate(spans):
        mine = [t for t, (a, b) in enumerate(offsets) if a < end and b > start and pieces[t] != "▁"]
        assert vectors[:, i] == pytest.approx(hidden[:, mine].mean(1).numpy(), abs=1e-5)
    [words] = tiny[kind].encode([["เขา", "ตา", "กลม"]], between="")
    assert words == pytest.approx(vectors, abs=1e-6)


def test_pools(folders, tiny):
    text = "The bank"
    hidden, offsets = by_hand(folders["Roberta"], text)
    states = {pool: tiny["Roberta"].encode([(text, [(0, 8)])], pool=pool)[0][:, 0] for pool in contextual.POOLS}
    assert len(offsets) > 1
    assert states["first"] == pytest.approx(hidden[:, 0].numpy(), abs=1e-5)
    assert states["last"] == pytest.approx(hidden[:, -1].numpy(), abs=1e-5)
    assert states["max"] == pytest.approx(hidden.max(1).values.numpy(), abs=1e-5)
    assert states["mean"] == pytest.approx(hidden.mean(1).numpy(), abs=1e-5)
    with pytest.raises(ValueError, match="no pooling 'sum'; there are mean"):
        tiny["Bert"].encode([["bank"]], pool="sum")


def test_layers_and_mixes(tiny):
    encoder, sentences = tiny["Bert"], [["The", "bank"]]
    [every] = encoder.encode(sentences)
    assert encoder.encode(sentences, layers=1)[0] == pytest.approx(every[[1]])
    assert encoder.encode(sentences, layers=[2, 0])[0] == pytest.approx(every[[2, 0]])
    assert encoder.encode(sentences, layers=np.int64(-1))[0] == pytest.approx(every[[2]])
    mix = [0.5, 0.25, 0.25]
    assert encoder.encode(sentences, layers=mix)[0] == pytest.approx(np.tensordot(mix, every, 1)[None], abs=1e-6)
    for wrong in (3, -4, [0, 7], "last", [0.5, 0.5], None):
        with pytest.raises(ValueError, match="layers"):
            encoder.encode(sentences, layers=wrong)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=4)
@given(draw=st.data())
def test_neither_batch_nor_order_matters(tiny, kind, draw):
    words = st.lists(st.sampled_from(["bank", "river", "the", "เกาะ", "ขัน", "x"]), min_size=1, max_size=70)
    sentences = draw.draw(st.lists(words, min_size=1, max_size=6))
    batched = tiny[kind].encode(sentences, batch_size=draw.draw(st.integers(1, 4)))
    for number in draw.draw(st.permutations(range(len(sentences)))):
        [alone] = tiny[kind].encode([sentences[number]])
        assert alone.shape == (3, len(sentences[number]), 16)
        assert batched[number] == pytest.approx(alone, abs=1e-5)


# ---------------------------------------------------------------------------------------------------- long sentences
@pytest.mark.parametrize(("kind", "longest"), [("Bert", 60), ("Roberta", 58), ("Camembert", 58), ("GPT2", 60)])
def test_an_encoder_knows_how_much_it_can_read(tiny, kind, longest):
    assert tiny[kind].longest == longest
    tiny[kind].encode([["bank"] * 300])


@pytest.mark.parametrize("length", [58, 59, 87, 88, 150])
def test_long_sentences_are_read_in_windows_that_overlap(folders, tiny, length):
    """58 pieces fit, 29 are shared; each is taken from the window where it is farther from the cut."""
    words = (["bank", "she", "of", "the", "sat"] * 40)[:length]
    [vectors] = tiny["Bert"].encode([words])
    model = transformers.AutoModel.from_pretrained(folders["Bert"]).eval()
    ids = tiny["Bert"].tokenizer.convert_tokens_to_ids(words)
    assert tiny["Bert"].pieces(" ".join(words)) == words
    windows = [first for first in range(0, length, 29) if first == 0 or first + 29 < length]
    states = {}
    for first in windows:
        with torch.no_grad():
            window = torch.tensor([[0, *ids[first : first + 58], 2]])
            states[first] = torch.cat(model(window, output_hidden_states=True).hidden_states)[:, 1:-1]
    for i in range(length):
        ends = {first: min(first + 58, length) for first in windows}
        room = {
            first: min(i - first if first else length, ends[first] - 1 - i if ends[first] < length else length)
            for first in windows
            if first <= i < ends[first]
        }
        best = [first for first in room if room[first] == max(room.values())]
        assert any(np.allclose(vectors[:, i], states[first][:, i - first].numpy(), atol=1e-5) for first in best), i


@given(length=st.integers(1, 200))
@settings(max_examples=15)
def test_windows_lose_no_word_and_double_none(tiny, length):
    words = (["river", "bank", "เกาะ", "the", "money"] * 40)[:length]
    [vectors] = tiny["Roberta"].encode([words], layers="static")
    alone = dict(zip(words[1:], tiny["Roberta"].static(words[1:]), strict=True)) if length > 1 else {}
    for word, vector in list(zip(words, vectors[0], strict=True))[1:]:
        assert vector == pytest.approx(alone[word], abs=1e-6)


# ---------------------------------------------------------------------------------------------- sentences that are none
@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("The bank", "sentence 1 is a string"),
        ([], "sentence 1 has no words"),
        (["The", "", "bank"], "sentence 1: from 4 to 4 there is no word"),
        (("The bank", [(4, 9)]), "sentence 1: from 4 to 9 there is no word in 'The bank'"),
        (("The bank", [(-4, 2)]), "sentence 1: from -4 to 2"),
        (["The", "\u200b\u200b", "bank"], "sentence 1: .* has no piece for '\\\\u200b"),
        (["The", " ", "bank"], "sentence 1: .* has no piece for ' '"),
    ],
)
def test_words_that_are_none_are_named_with_their_sentence(tiny, sentence, message):
    with pytest.raises(ValueError, match=message):
        tiny["Bert"].encode([["fine"], sentence])


def test_half_precision_gives_float32_nearly_the_same(folders, tiny):
    half = Encoder.load(folders["Bert"], dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    [vectors], [full] = (encoder.encode([["bank"]]) for encoder in (half, tiny["Bert"]))
    assert vectors.dtype == np.float32
    assert vectors == pytest.approx(full, abs=0.05)


def test_no_sentences_have_no_vectors(tiny):
    assert tiny["Bert"].encode([]) == []


# -------------------------------------------------------------------------------------------- a word, and many of them
def test_find():
    assert find("Bank on the bank, not on banking.", "bank") == [(0, 4), (12, 16)]
    assert find("ตาของตาในตาราง", "ตา") == [(0, 2), (5, 7), (9, 11)]
    assert find("a + b", "+") == [(2, 3)]
    assert find("nothing", "bank") == find("nothing", "") == []


def test_a_word_in_a_text(tiny):
    text = "The bank on the river bank"
    [both] = tiny["Bert"].encode([(text, [(4, 8), (22, 26)])])
    assert tiny["Bert"].word(text, "bank") == pytest.approx(both[:, 0], abs=1e-6)
    assert tiny["Bert"].word(text, "bank", occurrence=1, layers=2) == pytest.approx(both[2:, 1], abs=1e-6)
    with pytest.raises(ValueError, match="'bank' stands 2 times"):
        tiny["Bert"].word(text, "bank", occurrence=2)


def test_occurrences_of_a_frame(tiny):
    frame = pd.DataFrame({"text": ["The bank", "a river bank"], "start": [4, 8], "end": [8, 12]}, index=[7, 7])
    vectors = tiny["Albert"].occurrences(frame)
    assert vectors.shape == (2, 3, 16)
    assert vectors[1] == pytest.approx(tiny["Albert"].word("a river bank", "bank"), abs=1e-5)
    with pytest.raises(ValueError, match="no column end, start"):
        tiny["Bert"].occurrences(frame[["text"]])
    with pytest.raises(ValueError, match="no rows"):
        tiny["Bert"].occurrences(frame[:0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_static_vector_is_the_mean_of_rows_of_the_embedding_matrix(tiny, kind):
    encoder = tiny[kind]
    ids = encoder.tokenizer(" lends", add_special_tokens=False)["input_ids"]
    ids = [i for i in ids if encoder.tokenizer.convert_ids_to_tokens(i) not in ("▁", "Ġ")]
    rows = encoder.model.get_input_embeddings().weight[ids].detach()
    assert encoder.static(["bank", "lends"])[1] == pytest.approx(rows.mean(0).numpy(), abs=1e-6)
    assert encoder.static(["ตา"], layer=2, leading="")[0] == pytest.approx(
        encoder.encode([["ตา"]], layers=2)[0][0, 0], abs=1e-6
    )


def test_the_static_layer_does_not_know_the_sentence(tiny):
    a, b = (tiny["Bert"].encode([text.split()], layers="static")[0] for text in ("the bank", "of river bank"))
    assert a.shape == (1, 2, 16)
    assert (a[0, 1] == b[0, 2]).all()


def test_unknown_words(tiny):
    assert tiny["Bert"].unknown_share([["bank", "漢字", "river", "the"], ["ψ"]]) == pytest.approx(2 / 5)
    assert tiny["Bert"].unknown_share([["bank", "\u200b"]]) == 0.5  # dropped, not unknown
    assert tiny["Roberta"].unknown_share([["漢字"]]) == 0  # bytes spell everything
    with pytest.raises(ValueError, match="no sentences"):
        tiny["Bert"].unknown_share([])


def test_cost(tiny):
    assert tiny["Bert"].parameters == sum(p.numel() for p in tiny["Bert"].model.parameters())
    assert seconds_per_word(tiny["Bert"], [["The", "bank"]]) > 0


# ---------------------------------------------------------------------------------------------------------- MiniLM
def test_minilm_comes_with_a_package_and_says_nothing(capfd):
    encoder = Encoder.load()
    assert encoder.word("She sat on the bank of the river.", "bank").shape == (7, 384)
    assert encoder.parameters == encoders.ENCODERS["minilm"].parameters
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled()  # as before


def test_minilm_reads_nearly_no_thai(minilm):
    assert minilm.pieces("unbelievable banks") == ["unbelievable", "banks"]
    assert minilm.pieces("เกาะ") == ["[UNK]"]
    assert minilm.unknown_share([["ขัน", "เกาะ", "แก้ว", "bank"]]) == 0.75


def test_minilm_tells_senses_apart_and_its_static_vectors_do_not(minilm):
    texts = {
        "money": [
            "The bank raised its interest rate.",
            "She opened an account at the bank.",
            "The bank lent us money.",
        ],
        "river": ["We sat on the grassy river bank.", "A heron stood on the muddy bank.", "The flood broke the bank."],
    }
    frame = pd.DataFrame(
        [(text, *find(text, "bank")[0], sense) for sense in texts for text in texts[sense]],
        columns=["text", "start", "end", "sense"],
    )
    table = sense_separation(minilm.occurrences(frame), frame.sense, ["bank"] * 6)
    static = sense_separation(minilm.occurrences(frame, layers="static"), frame.sense, ["bank"] * 6)
    assert table.accuracy[4] > 0.8 > static.accuracy[0] == pytest.approx(0.4)


# ------------------------------------------------------------------------------------------------------ telling senses
def leave_one_out(vectors, senses) -> float:
    """Leave-one-out nearest neighbour, spelled out."""
    right = 0
    for i, vector in enumerate(vectors):
        cosines = [
            -2 if i == j else vector @ other / np.linalg.norm(vector) / np.linalg.norm(other)
            for j, other in enumerate(vectors)
        ]
        right += senses[int(np.argmax(cosines))] == senses[i]
    return right / len(vectors)


def test_separation_is_that_of_nearest_neighbours():
    rng = np.random.default_rng(0)
    senses, groups = np.array(list("aabbabcc") * 2), np.array(["x"] * 8 + ["y"] * 8)
    vectors = rng.normal(size=(16, 3, 5)) + np.eye(5)[[ord(sense) - 97 for sense in senses]][:, None] * [[0], [1], [9]]
    table = sense_separation(vectors, senses, groups)
    assert table.word.tolist() == list("xxxyyy") and table.layer.tolist() == [0, 1, 2] * 2
    for row in table.itertuples():
        own = groups == row.word
        assert row.accuracy == pytest.approx(leave_one_out(vectors[own, row.layer], senses[own]))
    assert table.chance.to_numpy() == pytest.approx(np.full(6, (3 * 2 + 3 * 2 + 2 * 1) / (8 * 7)))
    assert table.query("layer == 2").accuracy.tolist() == [1, 1]
    assert (table.query("layer == 2").margin > 0.5).all() and (table.query("layer == 2").silhouette > 0.5).all()


def test_margin_and_silhouette_by_hand():
    vectors = np.array([[1, 0], [1, 0], [0, 2], [0, 1]], float)
    row = sense_separation(vectors, list("aabb"), ["w"] * 4).iloc[0]
    assert (row.accuracy, row.chance, row.margin, row.silhouette) == pytest.approx((1, 1 / 3, 1, 1))
    row = sense_separation(vectors, list("abab"), ["w"] * 4).iloc[0]
    assert (row.accuracy, row.margin, row.silhouette) == pytest.approx((0, -0.5, -0.5))


@given(
    sizes=st.lists(st.integers(2, 6), min_size=2, max_size=4),
    vector=st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3),
    centre=st.booleans(),
)
def test_one_static_vector_separates_exactly_as_chance(sizes, vector, centre):
    senses = np.repeat(np.arange(len(sizes)), sizes)
    vectors = np.tile(np.array(vector, np.float32), (len(senses), 1, 1))
    row = sense_separation(vectors, senses, ["w"] * len(senses), centre=centre).iloc[0]
    assert row.accuracy == pytest.approx(row.chance, abs=1e-12)
    assert row.chance == pytest.approx(sum(n * (n - 1) for n in sizes) / len(senses) / (len(senses) - 1))
    assert row.margin == pytest.approx(0, abs=1e-9) and row.silhouette == pytest.approx(0, abs=1e-9)


def test_chance_is_what_random_senses_reach():
    rng = np.random.default_rng(0)
    vectors, senses = rng.normal(size=(12, 1, 4)), np.repeat(["a", "b"], [4, 8])
    tables = [sense_separation(vectors, rng.permutation(senses), ["w"] * 12) for _ in range(100)]
    assert np.mean([table.accuracy[0] for table in tables]) == pytest.approx(tables[0].chance[0], abs=0.05)


def test_centring_takes_out_what_all_share():
    rng = np.random.default_rng(0)
    senses = np.repeat([0, 1], 8)
    vectors = rng.normal(size=(16, 1, 6)) + np.eye(6)[senses][:, None] * 2
    shifted = vectors + 100 * np.ones(6)
    plain, centred = (sense_separation(shifted, senses, ["w"] * 16, centre=centre).iloc[0] for centre in (False, True))
    assert plain.margin < 0.01 < 0.3 < centred.margin
    assert centred.margin == pytest.approx(
        sense_separation(vectors, senses, ["w"] * 16, centre=True).margin[0], abs=1e-9
    )


def test_the_curve_averages_words_and_knows_what_is_chance():
    rng = np.random.default_rng(0)
    senses, groups = np.tile(np.repeat(["a", "b"], 6), 4), np.repeat(list("wxyz"), 12)
    vectors = rng.normal(size=(48, 3, 8))
    vectors[:, 0] = 1.0  # a static vector
    vectors[:, 2, 0] += np.where(senses == "a", 6, -6)
    table = sense_separation(vectors, senses, groups)
    curve = sense_curve(vectors, senses, groups, permutations=300)
    assert curve.layer.tolist() == [0, 1, 2]
    assert curve.accuracy.to_numpy() == pytest.approx(table.groupby("layer").accuracy.mean().to_numpy())
    assert curve.p[0] == 1 and curve.p[1] > 0.02 and curve.p[2] == pytest.approx(1 / 301)
    assert ((curve.low <= curve.accuracy) & (curve.accuracy <= curve.high)).all()
    assert curve.low[0] == pytest.approx(curve.high[0])
    pd.testing.assert_frame_equal(curve, sense_curve(vectors, senses, groups, permutations=300))


@pytest.mark.parametrize(
    ("vectors", "senses", "message"),
    [
        (np.ones((4, 1, 2)), list("aaab"), "two sentences of each"),
        (np.ones((4, 1, 2)), list("aaaa"), "'w' needs two senses"),
        (np.ones((3, 1, 2)), list("aabb"), "3 vectors, 4 senses and 4 words"),
        (np.full((4, 1, 2), np.nan), list("aabb"), "vector 0 is not finite"),
        (np.ones(4), list("aabb"), r"not \(4,\)"),
    ],
)
def test_senses_that_cannot_be_compared(vectors, senses, message):
    with pytest.raises(ValueError, match=message):
        sense_curve(vectors, senses, ["w"] * 4)


def test_anisotropy_is_the_mean_cosine_of_pairs():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 2, 5))
    vectors[:, 1] += 3
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    pairs = [unit[i] * unit[j] for i in range(9) for j in range(9) if i != j]
    assert anisotropy(vectors) == pytest.approx(np.mean(pairs, axis=0).sum(-1))
    assert anisotropy(np.ones((3, 1, 4))) == pytest.approx([1])
    with pytest.raises(ValueError, match="two vectors"):
        anisotropy(np.ones((1, 1, 4)))


# ----------------------------------------------------------------------------------------------------- context averages
VECTORS = {word: np.array(vector, np.float32) for word, vector in {"ตัก": (1, 0), "น้ำ": (0, 1), "ขัน": (9, 9)}.items()}
BOWL = ["ใช้", "ขัน", "ตัก", "น้ำ", "น้ำ"]


def test_a_context_is_the_mean_of_the_words_around():
    means = context_average(VECTORS, [BOWL, BOWL], [1, 3])
    assert means.dtype == np.float32
    assert means == pytest.approx(np.array([[1 / 3, 2 / 3], [10 / 3, 10 / 3]]))
    assert context_average(VECTORS, [BOWL], [1], window=1) == pytest.approx(np.array([[1, 0]]))


def test_a_context_without_known_words_is_zero():
    assert context_average(VECTORS, [BOWL, ["ไก่", "ขัน"]], [1, 1])[1].tolist() == [0, 0]
    with pytest.raises(ValueError, match="no word of any context has a vector"):
        context_average(VECTORS, [["ไก่", "ขัน"]], [1])


def test_frequent_words_weigh_less():
    [mean] = context_average(VECTORS, [BOWL], [1], counts={"น้ำ": 1, "ตัก": 999}, smooth=0.001)
    rare, frequent = 0.001 / 0.002, 0.001 / 1.0
    assert mean == pytest.approx(np.array([frequent, 2 * rare]) / (frequent + 2 * rare), rel=1e-6)


def test_vectors_may_be_anything_that_is_asked_for_words():
    class Table:
        def __contains__(self, word):
            return word in VECTORS

        def __getitem__(self, word):
            return VECTORS[word]

    expected = context_average(VECTORS, [BOWL], [1])
    assert context_average(Table(), [BOWL], [1]) == pytest.approx(expected)
    assert context_average(VECTORS.__getitem__, [BOWL], [1]) == pytest.approx(expected)


@pytest.mark.parametrize("place", [-1, 5])
def test_a_place_is_in_its_sentence(place):
    with pytest.raises(ValueError, match=f"sentence 0 has 5 words, so no word {place}"):
        context_average(VECTORS, [BOWL], [place])
    with pytest.raises(ValueError, match="1 sentences, but 2 places"):
        context_average(VECTORS, [BOWL], [1, 1])
