"""Asking a language model instead of training it: an instruction, some examples, and which answer is likeliest.

>>> prompt = Prompt("Review: {text}\\nSentiment: {label}", {"pos": "good", "neg": "bad"}, instruction="Judge films.")
>>> print(prompt.write([("I laughed all night.", "pos")], "Two hours I will not get back."))  # one shot
>>> score_choices(gpt, "Bangkok is in", ["Thailand", "Laos"])  # a log-likelihood a choice
>>> classify(gpt, prompt, examples, queries, calibrate=True)  # a row a query: its label and the probabilities

Nothing is learned: with no example in the prompt that is zero-shot, with one or a few one- or few-shot (Brown et al.
2020, section 2). The examples stand before every query, so their keys and values are computed once.
"""

from __future__ import annotations

import copy
import itertools
import string
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from tlcourse.encoders import Checkpoint, evaluated
from tlcourse.gpt.generate import has_cache, padded, token_ids

NORMALISATIONS = ("length", "none", "unconditional")
CONTENT_FREE = ("N/A", "[MASK]", "")  # those of Zhao et al. 2021, section 5.1

Query = str | Mapping[str, str]


# ----------------------------------------------------------------------------------------------------------- the prompt
@dataclass(frozen=True)
class Prompt:
    r"""How a task is written down.

    Attributes:
        template: of an example and of the query, such as ``"Review: {text}\nSentiment: {label}"``. It ends in
            ``{label}``, where the model goes on; a brace that is none of a field is doubled.
        verbaliser: for each label the text that stands for it, in the order of the columns of :func:`classify`.
        instruction: what comes first, if anything.
        separator: between instruction, examples and query.

    Raises:
        ValueError: the template does not end in ``{label}``, has it twice, or has no other field; there are fewer
            than two labels, or two of one text, or one of none.
    """

    template: str
    verbaliser: Mapping[Hashable, str]
    instruction: str = ""
    separator: str = "\n\n"

    def __post_init__(self):
        if self.fields.count("label") != 1 or not self.template.endswith("{label}"):
            raise ValueError(f"the template ends in {{label}} and has it once, which {self.template!r} does not")
        if len(self.fields) == 1:
            raise ValueError(f"{self.template!r} has no field for the query, such as {{text}}")
        check_choices(list(self.verbaliser.values()))

    @property
    def fields(self) -> list[str]:
        """The names in braces, in order."""
        return [name for _, name, _, _ in string.Formatter().parse(self.template) if name is not None]

    @property
    def choices(self) -> list[str]:
        """What the model is to choose from: the texts of the labels, with the blank that the template has before."""
        return [self._blank + text for text in self.verbaliser.values()]

    @property
    def _blank(self) -> str:
        before = self.template.removesuffix("{label}")
        return before[len(before.rstrip(" ")) :]

    def write(self, examples: Sequence[tuple[Query, Hashable]], query: Query) -> str:
        """The instruction, the examples with their labels, and the query up to where its label belongs.

        A blank before the label is left away: byte-level vocabularies have it at the front of the next word.

        Args:
            examples: each a query and its label: none for a zero-shot prompt.
            query: a text, where the template has one field beside the label; otherwise a text for each field.

        Raises:
            ValueError: an example has a label that is not in the verbaliser, or a query lacks a field.
        """
        if unknown := {label for _, label in examples} - set(self.verbaliser):
            raise ValueError(f"no text stands for {', '.join(map(repr, unknown))}: labels are {list(self.verbaliser)}")
        parts = [self.instruction] if self.instruction else []
        parts += [self._fill(example, self.verbaliser[label]) for example, label in examples]
        return self.separator.join([*parts, self._fill(query, "").removesuffix(self._blank)])

    def _fill(self, query: Query, label: str) -> str:
        wanted = {name for name in self.fields if name != "label"}
        if isinstance(query, str):
            query = dict.fromkeys(wanted, query) if len(wanted) == 1 else {}
        if missing := wanted - set(query):
            raise ValueError(f"a query is a text for each of {sorted(wanted)}; {sorted(missing)} are missing")
        return self.template.format(**{name: query[name] for name in wanted}, label=label)


# -------------------------------------------------------------------------------------------------------------- scoring
def score_choices(
    checkpoint: Checkpoint,
    prompt: str,
    choices: Sequence[str],
    *,
    normalise: str = "length",
    answer_context: str = "",
) -> np.ndarray:
    """How likely each choice is after a prompt: (C,) log-likelihoods, the natural logarithm.

    Args:
        checkpoint: such as :func:`tlcourse.encoders.load_language_model` gives.
        prompt: what comes before. It and the choices are cut into tokens apart, as a choice starts where a token
            does. Byte-level vocabularies have the blank at the front of a word, so blanks at the end of the prompt
            are counted to the choice.
        choices: what could come next: at least two, of any lengths.
        normalise: ``"none"``: the sum over the tokens of a choice, which favours short ones; ``"length"``: their mean;
            ``"unconditional"``: the sum, less that of the choice after ``answer_context`` alone, which takes away how
            common a choice is (Brown et al. 2020, section 2.4).
        answer_context: such as ``"Answer:"``. An empty one is the token that stands between texts.

    Raises:
        ValueError: prompt and choice are longer than the context together; there is one choice only, an empty one or
            one twice; or there is no such normalisation.
    """
    check_choices(choices)
    text = prompt.rstrip(" ")
    choices = [choice if choice[0] == " " else prompt[len(text) :] + choice for choice in choices]
    return _scores(checkpoint, [text], choices, normalise=normalise, answer_context=answer_context)[0]


