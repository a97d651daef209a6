"""Hints, exercises and quizzes: every button pressed, every answer chosen."""

import ipywidgets
import pytest

from tlcourse.widgets import Question, exercise, hints, quiz


class TestHints:
    def opened(self, demo):
        return [html.value for html in demo.ui.children[1].children]

    def test_one_more_at_each_click(self):
        demo = hints("think of <mask>", "multiply", "return x * mask")
        button = demo.controls["more"]
        assert self.opened(demo) == [] and demo.state.shown == 0
        assert button.description == "hint 1 of 3"
        button.click()
        assert demo.state.shown == 1 and button.description == "hint 2 of 3"
        assert len(self.opened(demo)) == 1 and "think of &lt;mask&gt;" in self.opened(demo)[0]
        button.click()
        assert demo.state.shown == 2 and "multiply" in self.opened(demo)[1] and not button.disabled
        button.click()
        assert demo.state.shown == 3 and button.disabled and button.description == "that was all"
        assert ["return" in text for text in self.opened(demo)] == [False, False, True]

    def test_two_of_them_do_not_share_anything(self):
        first, second = hints("a", "b"), hints("c")
        first.controls["more"].click()
        assert (first.state.shown, second.state.shown) == (1, 0)
        assert not second.controls["more"].disabled

    def test_none(self):
        with pytest.raises(ValueError, match="at least one"):
            hints()


class TestExercise:
    def test_right(self, capsys):
        assert exercise(lambda: None) is True
        assert capsys.readouterr().out == "✓ Right.\n"

    def test_wrong_says_why(self, capsys):
        def check():
            assert 1 + 1 == 3, "1 + 1 is 2"

        assert exercise(check) is False
        assert capsys.readouterr().out.startswith("✗ Not yet: 1 + 1 is 2")

    def test_wrong_without_a_reason_names_the_check(self, capsys):
        def check_sum():
            raise AssertionError

        assert exercise(check_sum) is False
        assert capsys.readouterr().out == "✗ Not yet: `check_sum` does not agree.\n"

    def test_not_written_yet(self, capsys):
        def check():
            raise NotImplementedError

        assert exercise(check) is False
        assert capsys.readouterr().out.startswith("○ Not written yet")

    def test_any_other_fault_is_shown_whole(self):
        with pytest.raises(ZeroDivisionError):
            exercise(lambda: 1 / 0)


class TestQuiz:
    questions = (
        Question("Which is < 2?", ["3", "1", "2"], 1, "1 & only 1."),
        Question("Which is Thai?", ["ก", "a"], 0, "ก is the first letter."),
    )

    def verdict(self, demo, number):
        return demo.ui.children[number].children[2].value

    def test_nothing_is_chosen_or_judged_at_first(self):
        demo = quiz(*self.questions)
        assert demo.state.right == [None, None]
        assert [radio.value for radio in demo.controls.values()] == [None, None]
        assert self.verdict(demo, 0) == self.verdict(demo, 1) == ""
        assert list(demo.controls) == ["q1", "q2"]
        assert "1. Which is &lt; 2?" in demo.ui.children[0].children[0].value

    def test_every_choice_of_every_question(self):
        demo = quiz(*self.questions)
        for number, question in enumerate(self.questions):
            radio = demo.controls[f"q{number + 1}"]
            assert isinstance(radio, ipywidgets.RadioButtons)
            for index, choice in enumerate(question.choices):
                radio.value = choice
                right = index == question.answer
                assert demo.state.right[number] is right
                assert ("Right." in self.verdict(demo, number)) is right
                assert ("Try again." in self.verdict(demo, number)) is not right

    def test_the_reason_comes_with_the_right_answer_only(self):
        demo = quiz(*self.questions)
        demo.controls["q1"].value = "3"
        assert "only 1" not in self.verdict(demo, 0)
        demo.controls["q1"].value = "1"
        assert "1 &amp; only 1." in self.verdict(demo, 0)
        assert demo.state.right == [True, None] and self.verdict(demo, 1) == ""

    @pytest.mark.parametrize("answer", [-1, 2])
    def test_an_answer_that_is_no_choice(self, answer):
        with pytest.raises(ValueError, match=rf"'Why\?': answer {answer} is none of its 2 choices"):
            Question("Why?", ["a", "b"], answer, "")

    def test_choices_that_cannot_be_told_apart(self):
        with pytest.raises(ValueError, match=r"'Why\?': two of its choices are the same"):
            Question("Why?", ["a", "a"], 0, "")
