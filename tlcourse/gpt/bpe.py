"""Byte-pair encoding, GPT-2's tokeniser, trained on English and Thai.

GPT merges characters (Radford et al. 2018; Sennrich et al. 2016), GPT-2 bytes (Radford et al. 2019, section 2.2):
there are 256 of them, so nothing is unknown, and every text comes back from its pieces as it was.
"""

from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast

from tlcourse.text.thai_pieces import attach, load_tokeniser, save_tokeniser

__all__ = [
    "DELIMITER",
    "END_OF_TEXT",
    "EXTRACT",
    "SPECIALS",
    "START",
    "load_tokeniser",
    "save_tokeniser",
    "train_bpe",
]

END_OF_TEXT = "<|endoftext|>"
START, DELIMITER, EXTRACT = "<start>", "<delimiter>", "<extract>"
SPECIALS = (END_OF_TEXT, START, DELIMITER, EXTRACT)
"""What parts documents, and the three of the tasks (Radford et al. 2018, section 3.3); their ids are 0 to 3."""

BYTES = 256

# GPT-2's pattern, in which a word ends where its letters do, and Thai vowels and tone marks (\p{M}) are no letters:
# น้ำ, water, would be three words. Here they are part of one.
_WORDS = (
    r"'(?:s|t|re|ve|m|ll|d)"
    r"| ?[\p{L}\p{M}]+"
    r"| ?\p{N}+"
    r"| ?[^\s\p{L}\p{M}\p{N}]+"
    r"|\s+(?!\S)"  # of several blanks the last belongs to the word behind them
    r"|\s+"
)


def train_bpe(
    texts: Iterable[str], *, vocab_size: int = 8_000, min_frequency: int = 2, progress: bool = False
) -> PreTrainedTokenizerFast:
    """A tokeniser whose pieces come from the texts: byte-level BPE as GPT-2's, which cuts Thai into words.

    A text is cut into words, each with the blank before it, and into Thai words; each word is its UTF-8 bytes. The
    most frequent pair of neighbours within a word becomes one piece, and again, until there are `vocab_size` pieces.
    The same texts give the same pieces, in any order. A Thai letter is three bytes: what is rare in `texts` may be
    in pieces of less than a letter, which only `decode` of all of them together can show.

    Nothing is added at the ends of a text, and nothing changed in it: `decode(encode(text)) == text`, capitals and
    blanks included. "<|endoftext|>" and its like, written in a text, are read as the special tokens, unless
    `split_special_tokens=True` is asked for.

    Args:
        texts: any number of texts, read once.
        vocab_size: the most pieces, the four special tokens and 256 bytes among them.
        min_frequency: how often a pair must occur to become a piece.
        progress: show a bar.

    Raises:
        TypeError: `texts` is one text, or one of them is not a string.
        ValueError: the texts are empty, or `vocab_size` leaves no room for the bytes.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be many texts, not one: put it into a list")
    if vocab_size < len(SPECIALS) + BYTES:
        raise ValueError(
            f"vocab_size={vocab_size} leaves no room for {BYTES} bytes and {len(SPECIALS)} special tokens: it is at "
            f"least {len(SPECIALS) + BYTES}"
        )
    tokeniser = _gpt(Tokenizer(BPE()))
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    reader = _Reader(texts, progress)
    tokeniser.backend_tokenizer.train_from_iterator(reader, trainer)
    if not reader.characters:
        raise ValueError("the texts are empty: there is nothing to learn pieces from")
    return tokeniser


class _Reader:
    """The texts one after the other, checked and counted."""

    def __init__(self, texts: Iterable[str], progress: bool):
        self.texts, self.progress, self.characters = texts, progress, 0

    def __iter__(self) -> Iterator[str]:
        for position, text in enumerate(tqdm(self.texts, "BPE", unit="text", delay=1, disable=not self.progress)):
            if not isinstance(text, str):
                raise TypeError(f"text {position} must be a str, not {type(text).__name__}: {text!r:.80}")
            self.characters += len(text)
            yield text


def _gpt(backend: Tokenizer) -> PreTrainedTokenizerFast:
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    return attach(
        PreTrainedTokenizerFast(
            tokenizer_object=backend,
            bos_token=END_OF_TEXT,
            eos_token=END_OF_TEXT,
            pad_token=END_OF_TEXT,
            extra_special_tokens=[AddedToken(token, special=True) for token in SPECIALS[1:]],
            clean_up_tokenization_spaces=False,
        )
    )
