import gzip
import pickle
import shutil
import struct
import tracemalloc
import warnings
from pathlib import Path

import fasttext
import gensim
import numpy as np
import pytest
from gensim.models import FastText, KeyedVectors
from gensim.models.fasttext import load_facebook_model, load_facebook_vectors, save_facebook_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tlcourse.word2vec import formats
from tlcourse.word2vec.formats import (
    VectorsError,
    load,
    load_binary,
    load_fasttext,
    load_text,
    open_memmap,
    save_binary,
    save_fasttext,
    save_text,
    to_memmap,
)
from tlcourse.word2vec.vectors import SubwordVectors, WordVectors

GENSIM = Path(gensim.__file__).parent / "test" / "test_data"
WORDS = ["แมว", "กิน", "น้ำ", "cat", "naïve", "non\u00a0breaking", "\u2028", "#1", '"', "1.5", "nan", "😀"]
UNSEEN = ["แมวเหมียว", "cats", "น้ำแข็ง"]
SAVERS = {"text": save_text, "binary": save_binary}
LOADERS = {"text": load_text, "binary": load_binary}


@pytest.fixture
def vectors() -> WordVectors:
    matrix = np.random.default_rng(0).standard_normal((len(WORDS), 7)).astype(np.float32)
    return WordVectors(WORDS, matrix)


@pytest.fixture
def subwords() -> SubwordVectors:
    inputs = np.random.default_rng(1).standard_normal((len(WORDS) + 100, 7)).astype(np.float32)
    return SubwordVectors(WORDS, inputs, np.arange(len(WORDS), 0, -1) ** 2, min_n=2, max_n=4)


@pytest.fixture
def fasttext_file(subwords, tmp_path) -> Path:
    return save_fasttext(subwords, tmp_path / "model.bin")


def fasttexts_vector(model, word: str) -> np.ndarray:
    """The mean of the rows that fastText takes; ``get_word_vector`` of fasttext-community scales it to length 1."""
    return model.get_input_matrix()[model.get_subwords(word)[1]].mean(axis=0)


def equal(ours: WordVectors, words: list[str], matrix: np.ndarray) -> bool:
    return list(ours.words) == list(words) and ours.matrix.tobytes() == matrix.astype(np.float32).tobytes()


# ------------------------------------------------------------------------------------------------------ round trips
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("kind", SAVERS)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_is_lost(kind, ending, tmp_path, data):
    letters = st.characters(codec="utf-8", exclude_characters=" \t\n\v\f\r\0")
    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
    matrix = data.draw(
        arrays(np.float32, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6), elements=numbers)
    )
    n = len(matrix)
    words = data.draw(st.lists(st.text(letters, min_size=1), min_size=n, max_size=n, unique=True))
    path = SAVERS[kind](WordVectors(words, matrix), tmp_path / f"vectors{ending}")
    assert equal(LOADERS[kind](path), words, matrix) and equal(load(path), words, matrix)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_fasttext_model_is_whole_again(subwords, ending, tmp_path):
    again = load(save_fasttext(subwords, tmp_path / f"model.bin{ending}"))
    assert type(again) is SubwordVectors and equal(again, subwords.words, subwords.matrix)
    np.testing.assert_array_equal(again.inputs, subwords.inputs)
    np.testing.assert_array_equal(again.counts, subwords.counts)
    assert (again.min_n, again.max_n) == (2, 4)


@pytest.mark.parametrize("kind", SAVERS)
def test_small_chunks_change_nothing(kind, vectors, tmp_path, monkeypatch):
    path = SAVERS[kind](vectors, tmp_path / "vectors")
    monkeypatch.setattr(formats, "CHUNK", 200)
    assert equal(load(path), vectors.words, vectors.matrix)


