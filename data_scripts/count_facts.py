"""Count, on the genuine annotations, the facts about VOC that chapters 01 to 03 show: writes course/facts/.

    python data_scripts/count_facts.py DEVKIT

DEVKIT holds VOC2007 and VOC2012 with Annotations and ImageSets; photographs aren't needed. What is written are counts
and histograms only. In voc0712.json and voc0712_shapes.csv boxes are taken as SSD300 sees them: in px of the 300 x
300 input to which the image is resampled, difficult objects included (they are trained on). voc_classes.csv holds
images and objects of each class and set. augment_rules.csv holds what one augmentation of each image keeps of its
objects, by Caffe's rule and by ssd_keras's.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from ssdlib import box_ops, matching
from ssdlib.anchors import default_boxes
from ssdlib.data import augment, batches, voc
from ssdlib.records import Example

OUT = Path(__file__).parents[1] / "course" / "facts"
SETS = ("2007-trainval", "2012-trainval")
BINS, SIDE = 60, 5  # histogram of widths and heights: 60 bins of 5 px


HEAD = "set,class,images,objects,images_easy,objects_easy"


def per_class(name: str, examples: Sequence[Example]) -> list[str]:
    """One line of voc_classes.csv for each class of set `name`, and one for all of them together.

    `images` is how many have at least one object of the class; easy means not difficult.
    """
    labels, difficult = (torch.cat([getattr(e, n) for e in examples]) for n in ("labels", "difficult"))
    image = torch.arange(len(examples)).repeat_interleave(torch.tensor([len(e.labels) for e in examples]))
    lines = []
    for label, title in [*enumerate(voc.CLASSES)][1:] + [(None, "all")]:
        mine = torch.ones_like(difficult) if label is None else labels == label
        easy = mine & ~difficult
        counts = [n for chosen in (mine, easy) for n in (len(image[chosen].unique()), int(chosen.sum()))]
        lines.append(",".join(map(str, (name, title, *counts))))
    return lines


RULES_HEAD = "rule,pictures,emptied,objects,anchors,whole"


def per_rule(examples: Sequence[Example], size: int = 32, random_seed: int = 0) -> list[str]:
    """A line of augment_rules.csv for each rule: all steps of the augmentation, once for each example.

    Counted are images left without an object, objects that stay, anchors that are assigned, and images that no
    patch was cut out of (they may have been expanded).
    """
    lines, anchors = [], default_boxes()
    for rule in augment.RULES:
        counts = torch.zeros(5, dtype=torch.int64)
        for start in tqdm(range(0, len(examples), size), desc=rule):
            some = examples[start : start + size]
            random_numbers = augment.uniforms(len(some), batches.generator(random_seed, start), rule)
            sizes = torch.tensor([e.size for e in some])
            drawn = augment.draw(sizes, *batches.padded(some), random_numbers, rule=rule)
            kept = (drawn.labels > 0).sum(dim=1)
            assigned = (matching.make_targets(drawn.boxes, drawn.labels, anchors).labels > 0).sum()
            whole = (drawn.patch == 0).sum()
            counts += torch.stack([torch.tensor(len(some)), (kept == 0).sum(), kept.sum(), assigned, whole])
        lines.append(",".join(map(str, (rule, *counts.tolist()))))
    return lines


def count_classes(devkit: Path) -> str:
    """The whole of voc_classes.csv."""
    lines = [line for name in voc.COUNTS for line in per_class(name, voc.read_sets(devkit, [name], tqdm))]
    return "\n".join([HEAD, *lines]) + "\n"


def main(devkit: Path) -> None:
    examples = voc.read_sets(devkit, SETS, tqdm)
    anchors = default_boxes()
    shapes = torch.zeros(BINS, BINS, dtype=torch.int64)
    objects = lost = below = none = 0
    per_image = torch.zeros(64, dtype=torch.int64)
    for example in tqdm(examples, desc="objects"):
        drawn_boxes, labels = batches.padded([example])
        on_canvas = box_ops.scale(drawn_boxes, 300 / example.size[0], 300 / example.size[1])
        width, height = (on_canvas[0, :, 2:] - on_canvas[0, :, :2]).unbind(dim=1)
        columns, rows = ((side / SIDE).long().clamp(0, BINS - 1) for side in (width, height))
        shapes.index_put_((rows, columns), torch.ones_like(rows), accumulate=True)
        table = matching.overlaps(on_canvas[0], anchors)
        best, anchor = table.max(dim=1)
        anchor = anchor.tolist()
        lost += sum(anchor[i] in anchor[i + 1 :] for i in range(len(anchor)))
        below += int((best < matching.THRESHOLD).sum())
        none += int((best == 0).sum())
        objects += len(anchor)
        per_image[len(anchor)] += 1
    facts = dict(
        sets=SETS,
        images=len(examples),
        objects=objects,
        difficult=int(sum(e.difficult.sum() for e in examples)),
        best_iou_below_threshold=below,
        touching_no_anchor=none,
        lost_by_argmax=lost,
        objects_per_image={n: c for n, c in enumerate(per_image.tolist()) if c},
    )
    OUT.mkdir(exist_ok=True)
    (OUT / "voc0712.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    lines = [",".join(map(str, line)) for line in shapes.tolist()]
    head = f"# objects of VOC 07+12 trainval by height (lines) and width (columns), bins of {SIDE} px of the input"
    (OUT / "voc0712_shapes.csv").write_text("\n".join([head, *lines]) + "\n", "utf-8")
    (OUT / "voc_classes.csv").write_text(count_classes(devkit), "utf-8")
    (OUT / "augment_rules.csv").write_text("\n".join([RULES_HEAD, *per_rule(examples)]) + "\n", "utf-8")
    print(json.dumps(facts))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python data_scripts/count_facts.py DEVKIT")
    main(Path(sys.argv[1]))
