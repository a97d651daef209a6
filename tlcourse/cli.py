"""The ``tlcourse`` command.

A mistake of the user's ends in one line that says what to do, and exit code 2; a notebook that fails or a fault
that a check finds ends in exit code 1. ``tlcourse --traceback …`` shows where an error came from. Each command
imports what it needs when it runs, so that the help is instant.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from tlcourse import __version__

DESCRIPTION = "Transfer learning for NLP, a course that runs."
Handler = Callable[[argparse.Namespace], int]
PAGES = Path("build/course")

USER_ERRORS = (OSError, ValueError, ImportError)
"""What a wrong name, file, folder, variable or installation raises."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: what follows ``tlcourse`` on the command line; by default this process's own.
    """
    sys.stdout.reconfigure(errors="replace")  # Thai on a terminal that has no Thai is no reason to stop
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.handler is not lab:
        parser.error(f"unrecognised: {' '.join(rest)}; see `tlcourse {options.command} --help`")
    options.rest = rest
    try:
        code = options.handler(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` for one, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if options.traceback or not is_user_error(error):
            raise
        print(f"tlcourse: {explain(error)}", file=sys.stderr)
        return 2


def is_user_error(error: Exception) -> bool:
    """Whether an error says what its user did wrong; anything else is a fault of the course, shown whole."""
    if isinstance(error, USER_ERRORS):
        return True
    if "tlcourse.data" in sys.modules:
        from tlcourse.data import DataError

        return isinstance(error, DataError)
    return False


def explain(error: Exception) -> str:
    """An error in words."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f'{error.name} is not installed; pip install "tlcourse[lab]" brings what the commands need'
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(prog="tlcourse", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"tlcourse {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, handler: Handler, text: str, to=commands) -> argparse.ArgumentParser:
        command = to.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(handler=handler)
        return command

    def add_output(command: argparse.ArgumentParser, default: Path, what: str) -> None:
        command.add_argument("--output", type=Path, default=default, help=f"{what} (default: {default})")

    def add_profile(command: argparse.ArgumentParser, default: str | None = None) -> None:
        says = f"default: {default}" if default else "default: TLCOURSE_PROFILE, or by the hardware"
        command.add_argument("--profile", default=default, help=f"smoke, laptop or gpu ({says})")

    def add_actions(command: argparse.ArgumentParser):
        return command.add_subparsers(metavar="ACTION", title="actions")

    command = add("lab", lab, "open the course in JupyterLab; further options are JupyterLab's")
    command.add_argument("--port", type=int, help="default: 8888, or the next free one")
    command.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    add_profile(command)

    command = add("run", run, "execute a notebook and write it as HTML")
    command.add_argument("notebook", help="a path, a name, or the number it begins with")
    add_output(command, PAGES, "folder")
    add_profile(command)

    command = add("course", course, "execute all notebooks in order and write the course as HTML")
    add_output(command, PAGES, "folder")
    add_profile(command)

    command = add("notebooks", notebooks, "execute notebooks and store their outputs in them, in normal form")
    command.add_argument("notebook", nargs="*", help="which (default: all)")
    command.add_argument("--check", action="store_true", help="execute nothing; say what is amiss as stored")
    add_profile(command, default="laptop")

    actions = add_actions(add("data", data_list, "the data sets"))
    add("list", data_list, "list the data sets, with their licences (the default)", to=actions)
    command = add("info", data_info, "all that the catalogue says of a data set", to=actions)
    command.add_argument("name")
    command = add("get", data_get, "download a data set, or find it at hand, and show its splits", to=actions)
    command.add_argument("name")

    wiki = add_actions(add("wiki", wiki_status, "a Wikipedia, from its dump to token ids (default: what is there)"))
    for name, handler, text in (
        ("fetch", wiki_fetch, "download the dump; an interrupted download goes on"),
        ("extract", wiki_extract, "turn a dump into clean articles, compressed JSON lines; goes on where it stopped"),
        ("tokens", wiki_tokens, "segment the articles, make a vocabulary and token ids; goes on where it stopped"),
    ):
        command = add(name, handler, text, to=wiki)
        command.add_argument("--language", default="th", help="code of the Wikipedia (default: th)")
        command.add_argument("--folder", type=Path, help="where all of it is kept (default: in the cache)")
        if name == "fetch":
            command.add_argument("--date", default="latest", help="of the dump, YYYYMMDD (default: the latest)")
        if name == "extract":
            command.add_argument("dump", nargs="?", type=Path, help="default: the dump that was fetched")
            command.add_argument("--hub", metavar="CONFIG", help="from the Hugging Face hub, such as 20231101.th")
            command.add_argument("--min-characters", type=int, default=200, help="shorter ones are left out")
        if name == "tokens":
            command.add_argument("articles", nargs="*", type=Path, help="folders (default: what was extracted)")
            command.add_argument("--vocab", type=int, default=60_000, help="words, special tokens included")
            command.add_argument("--min-count", type=int, default=2, help="how often a word must occur")
        if name != "fetch":
            command.add_argument("--workers", type=int, help="processes (default: one a core)")

    command = add("pretrain", pretrain, "pretrain a language model on token ids; goes on where it stopped")
    command.add_argument("corpus", nargs="?", type=Path, help="folder (default: what `tlcourse wiki tokens` made)")
    command.add_argument("--language", default="th", help="of the default corpus (default: th)")
    add_output(command, Path("backbone"), "folder")
    command.add_argument("--recipe", default="small", help="tiny, small, paper or thai2fit (default: small)")
    for name, kind in {
        "softmax": str,
        "optimiser": str,
        "epochs": int,
        "lr": float,
        "batch-size": int,
        "bptt": int,
    }.items():
        command.add_argument(f"--{name}", type=kind, help="in place of the recipe's")
    command.add_argument("--seed", type=int, help="default: the recipe's")
    command.add_argument("--every", type=int, default=500, help="steps between checkpoints (default: 500)")
    command.add_argument("--tensorboard", action="store_true", help="write events for TensorBoard, too")
    command.add_argument("--restart", action="store_true", help="start over and replace what is in the folder")
    add_profile(command)

    actions = add_actions(add("claims", claims_list, "what the course claims"))
    add("list", claims_list, "list the ledger (the default)", to=actions)
    command = add("results", claims_results, "write the results page from the recorded runs", to=actions)
    add_output(command, Path("RESULTS.md"), "file")

    command = add("homework", homework_prove, "give homework out, grade it, prove its hidden tests")
    command.set_defaults(assignment=[], homework=None)
    actions = add_actions(command)
    release = add("release", homework_release, "write the students' notebooks and the key of a term", to=actions)
    release.add_argument("--term", required=True, help="such as 2027-1")
    release.add_argument("--out", type=Path, required=True, help="folder: release/ for students, and the key")
    release.add_argument("--replace", action="store_true", help="replace what is there; the term keeps its seed")
    grade = add("grade", homework_grade, "judge submissions in a box; goes on where it stopped", to=actions)
    grade.add_argument("folder", type=Path, help="with a folder a student, or nbgrader's submitted/")
    grade.add_argument("--key", type=Path, required=True, help="of the term, which the release wrote")
    grade.add_argument("--out", type=Path, required=True, help="table; feedback pages and a picture stand beside it")
    grade.add_argument("--workers", type=int, help="submissions at a time (default: one a core)")
    grade.add_argument("--by-hand", type=Path, help="table with the scores of written questions")
    grade.add_argument("--without-box", action="store_true", help="run what students wrote as yourself, unprotected")
    prove = add("prove", homework_prove, "run every right and wrong solution against the hidden tests", to=actions)
    for command in (release, grade, prove):
        command.add_argument("--assignment", action="append", default=[], help="only this one (may be repeated)")
        command.add_argument("--homework", type=Path, help="folder with keys/ and notebooks/ (default: the course's)")

    add("doctor", doctor, "check Python, packages, GPU, memory, disk, fonts and data; say what to do")
    add("site", site, "write the course's public address into badges and Colab cells")
    return parser


# -------------------------------------------------------------------------------------------------- notebooks


def lab(options: argparse.Namespace) -> int:
    """``tlcourse lab``."""
    from tlcourse.lab import start

    if options.profile:
        set_profile(options.profile)
    start(port=options.port, browser=not options.no_browser, options=options.rest)
    return 0


def run(options: argparse.Namespace) -> int:
    """``tlcourse run``."""
    from tlcourse import notebooks

    path = notebooks.find(options.notebook)
    set_profile(options.profile)
    return 0 if run_one(path, options.output) is not None else 1


def course(options: argparse.Namespace) -> int:
    """``tlcourse course``: a notebook that fails does not stop the ones after it."""
    from tlcourse import notebooks

    where = f"Executed with the {set_profile(options.profile)}."
    rows = []
    for path in all_notebooks():
        seconds = run_one(path, options.output)
        rows.append((notebooks.title(notebooks.read(path)), Path(f"{path.stem}.html"), seconds))
    index = options.output / "index.html"
    notebooks.write_index(rows, where=where, page=index)
    print(f"The course is at {index}")
    return 1 if any(seconds is None for _, _, seconds in rows) else 0


def run_one(path: Path, output: Path) -> float | None:
    """Execute a notebook into an HTML page and show how it goes.

    Returns:
        The seconds it took; None when a cell failed.
    """
    from tlcourse import notebooks

    print(path.name)
    try:
        page, seconds = notebooks.run(path, output=output, progress=notebooks.Progress())
    except notebooks.CellFailed as failure:
        show_failure(path, failure)
        print(f"What ran is at {output / path.stem}.html", file=sys.stderr)
        return None
    print(f"{page} ({seconds:.0f} s)")
    return seconds


def notebooks(options: argparse.Namespace) -> int:
    """``tlcourse notebooks``."""
    from tlcourse import guards
    from tlcourse.notebooks import CellFailed, Progress, checkout, find, read, store

    if not checkout():
        raise FileNotFoundError("outputs are stored in the course's source tree; run this inside it")
    paths = [find(name) for name in options.notebook] or all_notebooks()
    if not options.check:
        set_profile(options.profile)
        os.environ.setdefault("TLCOURSE_RECORD", str(checkout() / "tlcourse" / "measured.json"))
    sound = True
    for path in paths:
        try:
            if options.check:
                notebook = read(path)
            else:
                print(path.name)
                notebook = store(path, profile=options.profile, progress=Progress())
        except CellFailed as failure:
            show_failure(path, failure)
            sound = False
            continue
        faults = guards.faults(notebook, name=path.name)
        sound = sound and not faults
        print(f"{path.name}: {'in order' if not faults else 'amiss'}", *faults, sep="\n  ")
    return 0 if sound else 1


def show_failure(path: Path, failure: Exception) -> None:
    """The failing cell and its error; in colour on a terminal."""
    from tlcourse.normal_form import ANSI

    text = f"\n{path.name}: {failure}"
    print(text if sys.stderr.isatty() else ANSI.sub("", text), file=sys.stderr)


def all_notebooks() -> list[Path]:
    """The course in order.

    Raises:
        FileNotFoundError: there is none.
    """
    from tlcourse.notebooks import course as in_order
    from tlcourse.notebooks import course_folder

    if not (paths := in_order()):
        raise FileNotFoundError(f"no notebooks in {course_folder()}")
    return paths


def set_profile(name: str | None):
    """Choose the profile of this process and of the kernels it starts.

    Raises:
        ValueError: no such profile.
    """
    if name:
        os.environ["TLCOURSE_PROFILE"] = name
    from tlcourse import profile

    return profile.current()


# ------------------------------------------------------------------------------------------------------- data


def data_list(options: argparse.Namespace) -> int:
    """``tlcourse data list``."""
    from tlcourse import data
    from tlcourse.doctor import data_set

    rows = [("name", "languages", "licence", "at hand", "what it is")]
    for entry in map(data.info, data.names()):
        at_hand = {"ok": "yes", "warn": "no", "fault": "fault"}[data_set(entry).state]
        rows.append((entry.name, " ".join(entry.languages), entry.licence, at_hand, entry.title))
    show_table(rows)
    print("\n`tlcourse data info NAME` tells more, `tlcourse data get NAME` downloads.")
    return 0


def data_info(options: argparse.Namespace) -> int:
    """``tlcourse data info``."""
    from dataclasses import asdict

    from tlcourse import data
    from tlcourse.doctor import data_set

    entry = data.info(options.name)
    fields = {key: value for key, value in asdict(entry).items() if value}
    for key, value in fields.items():
        if isinstance(value, tuple):
            fields[key] = ", ".join(value)
        elif isinstance(value, int):
            fields[key] = f"{value:,}"
    show_table([*fields.items(), ("at hand", data_set(entry).found)])
    return 0


def data_get(options: argparse.Namespace) -> int:
    """``tlcourse data get``."""
    from tlcourse import data

    dataset = data.load(options.name)
    print(f"{dataset.name}, from: {dataset.source}")
    splits = dataset.splits.items()
    show_table([(name, f"{len(frame):,} rows", ", ".join(frame.columns)) for name, frame in splits])
    return 0


# -------------------------------------------------------------------------------------- a Wikipedia, a backbone


def wiki_folder(options: argparse.Namespace) -> Path:
    """Where the dump, the articles and the token ids of a Wikipedia are kept."""
    from tlcourse.data.wikipedia import default_folder

    return getattr(options, "folder", None) or default_folder(getattr(options, "language", "th"))


def wiki_status(options: argparse.Namespace) -> int:
    """``tlcourse wiki``: what is there, and the next step."""
    folder = wiki_folder(options)
    dump = newest_dump(folder)
    steps = [
        ("fetch", dump, dump is not None),
        ("extract", folder / "articles", (folder / "articles" / "articles.json").exists()),
        ("tokens", folder / "tokens", (folder / "tokens" / "corpus.json").exists()),
    ]
    show_table([(name, "begun" if there else "not yet", str(path or folder)) for name, path, there in steps])
    return 0


def wiki_fetch(options: argparse.Namespace) -> int:
    """``tlcourse wiki fetch``."""
    from tlcourse.data import wikipedia

    print(wikipedia.fetch(options.language, date=options.date, folder=wiki_folder(options)))
    return 0


def wiki_extract(options: argparse.Namespace) -> int:
    """``tlcourse wiki extract``."""
    from tlcourse.data import wikipedia

    folder = wiki_folder(options)
    target, least = folder / "articles", options.min_characters
    if options.hub:
        report = wikipedia.from_hub(target, config=options.hub, min_characters=least)
    else:
        dump = options.dump or newest_dump(folder)
        if dump is None:
            raise FileNotFoundError(f"no dump in {folder}: `tlcourse wiki fetch` downloads it, or name a file")
        report = wikipedia.extract(
            dump, target, language=options.language, min_characters=least, workers=options.workers
        )
    print(f"{report}\n{target}")
    return 0


def wiki_tokens(options: argparse.Namespace) -> int:
    """``tlcourse wiki tokens``."""
    from tlcourse.text.corpus import build_corpus

    folder = wiki_folder(options)
    corpus = build_corpus(
        options.articles or [folder / "articles"],
        folder / "tokens",
        language=options.language,
        max_vocab=options.vocab,
        min_count=options.min_count,
        workers=options.workers,
    )
    splits = {"train": corpus.train} | ({"valid": corpus.valid} if corpus.valid else {})
    rows = [("split", "documents", "tokens", "unknown words")]
    rows += [(name, f"{s.documents:,}", f"{len(s):,}", f"{s.unknown:.2%}") for name, s in splits.items()]
    show_table(rows)
    for row in corpus.coverage:
        print(f"the {row['words']:,} most frequent words are {row['share']:.1%} of the text")
    print(folder / "tokens")
    return 0


def newest_dump(folder: Path) -> Path | None:
    """The latest dump in a folder, by the date in its name."""
    return max(folder.glob("*-pages-articles*.xml*"), default=None, key=lambda path: path.name)


def pretrain(options: argparse.Namespace) -> int:
    """``tlcourse pretrain``."""
    from dataclasses import replace

    folder = options.corpus or wiki_folder(options) / "tokens"
    where = set_profile(options.profile)
    from tlcourse.text.corpus import Corpus
    from tlcourse.ulmfit import RECIPES
    from tlcourse.ulmfit import pretrain as train

    if options.recipe not in RECIPES:
        raise ValueError(f"no recipe {options.recipe!r}; there are {', '.join(RECIPES)}")
    names = ("softmax", "optimiser", "epochs", "lr", "batch_size", "bptt", "seed")
    changes = {name: value for name in names if (value := getattr(options, name)) is not None}
    recipe = replace(RECIPES[options.recipe], **changes)
    corpus = Corpus.open(folder)
    print(f"{where}; {len(corpus.train):,} tokens, {len(corpus.vocab):,} words\n{recipe}")
    _, history = train(
        corpus, options.output, recipe, every=options.every, resume=not options.restart, tensorboard=options.tensorboard
    )
    if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
        print(history.groupby("epoch").last().to_string())
        print(options.output / "backbone.safetensors")
    return 0


# ----------------------------------------------------------------------------------------------------- claims


def claims_list(options: argparse.Namespace) -> int:
    """``tlcourse claims list``."""
    from tlcourse import claims

    for claim in claims.load().values():
        expected = ", ".join(f"{profile} {verdict}" for profile, verdict in claim.expect.items())
        print(f"{claim.id}: {claim.sentence}")
        print(f"    {claim.test}   [{expected}]\n    {claim.source}; {claim.notebook}")
    return 0


def claims_results(options: argparse.Namespace) -> int:
    """``tlcourse claims results``."""
    from tlcourse import claims

    print(f"Wrote {claims.write_results(options.output)}")
    return 0


# --------------------------------------------------------------------------------------------------- homework


def homework_release(options: argparse.Namespace) -> int:
    """``tlcourse homework release``."""
    from tlcourse.homework import assignments
    from tlcourse.homework.release import release

    found = assignments.find(options.homework, options.assignment)
    *pages, key = release(options.term, options.out, found, replace=options.replace)
    print(*pages, sep="\n")
    print(f"{key}: keep it to yourself; grading needs it")
    return 0


def homework_grade(options: argparse.Namespace) -> int:
    """``tlcourse homework grade``."""
    from tlcourse.homework import assignments, grade
    from tlcourse.homework.box import NoBox, find_box
    from tlcourse.homework.release import TermKey

    found = assignments.find(options.homework, options.assignment)
    key = TermKey.read(options.key)
    by_hand = grade.read_by_hand(options.by_hand) if options.by_hand else {}
    kept, pages = (options.out.with_name(f"{options.out.stem}-{what}") for what in ("judged", "feedback"))
    handed_in = grade.submissions(options.folder, found, besides=(kept, pages))
    box = NoBox() if options.without_box else find_box()
    if box is None:
        raise OSError(
            "this machine has no box to run students' code in; `apt install bubblewrap` or a container engine brings "
            "one. With --without-box it runs as you, and can read and change whatever you can"
        )
    graded = grade.grade(handed_in, key, found, box=box, kept=kept, workers=options.workers)
    reports = grade.with_scores_by_hand(graded.reports, by_hand)
    table = grade.table(reports)
    grade.write_table(table, options.out)
    grade.write_pages(reports, found, pages, term=key.term)
    grade.write_figure(table, options.out.with_suffix(".png"))
    print(f"{options.out}\n{pages}\n{options.out.with_suffix('.png')}")
    for (student, name), fault in graded.faults.items():
        print(f"{student}, {name}: not judged, {fault}", file=sys.stderr)
    return 1 if graded.faults else 0


def homework_prove(options: argparse.Namespace) -> int:
    """``tlcourse homework prove``."""
    from tlcourse.homework import assignments
    from tlcourse.homework.prove import prove

    sound = True
    for homework in assignments.find(options.homework, options.assignment).values():
        rows = []
        for proof in prove(homework):
            sound = sound and proof.holds
            rows.append((proof.question, proof.solution, "✓" if proof.holds else "✗", proof.told))
        show_table([("question", "solution", "", "hidden tests"), *rows])
    return 0 if sound else 1


# ------------------------------------------------------------------------------------------------ the machine


def doctor(options: argparse.Namespace) -> int:
    """``tlcourse doctor``."""
    from tlcourse.doctor import examine

    marks = {"ok": "✓", "warn": "!", "fault": "✗"}
    states = []
    for check in examine():
        print(f"{marks[check.state]} {check.name:<24} {check.found}", flush=True)
        if check.advice:
            advice = textwrap.fill(check.advice, 100, break_on_hyphens=False, break_long_words=False)
            print(textwrap.indent(f"→ {advice}", " " * 27))
        states.append(check.state)
    faults, warnings = states.count("fault"), states.count("warn")
    print(f"\nFaults: {faults}, warnings: {warnings}." if faults or warnings else "\nAll is well.")
    return 1 if faults else 0


def site(options: argparse.Namespace) -> int:
    """``tlcourse site``."""
    from tlcourse import site

    return site.main()


def show_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows in aligned columns; the last column runs on."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]))
