"""Documents of tasks are what they say, and accuracy by shots is that of models whose answers are known."""

import itertools
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2LMHeadModel

from tlcourse.encoders import Checkpoint
from tlcourse.gpt.bpe import END_OF_TEXT, train_bpe
from tlcourse.gpt.pretrain import GPTRecipe, TokenDocuments, pretrain_gpt
from tlcourse.gpt.shots import (
    LABELS,
    accuracy_by_shots,
    split_tasks,
    task_documents,
    task_prompt,
    word_groups,
)

ANIMALS = ["cat", "dog", "horse", "ช้าง"]
GROUPS = {"cat": ANIMALS, "red": ["red", "เขียว", "blue"], "วัด": ["วัด", "โบสถ์"], "pen": ["pen", "ดินสอ"]}
GROUP_OF = {word: name for name, words in GROUPS.items() for word in words}
TRAIN, TEST = split_tasks(GROUPS, held_out=0.34, seed=1)
TOKENISER = train_bpe(task_documents(GROUPS, TRAIN + TEST, 300, examples=4), vocab_size=400)


def lines(document: str) -> list[list[str]]:
    first, *rest = document.split("\n")
    assert first == ""
    return [line.split(" ") for line in rest]


# ------------------------------------------------------------------------------------------------------ words and tasks
def test_each_word_is_in_one_group_of_its_language():
    english, thai, both = word_groups("en"), word_groups("th"), word_groups()
    assert english["cat"] == ["cat", "dog", "horse", "elephant"]  # the list has a table among them
    assert thai["แมว"] == ["แมว", "สุนัข", "ช้าง", "ม้า"]
    assert both == thai | english
    assert len(english) >= 25 and len(thai) >= 25
    words = Counter(word for group in both.values() for word in group)
    assert set(words.values()) == {1}
    assert all(name == group[0] and len(group) == 4 for name, group in both.items())


def test_no_words_of_another_language():
    with pytest.raises(ValueError, match=r"language is one of en, th, not 'lo'"):
        word_groups("lo")


@given(st.integers(0, 99), st.floats(0.2, 0.8))
@settings(deadline=None, max_examples=20)
def test_tasks_are_all_pairs_once(seed, held_out):
    train, test = split_tasks(GROUPS, held_out=held_out, seed=seed)
    assert len(test) == round(held_out * 6)
    assert len({frozenset(pair) for pair in train + test}) == len(train + test) == 6
    assert (train, test) == split_tasks(GROUPS, held_out=held_out, seed=seed)


@pytest.mark.parametrize("held_out", [0, 1, 0.05])
def test_a_part_without_tasks_is_refused(held_out):
    with pytest.raises(ValueError, match="of 6 pairs of groups leaves none to train or to test on"):
        split_tasks(GROUPS, held_out=held_out)


# ------------------------------------------------------------------------------------------------------------ documents
@given(st.integers(0, 99), st.integers(1, 20), st.booleans())
@settings(deadline=None, max_examples=20)
def test_a_document_has_the_groups_of_a_training_task_and_a_label_for_each(seed, examples, shuffled):
    documents = task_documents(GROUPS, TRAIN, 30, examples=examples, shuffled=shuffled, seed=seed)
    assert len(documents) == 30
    for document in documents:
        rows = lines(document)
        found = {GROUP_OF[word] for word, _ in rows}
        assert len(rows) == examples
        assert any(found <= set(task) for task in TRAIN)
        assert {label for _, label in rows} <= set(LABELS)
        assert len({label for _, label in rows}) == len(found)
        if not shuffled:
            assert len({(GROUP_OF[word], label) for word, label in rows}) == len(found)


def test_what_is_drawn_is_drawn_alike():
    documents = task_documents(GROUPS, TRAIN, 4000, examples=1, seed=3)
    drawn = Counter((GROUP_OF[word], label) for document in documents for word, label in lines(document))
    times = Counter(group for task in TRAIN for group in task)  # a group is in so many tasks
    for group, tasks in times.items():
        expected = 4000 * tasks / (2 * len(TRAIN)) / len(LABELS)
        for label in LABELS:
            assert drawn[group, label] == pytest.approx(expected, rel=0.25)
    words = Counter(word for document in documents for word, _ in lines(document) if word in ANIMALS)
    assert min(words.values()) > 0.8 * max(words.values())


def test_shuffled_labels_say_nothing_and_the_words_stay():
    plain, control = (task_documents(GROUPS, TRAIN, 500, shuffled=shuffled) for shuffled in (False, True))
    assert [word for word, _ in lines(plain[0])] == [word for word, _ in lines(control[0])]
    same, pairs = 0, 0
    for document in control:
        rows = lines(document)
        if len({label for _, label in rows}) == 2:
            for (one, label), (other, next_label) in itertools.pairwise(rows):
                pairs += 1
                same += (GROUP_OF[one] == GROUP_OF[other]) == (label == next_label)
    assert same / pairs == pytest.approx(0.5, abs=0.03)  # 1 where labels go with groups