def classify(
    checkpoint: Checkpoint,
    prompt: Prompt,
    examples: Sequence[tuple[Query, Hashable]],
    queries: Sequence[Query],
    *,
    normalise: str = "length",
    answer_context: str = "",
    calibrate: bool = False,
    content_free: Sequence[str] = CONTENT_FREE,
    batch_size: int = 16,
) -> pd.DataFrame:
    """The likeliest label of each query.

    Args:
        checkpoint, normalise, answer_context: see :func:`score_choices`.
        prompt: how queries are asked.
        examples: with their labels; the same before every query.
        queries: of which each is asked alone.
        calibrate: take away what the prompt prefers whatever is asked, as it shows on inputs without content; see
            :func:`calibrated`.
        content_free: these inputs.
        batch_size: how many queries are read at once; see :func:`log_likelihoods`.

    Returns:
        A row a query, with the column ``label`` and for each label a column with its probability; a row of these
        sums to 1.

    Raises:
        ValueError: as :meth:`Prompt.write` and :func:`score_choices`.
    """
    labels = list(prompt.verbaliser)

    def probabilities(asked: Sequence[Query]) -> np.ndarray:  # (N, C)
        texts = [prompt.write(examples, query) for query in asked]
        scores = _scores(
            checkpoint,
            texts,
            prompt.choices,
            normalise=normalise,
            answer_context=answer_context,
            batch_size=batch_size,
        )
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    found = probabilities(queries) if len(queries) else np.empty((0, len(labels)))
    if calibrate:
        names = [name for name in prompt.fields if name != "label"]
        found = calibrated(found, probabilities([dict.fromkeys(names, text) for text in content_free]))
    table = pd.DataFrame(found, columns=labels)
    table.insert(0, "label", [labels[i] for i in found.argmax(axis=1)])
    return table


def calibrated(probabilities: np.ndarray, content_free: np.ndarray) -> np.ndarray:
    """Contextual calibration (Zhao et al. 2021, section 5): the same in every label for an input without content.

    An affine map W p + b with W = diag(1 / p_cf) and b = 0, where p_cf is what the model gives to inputs that say
    nothing. The paper then writes a softmax, which its code leaves out; here W p is divided by its sum instead, so
    that a p_cf of equal parts changes nothing. Which label wins is the same in all three.

    Args:
        probabilities: (N, C), a row a query, each summing to 1.
        content_free: (C,), or (K, C) for several such inputs, which are averaged.

    Returns:
        (N, C), each row summing to 1.

    Raises:
        ValueError: a label has no probability without content, or the labels are not as many.
    """
    content_free = np.atleast_2d(content_free).mean(axis=0)
    if content_free.shape != np.shape(probabilities)[1:]:
        raise ValueError(f"{np.shape(probabilities)[1:]} labels, and {content_free.shape} without content")
    if not (content_free > 0).all():
        raise ValueError(f"a label of probability 0 without content cannot be calibrated: {content_free}")
    weighed = probabilities @ np.diag(1 / content_free)
    return weighed / weighed.sum(axis=1, keepdims=True)


def check_choices(choices: Sequence[str]) -> None:
    """Refuse choices among which there is nothing to choose, with a ValueError."""
    if isinstance(choices, str):
        raise ValueError(f"choices are several texts, not {choices!r} alone")
    if len(choices) < 2:
        raise ValueError(f"there is nothing to choose: at least two choices, not {list(choices)}")
    if not all(choice.strip() for choice in choices):
        raise ValueError(f"an empty choice has no likelihood: {list(choices)}")
    if len(set(choices)) < len(choices):
        raise ValueError(f"a choice is there twice: {list(choices)}")


def _scores(
    checkpoint: Checkpoint,
    prompts: Sequence[str],
    choices: Sequence[str],
    *,
    normalise: str,
    answer_context: str,
    batch_size: int = 16,
) -> np.ndarray:
    """(N, C): of each prompt all choices."""
    if normalise not in NORMALISATIONS:
        raise ValueError(f"normalise is one of {', '.join(NORMALISATIONS)}, not {normalise!r}")
    scores, lengths = log_likelihoods(checkpoint, prompts, choices, batch_size=batch_size)
    if normalise == "length":
        return scores / lengths
    if normalise == "unconditional":
        return scores - log_likelihoods(checkpoint, [answer_context], choices)[0]
    return scores


