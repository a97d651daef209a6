"""ELMo in AllenNLP's files, ``options.json`` and ``weights.hdf5``, with the activations that AllenNLP computes.

>>> from tlcourse import elmo
>>> embedder = elmo.from_allennlp("small")  # 54 MB to download; or the paths of two files
>>> embedder([["The", "bank", "of", "the", "river"]])[0].shape  # layers, words, dimensions
(3, 5, 256)
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from tlcourse.data import DataError, cache_folder, shipped
from tlcourse.data.download import cannot_keep, published_file
from tlcourse.elmo.characters import N_CHARACTERS, character_ids
from tlcourse.elmo.model import BiLM, ELMoConfig, State

MOST_OPTIONS = 100_000  # bytes of an options file


class WeightsError(ValueError):
    """A file of ELMo's is damaged, or the options and the weights are not of one model; the message says where."""


# ---------------------------------------------------------------------------------------------------- embedder
class Embedder:
    """A trained model for sentences of words, as AllenNLP's ``ElmoEmbedder``.

    Like it, the embedder remembers: the i-th sentence of a batch goes on from the i-th sentence of the batch before, in
    both directions, so the same sentence has slightly different vectors the second time. A batch may be smaller or
    larger than the one before; rows that it lacks keep what they remember, new rows remember nothing. A batch without
    a single word is not read.

    Args:
        model: what embeds; it is put into evaluation mode.
        stateful: whether to remember. Without, a sentence's vectors depend on it alone.
        batch_size: sentences that are read together; when stateful, that decides what a sentence goes on from.
    """

    def __init__(self, model: BiLM, *, stateful: bool = True, batch_size: int = 64):
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        self.model, self.stateful, self.batch_size = model.eval(), stateful, batch_size
        self.state: State | None = None

    @property
    def config(self) -> ELMoConfig:
        """The model's sizes."""
        return self.model.config

    def reset(self) -> None:
        """Forget all sentences."""
        self.state = None

    def __call__(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """For each sentence (1 + L, words, 2P) float32: the characters twice, then each layer, forward and backward.

        Raises:
            TypeError: a sentence is a text, not its words, or a word is no text.
        """
        sentences = list(sentences)  # a column of a table, say, numbered as it likes
        order = range(len(sentences))
        if not self.stateful:  # sentences of about one length need little padding
            order = sorted(order, key=lambda i: len(sentences[i]))
        embedded = {}
        for start in range(0, len(sentences), self.batch_size):
            rows = order[start : start + self.batch_size]
            embedded |= zip(rows, self._embed([sentences[row] for row in rows]), strict=True)
        return [embedded[row] for row in range(len(sentences))]

    @torch.no_grad()
    def _embed(self, batch: list[Sequence[str]]) -> list[np.ndarray]:
        """One batch."""
        ids = character_ids(batch, longest=self.config.longest)
        if not any(map(len, batch)):
            shape = 1 + self.config.n_layers, 0, 2 * self.config.projection_dim
            return [np.zeros(shape, np.float32) for _ in batch]
        device = self.model.characters.projection.weight.device
        layers, state = self.model.eval()(ids.to(device), self.state)
        if self.stateful:
            self.state = state
        stacked = torch.stack(list(layers.representations().values()), 1).float().cpu()  # (B, 1 + L, T, 2P)
        return [rows[:, 1 : len(words) + 1].numpy().copy() for rows, words in zip(stacked, batch, strict=True)]


def from_allennlp(
    options: str | Path, weights: str | Path | None = None, *, stateful: bool = True, batch_size: int = 64
) -> Embedder:
    """ELMo from an options file and a weights file, or by the name under which AllenNLP published it.

    Args:
        options: the path of ``options.json``; without `weights` one of ``small``, ``medium``, ``original``, ``5.5B``.
        weights: the path of ``weights.hdf5``.
        stateful, batch_size: as of :class:`Embedder`.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: a file is damaged, or the options and the weights are not of one model.
        DataError: nothing is published under that name, or it cannot be downloaded; the message says what to do.
    """
    if weights is None:
        options, weights = fetch(str(options))
    return Embedder(load(options, weights), stateful=stateful, batch_size=batch_size)


def load(options: str | Path, weights: str | Path) -> BiLM:
    """The model of an options file and a weights file.

    Raises:
        FileNotFoundError, WeightsError: as :func:`from_allennlp`.
    """
    config = read_options(options)
    state = read_weights(weights, config)
    with torch.device("meta"):  # nothing is drawn that the weights would replace
        model = BiLM(config)
    model.load_state_dict(state, assign=True)
    return model.eval()


# ----------------------------------------------------------------------------------------------------- options
def read_options(path: str | Path) -> ELMoConfig:
    """The sizes in an options file.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: the file is no JSON, or an option is missing or has no sensible value.
    """
    try:
        options = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is not an options file: {error}") from error

    def option(name: str, kind: type | tuple[type, ...] = int, **default):
        value = options
        for key in name.split("."):
            if not isinstance(value, dict) or (key not in value and not default):
                raise WeightsError(f"{path} lacks the option {name}")
            value = value.get(key, default.get("default"))
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise WeightsError(f"{path} has {name}={value!r}")
        return value

    if (n := option("char_cnn.n_characters", default=N_CHARACTERS)) not in (N_CHARACTERS - 1, N_CHARACTERS):
        raise WeightsError(f"{path} has char_cnn.n_characters={n}; ELMo's are 261 in training, 262 after it")
    number = (int, float, type(None))
    try:
        return ELMoConfig(
            char_dim=option("char_cnn.embedding.dim"),
            filters=tuple((int(width), int(n)) for width, n in option("char_cnn.filters", list)),
            n_highway=option("char_cnn.n_highway"),
            activation=option("char_cnn.activation", str),
            longest=option("char_cnn.max_characters_per_token"),
            projection_dim=option("lstm.projection_dim"),
            lstm_dim=option("lstm.dim"),
            n_layers=option("lstm.n_layers"),
            cell_clip=option("lstm.cell_clip", number, default=None) or None,  # 0 is none, too
            proj_clip=option("lstm.proj_clip", number, default=None) or None,
            skip=option("lstm.use_skip_connections", bool, default=False),
        )
    except WeightsError:
        raise
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: {error}") from error


# ----------------------------------------------------------------------------------------------------- weights
def read_weights(path: str | Path, config: ELMoConfig) -> dict[str, Tensor]:
    """A weights file as the state of a :class:`BiLM` of that configuration.

    TensorFlow's matrices are transposed, its gates come in another order, and it adds 1 to the forget gate's bias when
    it computes; the file has no row for "no character", which is 0.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is no HDF5 file, is cut short, lacks an array, has one that the options do not ask for, or one
            of another shape; the message names the array, both shapes and the options.
    """
    try:
        with h5py.File(path, "r") as file:
            return _state(_Arrays(file, path), config)
    except (FileNotFoundError, WeightsError):
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # h5py raises any of them for damage
        raise WeightsError(
            f"{path} is not a whole HDF5 file: {error}. If it was downloaded, delete it and download it again."
        ) from error


class _Arrays:
    """The arrays of a weights file, each asked for by name and shape."""

    def __init__(self, file: h5py.File, path: str | Path):
        self.file, self.path = file, path
        self.shapes = {}
        file.visititems(lambda name, item: self.shapes.update({name: item.shape} if hasattr(item, "shape") else {}))
        self.left = {name for name in self.shapes if name.startswith(("CNN", "RNN"))}

    def take(self, name: str, shape: tuple[int, ...], options: str) -> Tensor:
        """An array; `options` names those that ask for the shape."""
        if name not in self.shapes:
            raise WeightsError(f"{self.path} lacks {name}")
        if (found := self.shapes[name]) != shape:
            raise WeightsError(f"{self.path}: {name} has the shape {found}, but the options {options} ask for {shape}")
        array = self.file[name]
        if array.dtype.kind != "f":
            raise WeightsError(f"{self.path}: {name} holds {array.dtype}, not floating-point numbers")
        tensor = torch.from_numpy(array[...].astype(np.float32))
        if not tensor.isfinite().all():
            raise WeightsError(f"{self.path}: {name} has numbers that are not finite")
        self.left.discard(name)
        return tensor


def _state(arrays: _Arrays, config: ELMoConfig) -> dict[str, Tensor]:
    """The arrays of a file under the names that they have in a model."""
    dim, n, cell, output = config.char_dim, config.n_filters, config.lstm_dim, config.projection_dim
    characters = arrays.take("char_embed", (N_CHARACTERS - 1, dim), "char_cnn.embedding.dim")
    state = {"embedding.weight": torch.cat([torch.zeros(1, dim), characters])}
    for i, (width, number) in enumerate(config.filters):
        kernel = arrays.take(f"CNN/W_cnn_{i}", (1, width, dim, number), "char_cnn.filters and char_cnn.embedding.dim")
        state[f"convolutions.{i}.weight"] = kernel[0].permute(2, 1, 0)
        state[f"convolutions.{i}.bias"] = arrays.take(f"CNN/b_cnn_{i}", (number,), "char_cnn.filters")
    for i in range(config.n_highway):
        for ours, theirs in (("transform", "transform"), ("gate", "carry")):
            weight = arrays.take(f"CNN_high_{i}/W_{theirs}", (n, n), "char_cnn.filters")
            state[f"highways.{i}.{ours}.weight"] = weight.T
            state[f"highways.{i}.{ours}.bias"] = arrays.take(f"CNN_high_{i}/b_{theirs}", (n,), "char_cnn.filters")
    weight = arrays.take("CNN_proj/W_proj", (n, output), "char_cnn.filters and lstm.projection_dim")
    state["projection.weight"] = weight.T
    state["projection.bias"] = arrays.take("CNN_proj/b_proj", (output,), "lstm.projection_dim")
    state = {f"characters.{name}": tensor for name, tensor in state.items()}

    for direction, ours in enumerate(("forwards", "backwards")):
        for layer in range(config.n_layers):
            theirs = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            both = arrays.take(f"{theirs}/W_0", (2 * output, 4 * cell), "lstm.projection_dim and lstm.dim")
            bias = arrays.take(f"{theirs}/B", (4 * cell,), "lstm.dim")
            projection = arrays.take(f"{theirs}/W_P_0", (cell, output), "lstm.dim and lstm.projection_dim")
            bias[2 * cell : 3 * cell] += 1
            state |= {
                f"{ours}.{layer}.input": _gates(both[:output].T),
                f"{ours}.{layer}.recurrent": _gates(both[output:].T),
                f"{ours}.{layer}.bias": _gates(bias),
                f"{ours}.{layer}.projection": projection.T,
            }
    if arrays.left:
        raise WeightsError(
            f"{arrays.path} also has {', '.join(sorted(arrays.left))}, which the options do not ask for: "
            "are lstm.n_layers, char_cnn.n_highway and char_cnn.filters those of these weights?"
        )
    return {name: tensor.contiguous() for name, tensor in state.items()}


def _gates(tensor: Tensor) -> Tensor:
    """Rows in TensorFlow's order (input, candidate, forget, output), put into PyTorch's."""
    taken, candidate, kept, shown = tensor.chunk(4)
    return torch.cat([taken, kept, candidate, shown])


# --------------------------------------------------------------------------------------------------- published
@dataclass(frozen=True, kw_only=True)
class Published:
    """What ``data/weights-elmo.toml`` says of weights that AllenNLP published.

    Attributes:
        name: the name that :func:`from_allennlp` takes.
        title: one line for people.
        projection_dim, lstm_dim, n_highway: compared with the options that were downloaded.
        options, weights: addresses.
        bytes: the most that the weights may have.
        verified: in words, how it is known that the download is the published one.
        licence, citation, homepage: whom to credit, and where to read more.
    """

    name: str
    title: str
    projection_dim: int
    lstm_dim: int
    n_highway: int
    options: str
    weights: str
    bytes: int
    verified: str
    licence: str
    citation: str
    homepage: str


def read_table(path: Path | None = None) -> dict[str, Published]:
    """The published weights by name, from ``data/weights-elmo.toml`` or another file like it.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = path or shipped() / "weights-elmo.toml"
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: Published(name=name, **fields) for name, fields in entries.items()}
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read: {error!r}") from error


def fetch(name: str, *, table: Mapping[str, Published] | None = None) -> tuple[Path, Path]:
    """The options file and the weights file of published weights.

    They are taken from ``<name>/`` in the folder that ``TLCOURSE_DATA`` names, else from the cache, else downloaded.

    Raises:
        DataError: there are none of that name.
        DownloadError: a file cannot be downloaded or kept; the message says what to do.
        ChecksumError: a file is larger than the published one.
        WeightsError: the options are not those of the published model.
    """
    entries = read_table() if table is None else table
    if name not in entries:
        raise DataError(
            f"ELMo is not published under the name {name!r}; there are {', '.join(entries)}. "
            "To load files, give both: from_allennlp(options, weights)."
        )
    entry = entries[name]
    folder = cache_folder() / "elmo" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            options = published_file(name, entry.options, n_bytes=MOST_OPTIONS, folder=folder)
            config = read_options(options)
            for size in ("projection_dim", "lstm_dim", "n_highway"):
                if (found := getattr(config, size)) != (wanted := getattr(entry, size)):
                    raise WeightsError(f"{options} is not of {name}: its {size} is {found}, not {wanted}. Delete it.")
            return options, published_file(name, entry.weights, n_bytes=entry.bytes, folder=folder)
    except OSError as error:
        raise cannot_keep(name, folder, error) from error
