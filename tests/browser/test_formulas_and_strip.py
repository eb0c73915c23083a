"""Formulas and the strip under the title, in JupyterLab: typeset in colour, without an error, each part a link."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def chapter(reader):
    reader.open("04_multibox_loss")
    reader.page.wait_for_selector("mjx-container[display='true']", timeout=60_000)
    return reader


def test_the_three_formulas_of_chapter_04_are_typeset_and_the_loss_has_its_three_colours(chapter):
    blocks = chapter.page.locator("mjx-container[display='true']")
    assert blocks.count() == 3
    assert chapter.page.locator("mjx-merror, [data-mjx-error]").count() == 0
    colours = blocks.first.locator("[style*='color']").evaluate_all(
        "e => e.map(e => getComputedStyle(e).color)"
    )
    assert set(colours) == {"rgb(0, 158, 115)", "rgb(0, 114, 178)", "rgb(213, 94, 0)"}


def test_the_strip_marks_this_chapter_and_leads_to_another(chapter):
    strip = chapter.page.locator(".jp-MarkdownOutput p", has_text="you are here").first
    framed = strip.locator("span").evaluate_all("e => e.map(e => getComputedStyle(e).borderTopWidth)")
    assert framed.count("1px") == len(framed) - 1 and framed.count("3px") == 1
    assert "loss 04 (you are here)" in strip.inner_text()
    strip.get_by_role("link", name="matching 03").click()
    chapter.page.wait_for_selector(".jp-Notebook h1:has-text('03 · Matching')", timeout=60_000)
