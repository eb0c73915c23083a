"""Chapters under axe-core, which looks for what keeps people with a screen reader or a keyboard out.

Looked at is what the chapters themselves put on the page, text, figures and explorers, not JupyterLab around it.
`COURSE_AXE=all pytest tests/test_browser_axe.py` opens every chapter and runs all of its cells.
"""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHAPTERS = sorted(path.stem for path in (Path(__file__).parents[1] / "chapters").glob("[0-9]*.ipynb"))
CHOSEN = CHAPTERS if os.environ.get("COURSE_AXE") == "all" else ["03_matching"]
WORDS = (
    ("",)
    if os.environ.get("COURSE_AXE") == "all"
    else ("import torch", "pictures.scene(", "matcher.Matcher(")
)
OURS = ".jp-RenderedMarkdown, .jp-OutputArea-output"
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
    return (Path(found.origin).parent / "axe.min.js").read_text()


@pytest.mark.parametrize("chapter", CHOSEN)
def test_axe_finds_nothing_serious_in_what_a_chapter_shows(reader, axe, chapter):
    reader.open(chapter)
    reader.run_cells(*WORDS, timeout=600)
    reader.board()
    reader.page.wait_for_timeout(1500)
    assert serious(reader.page, axe) == []


def serious(page, axe: str) -> list:
    """What axe finds in the chapter's own content."""
    page.evaluate(axe)
    passed, violations = page.evaluate(
        """async ([ours, off]) => {
            const rules = Object.fromEntries(off.map(name => [name, {enabled: false}]));
            const said = await axe.run({include: [...document.querySelectorAll(ours)]}, {rules});
            const shown = (v) => [v.id, v.impact, v.help, v.nodes.slice(0, 3).map(n => n.html.slice(0, 150))];
            return [said.passes.length, said.violations.map(shown)];
        }""",
        [OURS, NOT_OURS],
    )
    assert passed > 3, "axe saw next to nothing"
    return [v for v in violations if v[1] in ("serious", "critical")]
