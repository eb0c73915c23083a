"""What a learner has reached: solved exercises and answered self-tests, remembered from day to day.

A line of JSON for each event in `progress.jsonl` in the learner's folder, never rewritten, so that several pages can
write at once and nothing is lost. Pages that don't lie in a learner's folder (`places.page_home`) remember nothing.
"""

import contextlib
import datetime
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course.kit import places

FILE = "progress.jsonl"
NUMBER = re.compile(r"(\d+)\.(\d+)\b")  # an exercise is known by its number, whatever its title becomes


@dataclass
class Reached:
    """Everything a learner has solved and answered."""

    solved: set[str] = field(default_factory=set)  # "3.2"
    # by topic: the chosen option of each question
    answers: dict[str, list[int | None]] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)  # topic -> questions answered rightly, at best


def reached(home: Path | None = None) -> Reached:
    """What is written in a learner's folder, by default the one this page lies in. Lines that can't be read are
    passed over."""
    found = Reached()
    home = home or places.page_home()
    path = home / FILE if home else None
    if path is None or not path.is_file():
        return found
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
            if "solved" in event:
                found.solved.add(str(event["solved"]))
            elif "answered" in event:
                topic, right = str(event["answered"]), int(event["right"])
                found.answers[topic] = [None if a is None else int(a) for a in event["chosen"]]
                found.right[topic] = max(right, found.right.get(topic, 0))
        except (ValueError, TypeError, KeyError):
            continue
    return found


def solve(title: str) -> None:
    """Remember that the exercise "3.2 step one" is solved."""
    home, number = places.page_home(), NUMBER.match(title)
    if home and number and number[0] not in reached(home).solved:
        _write(home, {"solved": number[0]})


def answer(topic: str, chosen: Sequence[int | None], right: int) -> None:
    """Remember what is chosen in a topic's self-test, and how much of it is right."""
    nothing = [None] * len(chosen)
    if (home := places.page_home()) and reached(home).answers.get(topic, nothing) != list(chosen):
        _write(home, {"answered": topic, "chosen": list(chosen), "right": right})


def _write(home: Path, event: dict[str, Any]) -> None:
    """Append a line. A full disk or a folder that can't be written to mustn't come between a learner and a check."""
    event |= {"date": datetime.date.today().isoformat()}
    with contextlib.suppress(OSError):
        where = os.open(home / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(where, (json.dumps(event) + "\n").encode())  # one call: lines of two pages don't mix
        finally:
            os.close(where)
