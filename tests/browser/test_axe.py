"""Chapters under axe-core, which looks for what keeps people with a screen reader or a keyboard out.

One chapter is looked at in JupyterLab, its cells run, its explorer alive, on a light and on a dark page; all of them
as the reading edition shows them (`-m nightly`). Looked at is what the chapters themselves put on the page, not what
JupyterLab puts around it. `COURSE_AXE=all pytest tests/browser/test_axe.py` opens all chapters in JupyterLab and runs
all of its cells; chapter 09 doesn't train again if `make train` has trained.
"""

import os

import pytest

from browsing import ROOT, serious

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
def test_axe_finds_nothing_serious_on_any_page_of_the_reading_edition(reader, site, axe):
    for path in [site / "glossary.html", *(site / f"{chapter}.html" for chapter in CHAPTERS)]:
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
