"""Tests of what is remembered of a learner, and where nothing is."""

import json
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from course.kit import contents, places, progress, self_test
from course.kit.checking import RIGHT, TODO, WRONG, Verdict
from course.welcome import check as check_start


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A learner's folder that the page lies in."""
    (tmp_path / ".shipped").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_solved_exercise_is_remembered_and_a_wrong_or_empty_one_is_not(home):
    check_start.size([240, 120])
    check_start.size(None)
    assert progress.reached().solved == set()
    assert check_start.size([120, 240]).state == RIGHT
    assert progress.reached().solved == {"0.1"}
    check_start.size([240, 120])  # once solved, solved
    check_start.size([120, 240])
    assert len((home / progress.FILE).read_text().splitlines()) == 1 and progress.reached().solved == {"0.1"}


def test_a_page_outside_a_learners_folder_remembers_and_finds_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "learner"))
    (tmp_path / "learner/.shipped").mkdir(parents=True)
    (tmp_path / "learner" / progress.FILE).write_text('{"solved": "0.1"}\n')
    monkeypatch.chdir(places.CHAPTERS)
    Verdict("0.2 x", RIGHT, "y")
    assert progress.reached().solved == set() and not (places.CHAPTERS / progress.FILE).exists()
    assert (tmp_path / "learner" / progress.FILE).read_text() == '{"solved": "0.1"}\n'


@pytest.mark.parametrize("state", [TODO, WRONG])
def test_only_a_right_verdict_counts(home, state):
    Verdict("0.2 x", state, "y")
    assert not (home / progress.FILE).exists()


def test_a_self_test_comes_back_with_its_answers_on_the_next_day(home):
    first = self_test.SelfTest("matching")
    assert not (home / progress.FILE).exists()  # looking at it is no answer
    right = [next(i for i, o in enumerate(q.options) if o.right) for q in first.questions]
    wrong = next(i for i in range(len(first.questions[1].options)) if i != right[1])
    first.choices[0].value, first.choices[1].value = right[0], wrong
    again = self_test.SelfTest("matching")
    assert [choice.value for choice in again.choices][:3] == [right[0], wrong, None]
    assert repr(again).startswith("SelfTest(matching: 1 of ") and "✓" in again.answers[0].value
    assert progress.reached().right == {"matching": 1}
    again.choices[0].value = None
    assert (
        progress.reached().right == {"matching": 1} and progress.reached().answers["matching"][0] is None
    )  # the best stays


def test_answers_to_questions_that_are_no_more_do_no_harm(home):
    (home / progress.FILE).write_text(
        json.dumps({"answered": "matching", "chosen": [99] * 40, "right": 40}) + "\n"
    )
    assert all(choice.value is None for choice in self_test.SelfTest("matching").choices)


def test_lines_that_are_cut_or_foreign_are_passed_over(home):
    (home / progress.FILE).write_bytes(
        b'{"solved": "1.1"}\n{"sol\n[]\nnull\n7\n{"answered": "01"}\n\xff\xfe\n{"solved": "1.2"}\n'
    )
    assert progress.reached().solved == {"1.1", "1.2"} and progress.reached().answers == {}


def write_many(home, first):
    for number in range(first, first + 100):
        progress._write(home, {"solved": f"1.{number}"})


def test_pages_that_write_at_the_same_time_lose_nothing(home):
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(write_many, [home] * 4, range(0, 400, 100)))
    assert progress.reached(home).solved == {f"1.{number}" for number in range(400)}


def test_a_folder_that_cannot_be_written_to_does_not_come_between_a_learner_and_a_check(home):
    (home / progress.FILE).mkdir()
    assert check_start.size([120, 240]).state == RIGHT


# ---- the contents page


def test_the_contents_know_every_chapter_and_every_exercise_that_a_check_belongs_to():
    rows = contents.chapters(places.CHAPTERS)
    assert [row.file for row in rows] == sorted(p.name for p in places.CHAPTERS.glob("[0-9]*.ipynb"))
    assert all(row.sentence and row.topic and row.title[:2] == row.number for row in rows)
    assert rows[3].exercises[1] == ("3.2", "Step one") and rows[0].exercises[0] == (
        "0.1",
        "How large is the dog?",
    )
    assert sum(len(row.exercises) for row in rows) > 70


def test_a_tick_stands_where_an_exercise_is_solved_and_a_finished_course_is_said(home):
    rows = contents.chapters(places.CHAPTERS)
    for title in ("3.2 step one", "3.5 a plus"):
        progress.solve(title)
    progress.answer("matching", [0, 1, 2, None], 2)
    assert contents.line(rows[3], progress.reached()) == ("○✓○○✓○ 2 of 6", "2 of 4")
    assert contents.line(rows[4], progress.reached())[0].endswith("0 of 6")
    page = contents.Contents(places.CHAPTERS)
    assert "○✓○○✓○ 2 of 6" in page._repr_html_() and "; next: 00 · Start here." in repr(page)
    for row in rows:
        for number, _ in row.exercises:
            progress.solve(f"{number} x")
    progress.answer("matching", [0, 1, 2, 1], 4)
    assert "is yours" in repr(page) and "4 of 4 ✓" in page._repr_html_()


def test_the_contents_are_shown_again_when_something_was_solved_on_another_page(home):
    page, shown = contents.Contents(places.CHAPTERS, every=0.01), []

    def show(data):
        shown.append(data)
        page.stop()

    thread = threading.Thread(target=page.follow, args=(show,))
    thread.start()
    time.sleep(0.05)
    assert not shown
    progress.solve("3.2 step one")
    thread.join(10)
    assert len(shown) == 1 and "○✓○○○○ 1 of 6" in shown[0]["text/html"]


def test_pages_that_belong_to_nobody_have_no_ticks(monkeypatch):
    monkeypatch.chdir(places.CHAPTERS)
    page = contents.Contents()
    assert (
        "○" not in page._repr_html_() and "self-test" not in page._repr_html_() and "make lab" in repr(page)
    )
