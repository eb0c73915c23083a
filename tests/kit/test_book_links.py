"""Tests of the reading edition's links: its pages are linked where they lie, of the rest the words are left."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "chapters/book"))
book = pytest.importorskip("book")


@pytest.mark.parametrize(
    ("folder", "given", "wanted"),
    [
        ("chapters", "[faq](../docs/faq.md#loss)", "[faq](faq.md#loss)"),
        ("chapters", "[next](05_network.ipynb)", "[next](05_network.ipynb)"),
        ("chapters", "[a log](recordings/mini/log.jsonl) here", "a log here"),
        ("docs", "[chapter 03](../chapters/03_matching.ipynb)", "[chapter 03](03_matching.ipynb)"),
        ("docs", "[start](../README.md#start)", "[start](readme.md#start)"),
        ("docs", "![a picture](pictures/found.png)", "![a picture](pictures/found.png)"),
        (".", "[![03](docs/pictures/03.png)](chapters/03_x.ipynb)", "[![03](pictures/03.png)](03_x.ipynb)"),
        ("docs", "[`a`](../CONTRIBUTING.md)", "`a`"),
        ("docs", "[here](#part) and [there](https://a.org/b)", "[here](#part) and [there](https://a.org/b)"),
        ("docs", "[speed](../benchmarks/README.md), `[x](y)`", "speed, `[x](y)`"),
    ],
)  # fmt: skip
def test_links_lead_to_where_a_page_lies_in_the_site(folder, given, wanted):
    assert book.linked(given, (ROOT / folder).resolve()) == wanted
