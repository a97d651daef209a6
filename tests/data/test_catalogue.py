"""The catalogue: every entry is whole, and a wrong name or a broken file is explained."""

import re

import pytest

from tlcourse import data
from tlcourse.data.parsers import GLUE, PARSERS

NAMES = data.names()


def test_the_first_sets_are_there():
    assert {"truevoice", "wisesight", "wongnai", "imdb", "orchid", "thai_intents"} <= set(NAMES)
    assert {"thai_wikipedia_qa", "thaigov"} <= set(NAMES)
    assert {"wikitext2", "text8", "gensim_wikipedia", "lee"} <= set(NAMES)
    assert {"thainer", "ud_thai_pud", "sst2"} <= set(NAMES)
    assert {"simlex999", "word_analogies", "word_senses", "word_sets"} <= set(NAMES)
    assert {"spam", "sms_spam", "small_qa", "squad", "thai_qa", "thai_qa_pairs"} <= set(NAMES)
    assert {f"glue_{name}" for name in GLUE} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_is_whole(name):
    entry = data.info(name)
    assert entry.name == name and entry.title and entry.licence and entry.citation and entry.splits
    assert entry.parser in PARSERS and entry.members and entry.unpacked_bytes > entry.bytes
    assert set(entry.cut) <= {"test", "valid"} and set(entry.languages) <= {"th", "en"}
    what_only_measures = entry.needs == ("test",) or entry.parser == "word_sets"
    assert what_only_measures or {"train", "valid"} <= set(entry.needs)
    assert set(entry.cut) <= set(entry.needs)
    if entry.addresses:
        assert re.fullmatch("[0-9a-f]{64}", entry.sha256) and entry.bytes > 0
        assert all(address.startswith("https://") for address in entry.addresses)
        assert len({address.rpartition("/")[2] for address in entry.addresses}) == 1


def test_labels_of_the_first_sets():
    assert data.info("truevoice").label == "destination"
    assert data.info("wisesight").label == "sentiment"
    assert data.info("wongnai").label == "stars"
    assert data.info("orchid").label is None
    assert data.info("truevoice").file == "mari-intent.zip"
    assert data.info("orchid").file == data.info("orchid").address == ""
    assert data.info("glue_cola").file == "" and data.info("glue_cola").revision in data.info("glue_cola").address


@pytest.mark.parametrize("wrong, near", [("truvoice", "truevoice"), ("Thai-Intents", "thai_intents")])
def test_a_name_that_comes_near_is_suggested(wrong, near):
    with pytest.raises(data.UnknownDataset, match=f"Did you mean {near}"):
        data.load(wrong)


def test_a_name_that_comes_near_nothing_lists_all():
    with pytest.raises(data.UnknownDataset, match=r"no data set 'zzz'\. There are: truevoice, "):
        data.info("zzz")


def test_an_unknown_fallback_is_an_error_at_once(cache):
    with pytest.raises(data.UnknownDataset, match="thai_intent"):
        data.load("truevoice", fallback="thai_intent")
    assert not cache.exists()


ENTRY = """
[small]
title = "t"
languages = ["th"]
labels = []
licence = "MIT"
homepage = ""
citation = "c"
splits = "s"
parser = "intents"
members = ["a.csv"]
unpacked_bytes = 1
"""


@pytest.mark.parametrize(
    "text, says",
    [
        ("[broken", "cannot be read"),
        (ENTRY, "needs one of addresses, hub, repository, package, embedded"),
        (ENTRY + 'embedded = "small"\npackage = "p:f"\n', "needs one of addresses, hub, repository, package, embedded"),
        (ENTRY + 'repository = "https://example.org/a"\naddresses = ["https://example.org/a.zip"]\n', "needs one of"),
        (ENTRY + 'addresses = ["https://example.org/a.zip"]\n', "sha256 and bytes"),
        (ENTRY + 'hub = "own/set"\nrevision = "main"\nbytes = 5\n', "on the hub, so it needs its revision and bytes"),
        (ENTRY + 'hub = "own/set"\naddresses = ["https://example.org/a.zip"]\n', "needs one of"),
        (ENTRY + 'colour = "blue"\n', "colour"),
    ],
)
def test_a_broken_catalogue_is_explained(tmp_path, text, says):
    path = tmp_path / "catalogue.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(data.DataError, match=says):
        data.read_catalogue(path)


def test_a_missing_catalogue_is_explained(tmp_path):
    with pytest.raises(data.DataError, match=re.escape("nowhere.toml cannot be read")):
        data.read_catalogue(tmp_path / "nowhere.toml")


def test_shipped_is_the_folder_of_the_catalogue():
    assert (data.shipped() / "catalogue.toml").is_file()