def test_more_groups_than_labels():
    with pytest.raises(ValueError, match="2 labels are too few for a task of 3 groups"):
        task_documents(GROUPS, [("cat", "red", "pen")], 1, labels="AB")


def test_a_prompt_reads_as_a_document_begins():
    prompt = task_prompt({"cat": "B", "red": "D"})
    examples = [("dog", "cat"), ("เขียว", "red"), ("cat", "cat")]
    written = prompt.write(examples, "blue") + prompt.choices[1]
    assert written == END_OF_TEXT + "\ndog B\nเขียว D\ncat B\nblue D"
    document = written.removeprefix(END_OF_TEXT)
    documents = TokenDocuments.from_texts(["first", document], TOKENISER)
    assert TOKENISER(written).input_ids == documents.ids[documents.starts[1] - 1 : -1].tolist()


# ------------------------------------------------------------------------------------------------------- by shots
class Knowing(torch.nn.Module):
    """Knows the group of each word, and goes on with the label that stood behind one of the same group, if any."""

    def __init__(self, knows: bool = True):
        super().__init__()
        self.device, self.knows, self.read = torch.device("cpu"), knows, []

    def forward(self, ids, logits_to_keep=1, **_):
        logits = torch.zeros(*ids.shape, len(TOKENISER))
        for row, out in zip(ids, logits, strict=True):
            *examples, asked = TOKENISER.decode(row, skip_special_tokens=True).split("\n")[1:]
            self.read.append((asked, examples))
            for word, label in map(str.split, examples):
                if self.knows and GROUP_OF[word] == GROUP_OF[asked]:
                    out[-1, TOKENISER(f" {label}").input_ids[0]] = 1
        return SimpleNamespace(logits=logits[:, -logits_to_keep:])


def checkpoint(model: torch.nn.Module) -> Checkpoint:
    model.config = SimpleNamespace()
    return Checkpoint(model, TOKENISER, "stub")


def test_one_that_knows_the_groups_is_right_once_it_has_seen_both():
    model = Knowing()
    table = accuracy_by_shots(checkpoint(model), GROUPS, TEST, shots=(0, 1, 16), rounds=40, seed=5)
    assert list(table.columns) == ["shots", "round", "accuracy", "chance"]
    assert len(table) == 3 * 40 and set(table["chance"]) == {0.5}
    mean = table.groupby("shots")["accuracy"].mean()
    assert mean[0] == 0.5  # the first label, whatever is asked: right for one of both
    assert 0.5 < mean[1] < 1
    assert mean[16] > 0.98


def test_the_word_asked_for_is_in_no_example_and_the_task_in_no_document():
    model = Knowing()
    accuracy_by_shots(checkpoint(model), GROUPS, TEST, shots=(8,), rounds=20)
    assert len(model.read) >= 40
    for asked, examples in model.read:
        words = {example.split()[0] for example in examples}
        assert asked not in words and len(examples) == 8
        assert any({GROUP_OF[word] for word in words | {asked}} <= set(task) for task in TEST)


def test_one_that_knows_nothing_stays_at_chance():
    table = accuracy_by_shots(checkpoint(Knowing(knows=False)), GROUPS, TEST, shots=(0, 4), rounds=10)
    assert set(table["accuracy"]) == {0.5}


def test_a_group_of_one_word_cannot_be_asked_for():
    with pytest.raises(ValueError, match="a group needs a word to ask for and another one as an example: pen"):
        accuracy_by_shots(checkpoint(Knowing()), GROUPS | {"pen": ["pen"]}, TEST)


def test_a_gpt_of_the_course_is_trained_and_asked(tmp_path):
    documents = TokenDocuments.from_texts(task_documents(GROUPS, TRAIN, 40, examples=4), TOKENISER)
    recipe = GPTRecipe(size=(1, 64), max_length=32, steps=2, batch_size=4)
    trained = pretrain_gpt(documents, TOKENISER, recipe, tmp_path, progress=False, device="cpu")
    assert isinstance(trained.model, GPT2LMHeadModel)
    asked = Checkpoint(trained.model, TOKENISER, "trained")
    tables = [accuracy_by_shots(asked, GROUPS, TEST, shots=(0, 2), rounds=3, seed=9) for _ in range(2)]
    assert tables[0].equals(tables[1])
    assert tables[0]["accuracy"].between(0, 1).all()
    with pytest.raises(ValueError, match="trained reads 32"):
        accuracy_by_shots(asked, GROUPS, TEST, shots=(40,), rounds=1)
