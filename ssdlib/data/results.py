"""The development kit's result files: written, and read again."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssdlib import files
from ssdlib.evaluate import ResultError, Results
from ssdlib.records import CLASSES


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
        path = folder / f"comp4_det_{set_name}_{name}.txt"
        with files.named(path):
            path.write_text("".join(lines))


def result_name(sets: Sequence[str]) -> str:
    """What the devkit calls image sets in the names of its files: ("2007-test",) -> "test"."""
    return "+".join(sets) if len(sets) > 1 else sets[0].split("-")[-1]


def read_results(folder: Path, set_name: str, classes: Sequence[str] = CLASSES[1:]) -> dict[str, Results]:
    """The files `write_results` writes, for all classes. Raises ResultError naming file and line."""
    return {name: _read_file(Path(folder) / f"comp4_det_{set_name}_{name}.txt") for name in classes}


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


def _is_finite(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False
