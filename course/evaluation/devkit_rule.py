"""The development kit's rule as one plain loop, written after VOCevaldet.m (VOC2007), and chapter 11's ten boxes.

Nothing here is shared with `ssdlib.evaluate`, which does the same without a loop. The two are compared on the page.
"""

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax: pixel numbers from 1, corners inclusive
TRUE, FALSE, TWICE, IGNORED = "true", "false", "false (again)", "ignored"


def overlap(a: Box, b: Box) -> float:
    """IoU of two boxes of pixel numbers: columns 11 to 20 are ten columns, hence the + 1."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    one, other = ((x2 - x1 + 1) * (y2 - y1 + 1) for x1, y1, x2, y2 in (a, b))
    return both / (one + other - both)


def verdicts(detections: Sequence[tuple], objects: Sequence[tuple]) -> list[str]:
    """What becomes of each detection of one class, best score first.

    `detections` are (image, score, box), `objects` are (image, box, difficult).
    """
    said, found = [], set()
    for image, _, box in sorted(detections, key=lambda d: -d[1]):  # keeps the order of equals
        most, best = -math.inf, None
        for number, (where, there, _) in enumerate(objects):
            if where == image and (share := overlap(box, there)) > most:  # the first of equals
                most, best = share, number
        if most < 0.5:
            said.append(FALSE)
        elif objects[best][2]:
            said.append(IGNORED)
        elif best in found:
            said.append(TWICE)
        else:
            said.append(TRUE)
            found.add(best)
    return said


def curve(said: Sequence[str], total: int) -> tuple[list[float], list[float]]:
    """Recall and precision after each detection; precision is NaN while nothing but difficult objects was hit."""
    recall, precision, right, wrong = [], [], 0, 0
    for verdict in said:
        right += verdict == TRUE
        wrong += verdict in (FALSE, TWICE)
        recall.append(right / total if total else math.nan)
        precision.append(right / (right + wrong) if right + wrong else math.nan)
    return recall, precision


def eleven_points(recall: Sequence[float], precision: Sequence[float]) -> float:
    """Mean of the best precision at a recall of 0, 0.1, 0.2 and so on up to 1, or more."""
    best = []
    for point in range(11):
        there = [p for r, p in zip(recall, precision, strict=True) if r >= point * 0.1 and not math.isnan(p)]
        best.append(max(there, default=0.0))
    return sum(best) / 11


# ---- ten detections of one class in three images. Objects are 100 x 100 px, so overlaps can be done in the head

OBJECTS = (
    ("a", (11, 11, 110, 110), False),
    ("a", (151, 11, 250, 110), False),
    ("b", (11, 11, 110, 110), False),
    ("b", (151, 11, 250, 110), True),
    ("c", (61, 61, 160, 160), False),
)
TEN = (
    ("a", 0.95, (11, 11, 110, 110)),
    ("b", 0.90, (161, 11, 260, 110)),
    ("a", 0.85, (16, 11, 115, 110)),
    ("a", 0.80, (176, 11, 275, 110)),
    ("c", 0.70, (261, 261, 360, 360)),
    ("b", 0.60, (11, 11, 110, 60)),
    ("b", 0.50, (151, 11, 250, 90)),
    ("c", 0.40, (111, 61, 210, 160)),
    ("c", 0.30, (66, 66, 165, 165)),
    ("a", 0.20, (301, 301, 400, 400)),
)
