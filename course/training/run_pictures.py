"""What the checkpoint of a run finds in a few fixed images.

Made for a thread that works beside a training in the same process: it takes none of torch's random numbers, which
another part of the page may just be using, and doesn't touch matplotlib's list of open figures.
"""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course.kit import pictures
from ssdlib import files
from ssdlib.data import voc
from ssdlib.model import SSD300
from ssdlib.plots import BLUE, boxes_on, part_captions, photograph_on
from ssdlib.records import Detections, Example
from ssdlib.training import inference, runs
from ssdlib.training.runs import CHECKPOINT, RunConfig, RunError

SCORE = 0.5
COUNT = 4


@dataclass(frozen=True)
class Seen:
    """Detections of one checkpoint in some images."""

    step: int
    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    photographs: tuple[Tensor, ...]
    found: tuple[Detections, ...]  # with a score of SCORE or more
    guesses: tuple[Detections, ...]  # the best one, in images where none has such a score

    def words(self) -> str:
        """What was found, for those who can't see the images."""
        said = []
        for number, (one, guess) in enumerate(zip(self.found, self.guesses, strict=True), 1):
            names = [f"{name} {score:.2f}" for name, score in _named(one, self.classes)]
            best = [f", best guess {name} {score:.2f}" for name, score in _named(guess, self.classes)]
            said.append(f"image {number}: {', '.join(names) or 'nothing'}{''.join(best)}")
        return f"Detections of step {self.step}. {'; '.join(said)}."

    def legend(self) -> str:
        found = f"found with a score of {SCORE:g} or more (blue, dashed)"
        if any(map(len, self.guesses)):
            found += "; where there is none, the best guess (thin, dotted)"
        return f"Checkpoint of step {self.step:,}: annotated (orange), {found}"


def fixed(config: RunConfig) -> list[Example]:
    """A few test images to watch: painted ones for a narrow network, which has learned from nothing else, else
    those of the devkit that is here."""
    examples = pictures.mini_test_set() if config.width < 1 else pictures.test_set()
    wide = [e for e in examples if e.size[0] > e.size[1] and len(e.labels)] or examples
    return wide[:: max(1, len(wide) // COUNT)][:COUNT]


def network(path: Path) -> tuple[SSD300, RunConfig, int]:
    """Network in eval mode, settings and step of a checkpoint, as `runs.load_run`, but no random weight is drawn on
    the way: the network begins without memory and takes the checkpoint's tensors as they are."""
    state = files.load_checkpoint(path)
    try:
        config = runs.config_from(state["config"])
        with torch.device("meta"):
            model = runs.network_of(config)
        model.load_state_dict(state["model"], assign=True)
        return model.eval(), config, int(state["step"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise RunError(
            f"{path}: a checkpoint of another version ({type(error).__name__}); wanted one of this"
        ) from error


def look(folder: Path, examples: Sequence[Example] | None = None) -> Seen:
    """What the checkpoint in a folder finds, computed here on the CPU."""
    model, config, step = network(Path(folder) / CHECKPOINT)
    examples = tuple(fixed(config) if examples is None else examples)
    photographs = tuple(voc.read_photograph(example.path) for example in examples)
    found, guesses = [], []
    for photograph in photographs:
        [one] = inference.detect_in(model, [photograph], config)
        found.append(one.above(SCORE))
        unsure = slice(0 if len(found[-1]) else 1)  # best first: none, or the first
        guesses.append(Detections(one.boxes[unsure], one.scores[unsure], one.labels[unsure]))
    return Seen(step, tuple(config.classes), examples, photographs, tuple(found), tuple(guesses))


def draw(seen: Seen, axes: Sequence[Axes]) -> None:
    """One image into each of the axes: annotated in orange, found in blue with class and score."""
    shown = zip(axes, seen.examples, seen.photographs, seen.found, seen.guesses, strict=False)
    for ax, example, photograph, one, guess in shown:
        photograph_on(ax, photograph)
        boxes_on(ax, example.boxes)
        captions = [f"{name} {score:.2f}" for name, score in _named(one, seen.classes)]
        boxes_on(ax, one.boxes, captions, color=BLUE, dashed=True)
        captions = [f"{name}? {score:.2f}" for name, score in _named(guess, seen.classes)]
        sure = len(ax.patches)
        boxes_on(ax, guess.boxes, captions, color=BLUE)
        for patch in ax.patches[sure:]:
            patch.set(linestyle=":", linewidth=1.2)
    part_captions(axes)


def draw_below(seen: Seen, figure: Figure) -> None:
    """The images along the lower edge of a figure, with their legend."""
    draw(seen, _side_by_side(figure, len(seen.examples), 0.03, 0.15))
    figure.text(0.02, 0.01, seen.legend(), fontsize=9)


def as_html(seen: Seen) -> str:
    """A row of images for a page, with its words."""
    if not seen.examples:
        return "no images"
    figure = Figure(figsize=(2.9 * len(seen.examples), 2.3))
    draw(seen, _side_by_side(figure, len(seen.examples), 0.02, 0.96))
    out = io.BytesIO()
    figure.savefig(out, format="jpeg", dpi=80)
    data = base64.b64encode(out.getvalue()).decode()
    words = html.escape(seen.words(), quote=True)
    return f'<img alt="{words}" src="data:image/jpeg;base64,{data}" style="max-width:100%">'


def _side_by_side(figure: Figure, count: int, bottom: float, height: float) -> list[Axes]:
    """Placed by hand: to have it laid out takes longer than to draw it."""
    return [figure.add_axes((i / count, bottom, 0.98 / count, height)) for i in range(count)]


def _named(one: Detections, classes: Sequence[str]) -> list[tuple[str, float]]:
    return [
        (classes[label - 1], s) for label, s in zip(one.labels.tolist(), one.scores.tolist(), strict=True)
    ]
