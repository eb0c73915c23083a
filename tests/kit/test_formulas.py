"""Tests of the chapters' formulas: each becomes MathML with all its terms and colours, and no LaTeX is left."""

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "chapters/book"))
mathml = pytest.importorskip(
    "formulas", reason="needs docutils, which Sphinx brings for the reading edition"
).mathml

SPACE = "{http://www.w3.org/1998/Math/MathML}"


def formulas() -> list:
    found = []
    for path in sorted((ROOT / "chapters").glob("[0-9]*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", prose, flags=re.S)
        found += [
            pytest.param(f, True, id=f"{path.stem}-block") for f in re.findall(r"\$\$(.+?)\$\$", prose, re.S)
        ]
        prose = re.sub(r"\$\$.+?\$\$", "", prose, flags=re.S)
        found += [
            pytest.param(f, False, id=f"{path.stem}-inline") for f in re.findall(r"\$([^$\n]+)\$", prose)
        ]
    return found


def tree(latex: str, block: bool = True) -> ElementTree.Element:
    return ElementTree.fromstring(re.sub(r"&(?!lt|gt|amp|#)\w+;", " ", mathml(latex, block)))


def test_the_chapters_have_the_formulas_that_a_reader_of_the_paper_looks_for():
    """Loss, offsets, smooth L1; L2Norm; linear scaling; AP."""
    blocks = [f.id.split("_")[0] for f in formulas() if f.id.endswith("-block")]
    assert blocks == ["04", "04", "04", "05", "09", "11"]


@pytest.mark.parametrize("latex, block", formulas())
def test_each_formula_of_the_chapters_becomes_mathml_with_all_its_colours(latex, block):
    found = tree(latex, block)
    text = "".join(found.itertext())
    assert "\\" not in text and "colour:" not in text
    colours = re.findall(r"textcolor\{(#\w{6})\}", latex)
    styles = [row.get("style") for row in found.iter(f"{SPACE}mrow") if row.get("style")]
    assert styles == [f"color: {colour}" for colour in colours]
    numbers = re.findall(r"(?<![#\w])\d+(?:\.\d+)?(?!\w)", re.sub(r"#\w{6}", "", latex))
    for number in numbers:
        assert number in text


def test_a_coloured_term_holds_what_its_braces_hold_and_no_more():
    found = tree(r"a + \textcolor{#0072B2}{\frac{b}{\sqrt{c}}} + d")
    [coloured] = [row for row in found.iter(f"{SPACE}mrow") if row.get("style")]
    assert "".join("".join(coloured.itertext()).split()) == "bc"
    assert "".join("".join(found.itertext()).split()) == "a+bc+d"


def test_colours_may_lie_within_each_other():
    found = tree(r"\textcolor{#0072B2}{x \textcolor{#D55E00}{y}}")
    inner = [row for row in found.iter(f"{SPACE}mrow") if row.get("style") == "color: #D55E00"]
    assert ["".join("".join(row.itertext()).split()) for row in inner] == ["y"]


@pytest.mark.parametrize("latex", [r"\nosuchthing", r"\textcolor{#0072B2}{x"])
def test_a_formula_that_cannot_be_read_is_named(latex):
    with pytest.raises(ValueError, match=r"nosuchthing|isn't closed"):
        mathml(latex, True)