# ------------------------------------------------------------------------------------------------------ log-likelihoods
def log_likelihoods(
    checkpoint: Checkpoint, prompts: Sequence[str], choices: Sequence[str], *, batch_size: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """The log-likelihood of every choice after every prompt, (N, C), and of how many tokens it is the sum, (C,).

    What all prompts begin with is read once, and each prompt once for all its choices, where the model keeps keys and
    values.

    Args:
        prompts, choices: cut into tokens apart, as they are; one choice will do here.
        batch_size: how many rows are read at once. Each has its own copy of the keys and values before it.

    Raises:
        ValueError: a prompt and a choice are longer than the context together.
    """
    rows = [token_ids(checkpoint, prompt) for prompt in prompts]
    endings = [token_ids(checkpoint, choice) for choice in choices]
    length = max(map(len, rows)) + max(map(len, endings))
    if length - 1 > checkpoint.longest:  # the last token is predicted, and not read
        raise ValueError(
            f"prompt and choice have {length:,} tokens together, and {checkpoint.name} reads "
            f"{checkpoint.longest:,}: fewer or shorter examples, or a shorter query"
        )
    read = _from_shared if has_cache(type(checkpoint.model)) else _from_whole
    with evaluated(checkpoint.model):
        scores = read(checkpoint.model, rows, endings, batch_size)
    return scores, np.array(list(map(len, endings)))


def _from_shared(
    model: PreTrainedModel, rows: list[list[int]], endings: list[list[int]], batch_size: int
) -> np.ndarray:
    """Read what all rows share, then what is left of each, then all but the last token of each ending."""
    past, shared = None, 0
    if len(rows) > 1:  # of each row, something is left to read
        pairs = zip(min(rows), max(rows), strict=False)  # in the order of lists: all others lie between
        shared = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
        shared = min(shared, min(map(len, rows)) - 1)
    if shared:
        past = model(torch.tensor([rows[0][:shared]], device=model.device), use_cache=True, logits_to_keep=1)
        past = past.past_key_values
    scores = np.empty((len(rows), len(endings)))
    for begin in range(0, len(rows), batch_size):
        ids, mask, positions = padded([row[shared:] for row in rows[begin : begin + batch_size]], model.device)
        mask = torch.ones_like(ids) if mask is None else mask
        mask = torch.cat([mask.new_ones(len(ids), shared), mask], dim=1)  # (B, shared + T)
        before = past and _for_rows(past, [0] * len(ids))
        output = model(
            ids,
            past_key_values=before,
            attention_mask=mask,
            position_ids=positions + shared,
            use_cache=True,
            logits_to_keep=1,
        )
        firsts = output.logits[:, -1].float().log_softmax(dim=-1)  # (B, V)
        here = firsts[:, [ending[0] for ending in endings]].cpu().numpy().astype(float)  # (B, C)

        pairs = [(i, c) for i in range(len(ids)) for c, ending in enumerate(endings) if len(ending) > 1]
        for first in range(0, len(pairs), batch_size):
            some = pairs[first : first + batch_size]
            of = [i for i, _ in some]
            tokens = [endings[c] for _, c in some]
            steps = max(map(len, tokens)) - 1
            inputs = torch.tensor([(row + [0] * steps)[:steps] for row in tokens], device=model.device)  # (P, L)
            logits = model(
                inputs,
                past_key_values=_for_rows(output.past_key_values, of),
                attention_mask=torch.cat([mask[of], torch.ones_like(inputs)], dim=1),
                position_ids=shared + positions[of, -1:] + 1 + torch.arange(steps, device=model.device),
            ).logits  # (P, L, V)
            for (i, c), row, ending in zip(some, logits, tokens, strict=True):
                here[i, c] += _summed(row[: len(ending) - 1], ending[1:])
        scores[begin : begin + len(ids)] = here
    return scores


def _from_whole(model: PreTrainedModel, rows: list[list[int]], endings: list[list[int]], batch_size: int) -> np.ndarray:
    """Read every row with every ending."""
    pairs = [(row, ending) for row in rows for ending in endings]
    scores = []
    for begin in range(0, len(pairs), batch_size):
        some = pairs[begin : begin + batch_size]
        ids, mask, positions = padded([(row + ending)[:-1] for row, ending in some], model.device)
        longest = max(len(ending) for _, ending in some)
        logits = model(ids, attention_mask=mask, position_ids=positions, logits_to_keep=longest).logits  # (B, L, V)
        scores += [_summed(row[-len(ending) :], ending) for row, (_, ending) in zip(logits, some, strict=True)]
    return np.array(scores).reshape(len(rows), len(endings))


def _for_rows(past: Cache, rows: list[int]) -> Cache:
    """The keys and values of these rows, with the original left as it is: what is read later is joined to a copy."""
    chosen = copy.copy(past)
    chosen.layers = [copy.copy(layer) for layer in past.layers]
    chosen.batch_select_indices(torch.tensor(rows, device=past.layers[0].keys.device))
    return chosen


def _summed(logits: Tensor, tokens: list[int]) -> float:
    """The log-probability of n tokens together, of logits (n, V)."""
    chosen = torch.tensor(tokens, device=logits.device)[:, None]  # (n, 1)
    return logits.float().log_softmax(dim=-1).gather(1, chosen).sum().item()
