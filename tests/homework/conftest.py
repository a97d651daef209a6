import importlib.util
from pathlib import Path

import pytest

from tlcourse.homework import assignments
from tlcourse.homework.release import TermKey, release


@pytest.fixture(scope="session")
def small():
    """The module small.py, which tests share."""
    spec = importlib.util.spec_from_file_location("small", Path(__file__).with_name("small.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def source(small, tmp_path_factory) -> Path:
    """A folder with a small assignment: its key and the author's notebook."""
    return small.write(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def homework(source):
    """The small assignment."""
    return assignments.find(source)


@pytest.fixture(scope="session")
def term(homework, tmp_path_factory):
    """What was given out of it: the students' notebook, the file of the key, and the key."""
    page, path = release("2027-1", tmp_path_factory.mktemp("term"), homework)
    return page, path, TermKey.read(path)
