"""The full-width network on photographs, as numbers: what `data_scripts/judge_photographs.py` has kept of it.

Its photographs are official test images of VOC2007 in a split of our own, so nothing here is a VOC result, and every
table and figure says so. No photograph of VOC is in the project.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from course.detection import figures
from course.kit import free_photographs, pictures, places
from course.kit.free_photographs import PHOTOGRAPHS
from course.kit.legend import legend_below
from course.kit.tables import Table, table
from ssdlib import box_ops
from ssdlib.plots import BLUE, ORANGE
from ssdlib.records import CLASSES, LABELS, Detections

DEVKIT = "the devkit's rule"  # as `course.evaluation.rule_variants` calls it
NEEDED = (
    "images",
    "step",
    "date",
    "device",
    "commit",
    "seed",
    "worth",
    "boxes",
    "prices",
    "errors",
    "gains",
    "objects",
    "sizes",
)
PAINTED = "painted scenes, mini run"
HIT = 0.5


class JudgedError(ValueError):
    """A folder isn't what `judge_photographs.py` writes. The message names the file, what was found and wanted."""


@dataclass(frozen=True)
class Judged:
    """A network judged once on photographs: `judged.json` and `free_photographs.json` of a folder."""

    facts: Mapping[str, Any]
    said: Mapping[str, Sequence[Mapping[str, Any]]]  # free photograph -> what is found in it; may be empty

    @property
    def images(self) -> int:
        return self.facts["images"]

    @property
    def ap(self) -> dict[str, float]:
        """class -> AP, 0 to 1, by the rules of VOC2007."""
        return self.facts["prices"][DEVKIT]

    @property
    def mean_ap(self) -> float:
        """In percent."""
        return 100 * sum(self.ap.values()) / len(self.ap)

    @property
    def caveat(self) -> str:
        """What every table and figure has to say."""
        return f"{self.images:,} official test images in a split of our own: no VOC result"

    @property
    def title(self) -> str:
        """For a panel of a figure."""
        return f"photographs, full width\n({self.caveat})"

    @property
    def origin(self) -> str:
        facts = self.facts
        return (
            f"Photographs: {self.caveat}. Recorded {facts['date']} on {facts['device']}, step {facts['step']:,}, "
            f"commit {facts['commit'][:10]}, float32, random seed {facts['seed']}."
        )

    def worth(self, name: str) -> dict[float, float]:
        """mAP in percent, one of detection's four numbers varied alone."""
        return {float(value): ap for value, ap in self.facts["worth"][name].items()}

    def boxes(self, score: float) -> tuple[float, int]:
        """Boxes an image above a score threshold, and how many images have none."""
        found = {float(s): row for s, row in self.facts["boxes"].items()}[score]
        return found["boxes"], found["empty"]

    def detections(self, name: str) -> Detections:
        """What is found in a free photograph, best first."""
        rows = self.said.get(name, ())
        return Detections(
            torch.tensor([row["box"] for row in rows], dtype=torch.float32).reshape(-1, 4),
            torch.tensor([row["score"] for row in rows], dtype=torch.float32),
            torch.tensor([LABELS[row["class"]] for row in rows], dtype=torch.int64),
        )


def judged(folder: Path | None = None) -> Judged:
    """The recording of the full-width network, or another folder of `judge_photographs.py`.

    Raises FileNotFoundError where there is none, JudgedError where it holds something else."""
    folder = places.recording("full_width", "judged") if folder is None else Path(folder)
    path = folder / "judged.json"
    facts = _read(path)
    missing = [name for name in NEEDED if name not in facts]
    if missing or DEVKIT not in facts["prices"]:
        name = missing[0] if missing else DEVKIT
        raise JudgedError(f"{path}: no {name!r} in it; wanted what data_scripts/judge_photographs.py writes")
    free = folder / "free_photographs.json"
    return Judged(facts, _read(free) if free.is_file() else {})


