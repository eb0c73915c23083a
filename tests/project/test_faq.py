"""Tests of docs/faq.md: it has every thread that a chapter links, once, and leads to that chapter."""

import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
FAQ = ROOT / "docs/faq.md"
NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
THREAD = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)/(?:issues|pull|discussions)/(\d+)")
TO_A_CHAPTER = re.compile(r"\]\(\.\./chapters/(\w+\.ipynb)\)")


def entries() -> list[str]:
    """Question, answer and links of each entry, in the page's order."""
    return re.split(r"^### ", FAQ.read_text(), flags=re.M)[1:]


def threads_in(text: str) -> set[str]:
    """owner/name #number of each thread that a text links. GitHub gives issues and pull requests one numbering."""
    return {f"{name} #{number}" for name, number in THREAD.findall(text)}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_thread_that_a_chapter_links_stands_in_the_faq_with_that_chapter(path):
    cells = nbformat.read(path, as_version=4).cells
    linked = threads_in("\n".join(cell.source for cell in cells if cell.cell_type == "markdown"))
    shown = [threads_in(entry) for entry in entries() if path.name in TO_A_CHAPTER.findall(entry)]
    assert sorted(linked - set().union(*shown)) == []


def test_the_glossary_and_the_readme_link_no_thread_that_the_faq_lacks():
    linked = threads_in((ROOT / "chapters/glossary.md").read_text() + (ROOT / "README.md").read_text())
    assert linked <= threads_in(FAQ.read_text())


def test_no_thread_stands_in_the_faq_twice():
    times = Counter(f"{name} #{number}" for name, number in THREAD.findall(FAQ.read_text()))
    assert [thread for thread, count in times.items() if count > 1] == []


def test_every_link_of_the_faq_is_called_what_it_leads_to():
    links = re.findall(r"\[([^\]]+)\]\(([^)]+)\)", FAQ.read_text())
    assert links
    for label, target in links:
        if thread := THREAD.fullmatch(target):
            assert label == "{} #{}".format(*thread.groups())
        elif notebook := TO_A_CHAPTER.fullmatch(f"]({target})"):
            first = nbformat.read(ROOT / "chapters" / notebook[1], as_version=4).cells[0].source
            assert f"# {label}" in first.splitlines()
        else:  # the reading edition has no other page of ours
            assert target == "../chapters/glossary.md", target


def test_each_entry_asks_once_and_has_an_answer_threads_and_a_chapter():
    questions = [entry.splitlines()[0] for entry in entries()]
    assert [question for question, times in Counter(questions).items() if times > 1] == []
    for question, entry in zip(questions, entries(), strict=True):
        assert "?" in question
        _, answer, links = entry.split("\n## ")[0].strip().split("\n\n")
        assert answer and "](" not in answer, question
        assert threads_in(links) and TO_A_CHAPTER.search(links), question
