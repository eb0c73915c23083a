"""Tests of the file that collects a learner's building blocks."""

import linecache
import subprocess
import sys
import threading
from pathlib import Path

import nbclient
import nbformat
import pytest

from course.kit import my_ssd
from course.kit.building_block import BuildingBlock
from course.kit.checking import RIGHT, TODO, WRONG, Case

TWICE = BuildingBlock(
    "1.4 twice",
    lambda x: 2 * x,
    [Case("three", (3,)), Case("four", (4,))],
    {"one": lambda x: x},
    name="twice",
)
PAGES = iter(range(10_000))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A learner's folder that the page lies in."""
    (tmp_path / ".shipped").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def on_a_page(code: str, name: str = "twice"):
    """A function as a notebook's cells define it: by `exec` in one namespace, its lines to be found."""
    file = f"<page {next(PAGES)}>"
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    names = {"__name__": "__main__"}
    exec(compile(code, file, "exec"), names)
    return names[name]


def run_alone(path):
    """The file in a Python of its own, where nothing of the page is left."""
    code = f"import runpy; print(runpy.run_path({str(path)!r})['twice'](21))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    return done.stdout.strip(), done.stderr


def test_a_constant_that_another_function_uses_keeps_its_value(home):
    thrice = BuildingBlock("1.5 thrice", lambda x: 3 * x, [Case("three", (3,))], name="thrice")
    assert "Kept in" in TWICE(on_a_page("K = 2\ndef twice(x):\n    return K * x\n")).message
    said = thrice(on_a_page("K = 3\ndef thrice(x):\n    return K * x\n", "thrice")).message
    assert "Not kept" in said and "its `K` has another value in my_ssd.py, where `twice` uses it" in said
    assert run_alone(home / my_ssd.FILE)[0] == "42"
    assert "Kept in" in TWICE(on_a_page("K = 2.0\ndef twice(x):\n    return K * x\n")).message, (
        "its own may change"
    )


def test_a_helper_that_is_a_lambda_is_told_so(home):
    said = TWICE(on_a_page("double = lambda x: 2 * x\ndef twice(x):\n    return double(x)\n")).message
    assert "is a `lambda`; write it with `def`" in said


def test_a_right_answer_is_kept_and_runs_by_itself_with_the_imports_helpers_and_constants_of_its_page(home):
    page = (
        "import operator\nfrom math import floor as down\nfrom ssdlib import box_ops\nBASE = 2\n"
        "def product(a, b):\n    return operator.mul(a, b)\n"
        "def twice(x):\n    # a comment stays\n    return product(BASE, down(x))\n"
    )
    verdict = TWICE(on_a_page(page))
    assert verdict.state == RIGHT and "Kept in my_ssd.py;" in verdict.message
    text = (home / my_ssd.FILE).read_text()
    assert "# a comment stays" in text and "# 1.4 twice" in text and "box_ops" not in text
    assert run_alone(home / my_ssd.FILE) == ("42", "")


@pytest.mark.parametrize("answer, state", [("return x", WRONG), ("...", TODO)])
def test_a_wrong_or_empty_answer_is_not_kept(home, answer, state):
    assert TWICE(on_a_page(f"def twice(x):\n    {answer}\n")).state == state
    assert not (home / my_ssd.FILE).exists()


def test_outside_a_learners_folder_nothing_is_read_or_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    (tmp_path / my_ssd.FILE).write_text("def twice(x):\n    return 2 * x\n")
    before = (tmp_path / my_ssd.FILE).read_text()
    verdict = TWICE(on_a_page("def twice(x):\n    return x + x\n"))
    assert verdict.state == RIGHT and "my_ssd" not in verdict.message
    assert my_ssd.read() == {} and (tmp_path / my_ssd.FILE).read_text() == before


def test_a_later_solution_replaces_the_earlier_one_where_it_stood_and_that_is_kept_aside(home):
    TWICE(on_a_page("def twice(x):\n    return 2 * x\n"))
    path = home / my_ssd.FILE
    path.write_text(path.read_text() + "\n\ndef mine(x):  # by hand\n    return 7\n")
    before = path.read_text()
    TWICE(on_a_page("def twice(x):\n    return x + x\n"))
    after = path.read_text()
    assert after == before.replace("2 * x", "x + x")
    [kept] = (home / "aside").iterdir()
    assert kept.read_text() == before
    assert my_ssd.read()["mine"](1) == 7


