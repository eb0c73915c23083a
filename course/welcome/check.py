"""Checks of chapter 00: a detection read as numbers, a threshold, the modules that answer five questions."""

from collections.abc import Sequence

from course.kit.checking import Case, Exercise

# ---- 0.1 one detection: dog 0.93 (120, 60, 240, 300) in a photograph of 500 x 375 px

size = Exercise(
    "0.1 how large is the dog?",
    [120, 240],
    mistakes={
        "those are xmax and ymax, the lower right corner ||; a size is a difference": [240, 300],
        "that is the upper left corner, xmin and ymin ||; a size is a difference": [120, 60],
        "width comes first ||: xmax - xmin, then ymax - ymin": [240, 120],
        "those are the differences of neighbours in the list ||; subtract x from x and y from y": [60, 60],
        "that is the photograph's size; the box is smaller": [500, 375],
    },
    praise="A box twice as high as wide. Where it lies and what its score is don't matter for that.",
)


# ---- 0.2 which ones are shown

Found = Sequence[tuple[str, float]]


def _shown(found: Found, threshold: float) -> list[str]:
    return [name for name, score in found if score >= threshold]


SCENE = [("dog", 0.93), ("sheep", 0.5), ("dog", 0.71), ("cat", 0.08)]
shown = Exercise(
    "0.2 which ones are shown",
    _shown,
    cases=[
        Case("the scene at 0.4", (SCENE, 0.4)),
        Case("the scene at 0.05", (SCENE, 0.05)),
        Case("a threshold that nothing reaches", (SCENE, 0.99)),
        Case("an image in which nothing was found", ([], 0.5)),
        Case("a threshold that one score just reaches", (SCENE, 0.5)),
    ],
    mistakes={
        "the sheep's score is the threshold itself, and that is enough ||: >=, not >": lambda found, threshold: [
            name for name, score in found if score > threshold
        ],
        "those are the ones that are left out; wanted are those with a score of the threshold or more": lambda found, threshold: [
            name for name, score in found if score < threshold
        ],
        "names are wanted, without their scores": lambda found, threshold: [
            (name, score) for name, score in found if score >= threshold
        ],
        "there are two dogs; each detection is an object of its own and is listed": lambda found, threshold: (
            list(dict.fromkeys(_shown(found, threshold)))
        ),
        "`threshold` isn't used: the function always takes 0.5": lambda found, threshold: _shown(found, 0.5),
    },
    praise="That is all a threshold does. The detector is the same at 0.05 and at 0.5; you see more of what it reports, or less.",
)


# ---- 0.3 which module?

modules = Exercise(
    "0.3 which module?",
    ["voc", "matching", "loss", "detect", "evaluate"],
    mistakes={
        "all five modules are right; write `voc` for `data.voc`": [
            "data.voc",
            "matching",
            "loss",
            "detect",
            "evaluate",
        ],
        "A: `box_ops` knows geometry and nothing of files ||; VOC's habits are another module's task": [
            "box_ops",
            "matching",
            "loss",
            "detect",
            "evaluate",
        ],
        "A: `store` keeps photographs; the annotations are read elsewhere": [
            "store",
            "matching",
            "loss",
            "detect",
            "evaluate",
        ],
        "B: `coding` turns a box into offsets and back, once it is known which object an anchor answers "
        "for": ["voc", "coding", "loss", "detect", "evaluate"],
        "B: `anchors` says where they lie, in every image alike, whatever objects it shows": [
            "voc",
            "anchors",
            "loss",
            "detect",
            "evaluate",
        ],
        "D and E: the module that judges boxes isn't the one that removes second ones ||; the two are swapped, because "
        "second boxes are removed in `detect`": ["voc", "matching", "loss", "evaluate", "detect"],
    },
    praise="Five modules, and you know where to look. Open one: none is longer than a few screens.",
)
