"""AllenNLP's files: their activations, against a plain reference and against AllenNLP's own where they are at hand."""

import http.server
import json
import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from tlcourse import data
from tlcourse.elmo import allennlp
from tlcourse.elmo.allennlp import Embedder, Published, WeightsError, from_allennlp

OPTIONS = {
    "lstm": {
        "cell_clip": 0.5,
        "use_skip_connections": True,
        "n_layers": 2,
        "proj_clip": 0.3,
        "projection_dim": 5,
        "dim": 7,
    },
    "char_cnn": {
        "embedding": {"dim": 3},
        "filters": [[1, 4], [3, 6]],
        "n_highway": 2,
        "n_characters": 262,
        "max_characters_per_token": 50,
        "activation": "relu",
    },
}


def changed(**changes) -> dict:
    """The options with some changed: ``lstm_dim=8`` is ``lstm.dim``; `...` takes one away."""
    options = json.loads(json.dumps(OPTIONS))
    for name, value in changes.items():
        section, _, key = name.partition("_")
        section, key = ("char_cnn", key.removeprefix("cnn_")) if section == "char" else (section, key)
        if value is ...:
            del options[section][key]
        else:
            options[section][key] = value
    return options


def random_arrays(options: dict, *, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Weights as bilm-tf names and shapes them."""
    random = np.random.default_rng(0)
    cnn, lstm = options["char_cnn"], options["lstm"]
    dim, n, output, cell = (
        cnn["embedding"]["dim"],
        sum(n for _, n in cnn["filters"]),
        lstm["projection_dim"],
        lstm["dim"],
    )
    shapes = {"char_embed": (261, dim), "CNN_proj/W_proj": (n, output), "CNN_proj/b_proj": (output,)}
    for i, (width, number) in enumerate(cnn["filters"]):
        shapes |= {f"CNN/W_cnn_{i}": (1, width, dim, number), f"CNN/b_cnn_{i}": (number,)}
    for i in range(cnn["n_highway"]):
        shapes |= {f"CNN_high_{i}/W_{part}": (n, n) for part in ("carry", "transform")}
        shapes |= {f"CNN_high_{i}/b_{part}": (n,) for part in ("carry", "transform")}
    for direction in (0, 1):
        for layer in range(lstm["n_layers"]):
            name = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            shapes |= {f"{name}/W_0": (2 * output, 4 * cell), f"{name}/B": (4 * cell,), f"{name}/W_P_0": (cell, output)}
    return {name: (scale * random.standard_normal(shape) / 2).astype(np.float32) for name, shape in shapes.items()}


def write(folder: Path, options: dict, arrays: dict[str, np.ndarray]) -> tuple[Path, Path]:
    (folder / "options.json").write_text(json.dumps(options), encoding="utf-8")
    with h5py.File(folder / "weights.hdf5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return folder / "options.json", folder / "weights.hdf5"


@pytest.fixture
def files(tmp_path):
    """A small model's two files."""
    return write(tmp_path, OPTIONS, random_arrays(OPTIONS))


# ---------------------------------------------------------------------------------------------------- reference
def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Reference:
    """ELMo one word and one step at a time, in float64, from the equations and the arrays of the file."""

    def __init__(self, options, arrays):
        self.cnn, self.lstm = options["char_cnn"], options["lstm"]
        self.arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
        self.states = {}  # (row, direction, layer) -> output, cell

    def word(self, ids: list[int]) -> np.ndarray:
        """A word's vector from 50 ids that begin at 0."""
        x = self.arrays["char_embed"][ids]
        pooled = []
        for i, (width, _) in enumerate(self.cnn["filters"]):
            kernel, bias = self.arrays[f"CNN/W_cnn_{i}"][0], self.arrays[f"CNN/b_cnn_{i}"]
            windows = [np.einsum("wd,wdn->n", x[k : k + width], kernel) for k in range(50 - width + 1)]
            pooled.append(np.maximum(np.max(windows, 0) + bias, 0))
        y = np.concatenate(pooled)
        for i in range(self.cnn["n_highway"]):
            high = {
                part: self.arrays[f"CNN_high_{i}/{part}"]
                for part in ("W_carry", "b_carry", "W_transform", "b_transform")
            }
            gate = sigmoid(y @ high["W_carry"] + high["b_carry"])
            y = gate * np.maximum(y @ high["W_transform"] + high["b_transform"], 0) + (1 - gate) * y
        return y @ self.arrays["CNN_proj/W_proj"] + self.arrays["CNN_proj/b_proj"]

    def step(self, direction: int, layer: int, x: np.ndarray, state: tuple) -> tuple:
        name = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
        output, cell = state
        gates = np.concatenate([x, output]) @ self.arrays[f"{name}/W_0"] + self.arrays[f"{name}/B"]
        i, j, f, o = np.split(gates, 4)
        cell = sigmoid(f + 1) * cell + sigmoid(i) * np.tanh(j)
        if clip := self.lstm["cell_clip"]:
            cell = np.clip(cell, -clip, clip)
        output = (sigmoid(o) * np.tanh(cell)) @ self.arrays[f"{name}/W_P_0"]
        if clip := self.lstm["proj_clip"]:
            output = np.clip(output, -clip, clip)
        return output, cell

    def __call__(self, row: int, sentence: list[str]) -> np.ndarray:
        """(layers, words, dimensions) of the next sentence in a row."""
        marked = [[258, 256, 259], *([258, *word.encode()[:48], 259] for word in sentence), [258, 257, 259]]
        characters = [self.word(ids + [260] * (50 - len(ids))) for ids in marked]
        zeros = np.zeros(self.lstm["projection_dim"]), np.zeros(self.lstm["dim"])
        sides = []
        for direction in (0, 1):
            x = characters[:: -1 if direction else 1]
            layers = [x]
            for layer in range(self.lstm["n_layers"]):
                state, y = self.states.get((row, direction, layer), zeros), []
                for word in x:
                    state = self.step(direction, layer, word, state)
                    y.append(state[0] + word if layer and self.lstm["use_skip_connections"] else state[0])
                self.states[row, direction, layer] = state
                layers.append(x := y)
            sides.append([layer[:: -1 if direction else 1] for layer in layers])
        return np.concatenate(sides, -1)[:, 1:-1]


BATCHES = [
    [["The", "cat", "sat"], ["แมว", "นั่ง", "บน", "เสื่อ", "🙂"], ["a"]],
    [["a" * 60, "ก" * 20, ""]],
    [[], ["x", "y"], ["The", "The", "The"], ["ที่\u0e4c", "<3"]],
    [["one"], ["two", "three"]],
    [["four"], [], ["five", "six"], ["seven"], ["eight", "nine"]],
]
VARIANTS = {
    "published": {},
    "no clipping": {"lstm_cell_clip": None, "lstm_proj_clip": 0},
    "one clip": {"lstm_cell_clip": None},
    "no skip": {"lstm_use_skip_connections": False},
    "three layers": {"lstm_n_layers": 3},
    "no highway": {"char_cnn_n_highway": 0},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("stateful", [True, False])
def test_activations_are_those_of_the_equations(tmp_path, changes, stateful):
    options = changed(**changes)
    arrays = random_arrays(options)
    embedder, reference = (
        from_allennlp(*write(tmp_path, options, arrays), stateful=stateful),
        Reference(options, arrays),
    )
    for batch in BATCHES:
        if not stateful:
            reference.states.clear()
        for row, (found, sentence) in enumerate(zip(embedder(batch), batch, strict=True)):
            assert found.dtype == np.float32 and found.shape == (options["lstm"]["n_layers"] + 1, len(sentence), 10)
            np.testing.assert_allclose(found, reference(row, sentence), atol=1e-5)


def test_the_clips_of_that_test_clip(files):
    first = np.concatenate([vectors[1].ravel() for vectors in from_allennlp(*files)(BATCHES[0])])
    assert 0.05 < (abs(first) > 0.3 - 1e-6).mean() < 0.95


REAL = os.environ.get("TLCOURSE_REAL_DATA", "")


@pytest.mark.skipif(
    not (REAL and (Path(REAL) / "elmo_fixture").is_dir()), reason="TLCOURSE_REAL_DATA has no elmo_fixture"
)
def test_allennlps_own_activations():
    """Ten sentences in a row, the others of their batches beside them, state carried."""
    folder = Path(REAL) / "elmo_fixture"
    streams = json.loads((folder / "sentences.json").read_text(encoding="utf-8"))
    embedder = from_allennlp(folder / "options.json", folder / "lm_weights.hdf5")
    worst = 0
    with h5py.File(folder / "lm_embeddings_0.hdf5") as expected:
        assert len(expected) == 10
        for i, batch in enumerate(zip(*streams, strict=True)):
            top = embedder([sentence.split() for sentence in batch])[0][-1]
            worst = max(worst, abs(top - np.concatenate(expected[str(i)], -1)).max())
    print(f"largest difference {worst:.1e}")
    assert worst < 1e-5


# ------------------------------------------------------------------------------------------------------- embedder
class TestEmbedder:
    def test_it_remembers_until_it_is_reset(self, files):
        embedder, batch = from_allennlp(*files), [["a", "b"], ["c"]]
        first, second = embedder(batch), embedder(batch)
        assert abs(first[0][1] - second[0][1]).max() > 1e-3
        np.testing.assert_array_equal(first[0][0], second[0][0])  # characters know of no sentence before
        embedder.reset()
        for one, again in zip(first, embedder(batch), strict=True):
            np.testing.assert_array_equal(one, again)

    def test_without_state_only_the_sentence_counts(self, files):
        sentences = [["a"] * n for n in (5, 1, 0, 3, 2, 5)] + [["b", "a"]]
        many = from_allennlp(*files, stateful=False, batch_size=3)
        many([["c", "d"]])
        for found, sentence in zip(many(sentences), sentences, strict=True):
            np.testing.assert_allclose(found, from_allennlp(*files)([sentence])[0], atol=1e-6)

    def test_more_sentences_than_a_batch_are_the_next_batch(self, files):
        sentences = [["a"], ["b", "c"], ["d"], [], ["e", "f", "g"]]
        cut, by_hand = from_allennlp(*files, batch_size=2), from_allennlp(*files)
        batches = [found for start in (0, 2, 4) for found in by_hand(sentences[start : start + 2])]
        for one, other in zip(cut(sentences), batches, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_a_batch_without_words_is_not_read(self, files):
        embedder = from_allennlp(*files)
        embedder([["a"]])
        state = embedder.state
        assert [found.shape for found in embedder([[], []])] == [(3, 0, 10)] * 2
        assert embedder.state is state
        assert embedder([]) == [] and embedder.state is state

    def test_a_column_of_a_table(self, files):
        column = pd.Series([["a", "b"], ["c"]], index=[7, 1])
        one, other = from_allennlp(*files, stateful=False)(column)
        assert one.shape == (3, 2, 10) and other.shape == (3, 1, 10)

    def test_tuples_are_sentences_and_results_are_the_callers(self, files):
        embedder = from_allennlp(*files)
        one, other = embedder([("a", "b"), ("a", "b")])
        one[:] = 0
        assert other.any() and one.flags.writeable and one.flags.owndata

    def test_it_evaluates_a_model_that_was_training(self, files):
        embedder = from_allennlp(*files, stateful=False)
        embedder.model.train()
        np.testing.assert_array_equal(*(embedder([["a", "b"]])[0] for _ in range(2)))
        assert embedder.config == embedder.model.config and embedder.config.dropout > 0

    def test_long_words_and_odd_ones(self, files):
        embedder = from_allennlp(*files, stateful=False)
        found = embedder([["a" * 10_000, "👨‍👩‍👧", "ที่\u0e4c\u0e4c", ""]])[0]
        assert np.isfinite(found).all() and found.shape == (3, 4, 10)
        np.testing.assert_allclose(found[0, 0], embedder([["a" * 48]])[0][0, 0], atol=1e-6)

    def test_a_text_is_no_sentence(self, files):
        with pytest.raises(TypeError, match="sentence 1 is a text"):
            from_allennlp(*files)([["a"], "the cat"])

    def test_batches_of_none(self, files):
        with pytest.raises(ValueError, match="batch_size=0"):
            Embedder(from_allennlp(*files).model, batch_size=0)

    def test_its_model_can_learn(self, files):
        model = from_allennlp(*files).model.train()
        layers, _ = model(allennlp.character_ids([["a", "b"]]))
        layers.forward[1].sum().backward()
        assert all(parameter.grad is not None for parameter in model.forwards.parameters())


# -------------------------------------------------------------------------------------------------------- bad files
class TestOptions:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"lstm_dim": ...}, r"lacks the option lstm\.dim"),
            ({"char_cnn_filters": ...}, r"lacks the option char_cnn\.filters"),
            ({"char_cnn_embedding": 4}, r"lacks the option char_cnn\.embedding\.dim"),
            ({"lstm_dim": "64"}, r"lstm\.dim='64'"),
            ({"lstm_n_layers": True}, r"lstm\.n_layers=True"),
            ({"lstm_dim": -4}, "lstm_dim=-4"),
            ({"lstm_cell_clip": -3}, "cell_clip=-3"),
            ({"char_cnn_activation": "selu"}, "activation='selu'"),
            ({"char_cnn_filters": [[1, 4], [3]]}, "not enough values"),
            ({"char_cnn_filters": [[99, 4]]}, "longest=50"),
            ({"char_cnn_n_characters": 500}, r"char_cnn\.n_characters=500"),
        ],
    )
    def test_that_make_no_model(self, tmp_path, changes, says):
        options, weights = write(tmp_path, changed(**changes), {})
        with pytest.raises(WeightsError, match=says) as caught:
            from_allennlp(options, weights)
        assert str(options) in str(caught.value)

    @pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"3"])
    def test_that_are_none(self, files, raw):
        files[0].write_bytes(raw)
        with pytest.raises(WeightsError, match=r"options\.json"):
            from_allennlp(*files)

    def test_those_of_training_do(self, tmp_path):
        options = changed(char_cnn_n_characters=261)
        assert from_allennlp(*write(tmp_path, options, random_arrays(options)))([["a"]])[0].any()


