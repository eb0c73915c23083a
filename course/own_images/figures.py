"""Figures and tables of chapter 12."""

import json
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from course.kit import places
from course.kit.tables import Table, table
from ssdlib.data import own, survey
from ssdlib.data.report import KINDS, Note
from ssdlib.data.voc import read_photograph
from ssdlib.plots import boxes_on, photograph_on
from ssdlib.records import Example
from ssdlib.training.runs import RunConfig


def contents(found: own.Found) -> Table:
    """How many objects of each class the two parts of a dataset hold; above it, what the folder is."""
    columns, images = {"class": list(found.classes)}, []
    for name in ("train", "test"):
        mine = [e for e, part in zip(found.examples, found.parts, strict=True) if part in (name, "both")]
        images.append(f"{len(mine):,} {name}")
        labels = torch.cat([e.labels for e in mine] or [torch.zeros(0, dtype=torch.int64)])
        columns[f"objects in {name}"] = labels.bincount(minlength=len(found.classes) + 1)[1:].tolist()
    total, empty, objects = _totals(found)
    first = f"{found.kind}: {total:,} images ({', '.join(images)})"
    return table(columns, caption=f"{first}, {objects:,} objects, {empty:,} images without any")


def notes(found: own.Found) -> Table:
    """What a reader ignored, repaired or guessed, how often, and where first; below it, how it divided the images."""
    rows = [(note.kind, note.what, len(note.where), note.where[0]) for note in _ordered(found)]
    return table(rows, head=("the library", "what", "times", "first"), note=f"split: {found.report.split}")


def readings(datasets: Mapping[str, own.Found]) -> Table:
    """What several readings of one folder hold, and what was noted about each of them."""
    rows: dict[str, list[int | None]] = {}
    for number, found in enumerate(datasets.values()):
        told = dict(zip(("images", "images without objects", "objects"), _totals(found), strict=True))
        told |= {f"{note.kind}: {note.what}": len(note.where) for note in _ordered(found)}
        for what, times in told.items():
            rows.setdefault(what, [None] * len(datasets))[number] = times
    return table([(what, *times) for what, times in rows.items()], head=("", *datasets))


def _totals(found: own.Found) -> tuple[int, int, int]:
    """Images, images without objects, objects."""
    each = [len(e.labels) for e in found.examples]
    return len(each), each.count(0), sum(each)


def _ordered(found: own.Found) -> list[Note]:
    return sorted(found.report.notes, key=lambda note: KINDS.index(note.kind))


def under_anchors(examples: Sequence[Example]) -> Table:
    """The survey of the examples: by size in the 300 x 300 input, how many objects the anchors cover and how well."""
    found = survey.survey(*survey.on_canvas(examples))
    rows: list[tuple] = [
        (f"{low} to {high} px", count, share if count else None, mean if count else None)
        for low, high, count, share, mean in found.by_size()
    ]
    count = len(found.sizes)
    rows.append(("all", count, float(found.covered.float().mean()) if count else None, None))
    head = ("size in the input", "objects", "covered", "mean of the best IoU")
    return table(rows, head=head, form=("", "", ".0%", ""))


def turned(example: Example, classes: Sequence[str]) -> Figure:
    """An image as its pixels are stored and as its camera was held, each with the boxes of its annotation."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.1), layout="constrained")
    figure.suptitle("The boxes fit only if the image is turned as its camera was held", fontsize=12)
    names = [classes[label - 1] for label in example.labels.tolist()]
    for ax, upright, title in zip(axes, (False, True), ("as stored", "as it was held"), strict=True):
        photograph_on(ax, read_photograph(example.path, upright))
        boxes_on(ax, example.boxes, names)
        # boxes of the other reading may lie outside: show where
        ax.set(xlim=(0, max(example.size)), ylim=(max(example.size), 0))
        ax.set_title(title, fontsize=10)
    return figure


def remedies(datasets: Mapping[str, Sequence[Example]]) -> Table:
    """Which share of the objects of each dataset is covered with smaller anchors, and with images cut into tiles."""
    columns = []
    for examples in datasets.values():
        other = survey.suggestions(*survey.on_canvas(examples))
        whole = {" ".join(map(str, spec.percents)): share for spec, share in other}
        tiles = {
            cut: float(survey.survey(*survey.on_canvas(examples, cut)).covered.float().mean())
            for cut in survey.CUTS[1:]
        }
        columns.append((whole, tiles))
    rows = []
    for number, sizes in enumerate(columns[0][0]):
        name = f"{sizes}, the paper's" if number == 0 else sizes
        rows.append((name, "whole", *(whole[sizes] for whole, _ in columns)))
    for cut in survey.CUTS[1:]:
        rows.append(("the paper's", f"cut into {cut} x {cut}", *(tiles[cut] for _, tiles in columns)))
    form = ("", "", *[".0%"] * len(datasets))
    head = ("anchors, percent of the input", "images", *(f"covered in {name}" for name in datasets))
    return table(rows, head=head, form=form, heat=True)


def frozen() -> Table:
    """The recorded trainings of the zoo with more and less of the body frozen."""
    facts, *runs = map(json.loads, places.recording("freezing", "zoo.jsonl").read_text("utf-8").splitlines())
    rows = []
    for layer in dict.fromkeys(run["freeze"] for run in runs):
        each, seconds = ([run[key] for run in runs if run["freeze"] == layer] for key in ("map", "seconds"))
        shown = "   ".join(f"{100 * x:.1f}" for x in each)
        rows.append((layer or "nothing", shown, 100 * sum(each) / len(each), sum(seconds) / len(each)))
    head = ("frozen up to", "mAP, by random seed", "mean", "CPU seconds of a step")
    note = f"Recorded: {facts['device']}, {facts['date']}, commit {facts['commit'][:7]}."
    return table(rows, head, form=("", "", ".1f"), note=note)


def says(found: own.Found, settings: RunConfig) -> str:
    """The title over what a network finds in images of a dataset: the fine-tuned one, or one of other classes."""
    if settings.classes == found.classes:
        return f"After {settings.steps} steps most animals are found"
    return "A network that was trained on other classes gives wrong names"


def full(examples: Sequence[Example], least: int, count: int = 4) -> list[Example]:
    """The first `count` images that are wider than high and hold at least `least` objects."""
    return [e for e in examples if e.size[0] > e.size[1] and len(e.labels) >= least][:count]
