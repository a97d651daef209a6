"""Backbones that others have trained: fastai's and thai2fit's AWD-LSTM, read without running what is in their files.

A ``.pth`` and a ``.pkl`` are pickles, and a pickle is a program. Here it may build tensors, lists, dicts, strings
and numbers; whatever else it asks for is refused by name, before anything runs.

>>> from tlcourse import ulmfit
>>> from tlcourse.ulmfit import published
>>> path = published.fetch("thai2fit")  # downloaded once, kept as safetensors
>>> model, vocab = ulmfit.load_backbone(path)
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import pickletools
import re
import shutil
import tarfile
import tomllib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from filelock import FileLock
from torch import Tensor

from tlcourse.data import DataError, cache_folder, shipped
from tlcourse.data.download import cannot_keep, published_file
from tlcourse.text import Vocab
from tlcourse.ulmfit.backbone import build, load_backbone, save_backbone
from tlcourse.ulmfit.model import AWDLSTMConfig, Dropouts, LanguageModel

FASTAI_SPECIALS = ("xxunk", "xxpad", "xxbos", "xxeos")  # in the order of Vocab.SPECIALS; its other xx-words are words
FILLER = "xxfake"  # fastai's, to make the number of rows a multiple of 8
MOST_WORDS = 64 << 20  # bytes of a file of words
MOST_UNPACKED = 1 << 30  # bytes of a file in an archive


class UnsafePickle(ValueError):
    """A pickle asks for more than tensors, lists, dicts, strings and numbers; the message names it."""


# ----------------------------------------------------------------------------------------------- reading pickles
class _Unread:
    """Stands for what an optimiser's state holds beside tensors, and forgets it."""

    def __new__(cls, *args):
        return super().__new__(cls)

    def __setstate__(self, state):
        pass


# Schedules leave NumPy's numbers in an optimiser's state, fastai 2 lists of its own.
UNREAD = (
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "fastcore.foundation.L",
)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.pth`` by name: a state dict, alone or as the ``model`` beside an optimiser's state.

    Reads PyTorch's zip files and the older format, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafePickle: the file asks for anything but tensors, lists, dicts, strings and numbers.
        ValueError: the file is damaged, claims more than it holds, or has no state dict.
    """
    path = Path(path)
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > size:
                raise ValueError(f"{path} is refused: it unpacks to more than its own size")
    try:
        with torch.serialization.safe_globals([(_Unread, name) for name in UNREAD]):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        if asked := re.search(r"GLOBAL (\S+)", str(error)):
            raise _unsafe(path, asked[1]) from error
        raise ValueError(f"{path} is damaged or no PyTorch checkpoint ({type(error).__name__})") from error
    weights = state.get("model", state) if isinstance(state, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise ValueError(f"{path} holds no state dict, but a {type(state).__name__}")
    for name, tensor in weights.items():
        if not (isinstance(name, str) and isinstance(tensor, Tensor)):
            raise ValueError(f"{path} holds no state dict: {name!r} is no tensor but a {type(tensor).__name__}")
        if tensor.numel() * tensor.element_size() > size:
            raise ValueError(f"{path} is refused: {name} claims the shape {tuple(tensor.shape)}, more than it holds")
    return dict(weights)


def read_words(path: str | Path) -> list[str]:
    """The words of a vocabulary in the order of their ids: a ``.json``, or else a pickle, of a list of strings.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafePickle: the pickle asks for anything at all, be it as harmless as a ``defaultdict``.
        ValueError: the file is damaged, far too large, or holds no list of strings.
    """
    path = Path(path)
    if path.stat().st_size > MOST_WORDS:
        raise ValueError(f"{path} is too large for a list of words: {path.stat().st_size:,} bytes")
    raw = path.read_bytes()
    try:
        words = json.loads(raw) if path.suffix == ".json" else _unpickle(raw)
    except _Asked as asked:
        raise _unsafe(path, str(asked)) from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise ValueError(f"{path} is damaged or no list of words ({type(error).__name__}: {error})") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{path} holds no list of words, but a {type(words).__name__}")
    return words


class _Asked(Exception):
    """What a pickle asked for."""


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        raise _Asked(f"{module}.{name}")


def _unpickle(raw: bytes) -> object:
    for op, arg, _ in pickletools.genops(raw):  # also finds strings that claim to be longer than the file
        if "PUT" in op.name and arg > len(raw):
            raise ValueError(f"it asks for a memo of {arg:,} places")
    return _Plain(io.BytesIO(raw)).load()


def _unsafe(path: Path, asked: str) -> UnsafePickle:
    return UnsafePickle(
        f"{path} is refused: reading it would call {asked}. A checkpoint holds tensors, lists, dicts, strings and "
        "numbers; save the model's state dict, and the words as a plain list."
    )


# -------------------------------------------------------------------------------------------- fastai's AWD-LSTM
def from_fastai(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of fastai's language model (``SequentialRNN`` of ``AWD_LSTM`` and ``LinearDecoder``).

    Also reads the encoder alone and the classifier's ``0.module.`` form; gives the names of
    :class:`LanguageModel` (or of the classifier's ``encoder``), without the copies that fastai keeps of tied or
    raw weights.
    """
    renamed = {}
    for name, tensor in weights.items():
        name = name.removeprefix("0.").removeprefix("module.")
        parts = name.split(".")
        if name == "encoder.weight":
            renamed["encoder.embedding.weight"] = tensor
        elif name == "1.decoder.bias":
            renamed["decoder_bias"] = tensor
        elif parts[0] == "rnns" and parts[-1] != "weight_hh_l0":
            renamed[f"encoder.rnns.{parts[1]}.{parts[-1].removesuffix('_raw')}"] = tensor
    return renamed