class TestWeights:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"lstm_dim": 8}, [r"Cell0/LSTMCell/W_0", r"\(10, 28\)", r"\(10, 32\)", r"lstm\.dim"]),
            ({"lstm_projection_dim": 6}, [r"CNN_proj/W_proj", r"\(10, 5\)", r"\(10, 6\)", r"lstm\.projection_dim"]),
            ({"lstm_n_layers": 1}, [r"also has RNN_0/.*Cell1", r"lstm\.n_layers"]),
            ({"lstm_n_layers": 3}, [r"lacks RNN_0/RNN/MultiRNNCell/Cell2/LSTMCell/W_0"]),
            ({"lstm_n_layers": 10**9}, [r"lacks RNN_0/RNN/MultiRNNCell/Cell2/LSTMCell/W_0"]),
            ({"lstm_dim": 10**12}, [r"lstm\.dim"]),
            ({"char_cnn_n_highway": 1}, [r"also has CNN_high_1", r"char_cnn\.n_highway"]),
            (
                {"char_cnn_embedding": {"dim": 4}},
                [r"char_embed", r"\(261, 3\)", r"\(261, 4\)", r"char_cnn\.embedding\.dim"],
            ),
            ({"char_cnn_filters": [[1, 4], [2, 6]]}, [r"CNN/W_cnn_1", r"\(1, 3, 3, 6\)", r"\(1, 2, 3, 6\)"]),
            (
                {"char_cnn_filters": [[1, 4]]},
                [r"CNN_high_0/W_transform", r"\(10, 10\)", r"\(4, 4\)", r"char_cnn\.filters"],
            ),
        ],
    )
    def test_of_another_model(self, tmp_path, changes, says):
        options, weights = write(tmp_path, changed(**changes), random_arrays(OPTIONS))
        for part in says:
            with pytest.raises(WeightsError, match=part):
                from_allennlp(options, weights)

    @pytest.mark.parametrize("name", random_arrays(OPTIONS))
    def test_each_missing_array_is_named(self, tmp_path, name):
        arrays = random_arrays(OPTIONS)
        del arrays[name]
        with pytest.raises(WeightsError, match=f"lacks {name}$"):
            from_allennlp(*write(tmp_path, OPTIONS, arrays))

    def test_a_group_in_place_of_an_array(self, files):
        with h5py.File(files[1], "a") as file:
            del file["char_embed"], file["CNN"]
            file.create_group("char_embed/inner")
            file["CNN"] = np.zeros(3)
        with pytest.raises(WeightsError, match="lacks char_embed"):
            from_allennlp(*files)

    @pytest.mark.parametrize(
        ("array", "says"),
        [
            (np.full((261, 3), np.nan, np.float32), "not finite"),
            (np.ones((261, 3), np.int32), "int32"),
            (np.full((261, 3), b"x"), "floating-point"),
        ],
    )
    def test_an_array_of_something_else(self, tmp_path, array, says):
        with pytest.raises(WeightsError, match=f"char_embed.*{says}"):
            from_allennlp(*write(tmp_path, OPTIONS, random_arrays(OPTIONS) | {"char_embed": array}))

    def test_other_precisions_do(self, tmp_path, files):
        arrays = {name: array.astype(np.float64) for name, array in random_arrays(OPTIONS).items()}
        (tmp_path / "double").mkdir()
        double = from_allennlp(*write(tmp_path / "double", OPTIONS, arrays))
        assert double.model.characters.projection.weight.dtype == torch.float32
        np.testing.assert_array_equal(double([["a"]])[0], from_allennlp(*files)([["a"]])[0])

    @pytest.mark.parametrize("raw", [b"", b"<html>403 Forbidden</html>", b"\x89HDF\r\n\x1a\n" + bytes(100)])
    def test_that_are_no_hdf5(self, files, raw):
        files[1].write_bytes(raw)
        with pytest.raises(WeightsError, match="not a whole HDF5 file"):
            from_allennlp(*files)

    @pytest.mark.parametrize("kept", [0.05, 0.5, 0.99])
    def test_that_are_cut_short(self, files, kept):
        raw = files[1].read_bytes()
        files[1].write_bytes(raw[: int(kept * len(raw))])
        with pytest.raises(WeightsError, match="not a whole HDF5 file"):
            from_allennlp(*files)

    def test_damage_anywhere_is_an_error_or_other_numbers(self, files):
        raw = files[1].read_bytes()
        for at in np.random.default_rng(0).integers(0, 8_000, 100):  # where names, shapes and addresses are
            files[1].write_bytes(raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :])
            try:
                from_allennlp(*files)
            except WeightsError as error:
                assert str(files[1]) in str(error)

    @pytest.mark.parametrize("which", [0, 1])
    def test_that_are_not_there(self, files, which):
        files[which].unlink()
        with pytest.raises(FileNotFoundError):
            from_allennlp(*files)