# ----------------------------------------------------------------------------------------------------------- gensim
@pytest.mark.parametrize("kind", SAVERS)
def test_gensim_reads_ours_and_we_read_gensims(kind, vectors, tmp_path):
    theirs = KeyedVectors.load_word2vec_format(SAVERS[kind](vectors, tmp_path / "ours"), binary=kind == "binary")
    assert equal(vectors, theirs.index_to_key, theirs.vectors)
    theirs.save_word2vec_format(str(tmp_path / "theirs"), binary=kind == "binary")
    assert equal(LOADERS[kind](tmp_path / "theirs"), WORDS, vectors.matrix)


def test_gensim_reads_our_fasttext_model(subwords, fasttext_file):
    outputs = np.random.default_rng(2).standard_normal(subwords.matrix.shape).astype(np.float32)
    model = load_facebook_model(save_fasttext(subwords, fasttext_file, outputs=outputs, window=3, model="cbow"))
    assert (model.window, model.sg, model.negative, model.wv.bucket) == (3, 0, 5, 100)
    np.testing.assert_array_equal(model.syn1neg, outputs)
    for theirs in (model.wv, load_facebook_vectors(fasttext_file)):
        assert equal(subwords, theirs.index_to_key, theirs.vectors)
        assert [theirs.get_vecattr(word, "count") for word in WORDS] == subwords.counts.tolist()
        for word in UNSEEN:
            np.testing.assert_array_equal(subwords[word], theirs[word])


def test_fasttext_reads_our_model(subwords, fasttext_file):
    theirs = fasttext.load_model(str(fasttext_file))
    assert theirs.words == WORDS
    for word in WORDS + UNSEEN:
        np.testing.assert_allclose(subwords[word], fasttexts_vector(theirs, word), rtol=1e-5, atol=1e-6)


def test_gensim_reads_vectors_without_counts(tmp_path):
    subwords = SubwordVectors(["b", "c", "a"], np.random.default_rng(3).standard_normal((13, 4)))
    theirs = load_facebook_model(save_fasttext(subwords, tmp_path / "model.bin")).wv
    assert equal(subwords, theirs.index_to_key, theirs.vectors)


@pytest.mark.parametrize("hs", [0, 1])
def test_we_read_gensims_fasttext_model(hs, tmp_path):
    texts = [["แมว", "กิน", "ปลา"], ["the", "cat", "eats", "fish"], ["แมว", "cat"]] * 3
    model = FastText(texts, vector_size=6, min_count=1, bucket=200, min_n=3, max_n=5, hs=hs, negative=0 if hs else 5)
    save_facebook_model(model, str(tmp_path / "model.bin"))
    ours = load_fasttext(tmp_path / "model.bin")
    assert list(ours.words) == model.wv.index_to_key
    np.testing.assert_allclose(ours.matrix, model.wv.vectors, atol=1e-7)
    for word in UNSEEN:
        np.testing.assert_allclose(ours[word], model.wv[word], atol=1e-7)


@pytest.mark.parametrize("supervised", [False, True])
def test_we_read_fasttexts_own_models(supervised, tmp_path):
    (text := tmp_path / "text.txt").write_text("__label__a แมว กิน ปลา\n__label__b the cat eats fish\n" * 5, "utf-8")
    train = fasttext.train_supervised if supervised else fasttext.train_unsupervised
    theirs = train(str(text), dim=5, minCount=1, epoch=1, bucket=50, minn=2, maxn=3, thread=1, verbose=0)
    theirs.save_model(str(tmp_path / "model.bin"))
    ours = load_fasttext(tmp_path / "model.bin")
    assert list(ours.words) == theirs.words and not any("__label__" in word for word in ours.words)
    for word in theirs.words + UNSEEN:
        np.testing.assert_allclose(ours[word], fasttexts_vector(theirs, word), rtol=1e-5, atol=1e-6)


