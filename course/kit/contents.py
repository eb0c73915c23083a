"""The contents of the course: its chapters with their exercises and self-tests, and ticks for what is solved.

Once it has run it looks every two seconds at what the learner has reached, whatever page that happens on.
"""

import html
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from IPython.display import display, update_display

from course.kit import places, progress
from course.kit.inline import marked
from course.kit.progress import Reached

EXERCISE = re.compile(r"^### (\d+\.\d+) ([^·\n]+)", re.M)
QUESTIONS = re.compile(r"^SelfTest\(\"(\w+)\"\)", re.M)
EVERY = 2.0  # seconds


@dataclass(frozen=True)
class Chapter:
    """A page of the course, as its notebook tells it."""

    file: str
    title: str  # "03 · Matching"
    sentence: str  # the page in one sentence
    exercises: tuple[tuple[str, str], ...]  # number and name
    topic: str  # of its self-test, "" if it has none

    @property
    def number(self) -> str:
        return self.file[:2]


def chapters(folder: Path) -> list[Chapter]:
    """The numbered notebooks of a folder, in their order. One that can't be read is left out."""
    found = []
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            texts = [("".join(cell["source"]), cell["cell_type"]) for cell in cells]
        except (ValueError, LookupError, OSError):
            continue
        prose = "\n".join(text for text, kind in texts if kind == "markdown")
        title = re.search(r"^# (.+)$", prose, re.M)
        sentence = re.search(r"\*\*In one sentence:\*\* (.+?)(?:\n\n|\n\||$)", prose, re.S)
        found.append(
            Chapter(
                path.name,
                title[1] if title else path.stem,
                " ".join(sentence[1].split()) if sentence else "",
                tuple((number, name.strip()) for number, name in EXERCISE.findall(prose)),
                next((t[1] for text, kind in texts if kind == "code" and (t := QUESTIONS.search(text))), ""),
            )
        )
    return found


def line(chapter: Chapter, found: Reached) -> tuple[str, str]:
    """What is solved of a chapter's exercises, and how its self-test went."""
    done = [number for number, _ in chapter.exercises if number in found.solved]
    total = len(chapter.exercises)
    ticks = "".join("✓" if number in found.solved else "○" for number, _ in chapter.exercises)
    exercises = f"{ticks} {len(done)} of {total}" if total else ""
    answered, right = found.answers.get(chapter.topic, []), found.right.get(chapter.topic, 0)
    test = f"{right} of {len(answered)}" if answered else ""
    return exercises, test + (" ✓" if answered and right == len(answered) else "")


def as_html(rows: list[Chapter], found: Reached | None) -> str:
    """The chapters as a table; without ticks where `found` is None, on pages that belong to nobody."""
    head = ("chapter", "in one sentence", "exercises") + (("self-test",) if found else ())
    cells = "".join(f"<th scope='col' style='text-align:left'>{name}</th>" for name in head)
    body = []
    for row in rows:
        exercises, test = line(row, found) if found else (str(len(row.exercises) or ""), "")
        names = html.escape("; ".join(f"{number} {name}" for number, name in row.exercises), quote=True)
        body.append(
            "<tr>"
            f"<th scope='row' style='text-align:left;white-space:nowrap'><a href='{html.escape(row.file)}'>"
            f"{html.escape(row.title)}</a></th>"
            f"<td style='text-align:left;white-space:normal;min-width:18em'>{_prose(row.sentence)}</td>"
            f"<td style='text-align:left;white-space:nowrap' title='{names}'>{exercises}</td>"
            + (f"<td style='text-align:left;white-space:nowrap'>{test}</td>" if found else "")
            + "</tr>"
        )
    return (
        "<div style='overflow-x:auto' tabindex='0' role='region' aria-label='chapters' "
        "data-lm-suppress-shortcuts='true'>"
        f"<table style='margin:0'><thead><tr>{cells}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f"<p>{html.escape(summary(rows, found))}</p>"
    )


def summary(rows: list[Chapter], found: Reached | None) -> str:
    """How much of the course is solved, in a sentence."""
    total = sum(len(row.exercises) for row in rows)
    if found is None:
        return f"{len(rows)} chapters, {total} exercises. In your own copy (make lab) ticks stand here."
    solved = sum(number in found.solved for row in rows for number, _ in row.exercises)
    if solved == total and total:
        return f"All {total} exercises are solved: the detector is yours, from the first box to the last point of AP."
    ahead = next((row for row in rows if any(n not in found.solved for n, _ in row.exercises)), None)
    return f"{solved} of {total} exercises solved" + (f"; next: {ahead.title}." if ahead else ".")


class Contents:
    """The table on a page that is run. In a learner's folder it follows what is solved on other pages, too.

    Plain HTML that is replaced, and no widget: Jupyter makes its links open pages, and saves what it shows."""

    def __init__(self, folder: Path | None = None, every: float = EVERY):
        self.home, self.every = places.page_home(), every
        self.rows = chapters(folder or self.home or places.CHAPTERS)
        self._stopped = threading.Event()

    @property
    def found(self) -> Reached | None:
        return progress.reached(self.home) if self.home else None

    def follow(self, show: Callable[[dict[str, str]], Any]) -> None:
        """Call `show` with the table whenever it has changed, until `stop`."""
        shown = self._repr_html_()
        while not self._stopped.wait(self.every):
            if (now := self._repr_html_()) != shown:
                shown = now
                show(self._data())

    def stop(self) -> None:
        self._stopped.set()

    def __repr__(self) -> str:
        return f"Contents({summary(self.rows, self.found)})"

    def _repr_html_(self) -> str:
        return as_html(self.rows, self.found)

    def _data(self) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _ipython_display_(self) -> None:
        name = f"contents-{id(self)}"
        display(self._data(), raw=True, display_id=name)
        if self.home:

            def show(data: dict[str, str]) -> None:
                update_display(data, raw=True, display_id=name)

            threading.Thread(target=self.follow, args=(show,), daemon=True).start()


def _prose(text: str) -> str:
    """A chapter's sentence, with a capital; *stress* and `code` as HTML, everything else escaped."""
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", marked(text[:1].upper() + text[1:]))
