"""WordPiece, BERT's tokeniser, trained on English and Thai."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers.trainers import WordPieceTrainer
from transformers import AutoTokenizer, BertTokenizerFast, PreTrainedTokenizerFast

from tlcourse.text.thai_pieces import attach, detached, restore

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""BERT's special tokens; their ids are 0 to 4."""

_ALPHABET = 1_000  # characters, each also as "##": rarer ones are unknown


def train_wordpiece(
    texts: Iterable[str],
    *,
    vocab_size: int = 8_000,
    lowercase: bool = True,
    min_frequency: int = 2,
    progress: bool = False,
) -> PreTrainedTokenizerFast:
    """A tokeniser whose pieces come from the texts: a `BertTokenizerFast` that cuts Thai into words.

    A text is normalised (NFC, control characters and signs of no width dropped, Thai spelt one way, lower case if
    asked), cut at blanks, punctuation and Thai words, and each word into the longest pieces of the vocabulary from
    the left; a piece inside a word begins with "##". Pieces are learned as byte-pair encoding learns them: the most
    frequent pair of neighbours becomes one piece, until there are `vocab_size`. That is how `tokenizers` does it
    and what Devlin et al. (2019) published no code for; Schuster and Nakajima (2012) weigh pairs by likelihood.

    BERT's own lower-casing also strips accents, and with them Thai vowels and tone marks ("น้ำ" becomes "นา"). Here
    accents stay.

    Args:
        texts: any number of texts, read once.
        vocab_size: the most pieces, the five special tokens among them. The characters come first, so that a
            small number may be exceeded by them.
        lowercase: whether "The" and "the" are one.
        min_frequency: how often a pair must occur to become a piece.
        progress: show a bar.

    Raises:
        TypeError: `texts` is one text, or one of them is not a string.
        ValueError: the texts have no words, or `vocab_size` leaves no room for any.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be many texts, not one: put it into a list")
    if vocab_size <= len(SPECIALS):
        raise ValueError(f"vocab_size={vocab_size} leaves no room beside the {len(SPECIALS)} special tokens")
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIALS),
        limit_alphabet=_ALPHABET,
        continuing_subword_prefix="##",
        show_progress=progress,
    )
    backend = _bert(None, lowercase).backend_tokenizer
    backend.train_from_iterator(texts, trainer)
    vocab = backend.get_vocab()
    if len(vocab) == len(SPECIALS):
        raise ValueError("the texts have no words to learn pieces from")
    return _bert(dict(sorted(vocab.items(), key=lambda item: item[1])), lowercase)


def _bert(vocab: dict[str, int] | None, lowercase: bool) -> PreTrainedTokenizerFast:
    return attach(BertTokenizerFast(vocab=vocab, do_lower_case=lowercase, strip_accents=False, model_max_length=512))


def save_tokeniser(tokeniser: PreTrainedTokenizerFast, folder: str | Path) -> None:
    """Write a tokeniser into a folder, where `load_tokeniser` finds it.

    `AutoTokenizer` opens the folder too, but does not cut Thai into words: use `load_tokeniser`.
    """
    with detached(tokeniser):
        tokeniser.save_pretrained(str(folder))


def load_tokeniser(folder: str | Path) -> PreTrainedTokenizerFast:
    """The tokeniser of a folder: one of ours with its Thai words, anybody's as it is.

    Raises OSError when there is no such folder or no tokeniser in it.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"there is no folder {folder} to load a tokeniser from")
    try:
        return restore(AutoTokenizer.from_pretrained(str(folder), local_files_only=True))
    except (OSError, ValueError, KeyError) as error:
        raise OSError(f"{folder} holds no tokeniser that transformers can read: {error}") from error
