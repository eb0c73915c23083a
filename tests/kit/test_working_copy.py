"""Tests of the learner's copy of the pages: made once, brought up to date, and no answer is lost on the way."""

import json
import random
import string
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course.kit import places, working_copy

STUB = "def iou(a, b):\n    ...  # your code"
ANSWER = "def iou(a, b):\n    return 0.25"


def exercise(source, **more):
    return new_code_cell(source, metadata={"tags": ["exercise"]}, **more)


def cells():
    """A page of seven cells, numbered as `build.py` does it."""
    found = [
        new_markdown_cell("# 01 · Boxes"),
        new_code_cell("import torch"),
        new_markdown_cell("A box has four numbers, and they can be written in several ways."),
        new_code_cell(
            "box = torch.zeros(4)", outputs=[new_output("stream", text="as built")], execution_count=2
        ),
        exercise(STUB),
        new_code_cell("check.iou(iou)"),
        new_markdown_cell("## Recap"),
    ]
    return numbered(found)


def numbered(found):
    for number, cell in enumerate(found):
        cell.id = f"01-{number:03d}"
    return found


@pytest.fixture
def project(tmp_path):
    """Pages, and the learner's folder made of them."""
    pages, home = tmp_path / "chapters", tmp_path / "my_course"
    pages.mkdir()
    ship(pages, cells())
    (pages / "glossary.md").write_text("# Words\n")
    working_copy.bring(pages, home)
    return pages, home


def ship(pages, found, name="01_boxes.ipynb"):
    nbformat.write(new_notebook(cells=found), pages / name)


def mine(home, name="01_boxes.ipynb"):
    return nbformat.read(home / name, as_version=4)


def change(home, change, name="01_boxes.ipynb"):
    """What a learner does: `change` takes the list of cells."""
    page = mine(home, name)
    change(page.cells)
    nbformat.write(page, home / name)


def sources(home):
    return [cell.source for cell in mine(home).cells]


def test_pages_are_copied_whole_and_never_linked(project):
    pages, home = project
    for name in ("01_boxes.ipynb", "glossary.md"):
        assert (home / name).read_bytes() == (pages / name).read_bytes()
    assert not [path for path in home.rglob("*") if path.is_symlink()]


def test_without_a_new_version_not_a_byte_of_the_learners_pages_changes(project):
    pages, home = project
    change(home, lambda cells: cells[4].update(source=ANSWER))
    before = (home / "01_boxes.ipynb").read_bytes()
    ran_again = cells()  # the project's page was executed again: other outputs, the same cells
    ran_again[3].outputs = [new_output("stream", text="built again")]
    ship(pages, ran_again)
    assert working_copy.bring(pages, home) == []
    assert (home / "01_boxes.ipynb").read_bytes() == before


def test_an_untouched_page_becomes_the_new_version(project):
    pages, home = project
    new = cells()
    new[2].source = "A box has four numbers. There are three ways to write them."
    new.insert(3, new_code_cell("print('new')"))
    ship(pages, numbered(new))
    assert working_copy.bring(pages, home) == ["01_boxes.ipynb: the new version"]
    assert sources(home) == [cell.source for cell in new]


def test_an_answer_stays_when_cells_are_put_in_before_it_and_prose_changes(project):
    pages, home = project
    change(home, lambda cells: cells[4].update(source=ANSWER))
    new = cells()
    new[2].source = "A box has four numbers. There are three ways to write them."
    new[1:1] = [new_markdown_cell("## New"), new_code_cell("import numpy")]
    ship(pages, numbered(new))
    assert working_copy.bring(pages, home) == ["01_boxes.ipynb: the new version; 1 cell of yours stay"]
    wanted = [cell.source for cell in new]
    wanted[6] = ANSWER
    assert sources(home) == wanted


def test_the_learners_own_cells_stay_below_the_cell_they_stood_below(project):
    pages, home = project
    change(home, lambda cells: cells.insert(4, new_code_cell("my = 1")))
    change(home, lambda cells: cells.append(new_markdown_cell("my note")))
    new = cells()
    new.insert(1, new_markdown_cell("## New"))
    ship(pages, numbered(new))
    working_copy.bring(pages, home)
    found = sources(home)
    assert found[found.index("my = 1") - 1] == "box = torch.zeros(4)" and found[-1] == "my note"
    assert len({cell.id for cell in mine(home).cells}) == len(found) == len(new) + 2