def test_the_same_solution_again_changes_nothing(home):
    TWICE(on_a_page("def twice(x):\n    return 2 * x\n"))
    before = (home / my_ssd.FILE).read_bytes()
    assert "already" in TWICE(on_a_page("def twice(x):\n    return 2 * x\n")).message
    assert (home / my_ssd.FILE).read_bytes() == before and not (home / "aside").exists()


def test_a_new_function_puts_nothing_aside(home):
    (home / my_ssd.FILE).write_text(my_ssd.HEAD + "\nimport math\n\n\ndef other():\n    return math.pi\n")
    TWICE(on_a_page("import torch\ndef twice(x):\n    return torch.tensor(2).mul(x)\n"))
    assert not (home / "aside").exists()
    assert set(my_ssd.read()) == {"other", "twice"}


def test_a_file_that_its_owner_broke_is_left_alone_and_the_line_is_said(home):
    (home / my_ssd.FILE).write_text("def other(:\n    pass\n")
    verdict = TWICE(on_a_page("def twice(x):\n    return 2 * x\n"))
    assert verdict.state == RIGHT and "line 1" in verdict.message and "Not kept" in verdict.message
    assert (home / my_ssd.FILE).read_text() == "def other(:\n    pass\n"
    with pytest.raises(my_ssd.NotKept, match="line 1"):
        my_ssd.read()


@pytest.mark.parametrize(
    "page, says",
    [
        (
            "import torch\nTWO = torch.tensor(2)\ndef twice(x):\n    return TWO * x\n",
            "`TWO`, a Tensor of this page",
        ),
        ("def double(x):\n    return 2 * x\ntwice = double\n", "its name has to be `twice`"),
        ("twice = lambda x: 2 * x\n", "its name has to be `twice`"),
    ],
)
def test_what_cannot_be_kept_is_said_and_the_verdict_stays_right(home, page, says):
    verdict = TWICE(on_a_page(page))
    assert verdict.state == RIGHT and says in verdict.message and "Not kept" in verdict.message
    assert not (home / my_ssd.FILE).exists()


def test_a_helper_that_the_file_has_in_another_form_is_not_overwritten(home):
    (home / my_ssd.FILE).write_text("def helper(x):\n    return 100\n")
    verdict = TWICE(on_a_page("def helper(x):\n    return 2\ndef twice(x):\n    return helper(x) * x\n"))
    assert verdict.state == RIGHT and "in another form" in verdict.message
    assert (home / my_ssd.FILE).read_text() == "def helper(x):\n    return 100\n"


def test_solutions_of_two_pages_at_the_same_time_are_both_kept(home):
    answers = [on_a_page(f"def f{i}(x):\n    return {i}\n", f"f{i}") for i in range(12)]
    threads = [threading.Thread(target=my_ssd.keep, args=(f, "x", lambda moved: True)) for f in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: f(0) for name, f in my_ssd.read().items()} == {f"f{i}": i for i in range(12)}


def test_a_folder_that_cannot_be_written_to_is_a_sentence(home):
    (home / my_ssd.LOCK).mkdir()
    verdict = TWICE(on_a_page("def twice(x):\n    return 2 * x\n"))
    assert verdict.state == RIGHT and "can't be written" in verdict.message


@pytest.mark.slow
def test_a_page_of_a_learner_keeps_its_cells_function_and_another_page_finds_it(tmp_path, monkeypatch):
    (tmp_path / ".shipped").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    first = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("import torch\n\nfrom course.boxes import check"),
            nbformat.v4.new_code_cell(
                "def mirrored(boxes, width):\n"
                "    x1, y1, x2, y2 = boxes.unbind(dim=-1)\n"
                "    return torch.stack([width - x2, y1, width - x1, y2], dim=-1)"
            ),
            nbformat.v4.new_code_cell("check.mirrored(mirrored)"),
        ]
    )
    second = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("from course.kit import my_ssd\nprint(list(my_ssd.read()))")]
    )
    for page in (first, second):
        where = {"metadata": {"path": str(tmp_path)}}
        nbclient.NotebookClient(page, timeout=300, kernel_name="python3", resources=where).execute()
    assert "Kept in my_ssd.py" in first.cells[2].outputs[0]["data"]["text/plain"]
    assert second.cells[0].outputs[0]["text"] == "['mirrored']\n"