def test_quantised_models_are_refused(tmp_path):
    (text := tmp_path / "text.txt").write_text("__label__a one two three\n__label__b four five\n" * 60, "utf-8")
    model = fasttext.train_supervised(
        str(text), dim=4, minCount=1, epoch=1, thread=1, verbose=0, bucket=300, minn=2, maxn=3
    )
    model.quantize(cutoff=260)
    model.save_model(str(tmp_path / "model.ftz"))
    with pytest.raises(VectorsError, match="quantised"):
        load(tmp_path / "model.ftz")


@pytest.mark.parametrize("name", ["crime-and-punishment", "lee_fasttext", "lee_fasttext_new", "toy-model-pretrained"])
def test_gensims_fasttext_files(name):
    ours, theirs = load(GENSIM / f"{name}.bin"), load_facebook_vectors(GENSIM / f"{name}.bin")
    assert list(ours.words) == theirs.index_to_key
    for word in [*ours.words, *UNSEEN, "преступление"]:
        if word != "</s>":  # gensim gives it n-grams, fastText does not
            np.testing.assert_array_equal(ours[word], theirs[word])


@pytest.mark.parametrize("name", ["crime-and-punishment", "toy-model", "pang_lee_polarity_fasttext"])
@pytest.mark.filterwarnings("ignore:.*not UTF-8")
def test_a_fasttext_model_agrees_with_its_vec_file(name):
    model, table = load(GENSIM / f"{name}.bin"), load(GENSIM / f"{name}.vec")
    assert model.words == table.words
    np.testing.assert_allclose(model.matrix, table.matrix, rtol=1e-4, atol=1e-6)  # five digits


@pytest.mark.parametrize(
    "name", ["euclidean_vectors.bin", "poincare_vectors.bin", "high_precision.kv.bin", "high_precision.kv.txt"]
    + [f"{language}.1-10.cbow1_wind5_hs0_neg10_size300_smpl1e-05.txt" for language in ("EN", "IT")]
    + ["lee_fasttext.vec", "test_glove.txt"],
)  # fmt: skip
def test_gensims_tables(name):
    binary, no_header = name.endswith(".bin"), "glove" in name
    theirs = KeyedVectors.load_word2vec_format(GENSIM / name, binary=binary, no_header=no_header)
    assert equal(load(GENSIM / name), theirs.index_to_key, theirs.vectors)


# ----------------------------------------------------------------------------------------------------- odd but right
def test_gloves_text_has_no_header_and_blanks_in_words(tmp_path):
    (tmp_path / "glove.txt").write_text("the 0.5 -1 2e-3\n. . . 1 2 3\nat 5 4 5 6\n", encoding="utf-8")
    vectors = load(tmp_path / "glove.txt")
    assert vectors.words == ("the", ". . .", "at 5") and vectors["at 5"].tolist() == [4, 5, 6]


@pytest.mark.parametrize("line", ["แมว 1 2 \n", "แมว 1 2\r\n", "แมว 1 2", "แมว 1 2\n\n"])
def test_ends_of_lines(line, tmp_path):
    (tmp_path / "a.vec").write_bytes(f"1 2\n{line}".encode())
    assert load(tmp_path / "a.vec")["แมว"].tolist() == [1, 2]


def test_words_that_are_not_utf8_are_kept_as_far_as_they_can_be_read(tmp_path):
    (tmp_path / "a.vec").write_bytes(b"4 1\ncaf\xe9 1\ncaf\xe8 2\nna\xc3\xafve 3\ntea 4\n")
    with pytest.warns(UserWarning, match="2 words are not UTF-8.*; 1 rows are left out"):
        vectors = load(tmp_path / "a.vec")
    assert vectors.words == ("caf\ufffd", "naïve", "tea") and vectors.matrix.ravel().tolist() == [1, 3, 4]


def twice(kind: str, folder: Path) -> Path:
    """A file of five rows and two words."""
    words, rows = ["แมว", "a", "a", "แมว", "a"], np.arange(10, dtype="<f4").reshape(5, 2)
    if kind == "binary":
        raw = b"5 2\n" + b"".join(w.encode() + b" " + r.tobytes() for w, r in zip(words, rows, strict=True))
    else:
        head = "5 2\n" if kind == "text" else ""
        raw = (head + "".join(f"{w} {r[0]} {r[1]}\n" for w, r in zip(words, rows, strict=True))).encode()
    (folder / "file").write_bytes(raw)
    return folder / "file"


