"""Which program a folder comes from, recognised by its files, and what to export there instead."""

import re
from pathlib import Path

from ssdlib.data.formats import LISTS, Files

START = 100_000  # bytes of a file that are looked at

# Formats that aren't read, recognised by content: suffix, words that all have to occur, what it is, what to do.
FOREIGN = (
    (
        ".json",
        (b'"annotations"', b'"result"', b'"data"'),
        "Label Studio's own JSON",
        "export the project as COCO, YOLO or Pascal VOC XML, with images",
    ),
    (
        ".json",
        (b'"rectanglelabels"',),
        "Label Studio's JSON-MIN",
        "export the project as COCO, YOLO or Pascal VOC XML",
    ),
    (".json", (b'"regions"', b'"shape_attributes"'), "VIA's JSON", "export annotations as COCO"),
    (".json", (b'"annotations"', b'"coordinates"'), "CreateML's JSON", "export as COCO or Pascal VOC"),
    (
        ".json",
        (b'"image_id"', b'"score"', b'"bbox"'),
        "COCO's results, not annotations",
        "export the annotations, too",
    ),
    (".json", (b'"objects"', b'"classTitle"'), "Supervisely's JSON", "export as COCO or Pascal VOC"),
    (".csv", (b"xmin", b"ymin", b"class"), "a table of boxes (CSV)", "export as Pascal VOC, COCO or YOLO"),
    (".csv", (b"region_shape_attributes",), "VIA's table", "export annotations as COCO"),
    (".csv", (b"XMin", b"LabelName"), "Open Images' table", "convert it to COCO"),
    (".tfrecord", (b"",), "TensorFlow's records", "export as Pascal VOC, COCO or YOLO"),
)


def origin(files: Files) -> str:
    """The name of the program that wrote the annotations; "" if it can't be told."""
    names = [name.rpartition("/")[2] for name in files.all]
    there = set(names)
    texts = {
        suffix: [_start(path) for path in files.of(suffix)[:3]]
        for suffix in (".json", ".xml", ".yaml", ".txt")
    }
    maps = [_start(path) for name, path in files.all.items() if name.rpartition("/")[2] == "labelmap.txt"]
    notes = [_start(path) for name, path in files.all.items() if name.rpartition("/")[2] == "notes.json"]
    marks = (
        ("Roboflow", any(n.startswith("_annotations.coco") or ".roboflow." in n for n in names)),
        ("Roboflow", any(re.search(r"\.rf\.[0-9A-Za-z]{8,}", n) for n in names)),
        ("Roboflow", any(b"roboflow" in text.lower() for text in (*texts[".yaml"], *texts[".xml"]))),
        ("CVAT", any(text.startswith(b"# label:color_rgb") for text in maps)),
        ("CVAT", any("obj_train_data/" in name for name in files.all) or "instances_default.json" in there),
        ("Label Studio", any(b"Label Studio" in text for text in (*texts[".json"], *notes))),
        ("LabelMe", any(b'"shapes"' in text and b'"imagePath"' in text for text in texts[".json"])),
        ("COCO", any(re.match(r"instances_(train|val)20\d\d\.json", n) for n in names)),
        ("darknet", any(n.endswith((".names", ".data")) for n in names)),
        ("Ultralytics", any(re.search(rb"(?m)^(train|val|names)\s*:", text) for text in texts[".yaml"])),
        ("labelImg", "classes.txt" in there),
        (
            "labelImg",
            any(b"<segmented>" in x and b"<database>Unknown</database>" in x for x in texts[".xml"]),
        ),
    )
    return next((name for name, found in marks if found), "")


def way_out(files: Files) -> str:
    """Half a sentence on a folder without annotations that are read: what is there instead, and what to do."""
    for suffix, words, what, todo in FOREIGN:
        for path in files.of(suffix):
            text = _start(path)
            if all(word in text for word in words):
                wanted = "wanted Pascal XML, COCO's, YOLO's or LabelMe's format"
                return f"{files.where(path)} is {what}, which isn't read; {wanted}; {todo}"
    texts = [name for name in files.all if name.endswith(".txt")]
    if texts:
        return (
            f"neither XML, nor COCO's JSON, nor classes.txt or data.yaml in it, but {texts[0]}; if that is YOLO's, "
            f"{LISTS} is missing"
        )
    return (
        "neither XML, nor COCO's JSON, nor classes.txt or data.yaml, nor LabelMe's JSON in it; put the annotations "
        "into the folder, as the annotation tool exports them"
    )


def _start(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(START)
    except OSError:
        return b""
