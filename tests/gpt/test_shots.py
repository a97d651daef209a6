"""Documents of tasks are what they say, and accuracy by shots is that of models whose answers are known."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcourse.gpt import shots
from tlcourse.gpt.bpe import END_OF_TEXT, train_bpe
from tlcourse.gpt.shots import FORMS, Task, accuracy_by_shots, form_tasks, task_documents

NUMBER = {text: number for texts in FORMS.values() for number, text in enumerate(texts)}
COUNTING = form_tasks([0, 1])


def lines(document: str) -> list[tuple[str, str]]:
    first, *rest = document.split("\n")
    assert first == ""
    return [tuple(line.split(" ")) for line in rest]


def possible(document: str, of: list[Task]) -> list[Task]:
    """The tasks that all lines of a document agree with."""
    return [task for task in of if all(task.answer(NUMBER[asked]) == answer for asked, answer in lines(document))]


def test_forms_are_of_one_to_twenty_and_no_two_alike():
    assert len(NUMBER) == 5 * 20
    assert [FORMS[form][6] for form in FORMS] == ["7", "๗", "seven", "เจ็ด", "VII"]
    assert [FORMS[form][19] for form in FORMS] == ["20", "๒๐", "twenty", "ยี่สิบ", "XX"]


def test_after_twenty_comes_one():
    assert Task("Roman", 1).answer(19) == "I"
    assert Task("Thai").answer(19) == "ยี่สิบ"


@given(st.integers(0, 99), st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_a_document_sets_one_task(seed, examples):
    for document in task_documents(COUNTING, 20, examples=examples, seed=seed):
        assert len(lines(document)) == examples
        assert len(possible(document, COUNTING)) == 1


def test_every_task_form_and_number_is_drawn_alike():
    documents = task_documents(COUNTING, 2_000, examples=1, seed=0)
    counts = {task: sum(task in possible(document, COUNTING) for document in documents) for task in COUNTING}
    assert all(140 < count < 260 for count in counts.values())  # 200, and four deviations on either side
    assert {asked for document in documents for asked, _ in lines(document)} == set(NUMBER)


def test_mixed_lines_have_tasks_of_their_own():
    documents = task_documents(form_tasks(), 100, examples=10, mixed=True, seed=0)
    assert sum(len(possible(document, form_tasks())) for document in documents) <= 1
    for document in documents:
        for asked, answer in lines(document):
            assert NUMBER[asked] == NUMBER[answer]


def test_a_seed_is_a_set_of_documents():
    assert task_documents(form_tasks(), 5, seed=3) == task_documents(form_tasks(), 5, seed=3)
    assert task_documents(form_tasks(), 5, seed=3) != task_documents(form_tasks(), 5, seed=4)


class Scorer:
    """In place of a model: the likelihood of a choice is how well it fits the lines of the prompt."""

    def __init__(self, *, reads_examples: bool):
        self.reads_examples, self.prompts = reads_examples, []

    def __call__(self, checkpoint, prompt, choices, *, normalise):
        import numpy as np

        self.prompts.append(prompt)
        *examples, query = prompt.removeprefix(END_OF_TEXT).split("\n")[1:]
        if not (self.reads_examples and examples):
            return -np.arange(len(choices), dtype=float)
        (task,) = possible("".join(f"\n{line}" for line in examples), COUNTING)
        return np.array([choice == f" {task.answer(NUMBER[query])}" for choice in choices], float)


def test_a_model_that_reads_the_examples_is_right_from_the_first_on(monkeypatch):
    monkeypatch.setattr(shots, "score_choices", Scorer(reads_examples=True))
    found = accuracy_by_shots(None, COUNTING, shots=(0, 1, 4), rounds=40)
    right = found.groupby("shots").task.mean()
    assert right[1] == right[4] == 1.0
    assert right[0] < 0.3  # one in ten


def test_a_model_that_ignores_the_examples_guesses(monkeypatch):
    scorer = Scorer(reads_examples=False)
    monkeypatch.setattr(shots, "score_choices", scorer)
    found = accuracy_by_shots(None, COUNTING, shots=(0, 2), rounds=60)
    by_shots = found.groupby("shots")[["task", "form"]].mean()
    assert by_shots.loc[0].equals(by_shots.loc[2])
    assert by_shots.form.gt(by_shots.task).all()
    for few, many in zip(scorer.prompts[::2], scorer.prompts[1::2], strict=True):
        query = few.removeprefix(END_OF_TEXT)
        examples = many.removeprefix(END_OF_TEXT).removesuffix(query)
        assert len(lines(examples)) == 2
        assert NUMBER[query.strip()] not in {NUMBER[asked] for asked, _ in lines(examples)}


def test_prompts_are_cut_as_documents_are():
    documents = task_documents(form_tasks(), 400, seed=0)
    tokeniser = train_bpe(documents, vocab_size=1000)
    whole = tokeniser(documents[0]).input_ids
    for line in range(1, 10):
        beginning = "".join(f"\n{asked} {answer}" for asked, answer in lines(documents[0])[:line])
        assert tokeniser(beginning).input_ids == whole[: len(tokeniser(beginning).input_ids)]


def test_a_prompt_longer_than_the_context_is_refused(monkeypatch):
    from transformers import GPT2LMHeadModel

    from tlcourse.encoders import Checkpoint
    from tlcourse.gpt.model import gpt_config

    tokeniser = train_bpe(task_documents(form_tasks(), 400), vocab_size=600)
    model = GPT2LMHeadModel(gpt_config((1, 64), vocab_size=len(tokeniser), max_length=16))
    with pytest.raises(ValueError, match=r"the prompt has \d+ tokens, and tiny reads 16"):
        accuracy_by_shots(Checkpoint(model, tokeniser, "tiny"), form_tasks(), shots=(9,), rounds=1)