@pytest.mark.parametrize("chunk", [40, 1 << 22])
@pytest.mark.parametrize("kind", ["text", "binary", "GloVe"])
def test_of_a_word_that_stands_twice_the_first_is_kept_as_in_gensim(kind, chunk, tmp_path, monkeypatch):
    path = twice(kind, tmp_path)
    monkeypatch.setattr(formats, "CHUNK", chunk)
    theirs = KeyedVectors.load_word2vec_format(path, binary=kind == "binary", no_header=kind == "GloVe")
    for read in (load, lambda path: to_memmap(path, tmp_path / "folder")):
        with pytest.warns(UserWarning, match=r"file: 3 rows are left out") as said:
            vectors = read(path)
        assert len(said) == 1
        assert vectors.words == ("แมว", "a")
        assert equal(vectors, theirs.index_to_key[:2], theirs.vectors[:2])  # gensim leaves empty rows at a text's end


def test_a_word_twice_in_a_fasttext_model(subwords, fasttext_file):
    raw = fasttext_file.read_bytes()
    fasttext_file.write_bytes(raw.replace(b"cat\0", b"1.5\0"))  # which stands there already, later
    with pytest.warns(UserWarning, match="1 rows are left out"):
        again = load(fasttext_file)
    kept = [row for row, word in enumerate(WORDS) if word != "1.5"]
    assert list(again.words) == ["1.5" if row == WORDS.index("cat") else WORDS[row] for row in kept]
    np.testing.assert_array_equal(again.inputs[: len(kept)], subwords.inputs[kept])
    np.testing.assert_array_equal(again.counts, subwords.counts[kept])
    np.testing.assert_array_equal(again.ngrams, subwords.ngrams)


def test_a_fasttext_model_in_another_encoding():
    with pytest.warns(UserWarning, match="69 words are not UTF-8.*; 6 rows are left out"):
        vectors = load(GENSIM / "cp852_fasttext.bin")
    theirs = load_facebook_vectors(GENSIM / "cp852_fasttext.bin", encoding="cp852")
    assert len(vectors) == len(theirs) - 6 == len(vectors.inputs) - len(vectors.ngrams)
    np.testing.assert_array_equal(vectors["jen"], theirs["jen"])
    np.testing.assert_array_equal(vectors.ngrams, theirs.vectors_ngrams)


