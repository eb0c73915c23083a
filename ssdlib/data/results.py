"""The development kit's result files: writing and reading them."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssdlib import files
from ssdlib.evaluate import ResultError, Results
from ssdlib.records import CLASSES

NAME = 255  # bytes in the name of a file, on nearly every file system


def write_results(folder: Path, set_name: str, results: dict[str, Results]) -> None:
    """One `comp4_det_<set>_<class>.txt` a class: image id, score, xmin ymin xmax ymax counted from 1.

    `set_name` is the devkit's ("test"). Scores have nine digits, as many as any float32 needs, so that
    rounding makes no ties; corners have six decimals.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, r in results.items():
        rows = zip(r.image_ids, r.scores.tolist(), r.boxes.tolist(), strict=True)
        lines = [f"{i} {s:.9g} {a:.6f} {b:.6f} {c:.6f} {d:.6f}\n" for i, s, (a, b, c, d) in rows]
        path = folder / result_file(set_name, name)
        with files.named(path):
            path.write_text("".join(lines), "utf-8")


def result_name(sets: Sequence[str]) -> str:
    """What the devkit calls image sets in the names of its files: ("2007-test",) -> "test"."""
    return "+".join(sets) if len(sets) > 1 else sets[0].split("-")[-1]


def result_file(set_name: str, class_name: str) -> str:
    """The devkit's name for a file of results. Characters that Windows allows in no name are written as %3F and the
    like."""
    harmless = re.sub(r'[*?<>|"%]', lambda letter: f"%{ord(letter[0]):02X}", class_name)
    return f"comp4_det_{set_name}_{harmless}.txt"


def refused_sets(sets: Sequence[str], classes: Sequence[str]) -> str:
    """Why no result files can be named after these image sets together, or "". A run asks first, because it writes
    last."""
    return refused_names(sets, [result_file(result_name(sets), name) for name in classes])


def refused_names(sets: Sequence[str], names: Sequence[str]) -> str:
    """The same for names of files that hold these image sets."""
    longest = max(len(name.encode(errors="surrogateescape")) for name in names)
    if longest <= NAME:
        return ""
    return (
        f"{'+'.join(sets)[:40]!r}..., which makes the name of a file {longest} bytes long; wanted {NAME} at most: "
        "name fewer image sets at a time, or give their lists in ImageSets/Main shorter names"
    )


def read_results(folder: Path, set_name: str, classes: Sequence[str] = CLASSES[1:]) -> dict[str, Results]:
    """The files `write_results` writes, for all classes. Raises ResultError naming file and line."""
    return {name: _read_file(Path(folder) / result_file(set_name, name)) for name in classes}


def _read_file(path: Path) -> Results:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ResultError(_missing(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ResultError(f"{path}: {error}; wanted one detection a line") from None
    rows = [line.split() for line in lines]
    for number, row in enumerate(rows, 1):
        if len(row) not in (0, 6) or not all(_is_finite(word) for word in row[1:]):
            raise ResultError(
                f"{path}, line {number}: {lines[number - 1]!r}; wanted image id, score and four corners"
            )
    rows = [row for row in rows if row]
    numbers = np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 5)
    return Results([row[0] for row in rows], numbers[:, 0], numbers[:, 1:])


def _missing(path: Path) -> str:
    if not path.parent.is_dir():
        wanted = "a folder of result files (python -m ssdlib train writes RUN/results)"
        return f"{path.parent}: no such folder; wanted {wanted}"
    names = sorted(file.name for file in path.parent.glob("comp*_det_*"))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    there = f"there are {', '.join(names[:3])}{more}" if names else "nor any other comp4_det_ file"
    return (
        f"{path}: not there, {there}; wanted one file for every class, an empty one where nothing was found"
    )


def oddities(results: dict[str, Results]) -> list[str]:
    """Sentences about numbers that the rules accept although they are seldom meant. Raises ResultError if no box can
    be one in px, because every detection would silently be a false alarm then."""
    there = {name: r for name, r in results.items() if len(r.scores)}
    if not there:
        return []
    scores, boxes = (np.concatenate([getattr(r, key) for r in there.values()]) for key in ("scores", "boxes"))
    if boxes.max() <= 1.5 and boxes.min() >= -0.5:
        name, r = next(iter(there.items()))
        shown = " ".join(f"{x:g}" for x in r.boxes[0])
        raise ResultError(
            f"{name}: a box of image {r.image_ids[0]} is {shown}, and none of {len(boxes)} reaches beyond 1; wanted "
            "corners in px, counted from 1; multiply by the width and height of the image, and add 1 to the minima"
        )
    said = []
    outside = np.flatnonzero((scores < 0) | (scores > 1))
    if len(outside):
        said.append(
            f"{len(outside)} of {len(scores)} scores lie outside 0 to 1, first {scores[outside[0]]:g}: wanted are "
            "image id, score, xmin, ymin, xmax, ymax, in this order"
        )
    turned = (boxes[:, 0] > boxes[:, 2]) | (boxes[:, 1] > boxes[:, 3])
    if turned.any():
        shown = " ".join(f"{x:g}" for x in boxes[turned.argmax()])
        said.append(
            f"{int(turned.sum())} of {len(boxes)} boxes have exchanged corners and can't be hits, first {shown}: "
            "wanted are xmin, ymin, xmax, ymax, not width and height"
        )
    return said


def _is_finite(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False
