"""Four freely licensed photographs with boxes drawn by hand, which scikit-image brings along.

`pip install scikit-image` puts them on disk; they are read from there, and nothing of scikit-image is imported. Where
it isn't installed, each photograph has a stand-in: a test scene of `pictures` with one large object. The boxes
follow VOC's rule, all that can be seen of the object and nothing more, and were drawn on the enlarged photographs.
They aren't part of VOC, and no figure measured on them says anything about it.

scikit-image's motorcycle would be a fifth one, but the documentation of `skimage.data.stereo_motorcycle` states no
licence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from matplotlib.figure import Figure

from course.kit import pictures
from ssdlib import box_ops, plots
from ssdlib.data import voc
from ssdlib.records import LABELS, Example


@dataclass(frozen=True)
class Photograph:
    """One photograph: its file, what it shows, and who made it. The licence is quoted from `skimage.data`."""

    file: str  # in skimage/data
    size: tuple[int, int]  # width, height in px; other pixels would make the boxes wrong
    objects: tuple[tuple[str, tuple[int, int, int, int]], ...]  # class, corners in px as in `records`
    title: str
    licence: str

    @property
    def credit(self) -> str:
        return f"{self.title}, {self.licence}"


PHOTOGRAPHS = {
    "chelsea": Photograph(
        file="chelsea.png",
        size=(451, 300),
        objects=(("cat", (0, 0, 400, 300)),),  # cut off on three sides; whiskers don't count
        title="Chelsea the cat, by Stefan van der Walt",
        licence="CC0",
    ),
    "astronaut": Photograph(
        file="astronaut.png",
        size=(512, 512),
        objects=(("person", (19, 15, 365, 512)),),  # the suit is worn, the helmet is held
        title="Eileen Collins, by NASA",
        licence="public domain",
    ),
    "camera": Photograph(
        file="camera.png",
        size=(512, 512),
        objects=(("person", (0, 63, 332, 512)),),  # up to the glove behind the camera
        title="Camera man, by Lav Varshney",
        licence="CC0",
    ),
    "rocket": Photograph(
        file="rocket.jpg",
        size=(640, 427),
        objects=(),  # nothing that VOC knows
        title="Falcon 9, by SpaceX",
        licence="public domain",
    ),
}


def folder() -> Path | None:
    """Where scikit-image keeps its photographs, or None where it isn't installed."""
    package = find_spec("skimage")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "data"


def installed() -> bool:
    """Whether the photographs are there; if not, `example` gives stand-ins."""
    data = folder()
    return data is not None and all((data / photograph.file).is_file() for photograph in PHOTOGRAPHS.values())


def example(name: str) -> Example:
    """The photograph called `name` with its boxes and labels, or its stand-in.

    Raises KeyError for another name, and VOCError if the file has another size than the one the boxes belong to.
    """
    photograph = PHOTOGRAPHS[name]
    if not installed():
        return _stand_in(list(PHOTOGRAPHS).index(name))
    path = folder() / photograph.file
    height, width, _ = voc.read_photograph(path).shape
    if (width, height) != photograph.size:
        raise voc.VOCError(
            f"{path}: {width}x{height} px; wanted {photograph.size[0]}x{photograph.size[1]}, to which the boxes "
            "belong. Another version of scikit-image (0.22 or newer) has it"
        )
    return annotation(name)


def annotation(name: str) -> Example:
    """The photograph called `name` with its boxes and labels, whether it is on disk or not."""
    photograph = PHOTOGRAPHS[name]
    return Example(
        image_id=name,
        path=(folder() or Path()) / photograph.file,
        size=photograph.size,
        boxes=torch.tensor([box for _, box in photograph.objects], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([LABELS[label] for label, _ in photograph.objects], dtype=torch.int64),
        difficult=torch.zeros(len(photograph.objects), dtype=torch.bool),
    )


def credit(name: str) -> str:
    """Who made what `example` returns, and its licence: one line for a caption."""
    if installed():
        return PHOTOGRAPHS[name].credit
    return "A test scene in place of a photograph that scikit-image brings"


def draw_photographs(names: Sequence[str] = tuple(PHOTOGRAPHS), columns: int = 4) -> Figure:
    """The photographs, or their stand-ins, with the boxes drawn by hand."""
    chosen = [example(name) for name in names]
    figure = plots.examples(chosen, [voc.read_photograph(one.path) for one in chosen], columns)
    return add_credit(figure, names)


def add_credit(figure: Figure, names: Sequence[str]) -> Figure:
    """The figure with a line below it that says whose photographs it shows."""
    return written_below(figure, list(dict.fromkeys(credit(name) for name in names)))  # stand-ins share one


def written_below(figure: Figure, credits: Sequence[str], more: str = "") -> Figure:
    """The figure with the credits below it, two a line, and with one line `more`."""
    lines = ["; ".join(credits[i : i + 2]) for i in range(0, len(credits), 2)]
    figure.supxlabel("\n".join([*lines, *[more] * bool(more)]), fontsize=9)
    plots.part_captions(figure.axes)  # the line has made the pictures smaller
    return figure


def _stand_in(place: int) -> Example:
    """Of the test scenes with a single object, the one whose object fills the largest part but `place`."""
    alone = [one for one in pictures.test_set() if len(one.labels) == 1 and not one.difficult.any()]
    alone.sort(key=lambda one: -float(box_ops.area(one.boxes[0])) / (one.size[0] * one.size[1]))
    if len(alone) <= place:
        raise LookupError(
            f"{pictures.devkit()}: {len(alone)} test pictures with exactly 1 object, not difficult; "
            f"wanted {place + 1}, or scikit-image: pip install scikit-image"
        )
    return alone[place]
