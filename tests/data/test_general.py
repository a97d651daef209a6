"""Text at hand for the lessons."""

from tlcourse.data.general import texts_at_hand, up_to, wikipedia_texts


def test_an_article_that_stands_twice_is_read_once():
    assert len(wikipedia_texts()) == len(set(wikipedia_texts())) >= 44


def test_up_to_takes_the_text_that_crosses_the_limit():
    assert up_to(["aaa", "bb", "c", "d"], 4) == ["aaa", "bb"]
    assert up_to(["aaa", "bb"], 100) == ["aaa", "bb"]
    assert up_to([], 10) == []


def test_what_cannot_be_had_is_left_out_and_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TLCOURSE_DATA", str(tmp_path))  # thaigov is cloned by hand, and is not here
    texts = texts_at_hand(("orchid", "thaigov"), characters=500)
    assert list(texts) == ["orchid"] and sum(map(len, texts["orchid"])) < 1500
    assert "Going on without thaigov" in capsys.readouterr().out
