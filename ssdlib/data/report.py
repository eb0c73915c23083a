"""All that a reader ignored, repaired, guessed or joined, counted, with an example.

`look`, `train` and `evaluate` print the same report of a folder, because it is the same object.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

KINDS = ("ignored", "repaired", "guessed", "joined")


@dataclass(frozen=True)
class Note:
    """One thing that was done, once for each place where it was done."""

    kind: str  # one of KINDS
    what: str
    where: tuple[str, ...]  # "" where it concerns the whole folder

    def __str__(self) -> str:
        places = f": {len(self.where)}, first {self.where[0]}" if self.where[0] else ""
        return f"  {self.kind:<8}  {self.what}{places}"


@dataclass(frozen=True)
class Report:
    """All notes about one folder, and how its images were divided into training and test."""

    notes: tuple[Note, ...] = ()
    split: str = ""
    refusal: str = ""  # why no network can be trained on the folder as it is, and what to do

    def __str__(self) -> str:
        ordered = [note for kind in KINDS for note in self.notes if note.kind == kind]
        lines = [f"split: {self.split}"] if self.split else []
        lines += map(str, ordered)
        return "\n".join([*lines, *([f"can't be trained on: {self.refusal}"] if self.refusal else [])])


@dataclass
class Notes:
    """Collects what is noted while a folder is read; `frozen` makes the report of it."""

    found: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def ignored(self, what: str, where: str = "") -> None:
        """Something in the folder that was left out."""
        self._add("ignored", what, where)

    def repaired(self, what: str, where: str = "") -> None:
        """Something wrong that could be corrected without doubt."""
        self._add("repaired", what, where)

    def guessed(self, what: str, where: str = "") -> None:
        """Something that the folder doesn't say, read in the likeliest way."""
        self._add("guessed", what, where)

    def joined(self, what: str, where: str = "") -> None:
        """Several things that became one."""
        self._add("joined", what, where)

    def frozen(self, split: str = "", refusal: str = "") -> Report:
        """The report of all that was noted until now."""
        notes = (Note(kind, what, tuple(where)) for (kind, what), where in self.found.items())
        return Report(tuple(notes), split, refusal)

    def _add(self, kind: str, what: str, where: str) -> None:
        self.found.setdefault((kind, what), []).append(where)


def some(names: Sequence[str], most: int = 3) -> str:
    """ "a, b, c and 4 more"."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
