"""Chapter 13 as a learner has it: from top to bottom without a function, with half of them, and with all."""

import os
import re
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from course.capstone import reference
from course.kit import my_ssd

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "chapters"))
SOURCE = ROOT / "chapters/source/13_your_ssd.py"
TEXT = Path(reference.__file__).read_text()
HALF = "\n\n\n".join([TEXT.split("# 1.1")[0], "# 1.1" + TEXT.split("# 1.1")[1].split("# 4.4")[0]])

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("text, count", [("", 0), (HALF, 5), (TEXT, 16)], ids=["none", "half", "all"])
def test_the_page_works_from_top_to_bottom_whatever_is_solved(tmp_path, monkeypatch, text, count):
    home = tmp_path / "home"
    (home / ".shipped").mkdir(parents=True)
    if text:
        (home / my_ssd.FILE).write_text(text)
    monkeypatch.setenv("COURSE_SHORT", "1")
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    from build import stub_of

    book = jupytext.read(SOURCE)
    for cell in book.cells:  # exercises stay as the source solves them; without any they are left out
        if not text and "exercise" in cell.metadata.get("tags", ()):
            cell.source = stub_of(cell.source)
        cell.metadata = {}
    NotebookClient(
        book, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(home)}}
    ).execute()
    said = "\n".join(
        str(out.get("text", "")) + str(out.get("data", {}).get("text/plain", ""))
        for cell in book.cells
        if cell.cell_type == "code"
        for out in cell.outputs
    )
    assert f"{count} of 16 blocks are yours" in said
    assert re.search(r"SwapBoard\(yours: \d+ of 16" if text else r"SwapBoard\(yours: 0 of 16", said)
    # the page's own exercises come before the run, so that what was solved there takes part in it
    assert bool(re.search(r"^update step +✓", said, re.M)) == bool(text)
    assert ("def sgd_step" in (home / my_ssd.FILE).read_text()) if text else not (home / my_ssd.FILE).exists()
    assert "both rules agree to a thousandth: True" in said
    assert (home / "my_ssd.png").read_bytes().startswith(b"\x89PNG")
    assert not [out for cell in book.cells for out in cell.get("outputs", ()) if out.output_type == "error"]
    nbformat.validate(book)
