"""WordPiece, BERT's tokeniser, trained on English and Thai."""

from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import WordPieceTrainer
from tqdm.auto import tqdm
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from tlcourse.text.thai_pieces import attach, load_tokeniser, save_tokeniser

__all__ = ["SPECIALS", "load_tokeniser", "save_tokeniser", "train_wordpiece"]

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

    A text loses control characters and signs of no width, and its capitals if asked; it is cut at blanks,
    punctuation and Thai words, and each word into the longest pieces of the vocabulary from the left; a piece
    inside a word begins with "##". Pieces are learned as byte-pair encoding learns them: the most frequent pair of
    neighbours becomes one piece, until there are `vocab_size`. That is how `tokenizers` does it; Schuster and
    Nakajima (2012) choose pairs by likelihood, and Google published no code for BERT's. The same texts give the
    same pieces.

    BERT's own lower-casing also strips accents, and with them Thai vowels and tone marks ("น้ำ", water, becomes "นำ",
    to lead). Here accents stay.

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
    counts = _count_words(texts, _bert(None, lowercase).backend_tokenizer, progress)
    if not counts:
        raise ValueError("the texts have no words to learn pieces from")
    vocab = _learn(counts, vocab_size, min_frequency)
    return _bert(dict(sorted(vocab.items(), key=lambda item: item[1])), lowercase)


def _bert(vocab: dict[str, int] | None, lowercase: bool) -> PreTrainedTokenizerFast:
    return attach(BertTokenizerFast(vocab=vocab, do_lower_case=lowercase, strip_accents=False, model_max_length=512))


def _count_words(texts: Iterable[str], backend: Tokenizer, progress: bool) -> Counter:
    """How often each word occurs, as the tokeniser cuts them."""
    counts = Counter()
    for position, text in enumerate(tqdm(texts, "words", unit="text", delay=1, disable=not progress)):
        if not isinstance(text, str):
            raise TypeError(f"text {position} must be a str, not {type(text).__name__}: {text!r:.80}")
        words = backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))
        counts.update([word for word, _ in words])
    return counts


def _learn(counts: Counter, vocab_size: int, min_frequency: int) -> dict[str, int]:
    """The id of each piece: special tokens, characters, characters within a word, and what is made of them.

    The trainer numbers characters as they come out of a hash table, and breaks ties by number. To get the same
    pieces each time, it is told the characters beforehand, as if they were special tokens.
    """
    characters = Counter()
    for word, n in counts.items():
        for character in word:
            characters[character] += n
    alphabet = sorted(sorted(characters, key=lambda c: (-characters[c], c))[:_ALPHABET])
    known = frozenset(alphabet)
    words = [word for word in sorted(counts) if known.issuperset(word)]  # any other word is unknown
    inside = sorted({character for word in words for character in word[1:]})
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[*SPECIALS, *alphabet, *(f"##{character}" for character in inside)],
        show_progress=False,
    )
    tokeniser = Tokenizer(WordPiece())
    tokeniser.pre_tokenizer = Split("\n", "removed")
    most = 10_000  # of one word in a text
    repeated = ("\n".join([word] * min(most, n)) for word in words for n in range(counts[word], 0, -most))
    tokeniser.train_from_iterator(repeated, trainer)
    return tokeniser.get_vocab()
