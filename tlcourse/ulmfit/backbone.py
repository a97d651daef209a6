"""Backbones: a language model on disk, and its words moved to a task's vocabulary."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tlcourse.text import UNK, Vocab
from tlcourse.ulmfit.model import AWDLSTMConfig, Dropouts, LanguageModel

FORMAT = "tlcourse-backbone-1"


# ---------------------------------------------------------------------------------------------------- on disk
def save_backbone(
    model: LanguageModel, vocab: Vocab, path: str | Path, *, about: Mapping[str, object] | None = None
) -> Path:
    """Write the language model with its sizes and words to one ``.safetensors`` file, whole or not at all.

    Args:
        about: what else to keep with it, such as the texts it was trained on and their licences.

    Raises:
        ValueError: the vocabulary is not the model's.
    """
    path = Path(path)
    if len(vocab) != model.config.vocab_size:
        raise ValueError(f"the vocabulary has {len(vocab)} words, the model {model.config.vocab_size}")
    header = {"config": asdict(model.config), "words": vocab.words, "about": dict(about or {})}
    weights = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        # One entry, since safetensors writes several in any order: equal models give equal files.
        save_file(weights, partial, metadata={FORMAT: json.dumps(header, ensure_ascii=False)})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load_backbone(
    path: str | Path, vocab: Vocab | None = None, dropouts: Dropouts | None = None
) -> tuple[LanguageModel, Vocab]:
    """A language model from :func:`save_backbone`, its words moved to a task's vocabulary.

    A word that both know keeps its row; a word new to the backbone starts as the mean of all rows, as ULMFiT
    does. :func:`map_vocabulary` does the same to a loaded model, and reports how many words are new.

    Args:
        path: the file.
        vocab: the task's vocabulary; the backbone's own when left out.
        dropouts: dropouts to train with from here on; the backbone's own when left out.

    Returns:
        The model and the vocabulary that its rows follow.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds another model, or its words are not those of its rows.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no backbone at {path}; train one, or start fresh with LanguageModel(config)")
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
    if FORMAT not in meta:
        raise ValueError(
            f"{path} holds weights ({', '.join(sorted(weights)[:3])}, …) but no backbone of this course: "
            "no sizes, no words"
        )
    try:
        header = json.loads(meta[FORMAT])
        sizes = header["config"]
        config = AWDLSTMConfig(**{**sizes, "dropouts": Dropouts(**sizes["dropouts"])})
        known = Vocab(header["words"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} has a header that cannot be read: {error!r}") from error
    if len(known) != config.vocab_size:
        raise ValueError(f"{path} has {len(known):,} words for {config.vocab_size:,} rows")
    model = build(weights, replace(config, dropouts=dropouts or config.dropouts), source=path)
    if vocab is None:
        return model, known
    return map_vocabulary(model, known, vocab)[0], vocab


def build(weights: Mapping[str, Tensor], config: AWDLSTMConfig, *, source: str | Path) -> LanguageModel:
    """A language model of these sizes with these weights; ``source`` is named in errors.

    Names and shapes are compared before any memory is taken for the model.

    Raises:
        ValueError: the weights are not those of a language model of these sizes.
    """
    expected = _shapes(config)
    for name in sorted(expected.keys() | weights.keys()):
        if name not in weights:
            raise ValueError(f"{source} is not the language model it should be: it lacks {name}")
        if name not in expected:
            raise ValueError(f"{source} is not the language model it should be: {name} has no place in one")
        if (found := tuple(weights[name].shape)) != expected[name]:
            raise ValueError(f"{source}: {name} has the shape {found}, and {expected[name]} by the other sizes")
    model = LanguageModel(config)
    model.load_state_dict(weights)
    return model


def _shapes(config: AWDLSTMConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each weight of a language model."""
    shapes = {
        "encoder.embedding.weight": (config.vocab_size, config.emb_dim),
        "decoder_bias": (config.vocab_size,),
    }
    for layer, (n_in, n_out) in enumerate(config.layer_dims()):  # four gates to each unit
        rnn = f"encoder.rnns.{layer}"
        shapes |= {f"{rnn}.weight_ih_l0": (4 * n_out, n_in), f"{rnn}.weight_hh_l0": (4 * n_out, n_out)}
        shapes |= {f"{rnn}.bias_ih_l0": (4 * n_out,), f"{rnn}.bias_hh_l0": (4 * n_out,)}
    return shapes


# ---------------------------------------------------------------------------------------- another vocabulary
@dataclass(frozen=True)
class VocabularyReport:
    """What became of the words when a backbone moved to another vocabulary; ``print`` shows it.

    Attributes:
        kept: words that both vocabularies have, the special tokens aside: they keep their rows.
        new: words that the backbone did not know, those that stand most often first.
        composed: how many of the new words start from the words they are made of.
        dropped: how many words of the backbone the task does not have.
        new_share: the share of the task's tokens that are new words, from 0 to 1; None where nobody counted.
    """

    kept: int
    new: tuple[str, ...]
    composed: int
    dropped: int
    new_share: float | None = None

    def __str__(self) -> str:
        lines = [f"{self.kept:,} of {self.kept + len(self.new):,} words keep their rows."]
        if self.new:
            share = "" if self.new_share is None else f" ({self.new_share:.1%} of the tokens)"
            start = "the mean of all rows"
            if self.composed:
                start = f"{start}, {self.composed:,} of them as the mean of their parts"
            some = ", ".join(self.new[:8]) + (", …" if len(self.new) > 8 else "")
            lines.append(f"{len(self.new):,} are new{share} and start as {start}: {some}")
        lines.append(f"{self.dropped:,} words of the backbone are left behind.")
        return "\n".join(lines)


def map_vocabulary(
    model: LanguageModel,
    known: Vocab,
    wanted: Vocab,
    *,
    counts: Mapping[str, int] | None = None,
    parts: Callable[[str], Sequence[str]] | None = None,
) -> tuple[LanguageModel, VocabularyReport]:
    """Move a language model to a task's vocabulary (Howard and Ruder 2018; fastai's ``match_embeds``).

    A word that both know keeps its row of the embedding and its bias in the decoder; a new one starts as the mean
    of all. The LSTMs stay as they are.

    Args:
        model: the backbone; it is left as it is.
        known: its vocabulary.
        wanted: the task's vocabulary.
        counts: how often each word stands in the task's texts, for the report.
        parts: cuts a new word into smaller ones, such as a compound into its words. Where the backbone knows them
            all, the new word's embedding starts as the mean of theirs.

    Returns:
        A new model whose rows follow ``wanted``, and the report.

    Raises:
        ValueError: ``known`` is not the model's vocabulary.
    """
    if len(known) != model.config.vocab_size:
        raise ValueError(f"the vocabulary has {len(known):,} words, the model {model.config.vocab_size:,}")
    specials, words = Vocab.SPECIALS, wanted.words[len(Vocab.SPECIALS) :]
    ids = torch.tensor([*range(len(specials)), *(known[word] for word in words)])  # UNK for a new word
    new = [word for word in words if word not in known]
    places = [wanted[word] for word in new]

    weights = dict(model.state_dict())
    for name in ("encoder.embedding.weight", "decoder_bias"):
        old = weights[name]  # (V_known, D) or (V_known,)
        weights[name] = old[ids.to(old.device)]
        weights[name][places] = old.mean(dim=0)
    embedding = model.encoder.embedding.weight.detach()
    composed = 0
    for word, place in zip(new, places, strict=True) if parts else ():
        of = [known[part] for part in parts(word)]
        if of and UNK not in of:
            weights["encoder.embedding.weight"][place] = embedding[of].mean(dim=0)
            composed += 1

    counts = counts or {}
    report = VocabularyReport(
        kept=len(words) - len(new),
        new=tuple(sorted(new, key=lambda word: -counts.get(word, 0))),  # stable: else the vocabulary's order
        composed=composed,
        dropped=len(known) - len(specials) - (len(words) - len(new)),
        new_share=sum(counts.get(word, 0) for word in new) / sum(counts.values()) if counts else None,
    )
    moved = build(weights, replace(model.config, vocab_size=len(wanted)), source="the model")
    return moved.to(embedding.device).train(model.training), report