def backbone_from_fastai(
    weights: Mapping[str, Tensor],
    words: Sequence[str],
    *,
    dropouts: Dropouts | None = None,
    source: str | Path = "the checkpoint",
) -> tuple[LanguageModel, Vocab]:
    """Our language model from the weights and words of fastai's, version 0.7, 1 or 2; the sizes are the tensors'.

    ``xxunk``, ``xxpad``, ``xxbos`` and ``xxeos`` become the special tokens of :class:`Vocab`, in its order; the row
    of one that fastai's vocabulary lacks is the mean of all. The rows of ``xxfake`` are left out, other xx-words stay
    words. A checkpoint of the encoder alone gives a decoder without bias.

    Args:
        weights: fastai's state dict, from :func:`read_weights`.
        words: fastai's vocabulary (``itos``), the word of each row.
        dropouts: to train with from here on; a checkpoint does not say which it was trained with.
        source: what errors call the checkpoint.

    Returns:
        The model and the vocabulary that its rows follow.

    Raises:
        ValueError: the weights are of another model (QRNN, bidirectional, untied, a classifier, no AWD-LSTM at all),
            or the words are not those of the rows.
    """
    if reason := _another_model(weights):
        raise ValueError(f"{source} is no AWD-LSTM language model of fastai's: {reason}")
    renamed = from_fastai(weights)
    embedding = renamed["encoder.embedding.weight"]
    renamed.setdefault("decoder_bias", embedding.new_zeros(len(embedding)))

    filler = len(embedding) - len(words)
    if filler < 0 or filler > 8 or (filler and len(embedding) % 8):  # words without the fillers that the rows have
        raise ValueError(f"{source} has {len(embedding):,} rows, the vocabulary {len(words):,} words")
    rows = {word: row for row, word in enumerate(words)}  # of a word that stands twice the last, as in fastai
    if FASTAI_SPECIALS[0] not in rows:
        raise ValueError(f"the vocabulary of {source} is not fastai's: it has no {FASTAI_SPECIALS[0]}")
    aside = {*FASTAI_SPECIALS, FILLER, *Vocab.SPECIALS}
    texts = [word for word in rows if word not in aside]
    ids = torch.tensor([rows.get(special, 0) for special in FASTAI_SPECIALS] + [rows[word] for word in texts])
    missing = [i for i, special in enumerate(FASTAI_SPECIALS) if special not in rows]
    for name in ("encoder.embedding.weight", "decoder_bias"):
        old = renamed[name].float()  # (V, D) or (V,); fastai's own are half precision
        renamed[name] = old[ids]
        renamed[name][missing] = old.mean(dim=0)

    layers = {int(name.split(".")[2]) for name in renamed if name.startswith("encoder.rnns.")}
    config = AWDLSTMConfig(
        vocab_size=len(ids),
        emb_dim=embedding.shape[1],
        hidden_dim=renamed["encoder.rnns.0.weight_hh_l0"].shape[1],
        n_layers=max(layers) + 1,
        dropouts=dropouts or Dropouts(),
    )
    return build(renamed, config, source=source), Vocab([*Vocab.SPECIALS, *texts])


def _another_model(weights: Mapping[str, Tensor]) -> str | None:
    """Why weights are not those of fastai's AWD-LSTM language model; None when they seem to be."""
    names = [name.removeprefix("0.").removeprefix("module.") for name in weights]
    if any(name.startswith("rnns.") and ".layers." in name for name in names):
        return "its layers are QRNNs, which this course does not have"
    if any("_reverse" in name for name in names):
        return "it is bidirectional"
    if any(name.startswith("1.layers.") for name in names):
        return "it is a classifier; load its language model instead"
    renamed = from_fastai(weights)
    if not {"encoder.embedding.weight", "encoder.rnns.0.weight_hh_l0"} <= renamed.keys():
        return f"it has {', '.join(list(weights)[:3])}, … but no encoder.weight with LSTMs above it"
    if any(tensor.ndim != (2 if "weight" in name else 1) for name, tensor in renamed.items()):
        return "its tensors have other dimensions"
    decoder = weights.get("1.decoder.weight")
    if decoder is not None and not torch.equal(decoder, renamed["encoder.embedding.weight"]):
        return "its decoder is not tied to its embedding"
    return None


