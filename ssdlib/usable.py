"""Which pictures of a set can be trained on, and how many may be missing.

VOC is whole or it isn't VOC: one bad file stops everything, unless somebody says what share may be left out. In a
folder of one's own some always are bad. What is left out is named before a training starts; the same files leave out
the same, so that a run can go on.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ssdlib.own import Found
from ssdlib.records import Example
from ssdlib.store import StoreError, checked_photograph
from ssdlib.voc import CLASSES, VOCError, image_ids, read_listed, read_sets

OWN_SHARE = 0.1  # of one's own pictures, unless said otherwise
SHOWN = 3  # sentences about bad files; all others are like them


class TooManyBad(ValueError):
    """More of a set can't be used than may be left out. The message counts them and names the first."""


def read(
    folder: Path,
    sets: Sequence[str],
    classes: Sequence[str] = CLASSES[1:],
    found: Found | None = None,
    share: float | None = None,
    progress: Callable = lambda x, **_: x,
) -> tuple[list[Example], str]:
    """-> all examples of the sets of a devkit, or of the parts of what was `found` in a folder of one's own; "".

    With a `share`, all photographs are decoded, and the words say what was left out. Raises TooManyBad if that is
    more than `share` of all; without one, VOCError at the first bad annotation.
    """
    if found:
        listed, bad = [example for name in sets for example in found.part(name)], list(bad_of(found))
    elif share is None:
        listed, bad = read_sets(folder, sets, progress, classes), []
    else:
        named = [(folder, name, image_id) for name in sets for image_id in image_ids(folder, name)]
        listed, bad = _sifted(progress(named, desc="annotations"), lambda one: read_listed(*one, classes))
    if share is None:
        return listed, ""
    good, broken = _sifted(progress(listed, desc="checking"), lambda e: (checked_photograph(e), e)[1])
    return good, f"{' + '.join(sets)}: {within(bad + broken, len(listed) + len(bad), share)}"


def bad_of(found: Found) -> list[str]:
    """A sentence about each picture that was left out as a folder of one's own was read."""
    notes = ((what, where) for what, where in found.notes.items() if what.startswith("left out: "))
    return [f"{one}: {what.removeprefix('left out: ')}" for what, where in notes for one in where]


def within(bad: Sequence[str], total: int, share: float) -> str:
    """Words about what is left out of `total` pictures; raises TooManyBad if that is more than `share` of them."""
    first = "; ".join(bad[:SHOWN]) + (f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else "")
    if len(bad) > share * total:
        raise TooManyBad(
            f"{len(bad)} of {total} pictures can't be used, wanted {share:.2%} at most (--skip-bad): {first}"
        )
    return f"{len(bad)} of {total} pictures can't be used and are left out{': ' * bool(bad)}{first}"


def _sifted(things: Iterable, read: Callable) -> tuple[list[Example], list[str]]:
    good, bad = [], []
    for thing in things:
        try:
            good.append(read(thing))
        except (VOCError, StoreError) as error:
            bad.append(str(error))
    return good, bad