# --------------------------------------------------------------------------------------------------------- bad input
@pytest.fixture
def little_memory():
    """Fails a test in which Python and NumPy ask for more than 60 MB at once."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


def model_bytes(words=b"a\0\1" + bytes(8), n=1, buckets=0, shape=(1, 2), dim=2, version=12) -> bytes:
    args = struct.pack("<12id", dim, 5, 5, 1, 5, 1, 2, 2, buckets, 3, 6, 100, 1e-4)
    head = struct.pack("<2i", 793712314, version) + args + struct.pack("<3i2q", n, n, 0, n, -1)
    return head + words + struct.pack("<?2q", False, *shape) + bytes(8) + struct.pack("<?2q", False, 1, 2) + bytes(8)


BAD = {
    "empty": (b"", "is empty"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(1000), "begins with b'.x89PNG"),
    "a pickle": (pickle.dumps({"words": ["a"], "matrix": np.ones((1, 2))}), "holds no word vectors"),
    "prose": ("แมวกินปลา\nปลาว่ายน้ำ\n".encode(), "holds no word vectors"),
    "a header alone": (b"3 2\n", "it is cut short"),
    "no words": (b"0 5\n", "claims 0 words"),
    "no dimensions": (b"5 0\na \n", "5 words of 0 dimensions"),
    "text, too few rows": (b"3 2\na 1 2\nb 1.5 2.5\n", "claims 3 words but has 2: it is cut short"),
    "text, too many rows": (b"1 2\na 1 2\nb 1 2\n", "claims 1 words but has more"),
    "text, too many dimensions": (b"2 3\na 1.5 2.5\nb 1.5 2.5\n", "line 2 is not a word and 3 numbers"),
    "text, too few dimensions": (b"2 1\n1 2 3\nb x 3\n1 y 2\n", "claims 2 words but has more"),
    "text, a broken row": (b"2 2\na 1 2\nb 1 x\n", "line 3 is not a word and 2 numbers but begins 'b 1 x'"),
    "text, an empty number": (b"2 2\na 1 2\nb  1\n", "line 3"),
    "text, two blanks": (b"2 2\na 1 2\nb  1 2\nc 1\n", "line 4"),
    "text, not a number": (b"2 2\na 1 2\nb nan 2\n", "line 3|'b' has a number"),
    "text, infinite": (b"2 2\na 1 2\nb inf 2\n", "the vector of 'b' has a number"),
    "text, beyond float32": (b"2 2\na 1 2\nb 1e39 2\n", "the vector of 'b' has a number"),
    "text, 2 billion words": (b"2000000000 300\na" + b" 1" * 300, "claims to hold 2,000,000,000 words"),
    "text, 2 billion dimensions": (b"1 2000000000\na" + b" 1" * 300, "words of 2,000,000,000 dimensions"),
    "GloVe, a broken row": (b"a 1 2\nb 1\n", "line 2"),
    "GloVe, prose after all": (b"in the year 1984\nall was well\n", "line 2"),
    "binary, too few rows": (b"3 2\na " + bytes(8) + b"b " + bytes(8), "claims to hold|words are missing"),
    "binary, too many rows": (b"1 2\na " + bytes(8) + b"b " + bytes(8), "goes on after the last row"),
    "binary, too few dimensions": (b"1 2\na " + bytes(12), "goes on after the last row"),
    "binary, too many dimensions": (b"1 4\na " + bytes(12), "claims to hold 1 words of 4 dimensions"),
    "binary, not a number": (b"1 2\na " + struct.pack("<2f", 1, np.nan), "the vector of 'a' has a number"),
    "binary, 2 billion words": (b"2000000000 2\na " + bytes(1000), "claims to hold 2,000,000,000 words"),
    "binary, 2 billion dimensions": (b"1 2000000000\na " + bytes(1000), "claims to hold 1 words of 2,000,000,000"),
    "binary, a number beyond all": (b"99999999999999999 999999999999999999\na " + bytes(1000), "claims to hold"),
    "fastText, 2 billion words": (model_bytes(n=2_000_000_000), "claims to hold 2,000,000,000 words"),
    "fastText, 2 billion buckets": (model_bytes(buckets=2 * 10**9, shape=(2 * 10**9 + 1, 2)), "2,000,000,001 rows"),
    "fastText, a negative number": (model_bytes(n=-1), "claims -1 words"),
    "fastText, no words": (model_bytes(n=0, words=b""), "claims 0 words"),
    "fastText, another shape": (model_bytes(shape=(2, 2)), "do not fit a matrix"),
    "fastText, a later version": (model_bytes(version=13), "format 13"),
    "fastText, a word without end": (model_bytes(words=b"a" * 100), "is damaged|cut short"),
    "fastText, goes on": (model_bytes() + b"more", "goes on"),
    "fastText, its mark alone": (struct.pack("<2i", 793712314, 12), "cut short"),
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True], ids=["", "gz"])
@pytest.mark.parametrize("case", BAD)
def test_bad_files(case, packed, tmp_path, little_memory):
    raw, message = BAD[case]
    path = tmp_path / "bad file"
    path.write_bytes(gzip.compress(raw) if packed else raw)
    if packed:  # the size is not known beforehand
        message += "|cut short|words are missing|has a number|line 2|claims 3"
    with pytest.raises(VectorsError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    with pytest.raises(VectorsError, match=message):
        to_memmap(path, tmp_path / "folder")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_megabytes_of_nothing_in_a_small_packed_file(tmp_path, little_memory):
    with gzip.open(tmp_path / "a.vec.gz", "wb") as file:
        file.write(b"1000 10000\nword 1.5")
        for _ in range(200):
            file.write(bytes(1 << 20))
    with pytest.raises(VectorsError):
        load(tmp_path / "a.vec.gz")


@pytest.mark.parametrize("kind", ["binary", "fastText", "gz"])
def test_a_file_cut_anywhere(kind, vectors, fasttext_file, tmp_path):
    whole = tmp_path / f"whole{'.gz' if kind == 'gz' else ''}"
    if kind == "fastText":
        shutil.copy(fasttext_file, whole)
    else:
        save_binary(vectors, whole)
    raw = whole.read_bytes()
    for size in range(0, len(raw) - (kind == "binary"), 29):  # word2vec's last byte is a line break
        whole.write_bytes(raw[:size])
        with pytest.raises(VectorsError, match="whole"):
            load(whole)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 200), bits=st.binary(min_size=1, max_size=8))
def test_a_damaged_fasttext_model_is_read_or_refused(where, bits, fasttext_file, tmp_path):
    raw = bytearray(fasttext_file.read_bytes())
    raw[where : where + len(bits)] = bits
    (tmp_path / "damaged.bin").write_bytes(raw)
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load(tmp_path / "damaged.bin")
    except VectorsError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 60e6


def test_the_format_asked_for_is_the_files(vectors, fasttext_file, tmp_path):
    path = save_text(vectors, tmp_path / "a.vec")
    with pytest.raises(VectorsError, match="not in the binary format but in the text one"):
        load_binary(path)
    with pytest.raises(VectorsError, match="not in the text format but in the fastText one"):
        load_text(fasttext_file)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing.vec")


@pytest.mark.parametrize("word", ["two words", "", "tab\tbed", "line\nbreak", "nul\0", "half\ud800"])
def test_words_that_cannot_be_written(word, tmp_path):
    with pytest.raises(VectorsError, match=r"the word .* cannot be written"):
        save_text(WordVectors([word], [[1, 2]]), tmp_path / "a.vec")
    with pytest.raises(VectorsError, match=r"the word .* cannot be written"):
        save_fasttext(SubwordVectors([word], [[1, 2]], min_n=3, max_n=0), tmp_path / "a.bin")
    assert not list(tmp_path.iterdir())


def test_settings_that_fasttext_lacks(subwords, tmp_path):
    with pytest.raises(ValueError, match="outputs have the shape"):
        save_fasttext(subwords, tmp_path / "a.bin", outputs=np.ones((2, 2)))
    with pytest.raises(ValueError, match="fastText has cbow, skipgram"):
        save_fasttext(subwords, tmp_path / "a.bin", model="glove")


# ----------------------------------------------------------------------------------------------------------- on disk
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("kind", SAVERS)
def test_a_folder_holds_the_same(kind, ending, vectors, tmp_path):
    path = SAVERS[kind](vectors, tmp_path / f"file{ending}")
    for mapped in (to_memmap(path, tmp_path / "new" / "folder"), open_memmap(tmp_path / "new" / "folder")):
        assert isinstance(mapped.matrix, np.memmap) and equal(mapped, vectors.words, vectors.matrix)
    assert equal(load(tmp_path / "new" / "folder"), vectors.words, vectors.matrix)
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["folder"]


def test_the_whole_is_never_in_memory(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).standard_normal((20_000, 200)).astype(np.float32)  # 16 MB
    path = save_binary(WordVectors([str(i) for i in range(20_000)], rows), tmp_path / "file")
    monkeypatch.setattr(formats, "CHUNK", 1 << 18)
    tracemalloc.start()
    mapped = to_memmap(path, tmp_path / "folder")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6 and mapped.matrix[-1].tolist() == rows[-1].tolist()


def test_a_folder_is_whole_or_absent(vectors, tmp_path, monkeypatch):
    path = save_text(vectors, tmp_path / "file")

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(formats, "_numbers", interrupt)
        with pytest.raises(KeyboardInterrupt):
            to_memmap(path, tmp_path / "folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    to_memmap(path, tmp_path / "folder")
    with pytest.raises(FileExistsError, match="open_memmap"):
        to_memmap(path, tmp_path / "folder")


def test_a_folder_of_a_fasttext_model_composes_too(subwords, fasttext_file, tmp_path):
    for mapped in (to_memmap(fasttext_file, tmp_path / "folder"), load(tmp_path / "folder")):
        assert isinstance(mapped, SubwordVectors) and equal(mapped, subwords.words, subwords.matrix)
        assert isinstance(mapped.matrix, np.memmap) and isinstance(mapped.ngrams, np.memmap)
        for word in UNSEEN:
            np.testing.assert_array_equal(mapped[word], subwords[word])


def test_the_most_frequent_of_a_folder(subwords, vectors, fasttext_file, tmp_path):
    to_memmap(fasttext_file, tmp_path / "model")
    to_memmap(save_text(vectors, tmp_path / "file"), tmp_path / "table")
    for folder, whole in (("model", subwords), ("table", vectors)):
        few = open_memmap(tmp_path / folder, most_frequent=3)
        assert isinstance(few.matrix, np.memmap) and equal(few, whole.words[:3], whole.matrix[:3])
    np.testing.assert_array_equal(
        open_memmap(tmp_path / "model", most_frequent=3)[WORDS[5]],
        subwords.ngrams[subwords.ngram_rows(WORDS[5])].mean(axis=0),
    )


@pytest.mark.parametrize("make", [save_text, to_memmap])
def test_what_has_no_rows_of_ngrams_is_no_fasttext_model(make, vectors, fasttext_file, tmp_path):
    known = to_memmap(fasttext_file, tmp_path / "folder") if make is to_memmap else vectors
    with pytest.raises(VectorsError, match=r"<\w+: 12 words, 7 dimensions> cannot be written to .*a\.bin: .*save_text"):
        save_fasttext(known, tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()


def test_a_word_with_a_line_break_stays_out_of_a_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"1 2\na\nb " + bytes(8))
    with pytest.raises(VectorsError, match="line break"):
        to_memmap(tmp_path / "file", tmp_path / "folder")


def test_damaged_folders(vectors, tmp_path):
    folder = tmp_path / "folder"
    with pytest.raises(VectorsError, match="no folder of word vectors"):
        open_memmap(folder)
    to_memmap(save_text(vectors, tmp_path / "file"), folder)
    raw = (folder / "matrix.npy").read_bytes()
    (folder / "matrix.npy").write_bytes(raw[:-20])
    with pytest.raises(VectorsError, match="no folder of word vectors"):
        open_memmap(folder)
    np.save(folder / "matrix.npy", vectors.matrix.astype(np.float64))
    with pytest.raises(VectorsError, match="float64"):
        open_memmap(folder)
    np.save(folder / "matrix.npy", vectors.matrix[:-1])
    with pytest.raises(VectorsError, match="12 words, but 11 rows"):
        open_memmap(folder)


@pytest.mark.parametrize("content", [None, "", "{", "[1]", '{"min": 1}'])
def test_a_damaged_folder_of_a_fasttext_model(content, fasttext_file, tmp_path):
    to_memmap(fasttext_file, tmp_path / "folder")
    lengths = tmp_path / "folder" / "ngrams.json"
    lengths.unlink() if content is None else lengths.write_text(content)
    with pytest.raises(VectorsError, match="no folder of word vectors"):
        open_memmap(tmp_path / "folder")
