"""The strip under each chapter's title: the way of a picture through the course, and where on it one is.

It is Markdown with a little HTML, written into a page's first cell when the page is built. So it needs no kernel, is
read aloud as a row of links, wraps on a phone, and stays a row of words where styles are stripped.
"""

from collections.abc import Mapping
from dataclasses import dataclass

HERE = "you are here"
FRAME = "border:1px solid #8c8c8c;border-radius:4px;padding:1px 6px;white-space:nowrap"
MARKED = "border:3px solid #0072B2;border-radius:4px;padding:1px 6px;white-space:nowrap"


@dataclass(frozen=True)
class Part:
    """A station on the way, and the numbers of the chapters about it."""

    name: str
    chapters: tuple[str, ...]


PARTS = (
    Part("picture", ("01", "06")),
    Part("anchors", ("02",)),
    Part("matching", ("03",)),
    Part("network", ("05",)),
    Part("loss", ("04",)),
    Part("training", ("07", "08", "09")),
    Part("NMS", ("10",)),
    Part("AP", ("11",)),
    Part("your own", ("12", "13")),
)


def strip(here: str, pages: Mapping[str, str]) -> str:
    """The strip as Markdown. `here` is the number of the chapter, as "03"; `pages` says which file each number is,
    and a chapter that it lacks is left out. Chapter 00 is about all parts, so there none is marked.

    Raises ValueError for a chapter that no part is about."""
    if here != "00" and not any(here in part.chapters for part in PARTS):
        raise ValueError(
            f"pipeline: no part is about chapter {here!r}; PARTS in course/kit/pipeline.py lists them"
        )
    shown = [_part(part, here, pages) for part in PARTS]
    return " → ".join(filter(None, shown))


def _part(part: Part, here: str, pages: Mapping[str, str]) -> str:
    """One station: its name leads to its first chapter, a number to each further one."""
    numbers = [number for number in part.chapters if number in pages]
    if not numbers:
        return ""
    words = [f"{part.name} {numbers[0]}", *numbers[1:]]
    links = [
        f"**{word}**" if number == here else f"[{word}]({pages[number]})"
        for word, number in zip(words, numbers, strict=True)
    ]
    if here in numbers:
        return f'<span style="{MARKED}">{" ".join(links)} ({HERE})</span>'
    return f'<span style="{FRAME}">{" ".join(links)}</span>'