# -------------------------------------------------------------------------------------------------------- published
@dataclass
class Site:
    """A publisher on this machine."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def table(self, options: dict = OPTIONS, **changes) -> dict[str, Published]:
        entry = replace(
            allennlp.read_table()["small"],
            options=f"{self.address}/x_options.json",
            weights=f"{self.address}/x_weights.hdf5",
            projection_dim=options["lstm"]["projection_dim"],
            lstm_dim=options["lstm"]["dim"],
            n_highway=options["char_cnn"]["n_highway"],
            bytes=100_000,
        )
        return {"small": replace(entry, **changes)}


@pytest.fixture
def site(files):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            site.asked.append(self.path[1:])
            if (raw := site.files.get(self.path[1:])) is None:
                self.send_error(403)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args):
            pass

    site = Site(files={f"x_{path.name}": path.read_bytes() for path in files})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        site.address = f"http://127.0.0.1:{server.server_port}"
        yield site
        server.shutdown()
        thread.join()


class TestPublished:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TLCOURSE_CACHE", str(tmp_path / "cache"))
        return tmp_path / "cache"

    def test_by_name_downloaded_once(self, site, files, monkeypatch):
        table = site.table()
        monkeypatch.setattr(allennlp, "read_table", lambda: table)
        np.testing.assert_array_equal(from_allennlp("small")([["a"]])[0], from_allennlp(*files)([["a"]])[0])
        from_allennlp("small")
        assert site.asked == ["x_options.json", "x_weights.hdf5"]

    def test_the_users_folder_comes_first(self, site, files, tmp_path, monkeypatch):
        monkeypatch.setenv("TLCOURSE_DATA", str(tmp_path / "mine"))
        (tmp_path / "mine" / "small").mkdir(parents=True)
        mine = [tmp_path / "mine" / "small" / f"x_{path.name}" for path in files]
        for path, given in zip(mine, files, strict=True):
            path.write_bytes(given.read_bytes())
        assert list(allennlp.fetch("small", table=site.table())) == mine
        assert site.asked == []

    def test_a_server_that_refuses(self, site):
        site.files.clear()
        with pytest.raises(data.DownloadError, match="403") as caught:
            allennlp.fetch("small", table=site.table())
        assert "TLCOURSE_DATA" in str(caught.value)

    def test_more_bytes_than_there_may_be(self, site, cache):
        with pytest.raises(data.ChecksumError, match="more than the 1,000 bytes"):
            allennlp.fetch("small", table=site.table(bytes=1_000))
        assert not (cache / "elmo" / "small" / "x_weights.hdf5").exists()

    @pytest.mark.parametrize("size", ["projection_dim", "lstm_dim", "n_highway"])
    def test_options_of_other_sizes(self, site, size):
        with pytest.raises(WeightsError, match=f"not of small: its {size}"):
            allennlp.fetch("small", table=site.table(**{size: 3}))
        assert site.asked == ["x_options.json"]  # the weights are not worth their megabytes

    def test_a_name_that_is_none(self):
        with pytest.raises(data.DataError, match=r"small, medium, original, 5\.5B.*options, weights"):
            from_allennlp("large")

    def test_a_folder_that_cannot_be(self, site, cache):
        cache.write_text("a file")
        with pytest.raises(data.DownloadError, match="cannot be kept"):
            allennlp.fetch("small", table=site.table())

    def test_the_table(self):
        table = allennlp.read_table()
        assert list(table) == ["small", "medium", "original", "5.5B"]
        for entry in table.values():
            sizes = f"2x{entry.lstm_dim}_{entry.projection_dim}_2048cnn_{entry.n_highway}xhighway"
            sizes += "_5.5B" * (entry.name == "5.5B")
            for address, file in ((entry.options, "options.json"), (entry.weights, "weights.hdf5")):
                assert address.startswith("https://") and address.endswith(f"/{sizes}/elmo_{sizes}_{file}")

    @pytest.mark.parametrize("raw", [b"[small", b"[small]\ntitle = 3", b"\xff"])
    def test_a_damaged_table(self, tmp_path, raw):
        (tmp_path / "table.toml").write_bytes(raw)
        with pytest.raises(data.DataError, match=r"table\.toml cannot be read"):
            allennlp.read_table(tmp_path / "table.toml")