def _read(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise JudgedError(
            f"{path}: no JSON ({error}); wanted what data_scripts/judge_photographs.py writes"
        ) from None
    if not isinstance(facts, dict):
        raise JudgedError(f"{path}: a {type(facts).__name__}; wanted an object with names")
    return facts


# ---- chapter 10: thresholds


def threshold_table(here: Sequence[tuple[float, float, int, float]], scenes: int, there: Judged) -> Table:
    """Boxes, images without a box and mAP by score threshold: `here` are rows (score, boxes a scene, scenes with no
    box, mAP) of the painted scenes; thresholds that only one of the two has are left out."""
    worth, rows = there.worth("score"), []
    for score, count, empty, ap in here:
        if score in worth:
            boxes, none = there.boxes(score)
            rows.append((score, count, empty / scenes, ap, boxes, none / there.images, worth[score]))
    what = ("boxes an image", "images with no box", "mAP")
    head = ("score", *(f"painted: {name}" for name in what), *(f"photographs: {name}" for name in what))
    return table(rows, head, form=("", *[".1f", ".0%", ".1f"] * 2), note=there.origin)


def worth_drawn(
    here: Mapping[str, Mapping[float, float]], usual: Mapping[str, float], there: Judged, claim: str = ""
) -> Figure:
    """Each of the four numbers varied alone, on painted scenes and on photographs: mAP as a share of what Caffe's
    values give, so that shapes can be compared. Only values that both have are drawn."""
    figure, axes = plt.subplots(1, len(here), figsize=(10, 3.5), sharey=True, layout="constrained")
    for ax, (name, line) in zip(axes, here.items(), strict=True):
        real = there.worth(name)
        values = [value for value in line if value in real]
        for found, color, style in ((line, BLUE, "o-"), (real, ORANGE, "s--")):
            shares = {value: 100 * found[value] / found[usual[name]] for value in values}
            figures.worth_on(ax, shares, usual[name], color, style)
        ax.set(ylim=(0, 115))
        ax.set_title(figures.TITLES[name], fontsize=10)
    axes[0].set_ylabel("mAP, % of that with Caffe's values")
    figure.suptitle(claim, fontsize=11)
    legend_below(
        figure,
        {
            PAINTED: dict(color=BLUE, marker="o"),
            there.title.replace("\n", " "): dict(color=ORANGE, marker="s", linestyle="--"),
            "Caffe's value": figures.USUAL,
        },
    )
    return figure


# ---- chapter 10: the free photographs


def free_drawn(there: Judged, title: str, score: float) -> Figure:
    """The free photographs with what the full-width network found in them; grey where scikit-image isn't there."""
    chosen = [free_photographs.annotation(name) for name in PHOTOGRAPHS]
    found = [there.detections(example.image_id) for example in chosen]
    figure = figures.photographs_drawn(
        chosen, found, title, score, [pictures.read_or_grey(example) for example in chosen]
    )
    credits = [photograph.credit for photograph in PHOTOGRAPHS.values()]
    return free_photographs.written_below(figure, credits, "Not images of VOC: no VOC result")


def free_table(there: Judged, count: int = 3) -> Table:
    """Of each free photograph the best detections: class, score, and whether it is right: an IoU of 0.5 or more with
    an object of its class, drawn by hand, that no better detection has found."""
    rows = []
    for example in map(free_photographs.annotation, PHOTOGRAPHS):
        found, taken = there.detections(example.image_id), set()
        for k in range(min(count, len(found))):
            name, box = CLASSES[int(found.labels[k])], found.boxes[k]
            near = [
                (float(box_ops.iou(box, example.boxes[i])), i)
                for i in range(len(example.labels))
                if example.labels[i] == found.labels[k]
            ]
            share, which = max(near, default=(0.0, -1))
            right = share >= HIT and which not in taken
            taken |= {which} if right else set()
            rows.append(
                (
                    example.image_id,
                    name,
                    float(found.scores[k]),
                    share if near else None,
                    "right" if right else "false",
                )
            )
        if not len(found):
            rows.append((example.image_id, "nothing", None, None, ""))
    head = ("photograph", "detected", "score", "IoU with the object of this class", "verdict")
    return table(rows, head, note="Four photographs that aren't VOC's, boxes drawn by hand: no VOC result.")