def test_where_both_changed_a_cell_the_learners_stands_and_it_is_said(project):
    pages, home = project
    change(home, lambda cells: cells[4].update(source=ANSWER))
    new = cells()
    new[4].source = STUB.replace("(a, b)", "(one, other)")
    ship(pages, new)
    told = working_copy.bring(pages, home)
    assert told[1] == "  both changed, yours stands: def iou(one, other):" and ANSWER in sources(home)
    assert STUB.replace("(a, b)", "(one, other)") not in sources(home)


def test_an_answer_outlives_its_exercise(project):
    pages, home = project
    change(home, lambda cells: cells[4].update(source=ANSWER))
    ship(pages, [cell for cell in cells() if "iou" not in cell.source])
    working_copy.bring(pages, home)
    assert sources(home)[3:5] == ["box = torch.zeros(4)", ANSWER]


def test_an_exercise_that_moves_takes_its_answer_along(project):
    pages, home = project
    change(home, lambda cells: cells[4].update(source=ANSWER))
    new = cells()
    new.insert(1, new.pop(4))
    ship(pages, numbered(new))
    working_copy.bring(pages, home)
    assert sources(home)[1] == ANSWER and sources(home).count(ANSWER) == 1 and STUB not in sources(home)


def test_outputs_of_cells_that_did_not_change_stay_the_learners(project):
    pages, home = project
    change(home, lambda cells: cells[3].update(outputs=[new_output("stream", text="my own run")]))
    new = cells()
    new.insert(1, new_markdown_cell("## New"))
    ship(pages, numbered(new))
    working_copy.bring(pages, home)
    [ran] = [cell for cell in mine(home).cells if cell.source == "box = torch.zeros(4)"]
    assert ran.outputs[0].text == "my own run"


def test_a_cell_that_was_deleted_does_not_come_back_unless_it_is_new(project):
    pages, home = project
    change(home, lambda cells: cells.pop(2) and None)
    new = cells()
    new.insert(1, new_markdown_cell("## New"))
    ship(pages, numbered(new))
    working_copy.bring(pages, home)
    assert sources(home) == [cell.source for cell in new if not cell.source.startswith("A box has four")]


def test_three_versions_in_a_row_keep_the_answers(project):
    pages, home = project
    change(home, lambda cells: cells[4].update(source=ANSWER))
    new = cells()
    for number in range(3):
        new.insert(1 + number, new_markdown_cell(f"## New {number}"))
        ship(pages, numbered(new))
        working_copy.bring(pages, home)
    assert sources(home).count(ANSWER) == 1
    assert sources(home) == [ANSWER if cell.source == STUB else cell.source for cell in new]


def test_a_page_whose_record_is_lost_keeps_every_cell_that_differs(project):
    pages, home = project
    change(home, lambda cells: cells[4].update(source=ANSWER))
    (home / ".shipped/01_boxes.ipynb").unlink()
    working_copy.bring(pages, home)
    assert sources(home).count(ANSWER) == 1 and len(sources(home)) == 7


def test_a_broken_page_is_left_alone_and_the_way_out_is_said(project):
    pages, home = project
    (home / "01_boxes.ipynb").write_text('{"cells": [')
    ship(pages, cells()[:3])
    [sentence] = working_copy.bring(pages, home)
    assert "01_boxes.ipynb" in sentence and "--afresh 01_boxes" in sentence
    assert (home / "01_boxes.ipynb").read_text() == '{"cells": ['
    kept = working_copy.afresh("01", home, pages)
    assert kept.read_text() == '{"cells": [' and sources(home) == [cell.source for cell in cells()[:3]]


def test_a_page_afresh_keeps_the_old_one_each_time(project):
    pages, home = project
    for answer in (ANSWER, ANSWER + "1"):
        change(home, lambda cells, answer=answer: cells[4].update(source=answer))
        kept = working_copy.afresh("01_boxes", home, pages)
        assert answer in [cell.source for cell in nbformat.read(kept, as_version=4).cells]
        assert sources(home) == [cell.source for cell in cells()]
    assert len(list((home / "aside").iterdir())) == 2