def load_fastai(
    weights: str | Path, words: str | Path, *, dropouts: Dropouts | None = None
) -> tuple[LanguageModel, Vocab]:
    """Our language model from fastai's two files, the ``.pth`` and the vocabulary's ``.pkl`` or ``.json``.

    What :func:`read_weights`, :func:`read_words` and :func:`backbone_from_fastai` do, with their errors.
    """
    return backbone_from_fastai(read_weights(weights), read_words(words), dropouts=dropouts, source=weights)


# --------------------------------------------------------------------------------------------- published weights
@dataclass(frozen=True, kw_only=True)
class File:
    """A published file: an archive of both, the weights, or the words.

    Attributes:
        address: where to download it.
        bytes: its size; where no sum is known, the most that it may have.
        md5: its sum, as published; empty where none is.
    """

    address: str
    bytes: int
    md5: str = ""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What ``data/weights.toml`` says of a published language model.

    Attributes:
        name: the name that :func:`fetch` takes.
        title: one line for people.
        language: ISO 639-1 code.
        backwards: whether it reads texts from their end.
        emb_dim, hidden_dim, n_layers: sizes, compared with what was downloaded.
        verified: in words, how it is known that the files are the published ones.
        licence, citation, homepage: whom to credit, and where to read more.
        files: what is downloaded.
    """

    name: str
    title: str
    language: str
    emb_dim: int
    hidden_dim: int
    n_layers: int
    verified: str
    licence: str
    citation: str
    homepage: str
    files: tuple[File, ...]
    backwards: bool = False


def read_table(path: Path | None = None) -> dict[str, Weights]:
    """The published weights by name, from ``data/weights.toml`` or another file like it.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = path or shipped() / "weights.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return {
            name: Weights(name=name, **{**table, "files": tuple(File(**file) for file in table["files"])})
            for name, table in tables.items()
        }
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} cannot be read: {error!r}") from error


def info(name: str, *, table: Mapping[str, Weights] | None = None) -> Weights:
    """The entry of a published language model.

    Raises:
        DataError: there is none of that name.
    """
    table = table or read_table()
    if name not in table:
        raise DataError(f"There are no published weights {name!r}. There are: {', '.join(table)}.")
    return table[name]


def fetch(name: str, *, table: Mapping[str, Weights] | None = None) -> Path:
    """A published language model as a file for :func:`load_backbone`.

    Its files are taken from ``<name>/`` in the folder that ``TLCOURSE_DATA`` names, else from the cache, else from
    their publisher; what they hold is read with :func:`load_fastai` and kept as safetensors in the cache.

    Raises:
        DataError: there is none of that name.
        DownloadError: a file cannot be downloaded or kept; the message says what to do.
        ChecksumError: a file is not the published one.
        ValueError: a file is refused or damaged, or the model has not the published sizes.
    """
    entry = info(name, table=table)
    folder = cache_folder() / name
    backbone = folder / f"{name}.safetensors"
    if backbone.is_file():
        return backbone
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            paths = [_file(entry, file, folder) for file in entry.files]
            if paths[0].name.endswith(".tgz"):
                paths = _unpack(paths[0], folder)
            model, vocab = load_fastai(*paths)
            for size in ("emb_dim", "hidden_dim", "n_layers"):
                if (found := getattr(model.config, size)) != (wanted := getattr(entry, size)):
                    raise ValueError(f"{paths[0]} is not {name}: its {size} is {found}, not {wanted}")
            return save_backbone(model, vocab, backbone)
    except OSError as error:
        raise cannot_keep(name, folder, error) from error


def load(name: str, vocab: Vocab | None = None, dropouts: Dropouts | None = None) -> tuple[LanguageModel, Vocab]:
    """A published language model, its words moved to a task's vocabulary: :func:`fetch`, then :func:`load_backbone`."""
    return load_backbone(fetch(name), vocab, dropouts)


def _file(entry: Weights, file: File, folder: Path) -> Path:
    """A published file, from the user's folder, the cache or its publisher."""
    checksum = f"md5:{file.md5}" if file.md5 else ""
    return published_file(entry.name, file.address, n_bytes=file.bytes, checksum=checksum, folder=folder)


def _unpack(archive: Path, folder: Path) -> list[Path]:
    """The weights and the words of an archive, under names of ours: no path in the archive is followed."""
    found = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                if member.isfile() and name.suffix in (".pth", ".pkl") and not name.name.startswith("."):
                    if name.suffix in found or member.size > MOST_UNPACKED:
                        raise ValueError(f"{archive} is refused: {member.name!r} is one too many, or too large")
                    found[name.suffix] = path = folder / f"unpacked{name.suffix}"
                    with tar.extractfile(member) as packed, path.open("wb") as file:
                        shutil.copyfileobj(packed, file)
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{archive} is damaged: {error}") from error
    if len(found) < 2:
        raise ValueError(f"{archive} lacks the weights (.pth) or the words (.pkl)")
    return [found[".pth"], found[".pkl"]]
