"""From the files of a data set, as published, to frames.

A parser takes `(path, bytes)` pairs, one at a time, and returns a frame a split. Splits that the publisher
does not have are cut from the training rows later, by `tlcourse.data.load`.
"""

import io
import itertools
import json
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pandas as pd

from tlcourse.data.catalogue import DataError

Files = Iterable[tuple[str, bytes]]
Splits = dict[str, pd.DataFrame]


def decode(raw: bytes, name: str) -> str:
    """Text of a UTF-8 file, with or without a byte-order mark.

    Raises:
        DataError: the file is empty or in another encoding; the message names the one it looks like.
    """
    if not raw.strip():
        raise DataError(f"{name} is empty.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        guess = _guess_encoding(raw)
        looks_like = f"It looks like {guess}: save" if guess else "Save"
        message = f"{name} is not UTF-8 (byte {error.start:,}). {looks_like} it again as UTF-8."
        raise DataError(message) from None


def _guess_encoding(raw: bytes) -> str | None:
    """The encoding that a file which is not UTF-8 is probably in."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "UTF-16"
    text = raw.decode("cp874", errors="ignore")
    thai_runs = "".join(re.findall("[\u0e01-\u0e5b]{2,}", text))  # Latin letters with accents stand alone
    return "TIS-620 (Windows cp874)" if len(thai_runs) > len(re.findall("[^\x00-\x7f]", text)) / 2 else None


def read_table(raw: bytes, name: str, *, columns: dict[str, str], **options) -> pd.DataFrame:
    """Read a table of strings, rename its columns, strip each value and drop rows without a text.

    Args:
        raw: the file.
        name: what to call it in an error.
        columns: the columns to keep, `{theirs: ours}`. Where one of ours is `text`, the others may not be empty
            beside it; a table of words has none, and no row of it may have a gap.
        options: more arguments for `pandas.read_csv`.

    Raises:
        DataError: empty, not UTF-8, not a table, no rows, a column missing, or a label missing.
    """
    try:
        table = pd.read_csv(io.StringIO(decode(raw, name)), dtype=str, keep_default_na=False, **options)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{name} is not a table: {error}") from error
    if missing := [column for column in columns if column not in table]:
        found = ", ".join(map(str, table.columns))
        raise DataError(f"{name} has no column {', '.join(missing)}; its columns are: {found}.")
    table = table[list(columns)].rename(columns=columns).fillna("").apply(lambda column: column.str.strip())
    return _checked(table, name)


def _checked(table: pd.DataFrame, name: str) -> pd.DataFrame:
    if "text" in table:
        table = table[table["text"] != ""]
    if table.empty:
        raise DataError(f"{name} has no rows.")
    for label in table.columns:
        if (empty := table[label] == "").any():
            raise DataError(f"{name}: row {table.index[empty][0] + 1} has no {label}.")
    return table


def _numbers(column: pd.Series, name: str, *, kind: type[int] | type[float]) -> pd.Series:
    """A column of strings, not signed, as numbers."""
    well_formed = column.str.fullmatch(r"\d{1,9}" if kind is int else r"\d{1,9}(\.\d+)?")
    if not well_formed.all():
        row = column.index[~well_formed][0]
        whole = "whole " if kind is int else ""
        raise DataError(f"{name}: row {row + 1} has {column[row]!r} as its {column.name}, which is no {whole}number.")
    return column.astype(kind)


def read_lines(raw: bytes, name: str) -> list[str]:
    """The lines of a text file, stripped, without empty ones."""
    return [line for line in map(str.strip, decode(raw, name).split("\n")) if line]


def read_json_lines(raw: bytes, name: str, *, what: str, fields: dict[str, type]) -> Iterator[tuple]:
    """The fields of a JSON object a line, one line at a time.

    Args:
        raw: the file.
        name, what: what to call it, and an object in it, in an error.
        fields: the fields to take and the type of each.

    Raises:
        DataError: empty, not UTF-8, or a line that is no object with these fields.
    """
    for number, line in enumerate(read_lines(raw, name), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not all(isinstance(row.get(field), kind) for field, kind in fields.items()):
            raise DataError(f"{name}: line {number} is not {what} with {' and '.join(fields)}.")
        yield tuple(row[field] for field in fields)


def read_blocks(raw: bytes, name: str) -> Iterator[list[tuple[int, str]]]:
    """The lines between blank ones, a block at a time, numbered from 1 on; the way of the CoNLL formats.

    Raises:
        DataError: empty or not UTF-8.
    """
    lines = enumerate((line.removesuffix("\r") for line in decode(raw, name).split("\n")), start=1)
    for blank, block in itertools.groupby(lines, key=lambda numbered: not numbered[1].strip()):
        if not blank:
            yield list(block)


def _need_all(found: set[str], needed: set[str], where: str) -> None:
    if missing := needed - found:
        raise DataError(f"{where} is not whole: {', '.join(sorted(missing))} missing.")


def intents(files: Files) -> Splits:
    """TrueVoice and its like: `train.csv`, `test.csv`, perhaps `valid.csv`, perhaps with `mari_` before.

    Columns: `texts`, `action`, `object`, `destination`, more are left out. `unlabelled.txt`: a text a line.
    """
    columns = {"texts": "text", "action": "action", "object": "object", "destination": "destination"}
    splits = {}
    for path, raw in files:
        split = PurePosixPath(path).stem.removeprefix("mari_")
        if path.endswith(".txt"):
            splits[split] = pd.DataFrame({"text": read_lines(raw, path)})
        else:
            splits[split] = read_table(raw, path, columns=columns)
    return splits


def wisesight(files: Files) -> Splits:
    """Wisesight: `train.jsonl`, `valid.jsonl` and `test.jsonl` as published, else the messages of `pos.txt`,
    `neu.txt`, `neg.txt` and `q.txt` as training rows.

    Lines that say only `#ERROR!` are left out, as they are in the published splits.
    """
    splits, by_sentiment = {}, []
    for path, raw in files:
        name = PurePosixPath(path)
        if name.suffix == ".jsonl":
            splits[name.stem] = _messages(raw, path)
        else:
            by_sentiment.append(pd.DataFrame({"text": read_lines(raw, path), "sentiment": name.stem}))
    if splits:
        _need_all(set(splits), {"train", "valid", "test"}, "wisesight (.jsonl)")
    else:
        found = {frame["sentiment"].iloc[0] for frame in by_sentiment}
        _need_all(found, {"pos", "neu", "neg", "q"}, "wisesight (.txt)")
        splits = {"train": pd.concat(by_sentiment, ignore_index=True)}
    return {split: frame[frame["text"] != "#ERROR!"] for split, frame in splits.items()}


def _messages(raw: bytes, path: str) -> pd.DataFrame:
    rows = [
        (text.strip(), sentiment)
        for text, sentiment in read_json_lines(raw, path, what="a message", fields={"texts": str, "category": str})
    ]
    return _checked(pd.DataFrame(rows, columns=["text", "sentiment"]), path)


def spam(files: Files) -> Splits:
    """Messages written for this course: tables of a split each.

    Columns: `text`; `label`, `spam` or `ham`; `language`.
    """
    names = ["text", "label", "language"]
    return {
        PurePosixPath(path).stem: read_table(raw, path, columns={name: name for name in names}) for path, raw in files
    }


def sms_spam(files: Files) -> Splits:
    """The SMS Spam Collection: `spam` or `ham`, a tab and the message, a line each (Almeida et al. 2011).

    Columns: `text`, in which signs such as `&lt;` are written as published; `label`.
    """
    rows = []
    for path, raw in files:
        for number, line in enumerate(read_lines(raw, path), start=1):
            label, _, text = line.partition("\t")
            if label not in ("spam", "ham") or not text.strip():
                raise DataError(f"{path}: line {number} is not spam or ham, a tab and a message.")
            rows.append((text.strip(), label))
    return {"train": pd.DataFrame(rows, columns=["text", "label"])}


def wongnai(files: Files) -> Splits:
    """Wongnai's reviews: `w_review_train.csv` (review;stars), without a header.

    The reviews of `test_file.csv` (id;review, with a header) have no published stars: they are `unlabelled`.
    """
    splits = {}
    for path, raw in files:
        table = {"sep": ";", "header": None, "index_col": False}
        if PurePosixPath(path).name == "test_file.csv":
            table |= {"names": ["id", "review"], "skiprows": 1}
            splits["unlabelled"] = read_table(raw, path, columns={"review": "text"}, **table)
        else:
            reviews = read_table(
                raw, path, columns={"review": "text", "stars": "stars"}, names=["review", "stars"], **table
            )
            if not (known := reviews["stars"].isin(list("12345"))).all():
                row = reviews[~known].iloc[0]
                raise DataError(f"{path}: row {row.name + 1} has {row['stars']!r} stars, not 1 to 5.")
            splits["train"] = reviews.assign(stars=reviews["stars"].astype(int))
    return splits


def imdb(files: Files) -> Splits:
    """The Large Movie Review Dataset: a review a file, in `train` and `test`, each with `pos` and `neg`.

    `train/unsup` becomes `unlabelled`. Reviews are in the order of their paths; `<br />` becomes a new line.
    """
    reviews = {}
    for path, raw in files:
        reviews[tuple(path.split("/")[-3:])] = decode(raw, path).replace("<br />", "\n").strip()
    rows = [(split, folder, reviews[split, folder, file]) for split, folder, file in sorted(reviews)]
    table = pd.DataFrame(rows, columns=["split", "sentiment", "text"])
    labelled = table[table["sentiment"] != "unsup"]
    for split in ("train", "test"):
        found = set(labelled.loc[labelled["split"] == split, "sentiment"])
        _need_all(found, {"pos", "neg"}, f"aclImdb/{split}")
    splits = {split: frame[["text", "sentiment"]] for split, frame in labelled.groupby("split")}
    splits["unlabelled"] = table.loc[table["sentiment"] == "unsup", ["text"]]
    return splits


ORCHID_SIGNS = {
    "space": " ", "right_parenthesis": ")", "left_parenthesis": "(", "full_stop": ".", "quotation": '"',
    "comma": ",", "minus": "-", "slash": "/", "equal": "=", "colon": ":", "asterisk": "*", "percent": "%",
    "plus": "+", "greater_than": ">", "less_than": "<", "semi_colon": ";", "apostrophe": "'", "dollar": "$",
    "ampersand": "&", "question_mark": "?", "circumflex_accent": "^", "left_curly_bracket": "{",
    "exclamation": "!", "at_mark": "@",
}  # fmt: skip


def orchid(files: Files) -> Splits:
    r"""ORCHID: Thai words with their parts of speech, a row a sentence (Sornlertlamvanich et al. 1997).

    Columns: `text`; `words` and `tags`, lists of equal length; `paragraph` and `file`, numbered from 0 on.
    Signs that the corpus spells out (`<space>`) become the characters. Its English sentences have no words
    and tags: they are `unlabelled`.

    A document opens with lines `%TTitle: ...`; then `#P1` opens a paragraph and `#1` a sentence, whose text
    ends in `//` (it goes on in the next line after `\\`). A line `word/TAG` for each word follows, then `//`.
    """
    sentences, english = [], []
    for path, raw in files:
        lines = decode(raw, path).split("\n")
        file = paragraph = -1
        at = 0
        while at < len(lines):
            line = lines[at].strip()
            at += 1
            if line.startswith("%TTitle"):
                file += 1
            elif re.fullmatch(r"#P\d+", line):
                paragraph += 1
            elif re.fullmatch(r"#\d+", line):
                text, at = _orchid_text(lines, at, path)
                if text.startswith("%E"):
                    english.append(text.removeprefix("%E").strip())
                else:
                    words, tags, at = _orchid_words(lines, at, path)
                    sentences.append((text, words, tags, paragraph, file))
    table = pd.DataFrame(sentences, columns=["text", "words", "tags", "paragraph", "file"])
    return {"train": table, "unlabelled": pd.DataFrame({"text": english})}


def _orchid_text(lines: list[str], at: int, path: str) -> tuple[str, int]:
    """The text of a sentence that begins in line `at`, and the line after it."""
    text = ""
    for end in range(at, len(lines)):
        if lines[end].rstrip().endswith("//"):
            return (text + lines[end].rstrip().removesuffix("//")).strip(), end + 1
        text += lines[end].rstrip().removesuffix("\\\\")
    raise DataError(f"{path}: the sentence of line {at} does not end.")


def _orchid_words(lines: list[str], at: int, path: str) -> tuple[list[str], list[str], int]:
    """The words and tags of a sentence, which begin in line `at`, and the line after them."""
    words, tags = [], []
    for end in range(at, len(lines)):
        if lines[end].strip() == "//":
            return words, tags, end + 1
        word, slash, tag = lines[end].strip().rpartition("/")
        if not slash:
            break
        words.append(ORCHID_SIGNS.get(word[1:-1], word) if word[:1] + word[-1:] == "<>" else word)
        tags.append(tag)
    raise DataError(f"{path}: line {end + 1} should be word/TAG or //.")


def thainer(files: Files) -> Splits:
    """ThaiNER: Thai words with the named entities they are in, a row a sentence (Phatthiyaphaibun 2019).

    Columns: `text`, the words joined; `words`, spaces among them, and `entities`, lists of equal length. An entity
    begins with `B-` and its type and goes on with `I-`; `O` is outside. An `I-` that goes on with nothing becomes a
    `B-`. Byte-order marks and zero-width spaces, left over from the pages that the text is from, are taken out. The
    type `ไม่ยืนยัน` (not confirmed) counts as outside.

    A line is a word, a tab and its tag; a blank line ends a sentence.
    """
    sentences = []
    for path, raw in files:
        for block in read_blocks(raw, path):
            words, entities = [], []
            for number, line in block:
                matched = re.fullmatch(r"([^\t]+)\t(O|[BI]-\S+)", line)
                if not matched:
                    raise DataError(f"{path}: line {number} should be a word, a tab, and O, B-TYPE or I-TYPE.")
                word, tag = re.sub("[\u200b\ufeff]", "", matched[1]), matched[2]
                if not word:
                    continue
                if tag.endswith("-ไม่ยืนยัน"):
                    tag = "O"
                if tag.startswith("I-") and (not entities or entities[-1][2:] != tag[2:]):
                    tag = "B" + tag[1:]
                words.append(word)
                entities.append(tag)
            if words:
                sentences.append(("".join(words), words, entities))
    return {"train": pd.DataFrame(sentences, columns=["text", "words", "entities"])}


# https://universaldependencies.org/u/pos
UPOS = "ADJ|ADP|ADV|AUX|CCONJ|DET|INTJ|NOUN|NUM|PART|PRON|PROPN|PUNCT|SCONJ|SYM|VERB|X"


def pud(files: Files) -> Splits:
    """A treebank of Parallel Universal Dependencies: a row a sentence, which are all to train on (Zeman et al. 2017).

    Columns: `text`; `words` and `tags`, their universal parts of speech, lists of equal length; `document`, which the
    sentence is from. A contraction is in `words` as the words it is made of (UD tags those and not the whole), and an
    empty node, a word that is understood and not in the text, is left out.

    The format is CoNLL-U: comments such as `# text = ...`, then a line of ten columns for each word, numbered from 1
    on; the line of a contraction has the number `1-2`, and that of an empty node `1.1`. A blank line ends a sentence.
    The last three digits of a `sent_id` count the sentences of a document.
    """
    sentences = []
    for path, raw in files:
        for block in read_blocks(raw, path):
            comments, words, tags = {}, [], []
            for number, line in block:
                fields = line.split("\t")
                if line.startswith("#"):
                    key, _, value = line.removeprefix("#").partition("=")
                    comments[key.strip()] = value.strip()
                elif len(fields) == 10 and re.fullmatch(r"\d+[-.]\d+", fields[0]):
                    continue
                elif len(fields) == 10 and fields[0] == str(len(words) + 1) and re.fullmatch(UPOS, fields[3]):
                    words.append(fields[1])
                    tags.append(fields[3])
                else:
                    raise DataError(
                        f"{path}: line {number} should be word {len(words) + 1} of its sentence: ten columns, "
                        "the first its number and the fourth a universal part of speech."
                    )
            for key in ("sent_id", "text"):
                if not words or not comments.get(key):
                    raise DataError(f"{path}: the sentence of line {block[0][0]} has no {key if words else 'words'}.")
            sentences.append((comments["text"], words, tags, comments["sent_id"][:-3]))
    return {"train": pd.DataFrame(sentences, columns=["text", "words", "tags", "document"])}


def sst2(files: Files) -> Splits:
    """The Stanford Sentiment Treebank, its sentences negative or positive as a whole (Socher et al. 2013).

    Columns: `text`, words and signs between spaces; `sentiment`, `neg` or `pos`. As published, `train.txt`, `dev.txt`
    and `test.txt` have a tree a line, each phrase in brackets after its sentiment, from 0, very negative, to 4: those
    of the whole sentence count, and neutral sentences (2) are left out. A `.tsv` file has a text, a tab and 0 or 1.
    """
    splits = {}
    for path, raw in files:
        name = PurePosixPath(path)
        read = _sentiment_of_tree if name.suffix == ".txt" else _sentiment_of_line
        rows = []
        for number, line in enumerate(read_lines(raw, path), start=1):
            text, sentiment = read(line)
            if not text or sentiment is None:
                what = "a tree of phrases, 0 to 4" if name.suffix == ".txt" else "a text, a tab, and 0 or 1"
                raise DataError(f"{path}: line {number} is not {what}.")
            if sentiment != "neutral":
                rows.append((text, sentiment))
        splits["valid" if name.stem == "dev" else name.stem] = pd.DataFrame(rows, columns=["text", "sentiment"])
    return splits


def _sentiment_of_tree(line: str) -> tuple[str, str | None]:
    """Text and sentiment of `(3 (2 Good) (2 .))`; None for what is no such tree."""
    leaves = re.findall(r"\([0-4] ([^()]+)\)", line)
    signs = {"-LRB-": "(", "-RRB-": ")"}
    text = " ".join(signs.get(leaf, leaf.replace("\\", "")) for leaf in leaves)
    rest, whole = line, re.sub(r"\([0-4] [^()]+\)", "()", line)
    while whole != rest:  # phrases, from the smallest to the sentence
        rest, whole = whole, re.sub(r"\([0-4]( \(\))+\)", "()", whole)
    return text, ("neg", "neg", "neutral", "pos", "pos")[int(line[1])] if leaves and whole == "()" else None


def _sentiment_of_line(line: str) -> tuple[str, str | None]:
    """Text and sentiment of `good .<tab>1`; None for what is neither 0 nor 1."""
    text, _, label = line.rpartition("\t")
    return text.strip(), {"0": "neg", "1": "pos"}.get(label)


def thai_wikipedia_qa(files: Files) -> Splits:
    """Questions on passages of Thai Wikipedia: `train.jsonl`, `valid.jsonl` and `test.jsonl`, a question a line.

    Columns: `text`, the passage, whose questions follow each other; `title` of its article; `question`; `answers`,
    as SQuAD has them: `{"text": [...], "answer_start": [...], "answer_end": [...]}`, counted in characters of
    `text`, which is for that reason not stripped.
    """
    fields = {"context": str, "title": str, "question": str, "answers": dict}
    columns = ["text", "title", "question", "answers"]
    return {
        PurePosixPath(path).stem: pd.DataFrame(
            read_json_lines(raw, path, what="a question", fields=fields), columns=columns
        )
        for path, raw in files
    }


QUESTIONS = ["context", "question", "answer", "start", "answers"]


def _answered(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Questions in the one form that answers are learned from, whoever asked them.

    Columns: `context`; `question`; `answer`, which is `context[start : start + len(answer)]`; `answers`, the list of
    all that count as right (SQuAD asked several people), `answer` the first of them. White space around an answer is
    no part of it. An answer that does not stand where it is said to is left out, and so is a question without another
    one, with a warning that counts them.

    Args:
        table: `context`, `question`, and `answers` as SQuAD has them, `{"text": [...], "answer_start": [...]}`.
        name: what to call it in a warning or an error.
    """
    rows = []
    for context, question, given in table[["context", "question", "answers"]].itertuples(index=False):
        found = {}
        for text, start in zip(given["text"], given["answer_start"], strict=True):
            if (answer := text.strip()) and start >= 0 and context.startswith(text, start):
                found.setdefault(answer, int(start) + text.index(answer))
        if found:
            answer, start = next(iter(found.items()))
            rows.append((context, question, answer, start, list(found)))
    if left_out := len(table) - len(rows):
        message = (
            f"{name}: {left_out:,} of {len(table):,} questions are left out: their answers are not where they say."
        )
        warnings.warn(message, stacklevel=2)
    return _checked(pd.DataFrame(rows, columns=QUESTIONS), name)


def thai_qa(files: Files) -> Splits:
    """`thai_wikipedia_qa` in the form of :func:`squad`, to learn answers from."""
    tables = thai_wikipedia_qa(files)
    return {split: _answered(table.rename(columns={"text": "context"}), split) for split, table in tables.items()}


def squad(files: Files) -> Splits:
    """SQuAD 1.1, from parquet files named after their splits (Rajpurkar et al. 2016).

    Columns: `context`, `question`, `answer`, `start`, `answers`; `answer` is `context[start : start + len(answer)]`,
    and `answers` are all that count as right.
    """
    names = ["context", "question", "answers"]
    return {_split_of(path): _answered(read_parquet(raw, path, columns=names), path) for path, raw in files}


def small_qa(files: Files) -> Splits:
    """Questions written for this course: tables of a split each. Columns as :func:`squad`, and `language`."""
    names = ["language", "context", "question", "answer", "start"]
    splits = {}
    for path, raw in files:
        table = read_table(raw, path, columns={name: name for name in names})
        table = table.assign(start=_numbers(table["start"], path, kind=int), answers=table["answer"].map(lambda a: [a]))
        for row in table.itertuples():
            if not row.context.startswith(row.answer, row.start):
                raise DataError(f"{path}: row {row.Index + 1} has not {row.answer!r} at {row.start}.")
        splits[PurePosixPath(path).stem] = table[[*QUESTIONS, "language"]]
    return splits


LEAST = 60  # characters of a sentence: Thai puts a blank after a phrase, too, and beside a number


def thai_qa_pairs(files: Files) -> Splits:
    """Does the sentence hold the answer? Pairs made of `thai_wikipedia_qa` in the manner of QNLI (Wang et al. 2019).

    Columns: `first`, a question; `second`, a sentence of its passage; `label`, as QNLI's: `entailment` where the answer
    is in the sentence, `not_entailment` where it is not. Each question has one pair of either kind: the other sentence
    is the one that shares most with the question, by its trigrams of characters, of those without the answer's text,
    so that words in common do not tell. A question whose passage has no such sentence is left out.

    Thai marks no end of a sentence. What stands between blanks is joined to `LEAST` characters, across no line and
    through no answer. The published splits keep passages apart, but for a few: those of train that are in valid or
    test too, white space aside, are left out.
    """
    tables = thai_qa(files)
    letters = {name: table["context"].map(lambda text: "".join(text.split())) for name, table in tables.items()}
    held_out = {text for name in letters if name != "train" for text in letters[name]}
    if "train" in tables:
        tables["train"] = tables["train"][~letters["train"].isin(held_out)]
    pairs = {name: [pair for row in table.itertuples() for pair in _pairs(row)] for name, table in tables.items()}
    return {name: pd.DataFrame(rows, columns=["first", "second", "label"]) for name, rows in pairs.items()}


def _pairs(row) -> list[tuple[str, str, str]]:
    """The two pairs of a question; none where each sentence has the answer's text."""
    sentences = _sentences(row.context, row.start, row.start + len(row.answer))
    others = [text for text, has_answer in sentences if not has_answer and row.answer not in text]
    if not others:
        return []
    asked = _trigrams(row.question)
    other = max(others, key=lambda text: len(asked & _trigrams(text)))
    [answering] = [text for text, has_answer in sentences if has_answer]
    return [(row.question, answering, "entailment"), (row.question, other, "not_entailment")]


def _trigrams(text: str) -> set[str]:
    return {text[i : i + 3] for i in range(len(text) - 2)}


def _sentences(text: str, start: int, end: int) -> list[tuple[str, bool]]:
    """The sentences of a passage, none of which ends within `start` to `end`; and whether they hold that place."""
    blanks = [blank.span() for blank in re.finditer(r"\s+", text) if blank.end() <= start or blank.start() >= end]
    sentences, begin = [], 0
    for left, right in [*blanks, (len(text), len(text))]:
        line_ends = "\n" in text[left:right] or left == len(text)
        if text[begin:left].strip() and (left - begin >= LEAST or line_ends):
            sentences.append((text[begin:left].strip(), begin <= start < left))
            begin = right
    return sentences


def read_parquet(raw: bytes, name: str, *, columns: list[str]) -> pd.DataFrame:
    """Columns of a parquet file.

    Raises:
        DataError: it is none, has not these columns, or no rows.
    """
    try:
        table = pd.read_parquet(io.BytesIO(raw))
    except ImportError as error:
        raise DataError(f"{name} is a parquet file: pip install pyarrow") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{name} is no parquet file, or is damaged: {error}") from error
    if missing := [column for column in columns if column not in table]:
        raise DataError(f"{name} has no column {', '.join(missing)}; its columns are: {', '.join(table.columns)}.")
    if table.empty:
        raise DataError(f"{name} has no rows.")
    return table[columns]


def _split_of(path: str) -> str:
    """Our name of a split of the hub, from `validation-00000-of-00001.parquet`."""
    return PurePosixPath(path).name.partition("-")[0].replace("validation", "valid")


ENTAILMENT = ["entailment", "not_entailment"]
GLUE = {  # their columns, of which one is our `text` and two are `first` and `second`; and the labels that they number
    "cola": (["sentence"], ["unacceptable", "acceptable"]),
    "sst2": (["sentence"], ["neg", "pos"]),
    "mrpc": (["sentence1", "sentence2"], ["not_equivalent", "equivalent"]),
    "stsb": (["sentence1", "sentence2"], None),
    "qqp": (["question1", "question2"], ["not_duplicate", "duplicate"]),
    "mnli": (["premise", "hypothesis"], ["entailment", "neutral", "contradiction"]),
    "qnli": (["question", "sentence"], ENTAILMENT),
    "rte": (["sentence1", "sentence2"], ENTAILMENT),
    "wnli": (["sentence1", "sentence2"], ENTAILMENT[::-1]),
}


def glue(files: Files) -> Splits:
    """A set of GLUE, from the parquet files in the folder of its name (Wang et al. 2019).

    Columns: `text`, or `first` and `second`; `label`, in words, but for `stsb` a number from 0 to 5, how similar the
    two are. GLUE keeps the labels of test for itself: these rows are `unlabelled`. `mnli` has `valid` (matched: of the
    genres of train) and `valid_mismatched`, and likewise `unlabelled_mismatched`.
    """
    splits = {}
    for path, raw in files:
        texts, labels = GLUE[PurePosixPath(path).parent.name]
        split = _split_of(path).replace("_matched", "").replace("test", "unlabelled")
        table = read_parquet(raw, path, columns=[*texts, "label"])
        table = table.rename(
            columns=dict(zip(texts, ["text"] if len(texts) == 1 else ["first", "second"], strict=True))
        )
        if split.startswith("unlabelled"):
            table = table.drop(columns="label")
        elif labels is None:
            table = table.assign(label=table["label"].astype(float))
        elif not table["label"].isin(range(len(labels))).all():
            strange = table.loc[~table["label"].isin(range(len(labels))), "label"].iloc[0]
            raise DataError(f"{path} has the label {strange}; there are 0 to {len(labels) - 1}.")
        else:
            table = table.assign(label=table["label"].map(dict(enumerate(labels))))
        splits[split] = table
    return splits


SOURCE = "ที่มา : "  # before the address of a ThaiGov article
SPACE = " \t\r\xa0\u200b\ufeff"  # around its lines; str.strip() leaves the zero-width ones


def thaigov(files: Files) -> Splits:
    """News of the Thai government: an article a `.txt` file as published, or the `text` of a line of a `.jsonl` file.

    Columns: `text`, the article with its date and heading; `title`, without the name of the site; `url`. A line that
    only repeats the one before it (the page has its heading two or three times) and the page's button
    `พิมพ์` (print) are left out.

    An article is a line with the page's title, a blank line, lines of text, a blank line, and `ที่มา : ` (source)
    before the address.
    """
    articles = []
    for path, raw in files:
        if path.endswith(".jsonl"):
            articles += [_news(text) for (text,) in read_json_lines(raw, path, what="an article", fields={"text": str})]
        elif raw.strip():
            articles.append(_news(decode(raw, path)))
    table = pd.DataFrame(articles, columns=["text", "title", "url"])
    return {"train": table[table["text"] != ""]}


def _news(page: str) -> tuple[str, str, str]:
    """Text, title and address of an article."""
    title, *lines = (line.strip(SPACE) for line in page.strip().split("\n"))
    url = lines.pop().removeprefix(SOURCE) if lines and lines[-1].startswith(SOURCE) else ""
    lines = [line for line in lines if line not in ("", "พิมพ์")]
    text = "\n".join(line for line, before in zip(lines, ["", *lines], strict=False) if line != before)
    return text, re.sub("^รัฐบาลไทย-(ข่าวทำเนียบรัฐบาล-)?", "", title).strip(SPACE), url


def wikitext(files: Files) -> Splits:
    """WikiText: the files with `train`, `valid` and `test` in their names, a row an article (Merity et al. 2016).

    Columns: `text`, its paragraphs, one a line, words and signs between spaces; `title`. Section headings are left
    out. `<unk>`, which the publisher has put for each word that is rare in train, stays; the marks ` @-@ `, ` @,@ ` and
    ` @.@ ` inside words and numbers become the sign alone, so `1 @,@ 000` is `1,000` again. Where train is missing, the
    articles of valid are the training rows.

    A heading stands alone between blank lines, with as many `=` on each side as it is deep; a title has one.
    """
    splits = {}
    for path, raw in files:
        [split] = re.findall("train|valid|test", PurePosixPath(path).name)
        splits[split] = _wikitext_articles(decode(raw, path), path)
    if "train" not in splits and "valid" in splits:
        splits["train"] = splits.pop("valid")
    return splits


def _wikitext_articles(text: str, path: str) -> pd.DataFrame:
    titles, paragraphs = [], []
    lines = [re.sub(" @([-,.])@( |$)", r"\1", line.strip()) for line in text.split("\n")]
    for before, line, after in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        heading = re.fullmatch(r"(=(?: =)*) (.+) \1", line) if before == after == "" else None
        if heading and heading[1] == "=":
            titles.append(heading[2])
            paragraphs.append([])
        elif line and not titles:
            raise DataError(
                f"{path} is not in WikiText's form: it does not begin with a title, such as ' = Lobster = '."
            )
        elif line and not heading:
            paragraphs[-1].append(line)
    table = pd.DataFrame({"text": map("\n".join, paragraphs), "title": titles})
    return _checked(table, path)


def text8(files: Files) -> Splits:
    """text8: one text of lower-case letters and spaces; 1,000 words of it are a row (Mahoney 2011)."""
    rows = []
    for path, raw in files:
        text = decode(raw, path).strip()
        if strange := re.search("[^a-z ]", text):
            raise DataError(f"{path} is not text8: it has {strange[0]!r}, and text8 has only the letters a to z.")
        rows += re.findall("[a-z]+(?: +[a-z]+){0,999}", text)
    return {"train": pd.DataFrame({"text": rows})}


def wikipedia_dump(files: Files) -> Splits:
    """A dump of a Wikipedia, packed or not: a row an article. Columns: `text`, a paragraph a line; `title`.

    As `tlcourse.data.wikipedia.extract` has them: redirects, stubs and duplicates are left out, and so are headings,
    tables, references and other markup.
    """
    from tlcourse.data import wikipedia

    articles = []
    for path, raw in files:
        with tempfile.TemporaryDirectory() as folder:
            dump = Path(folder, PurePosixPath(path).name)
            dump.write_bytes(raw)
            wikipedia.extract(dump, folder, workers=1, progress=False)
            articles += [(article["text"], article["title"]) for article in wikipedia.read_articles(folder)]
    return {"train": pd.DataFrame(articles, columns=["text", "title"])}


def documents(files: Files) -> Splits:
    """A text a line."""
    return {"train": pd.DataFrame({"text": [line for path, raw in files for line in read_lines(raw, path)]})}


def simlex999(files: Files) -> Splits:
    """SimLex-999 as gensim has it: pairs of words and how similar people find them, `score`, from 0 to 10.

    A line of comment comes before the header.
    """
    columns = {"# Word 1": "word1", "Word 2": "word2", "Human (mean)": "score"}
    path, raw = next(iter(files))
    table = read_table(raw, path, columns=columns, sep="\t", skiprows=1)
    return {"test": table.assign(score=_numbers(table["score"], path, kind=float))}


def word_analogies(files: Files) -> Splits:
    """`questions-words.txt`: `a` is to `b` as `c` is to `d`, in categories (Mikolov et al. 2013).

    A line `: category` stands above its questions, of four words each.
    """
    questions = []
    for path, raw in files:
        category = ""
        for number, line in enumerate(decode(raw, path).split("\n"), start=1):
            words = line.split()
            if words[:1] == [":"]:
                category = " ".join(words[1:])
            elif words and (len(words) != 4 or not category):
                raise DataError(f"{path}: line {number} is neither `: category` nor, below one, four words.")
            elif words:
                questions.append((category, *words))
    return {"test": pd.DataFrame(questions, columns=["category", "a", "b", "c", "d"])}


def word_senses(files: Files) -> Splits:
    """Sentences that have one word each in one of its senses: tables of a language each.

    Columns: `language`, `word`, `sense`, `text`, `start` and `end`: `text[start:end]` is the word, perhaps with a
    capital letter.
    """
    names = ["language", "word", "sense", "text", "start", "end"]
    tables = []
    for path, raw in files:
        table = read_table(raw, path, columns={name: name for name in names})
        table = table.assign(**{name: _numbers(table[name], path, kind=int) for name in ("start", "end")})
        for row in table.itertuples():
            if row.text[row.start : row.end].lower() != row.word:
                raise DataError(f"{path}: row {row.Index + 1} has not {row.word!r} at {row.start} to {row.end}.")
        tables.append(table)
    return {"test": pd.concat(tables, ignore_index=True)}


WORD_SETS = {
    "gender_pairs": ["language", "male", "female"],
    "occupations": ["language", "word"],
    "odd_one_out": ["language", "words", "odd"],
    "thai_analogies": ["category", "a", "b", "c", "d"],
    "weat": ["language", "list", "word"],
    "word_forms": ["language", "group", "word1", "word2", "relation"],
    "word_pairs": ["language", "kind", "word1", "word2"],
}


def word_sets(files: Files) -> Splits:
    """Lists of words, a table a file; see `data/word_sets/README.md`. The `words` of `odd_one_out` become lists."""
    tables = {}
    for path, raw in files:
        name = PurePosixPath(path).stem
        table = read_table(raw, path, columns={column: column for column in WORD_SETS[name]})
        if name == "odd_one_out":
            table = table.assign(words=table["words"].str.split())
            for row in table.itertuples():
                if row.odd not in row.words:
                    raise DataError(f"{path}: row {row.Index + 1} has not {row.odd!r}, the odd one, among its words.")
        tables[name] = table
    return tables


PARSERS = {
    "documents": documents,
    "glue": glue,
    "imdb": imdb,
    "intents": intents,
    "orchid": orchid,
    "pud": pud,
    "simlex999": simlex999,
    "small_qa": small_qa,
    "sms_spam": sms_spam,
    "spam": spam,
    "squad": squad,
    "sst2": sst2,
    "text8": text8,
    "thai_qa": thai_qa,
    "thai_qa_pairs": thai_qa_pairs,
    "thai_wikipedia_qa": thai_wikipedia_qa,
    "thaigov": thaigov,
    "thainer": thainer,
    "wikipedia_dump": wikipedia_dump,
    "wikitext": wikitext,
    "wisesight": wisesight,
    "wongnai": wongnai,
    "word_analogies": word_analogies,
    "word_senses": word_senses,
    "word_sets": word_sets,
}
