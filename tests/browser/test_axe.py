"""Chapters under axe-core, which looks for what keeps people with a screen reader or a keyboard out.

One chapter is looked at in JupyterLab, its cells run, its explorer alive, on a light and on a dark page; all of them
as the reading edition shows them (`-m nightly`). Looked at is what the chapters themselves put on the page, not what
JupyterLab puts around it. `COURSE_AXE=all pytest tests/browser/test_axe.py` opens all chapters in JupyterLab and runs
all of its cells; chapter 09 doesn't train again if `make train` has trained.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from browsing import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHAPTERS = sorted(path.stem for path in (ROOT / "chapters").glob("[0-9]*.ipynb"))
ALL = os.environ.get("COURSE_AXE") == "all"
CHOSEN = CHAPTERS if ALL else ["03_matching"]
WORDS = ("",) if ALL else ("import torch", "pictures.scene(", "matcher.Matcher(", "SelfTest(")
TRAINED = ROOT / "runs/mini"
LAB = ".jp-RenderedMarkdown, .jp-OutputArea-output"
# Told about a whole page, which a chapter isn't; and the words of a figure, which stand in the notebook's file and in
# the reading edition, but which JupyterLab doesn't hand on to the picture it shows
NOT_OURS = [
    "page-has-heading-one",
    "region",
    "landmark-one-main",
    "document-title",
    "html-has-lang",
    "image-alt",
]


@pytest.fixture(scope="module")
def axe() -> str:
    """The program, as the package of a Python wrapper brings it."""
    found = find_spec("axe_playwright_python")
    if found is None:
        pytest.skip("axe-core isn't installed; pip install axe-playwright-python brings it")
    return (ROOT / found.origin).with_name("axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The reading edition, made from the notebooks as they are."""
    out = tmp_path_factory.mktemp("book")
    done = subprocess.run(
        [sys.executable, ROOT / "chapters/book/book.py", out], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("chapter", CHOSEN)
def test_axe_finds_nothing_serious_in_what_a_chapter_shows(reader, axe, chapter):
    reader.open(chapter)
    if ALL and (TRAINED / "ap.csv").exists():
        reader.ask(
            f"__import__('shutil').copytree({str(TRAINED)!r}, __import__('pathlib').Path('../runs/mini'), "
            "dirs_exist_ok=True)"
        )
    reader.run_cells(*WORDS, timeout=1800)
    if chapter != "00_start_here":  # which has no explorer
        reader.board()
    reader.page.wait_for_timeout(1500)
    found = []
    for theme in ("Dark", "Light"):
        reader.theme(theme)
        found += serious(reader.page, axe, LAB, off=NOT_OURS)
    assert found == [] and reader.errors() == 0


@pytest.mark.nightly
def test_axe_finds_nothing_serious_on_any_page_of_the_reading_edition(reader, book, axe):
    for path in [book / "glossary.html", *(book / f"{chapter}.html" for chapter in CHAPTERS)]:
        reader.page.goto(path.as_uri())
        # the colours of code are the theme's, and there are thousands of words in them
        assert serious(reader.page, axe, "article", without=".highlight span") == [], path.name


def test_axe_would_say_so(reader, axe):
    """What is looked for is found: a picture without words, grey on white, a button without a name."""
    reader.page.goto("about:blank")
    reader.page.set_content(
        "<title>no</title><article><img src='data:,'><p style='color:#bbb'>pale</p><button></button></article>"
    )
    assert {v[0] for v in serious(reader.page, axe, "article", least=0)} == {
        "image-alt",
        "color-contrast",
        "button-name",
    }


def serious(page, axe: str, ours: str, without: str = "", off: list[str] = (), least: int = 4) -> list:
    """What axe finds in the parts of a page that `ours` selects."""
    page.evaluate(axe)
    passed, violations = page.evaluate(
        """async ([ours, without, off]) => {
            const all = (selector) => selector ? [...document.querySelectorAll(selector)] : [];
            const rules = Object.fromEntries(off.map(name => [name, {enabled: false}]));
            const where = {include: all(ours), exclude: all(without)};
            const said = await axe.run(where, {rules, resultTypes: ['violations']});
            const shown = (v) => [v.id, v.impact, v.help, v.nodes.slice(0, 3).map(n => n.html.slice(0, 150))];
            return [said.passes.length, said.violations.map(shown)];
        }""",
        [ours, without, list(off)],
    )
    assert passed >= least, "axe saw next to nothing"
    return [v for v in violations if v[1] in ("serious", "critical")]