def test_afresh_names_the_pages_there_are(project):
    pages, home = project
    with pytest.raises(LookupError, match="'99'.*01_boxes"):
        working_copy.afresh("99", home, pages)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_learner_and_the_new_version_do_no_changed_cell_is_lost(project, seed):
    """Random changes on both sides; the oracle is the list of what the learner wrote."""
    pages, home = project
    chance = random.Random(seed)

    def text():
        return "".join(chance.choices(string.ascii_lowercase + " \n", k=30))

    wrote = []

    def edit(found):
        for _ in range(chance.randrange(1, 5)):
            at = chance.randrange(len(found))
            wrote.append(text())
            if chance.random() < 0.5:
                found[at].source = wrote[-1]
            else:
                found.insert(at, new_code_cell(wrote[-1]))

    change(home, edit)
    stood = [
        cell.source for cell in mine(home).cells if cell.source in wrote
    ]  # one may have replaced another
    new = cells()
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(new))
        what = chance.random()
        if what < 0.4:
            new.insert(at, new_markdown_cell("new " + text()))
        elif what < 0.7:
            new[at].source += "\n# " + text()
        else:
            del new[at]
    ship(pages, numbered(new) or [new_markdown_cell("# empty")])
    working_copy.bring(pages, home)
    found = sources(home)
    assert sorted(cell for cell in found if cell in wrote) == sorted(stood)
    nbformat.validate(mine(home))
    before = (home / "01_boxes.ipynb").read_bytes()
    assert working_copy.bring(pages, home) == [] and (home / "01_boxes.ipynb").read_bytes() == before


def test_every_exercise_of_the_course_keeps_its_answer_when_its_page_gets_a_new_cell(tmp_path):
    pages, home = tmp_path / "chapters", tmp_path / "my_course"
    pages.mkdir()
    for path in sorted(places.CHAPTERS.glob("[01]*.ipynb")):
        (pages / path.name).write_bytes(path.read_bytes())
    working_copy.bring(pages, home)
    answers = 0
    for path in sorted(pages.glob("*.ipynb")):
        page = json.loads((home / path.name).read_text())
        for cell in page["cells"]:
            if "exercise" in cell["metadata"].get("tags", ()):
                answers += 1
                cell["source"] = [f"answer_{answers} = 1"]
        (home / path.name).write_text(json.dumps(page))
        new = nbformat.read(path, as_version=4)
        new.cells.insert(1, new_markdown_cell("A new paragraph."))
        nbformat.write(new_notebook(cells=numbered(new.cells), metadata=new.metadata), path)
    working_copy.bring(pages, home)
    text = "\n".join(path.read_text() for path in home.glob("*.ipynb"))
    assert answers > 40
    assert all(text.count(f'"answer_{n} = 1"') == 1 for n in range(1, answers + 1))


def test_the_page_that_runs_knows_the_learners_folder_only_where_it_lies_in_one(project, monkeypatch):
    pages, home = project
    monkeypatch.setenv("COURSE_HOME", str(home))
    monkeypatch.chdir(pages)
    assert places.page_home() is None and places.learner_home() == home
    monkeypatch.chdir(home)
    assert places.page_home() == home


def test_a_recording_is_found_from_any_folder_and_a_missing_one_is_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert (places.recording("mini") / "log.jsonl").is_file()
    with pytest.raises(FileNotFoundError, match="chapters/recordings has no nimi; .*mini"):
        places.recording("nimi")


def test_the_command_makes_the_folder_that_course_home_names_and_says_so_once(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "learner"))
    assert working_copy.main([]) == 0
    assert "they are yours" in capsys.readouterr().out
    assert len(list((tmp_path / "learner").glob("*.ipynb"))) == len(list(places.CHAPTERS.glob("*.ipynb")))
    assert working_copy.main([]) == 0 and capsys.readouterr().out == ""
    assert working_copy.main(["--afresh", "77"]) == 1
    assert "77" in capsys.readouterr().err
    assert Path(tmp_path / "learner/glossary.md").is_file()


def test_jupyterlab_begins_without_its_side_bar_and_a_layout_of_the_learner_stays(tmp_path):
    working_copy.lay_out(tmp_path)
    [path] = (tmp_path / ".lab").iterdir()
    layout = json.loads(path.read_text("utf-8"))["data"]["layout-restorer:data"]
    assert layout["left"]["collapsed"] and layout["right"]["collapsed"]
    path.write_text("mine")
    working_copy.lay_out(tmp_path)
    assert path.read_text() == "mine"


def test_make_lab_starts_with_the_courses_settings_in_the_learners_folder():
    makefile = (places.ROOT / "Makefile").read_text("utf-8")
    assert 'JUPYTER_CONFIG_PATH="$(CURDIR)/course/kit/lab' in makefile
    assert '--LabApp.workspaces_dir="$(HOME_FOLDER)/.lab"' in makefile  # nothing but pages is listed there
    assert '--ServerApp.root_dir="$(HOME_FOLDER)"' in makefile
    settings = json.loads((working_copy.LAB / "labconfig/default_setting_overrides.json").read_text("utf-8"))
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
