"""Bad input as a course meets it: one table of what may be wrong with a file, and what has to happen then.

A `World` is a folder with a small devkit of three photographs, a list, result files, a store and a finished run,
all made from a seed. A `Case` spoils something in it and then does what a person would do next. Its rule is
"refused": one sentence that names the file, what was found and what was wanted, and nothing on disk changes; or
"repaired": it works, and `answer` is what comes out.

    python tests/corpus.py      prints the table
"""

import dataclasses
import io
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ssdlib import evaluate, files
from ssdlib.data import own, store, voc
from ssdlib.data.results import read_results, write_results
from ssdlib.interop import published
from ssdlib.training import engine, runlog, runs

SEED = 8
SIZE = (40, 30)
IDS = ("000001", "000002", "000003")
ALL = object()  # an answer that is checked by being there
TINY = runs.RunConfig(
    **{"train_sets": ("2007-test",), "width": 1 / 64, "strided_stem": True, "steps": 2, "batch_size": 2},
    **{"drops": (), "precision": "float32", "log_every": 1, "val_every": 0, "map_every": 0},
    **{"checkpoint_every": 1, "learning_rate": 1e-6, "augment": ()},
)


class World:
    """Names of the places in a folder, and what people do there."""

    def __init__(self, home: Path):
        self.home = home
        self.devkit, self.own, self.run = home / "VOCdevkit", home / "own", home / "run"
        self.results, self.store = home / "results", home / "store"
        self.list = self.devkit / "VOC2007/ImageSets/Main/test.txt"
        self.weights = self.run / runs.CHECKPOINT

    def xml(self, image_id: str = IDS[1]) -> Path:
        return self.devkit / f"VOC2007/Annotations/{image_id}.xml"

    def jpg(self, image_id: str = IDS[1]) -> Path:
        return self.devkit / f"VOC2007/JPEGImages/{image_id}.jpg"

    def table(self, name: str = "dog") -> Path:
        return self.results / f"comp4_det_test_{name}.txt"

    def examples(self) -> list:
        return voc.read_sets(self.devkit, ["2007-test"])

    def photographs(self) -> list[torch.Tensor]:
        return [store.checked_photograph(example) for example in self.examples()]

    def detector(self) -> str:
        return published.load_detector(self.weights)[2]

    def train(self) -> int:
        """Go on with the run, or begin it. -> steps done."""
        data = self.examples(), store.Jpegs(self.examples())
        engine.train(TINY, data, data, self.run, resume=True)
        return files.load_checkpoint(self.weights)["step"]

    def judge(self) -> float:
        return evaluate.evaluate(read_results(self.results, "test"), self.examples()).ap["dog"]

    def open_store(self) -> list[bytes]:
        photographs = store.open_store(self.store, self.examples())
        return [photographs[i].numpy().tobytes() for i in range(len(photographs))]


def pixels(image_id: str) -> np.ndarray:
    """(30, 40, 3) uint8, smooth, so that a JPEG of it hardly differs."""
    small = np.random.default_rng(SEED + int(image_id)).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC))


def annotation(
    boxes: str = "<xmin>5</xmin><ymin>6</ymin><xmax>30</xmax><ymax>20</ymax>", **change: str
) -> str:
    """An XML file; `change` puts something else in the place of a part."""
    parts = {"size": f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>", "name": "dog"}
    parts = parts | {"difficult": "<difficult>0</difficult>", "more": "", "head": ""} | change
    box = f"<bndbox>{boxes}</bndbox>" if boxes else ""
    thing = f"<object><name>{parts['name']}</name>{parts['difficult']}{parts['more']}{box}</object>"
    return f"{parts['head']}<annotation>\n{parts['size']}\n{thing}\n</annotation>\n"


def corners(*numbers: Any) -> str:
    sides = ("xmin", "ymin", "xmax", "ymax")
    return "".join(f"<{side}>{x}</{side}>" for side, x in zip(sides, numbers, strict=True))


def make(home: Path) -> World:
    """A world in which nothing is wrong."""
    world = World(home)
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (world.devkit / "VOC2007" / folder).mkdir(parents=True)
    for image_id in IDS:
        Image.fromarray(pixels(image_id)).save(world.jpg(image_id), quality=95)
        world.xml(image_id).write_text(annotation())
    world.list.write_text("".join(f"{image_id}\n" for image_id in IDS))
    found = evaluate.Results(list(IDS), np.array([0.9, 0.8, 0.7]), np.array([[5.0, 6, 30, 20]] * 3))
    nothing = evaluate.Results([], np.zeros(0), np.zeros((0, 4)))
    write_results(world.results, "test", dict.fromkeys(voc.CLASSES[1:], nothing) | {"dog": found})
    world.open_store()
    (world.own / "images").mkdir(parents=True)
    (world.own / "labels").mkdir()
    (world.own / "classes.txt").write_text("dog\ncat\n")
    for image_id in IDS:
        shutil.copy(world.jpg(image_id), world.own / "images" / f"{image_id}.jpg")
        (world.own / "labels" / f"{image_id}.txt").write_text("0 .5 .5 .4 .4\n")
    world.train()
    return world


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing that is wrong."""

    name: str
    spoil: Callable[[World], Any]
    then: Callable[[World], Any]  # what somebody does who doesn't know
    where: str = ""  # refused: the file or folder that the sentence names, from `World.home`
    says: tuple[str, ...] = ()  # refused: other words in it
    answer: Any = ALL  # repaired: what comes out
    touches: tuple[
        str, ...
    ] = ()  # files that may come, go or change, as beginnings of paths from `World.home`

    @property
    def rule(self) -> str:
        return "refused" if self.says else "repaired"


class Malicious:
    """Unpickling it writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


# --- How things are spoilt ------------------------------------------------------------------------------


def put(path: Callable[[World], Path], content: str | bytes | Callable[[bytes], bytes]) -> Callable:
    """Write something else into a file, or change its bytes."""

    def spoil(world: World) -> None:
        place, new = path(world), content
        if callable(new):
            new = new(place.read_bytes())
        place.write_bytes(new.encode() if isinstance(new, str) else new)

    return spoil


def picture(save: Callable[[Image.Image, io.BytesIO], Any]) -> Callable:
    """The second photograph, saved in another way under its old name."""

    def spoil(world: World) -> None:
        held = io.BytesIO()
        save(Image.fromarray(pixels(IDS[1])), held)
        world.jpg().write_bytes(held.getvalue())

    return spoil


def xml(text: str | bytes) -> Callable:
    return put(World.xml, text)


def lines(text: str | bytes) -> Callable:
    return put(lambda world: world.list, text)


def table(text: str | bytes) -> Callable:
    return put(World.table, text)


def state(change: Callable[[dict], Any]) -> Callable:
    """The checkpoint of the run, with something else in it."""

    def spoil(world: World) -> None:
        held = files.load_checkpoint(world.weights)
        new = change(held)
        torch.save(held if new is None else new, world.weights)

    return spoil


def evil(write: Callable[[Any, Path], Any]) -> Callable:
    return lambda world: write({"format": 1, "model": Malicious(world.home / "executed")}, world.weights)


def old_pickle(thing: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(thing))


def turned(image: Image.Image, held: io.BytesIO) -> None:
    exif = Image.Exif()
    exif[274] = 6
    image.save(held, "JPEG", exif=exif, quality=95)


def bomb(depth: int) -> str:
    words = "".join(f'<!ENTITY w{i + 1} "{f"&w{i};" * 10}">' for i in range(depth))
    head = f'<?xml version="1.0"?>\n<!DOCTYPE annotation [<!ENTITY w0 "dog">{words}]>\n'
    return annotation(name=f"&w{depth};", head=head)


def huge_png() -> bytes:
    """A PNG that says it is 40,000 x 40,000 px."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def near(photographs: list[torch.Tensor]) -> int:
    """Largest mean difference of a photograph from what was painted, in whole numbers of a colour."""
    return max(
        int(np.abs(p.numpy().astype(int) - pixels(i)).mean()) for p, i in zip(photographs, IDS, strict=True)
    )


def unlink(path: Callable[[World], Path]) -> Callable:
    return lambda world: path(world).unlink()


def halves(content: bytes) -> bytes:
    return content[: len(content) // 2]


# --- The table ------------------------------------------------------------------------------------------

JPG, XML = f"VOCdevkit/VOC2007/JPEGImages/{IDS[1]}.jpg", f"VOCdevkit/VOC2007/Annotations/{IDS[1]}.xml"
LIST, DOG = "VOCdevkit/VOC2007/ImageSets/Main/test.txt", "results/comp4_det_test_dog.txt"
WHOLE = "wanted a complete image"
PLAIN = "wanted well-formed XML"
CHECKPOINT = "run/checkpoint.pt"


def decoded(world: World) -> bool:
    """Whether all photographs are what was painted, but for what JPEG, inks or a palette cost."""
    return near(world.photographs()) < 6


def boxes(world: World) -> list:
    return world.examples()[1].boxes.tolist()


def ids(world: World) -> list[str]:
    return [example.image_id for example in world.examples()]


def picked(world: World) -> list[str]:
    return sorted(own.read_folder(world.own).notes)


def refused_jpg(name: str, content: Any, *says: str) -> Case:
    return Case(name, put(World.jpg, content), World.photographs, JPG, says or (WHOLE,))


PHOTOGRAPHS = [
    refused_jpg("photograph cut off in the middle", halves),
    refused_jpg("photograph cut off in its header", lambda content: content[:50]),
    refused_jpg("photograph of no bytes", b""),
    refused_jpg("photograph of zeros, as after a power cut", b"\0" * 2000),
    refused_jpg("photograph that is a web page", "<html>404 not found</html>"),
    refused_jpg(
        "photograph that is a program in PostScript", "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n"
    ),
    refused_jpg("photograph of 1.6 billion pixels", huge_png(), "exceeds limit", WHOLE),
    Case("photograph that isn't there", unlink(World.jpg), World.photographs, JPG, (WHOLE,)),
    Case(
        "photograph that is a folder",
        lambda world: (world.jpg().unlink(), world.jpg().mkdir()),
        World.photographs,
        JPG,
        (WHOLE,),
    ),
    Case(
        "photograph of another size than annotated",
        picture(lambda image, held: image.resize((20, 15)).save(held, "JPEG")),
        World.photographs,
        JPG,
        ("20x15 px; its annotation says 40x30",),
    ),
    Case(
        "photograph of 16 bits",
        picture(lambda image, held: Image.fromarray(np.full((30, 40), 9999, np.uint16)).save(held, "PNG")),
        World.photographs,
        JPG,
        ("more than 8 bits a colour", WHOLE),
    ),
    Case(
        "photograph saved progressively",
        picture(lambda image, held: image.save(held, "JPEG", progressive=True, quality=95)),
        decoded,
        answer=True,
    ),
    Case(
        "photograph in the colours of print",
        picture(lambda image, held: image.convert("CMYK").save(held, "JPEG", quality=95)),
        decoded,
        answer=True,
    ),
    Case(
        "photograph in grey",
        picture(lambda image, held: image.convert("L").save(held, "JPEG")),
        lambda world: bool((world.photographs()[1].diff(dim=-1) == 0).all()),
        answer=True,
    ),
    Case("photograph turned by the camera's note: as stored", picture(turned), decoded, answer=True),
    Case("PNG called .jpg", picture(lambda image, held: image.save(held, "PNG")), decoded, answer=True),
    Case(
        "PNG with transparency called .jpg",
        picture(lambda image, held: image.convert("RGBA").save(held, "PNG")),
        decoded,
        answer=True,
    ),
    Case(
        "GIF of two frames called .jpg: the first",
        picture(
            lambda image, held: image.save(held, "GIF", save_all=True, append_images=[image.rotate(180)])
        ),
        decoded,
        answer=True,
    ),
]


def refused_xml(name: str, content: Any, *says: str) -> Case:
    return Case(name, xml(content), World.examples, XML, says)


INSIDE = "wanted 1 <= xmin <= xmax <= 40 and 1 <= ymin <= ymax <= 30"
BOX = [[4.0, 5.0, 30.0, 20.0]]
PART = (
    "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
)
OUTSIDE_FILE = f'<!DOCTYPE annotation [<!ENTITY w SYSTEM "{Path(__file__).as_uri()}">]>\n'
TWICE = "<object><name>dog</name><bndbox>" + corners(5, 6, 30, 20) + "</bndbox></object>"

ANNOTATIONS = [
    refused_xml("annotation of no bytes", "", "no element found: line 1", PLAIN),
    refused_xml("annotation cut off", annotation()[:-30], "line 3", PLAIN),
    refused_xml("annotation that is a picture", b"\xff\xd8\xff\xe0\0\x10JFIF", "line 1", PLAIN),
    refused_xml("annotation that is one word", "dog", "line 1", PLAIN),
    refused_xml("annotation that grows a million times", bomb(6), "a document type", PLAIN),
    refused_xml("annotation that grows a billion times", bomb(9), "a document type", PLAIN),
    refused_xml(
        "annotation that asks for another file", annotation(name="&w;", head=OUTSIDE_FILE), "a document type"
    ),
    refused_xml(
        "annotation in Latin-1 that says nothing of it", annotation(name="chät").encode("latin-1"), "line 3"
    ),
    refused_xml(
        "annotation in a code nobody knows", annotation(head='<?xml version="1.0" encoding="x-none"?>'), PLAIN
    ),
    Case("annotation that isn't there", unlink(World.xml), World.examples, XML, ("not there",)),
    refused_xml("size missing", annotation(size=""), "<size/width> is None; wanted a number"),
    refused_xml(
        "size of words", annotation(size="<size><width>wide</width></size>"), "<size/width> is 'wide'"
    ),
    refused_xml(
        "size of zero",
        annotation("", size="<size><width>0</width><height>0</height></size>"),
        "0x0; wanted 1",
    ),
    Case(
        "size with its sides exchanged",
        xml(annotation(corners(1, 1, 9, 9), size="<size><width>30</width><height>40</height></size>")),
        World.photographs,
        JPG,
        ("40x30 px; its annotation says 30x40",),
    ),
    refused_xml(
        "box with its corners exchanged", annotation(corners(30, 6, 5, 20)), "dog at (30, 6, 5, 20)", INSIDE
    ),
    refused_xml("box without area", annotation(corners(6, 6, 5, 20)), "dog at (6, 6, 5, 20)", INSIDE),
    refused_xml("box that begins outside", annotation(corners(0, 6, 5, 20)), "dog at (0, 6, 5, 20)", INSIDE),
    refused_xml("box that ends outside", annotation(corners(5, 6, 41, 20)), "dog at (5, 6, 41, 20)", INSIDE),
    refused_xml(
        "box far too large for a number", annotation(corners(5, 6, "1e999", 20)), "<bndbox/xmax> is '1e999'"
    ),
    refused_xml(
        "box that is no number",
        annotation(corners(5, "nan", 9, 20)),
        "<bndbox/ymin> is 'nan'; wanted a number",
    ),
    refused_xml(
        "box of words", annotation(corners("left", 6, 9, 20)), "<bndbox/xmin> is 'left'; wanted a number"
    ),
    refused_xml("object without a box", annotation(""), "<bndbox/xmin> is None; wanted a number"),
    refused_xml("class nobody knows", annotation(name="unicorn"), "class 'unicorn'; wanted one of aeroplane"),
    refused_xml("object without a class", annotation(name=""), "class ''; wanted one of aeroplane"),
    Case(
        "box of fractions: kept",
        xml(annotation(corners(5.5, 6, 30.25, 20))),
        boxes,
        answer=[[4.5, 5, 30.25, 20]],
    ),
    Case("part of an object: no object", xml(annotation(more=PART)), boxes, answer=BOX),
    Case(
        "nothing said of difficult: it isn't",
        xml(annotation(difficult="")),
        lambda world: world.examples()[1].difficult.tolist(),
        answer=[False],
    ),
    Case(
        "object twice: two objects",
        xml(annotation().replace("</annotation>", TWICE + "</annotation>")),
        boxes,
        answer=BOX * 2,
    ),
    Case("class with spaces around it", xml(annotation(name="\n dog ")), boxes, answer=BOX),
    Case("annotation with a byte order mark", xml("\ufeff" + annotation()), boxes, answer=BOX),
    Case(
        "annotation in UTF-16",
        xml(annotation(head='<?xml version="1.0" encoding="UTF-16"?>').encode("utf-16")),
        boxes,
        answer=BOX,
    ),
    Case(
        "annotation nested 20,000 deep: passed over",
        xml(annotation(more="<a>" * 20_000 + "</a>" * 20_000)),
        boxes,
        answer=BOX,
    ),
]


def refused_list(name: str, content: Any, *says: str, where: str = LIST) -> Case:
    return Case(name, lines(content), World.examples, where, says)


LISTS = [
    refused_list("list of no lines", "\n \n", "empty; wanted one image id a line"),
    Case(
        "list that isn't there",
        unlink(lambda world: world.list),
        World.examples,
        LIST,
        ("not there", "wanted"),
    ),
    refused_list(
        "list with an id nobody has", "000001\n000009\n", "not there", where=XML.replace(IDS[1], "000009")
    ),
    refused_list(
        "list with an id that leads out", "000001\n../../../../etc/passwd\n", "line 2", "wanted an image id"
    ),
    refused_list(
        "list with an id from the root", "/etc/passwd\n", "line 1: '/etc/passwd'; wanted an image id"
    ),
    refused_list("list with an id of another disk", "C:\\boot\n", "line 1", "wanted an image id"),
    refused_list(
        "list of a class, with -1 and 1", "000001 -1\n000002  1\n", "line 1: '000001 -1'; wanted one image id"
    ),
    refused_list(
        "list with an id twice", "000001\n\n000001\n", "line 3: 000001 again, as in line 1; wanted each once"
    ),
    refused_list("list of bytes", bytes(range(128, 256)), "wanted one image id a line"),
    refused_list("list with a zero byte", "000001\0\n", "line 1: '000001\\x00'; wanted one image id"),
    Case("list from Windows", lines("000001\r\n000002\r\n000003\r\n"), ids, answer=list(IDS)),
    Case(
        "list with blank lines and spaces", lines("\n000001  \n\n\t000002\n000003\n\n"), ids, answer=list(IDS)
    ),
    Case("list with a byte order mark", lines("\ufeff000001\n000002\n000003"), ids, answer=list(IDS)),
]


def refused_result(name: str, content: Any, *says: str) -> Case:
    return Case(name, table(content), World.judge, DOG, says)


FOUR = "wanted image id, score and four corners"
LINES = "000001 .9 5 6 30 20\n000002 .8 5 6 30 20\n000003 .7 5 6 30 20\n"

RESULTS = [
    refused_result("result with a score that is no number", LINES + "000001 nan 1 2 3 4\n", "line 4", FOUR),
    refused_result(
        "result with an endless corner", "000001 .9 1 2 inf 4\n", "line 1: '000001 .9 1 2 inf 4'", FOUR
    ),
    refused_result("result with a column too few", LINES + "000001 .9 1 2 3\n", "line 4", FOUR),
    refused_result("result with a column too many", "\n000001 .9 1 2 3 4 5\n", "line 2", FOUR),
    refused_result("result of words", "000001 high 1 2 3 4\n", "line 1", FOUR),
    refused_result("result of bytes", bytes(range(128, 256)), "wanted one detection a line"),
    Case(
        "result for an image nobody has",
        table(LINES + "000009 .9 5 6 30 20\n"),
        World.judge,
        "dog",
        ("image '000009' isn't in the set that is judged",),
    ),
    Case(
        "result file that isn't there",
        unlink(World.table),
        World.judge,
        DOG,
        ("not there, there are comp4_det_test_", "wanted one file for every class"),
    ),
    Case("result file of no lines: nothing found", table(""), World.judge, answer=0.0),
    Case(
        "result file from Windows, blank lines",
        table("\ufeff" + LINES.replace("\n", "\r\n\r\n")),
        World.judge,
        answer=1.0,
    ),
    Case(
        "result with corners exchanged: a false alarm",
        table("000001 .9 30 6 5 20\n"),
        World.judge,
        answer=0.0,
    ),
    Case(
        "result twice: the second is a false alarm",
        table(LINES + "000001 .1 5 6 30 20\n"),
        World.judge,
        answer=1.0,
    ),
]


def refused_weights(name: str, spoil: Callable, *says: str) -> Case:
    return Case(name, spoil, World.detector, CHECKPOINT, says)


def raw(content: Any) -> Callable:
    return put(lambda world: world.weights, content)


OTHER = "a checkpoint of another version"
ALONE = "wanted the weights alone"
TENSORS = "wanted tensors saved by PyTorch"

CHECKPOINTS = [
    refused_weights("checkpoint cut off", raw(halves), "broken", TENSORS),
    refused_weights("checkpoint of no bytes", raw(b""), "broken", TENSORS),
    refused_weights("checkpoint that is a web page", raw("<html>"), "a web page", TENSORS),
    refused_weights("checkpoint that runs something", evil(torch.save), "holds a pickled", ALONE),
    refused_weights(
        "checkpoint that runs something, as a plain pickle", evil(old_pickle), "holds a pickled", ALONE
    ),
    refused_weights(
        "checkpoint that runs something, in the old layout",
        evil(lambda thing, path: torch.save(thing, path, _use_new_zipfile_serialization=False)),
        ALONE,
    ),
    refused_weights(
        "checkpoint that is a whole module", state(lambda s: torch.nn.Linear(2, 2)), "Linear", ALONE
    ),
    refused_weights(
        "checkpoint that is only its weights",
        state(lambda s: s["model"]),
        "weights of this library's network without",
    ),
    refused_weights(
        "checkpoint with two sets of weights",
        state(lambda s: {"model": s["model"], "state_dict": s["model"]}),
        "under state_dict and under model",
    ),
    refused_weights(
        "checkpoint of a later format", state(lambda s: s.update(format=2)), "wanted a checkpoint of format 1"
    ),
    refused_weights(
        "checkpoint of another program",
        state(lambda s: {"weight": torch.zeros(3)}),
        "names like weight: wanted a whole VGG16, or its features.* alone, an SSD300 by torchvision",
    ),
    refused_weights(
        "checkpoint that is a list", state(lambda s: [1, 2]), "holds list; wanted tensors by name"
    ),
    refused_weights(
        "checkpoint without settings", state(lambda s: s.pop("config") and None), OTHER, "KeyError"
    ),
    refused_weights(
        "checkpoint without its step", state(lambda s: s.pop("step") and None), OTHER, "KeyError"
    ),
    refused_weights(
        "checkpoint with a setting unknown here", state(lambda s: s["config"].update(colour=1)), OTHER
    ),
    refused_weights("checkpoint whose settings are a list", state(lambda s: s.update(config=[1])), OTHER),
    refused_weights("checkpoint of another width", state(lambda s: s["config"].update(width=1 / 32)), OTHER),
    refused_weights("checkpoint without a layer", state(lambda s: s["model"].popitem() and None), OTHER),
    Case(
        "checkpoint that isn't there",
        unlink(lambda w: w.weights),
        World.detector,
        CHECKPOINT,
        ("not there", "wanted"),
    ),
]


def finish(world: World) -> int:
    """Make the run one to go on with, one step from its end."""
    shutil.rmtree(world.run)
    data = world.examples(), store.Jpegs(world.examples())
    engine.train(TINY, data, data, world.run, stop_after=1)


def begun(spoil: Callable[[World], Any]) -> Callable:
    return lambda world: (finish(world), spoil(world))


def in_run(name: str) -> Callable[[World], Path]:
    return lambda world: world.run / name


def log(world: World) -> list[int]:
    """Go on with the run. -> steps in its log."""
    world.train()
    return [row["step"] for row in runlog.read_log(world.run) if "multibox" in row]


RUNS = [
    Case(
        "run with its settings half written",
        begun(put(in_run("config.json"), halves)),
        World.train,
        answer=2,
        touches=("run",),
    ),
    Case(
        "run with its log cut off",
        begun(put(in_run("log.jsonl"), lambda x: x[:-9])),
        log,
        answer=[2],
        touches=("run",),
    ),
    Case(
        "run with zeros at the end of its log",
        begun(put(in_run("log.jsonl"), lambda x: x + b"\0" * 99)),
        log,
        answer=[1, 2],
        touches=("run",),
    ),
    Case(
        "run with bytes in its log",
        begun(put(in_run("log.jsonl"), lambda x: x + b"\xff\xfe\n")),
        log,
        answer=[1, 2],
        touches=("run",),
    ),
    Case(
        "run with a number for a line of its log",
        begun(put(in_run("log.jsonl"), lambda x: x + b"12\n")),
        log,
        answer=[1, 2],
        touches=("run",),
    ),
    Case("run without its log", begun(unlink(in_run("log.jsonl"))), log, answer=[2], touches=("run",)),
    Case(
        "run without a checkpoint: from its beginning",
        begun(unlink(in_run("checkpoint.pt"))),
        log,
        answer=[1, 2],
        touches=("run",),
    ),
    Case(
        "run with half of a checkpoint beside the whole one",
        begun(put(in_run("checkpoint.pt.part-99"), b"half")),
        lambda world: (world.train(), sorted(p.name for p in world.run.glob("*part*")))[1],
        answer=[],
        touches=("run",),
    ),
    Case(
        "run with a lock left by a crash",
        begun(put(in_run("lock"), "process 1\n")),
        World.train,
        answer=2,
        touches=("run",),
    ),
    Case(
        "run with its checkpoint cut off",
        put(in_run("checkpoint.pt"), halves),
        World.train,
        CHECKPOINT,
        ("broken", "wanted a checkpoint"),
    ),
    Case(
        "run of other settings",
        state(lambda s: s["config"].update(seed=9)),
        World.train,
        "run",
        ("seed 9, asked for is 0", "name another folder"),
    ),
    Case(
        "run kept without what it takes to go on",
        state(lambda s: s.update(optimizer={})),
        World.train,
        "run",
        ("a recording",),
    ),
    Case(
        "run with another optimiser's state",
        state(lambda s: s["optimizer"].update(param_groups=[])),
        World.train,
        CHECKPOINT,
        (OTHER,),
    ),
    Case(
        "folder of something else instead of a run",
        lambda world: (
            shutil.rmtree(world.run),
            world.run.mkdir(),
            (world.run / "thesis.txt").write_text("x"),
        ),
        World.train,
        "run",
        ("holds files that aren't a run; name another folder",),
    ),
    Case(
        "file instead of the folder of a run",
        lambda world: (shutil.rmtree(world.run), world.run.write_text("x")),
        World.train,
        "run",
        ("File exists",),
    ),
]


def index(change: Callable[[dict], Any]) -> Callable:
    def spoil(world: World) -> None:
        path = world.store / store.INDEX
        held = json.loads(path.read_text())
        change(held)
        path.write_text(json.dumps(held))

    return spoil


def rows(change: Callable[[list], Any]) -> Callable:
    return index(lambda held: [change(row) for row in held["photographs"]])


def mended_store(name: str, spoil: Callable) -> Case:
    """A cache is made again without a word from anybody."""
    return Case(name, spoil, right_bytes, answer=True, touches=("store",))


def half_built(world: World) -> None:
    """What a build leaves that is killed after a note and some more bytes."""
    part = world.store.with_name(f"store.part-{store.fingerprint(world.examples())[:12]}")
    world.store.rename(part)
    put(lambda _: part / store.PIXELS, halves)(world)
    note = json.loads((part / store.INDEX).read_text())
    (part / store.INDEX).write_text(json.dumps(note | {"photographs": note["photographs"][:1]}))


def right_bytes(world: World) -> bool:
    return world.open_store() == [p.numpy().tobytes() for p in world.photographs()]


def repainted(world: World) -> None:
    """The second photograph as another picture of as many bytes, an hour later."""
    path, held = world.jpg(), io.BytesIO()
    Image.fromarray(pixels(IDS[0])).save(held, "JPEG", quality=60)
    path.write_bytes(
        held.getvalue().ljust(path.stat().st_size, b"\0")
    )  # after its end a JPEG may hold anything
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 3600))


STORES = [
    mended_store("store with its pixels cut off", put(lambda w: w.store / store.PIXELS, halves)),
    mended_store("store without pixels", unlink(lambda w: w.store / store.PIXELS)),
    mended_store("store with its index cut off", put(lambda w: w.store / store.INDEX, halves)),
    mended_store("store without index", unlink(lambda w: w.store / store.INDEX)),
    mended_store("store with an index of bytes", put(lambda w: w.store / store.INDEX, b"\xff\xfe\xfd")),
    mended_store("store of another format", index(lambda i: i.update(format=1))),
    mended_store("store of other photographs", rows(lambda r: r.__setitem__(0, "VOC2007 x"))),
    mended_store("store whose sizes are words", rows(lambda r: r.__setitem__(1, "a"))),
    mended_store("store whose sizes are others", rows(lambda r: r.__setitem__(1, 60))),
    mended_store(
        "store of photographs whose content was another", rows(lambda r: r.__setitem__(slice(4, 6), [0, "0"]))
    ),
    mended_store("store of a photograph replaced by one of the same length", repainted),
    mended_store("store of one photograph more", lambda w: lines("000001\n000003\n")(w)),
    Case(
        "folder of something else in the place of a store",
        lambda w: (shutil.rmtree(w.store), w.store.mkdir(), (w.store / "thesis.txt").write_text("x")),
        World.open_store,
        "store",
        ("holds thesis.txt, so it isn't a store", "named by --store"),
    ),
    Case("store of which a part was built", half_built, right_bytes, answer=True, touches=("store",)),
    Case(
        "store that isn't there",
        lambda w: shutil.rmtree(w.store),
        right_bytes,
        answer=True,
        touches=("store",),
    ),
]


def refused_own(name: str, spoil: Callable, where: str, *says: str) -> Case:
    return Case(name, spoil, picked, where, says)


def label(text: str | bytes) -> Callable:
    return put(lambda world: world.own / f"labels/{IDS[1]}.txt", text)


def coco(change: Callable[[dict], Any]) -> Callable:
    """The folder of one's own, in COCO's format instead of YOLO's."""

    def spoil(world: World) -> None:
        (world.own / "classes.txt").unlink()
        shutil.rmtree(world.own / "labels")
        whole = {
            "images": [
                {"id": i, "file_name": f"{image_id}.jpg", "width": 40, "height": 30}
                for i, image_id in enumerate(IDS)
            ],
            "annotations": [{"image_id": i, "category_id": 1, "bbox": [4, 5, 20, 10]} for i in range(3)],
            "categories": [{"id": 1, "name": "dog"}],
        }
        change(whole)
        (world.own / "all.json").write_text(json.dumps(whole))

    return spoil


UNUSED = "classes of the list without objects, left out"
BROKEN = "left out: no image, or a broken one"
TXT, JSON = f"own/labels/{IDS[1]}.txt", "own/all.json"

OWN = [
    refused_own(
        "YOLO: a line of four numbers", label("0 .5 .5 .4\n"), TXT, "line 1", "wanted a class number"
    ),
    refused_own(
        "YOLO: a class nobody knows",
        label("0 .5 .5 .4 .4\n7 .5 .5 .4 .4\n"),
        TXT,
        "line 2: class 7; wanted 0 to 1",
    ),
    refused_own(
        "YOLO: px instead of parts", label("0 20 15 10 10\n"), TXT, "line 1", "wanted fractions of the image"
    ),
    refused_own("YOLO: no number", label("0 .5 nan .4 .4\n"), TXT, "line 1", "wanted a class number"),
    refused_own(
        "YOLO: classes of bytes",
        put(lambda w: w.own / "classes.txt", b"\xff\xfe\xfa"),
        "own/classes.txt",
        "wanted",
    ),
    Case(
        "COCO: a picture that leads out, looked for below only",
        coco(lambda w: w["images"][0].update(file_name=f"../VOCdevkit/VOC2007/JPEGImages/{IDS[0]}.jpg")),
        picked,
        answer=["paths that lead elsewhere, found by name"],
    ),
    refused_own(
        "COCO: two images of one id",
        coco(lambda w: w["images"][1].update(id="0")),
        JSON,
        "image id '0' twice",
        "number the images again",
    ),
    refused_own(
        "COCO: two categories of one id",
        coco(lambda w: w["categories"].append({"id": "1", "name": "cat"})),
        JSON,
        "category id '1' twice",
        "give the categories new numbers",
    ),
    refused_own(
        "COCO: corners in the place of width and height",
        coco(lambda w: [a.update(bbox=[20, 12, 38, 28]) for a in w["annotations"]]),
        f"own/images/{IDS[0]}.jpg",
        "as corners none does",
    ),
    Case(
        "COCO: a category that no object has, of the name of another",
        coco(lambda w: w["categories"].append({"id": 0, "name": "dog"})),
        picked,
        answer=["categories without objects, named like another"],
    ),
    Case(
        "COCO: an annotation with neither box nor outline",
        coco(lambda w: w["annotations"][0].pop("bbox")),
        picked,
        answer=["annotations with neither bbox nor outline"],
    ),
    Case(
        "YOLO: corners exchanged, put right",
        label("0 .5 .5 -.4 -.4\n"),
        picked,
        answer=["boxes with exchanged corners, corrected", UNUSED],
    ),
    Case(
        "YOLO: macOS's files beside, never read",
        lambda w: (w.own / f"labels/._{IDS[1]}.txt").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X"),
        picked,
        answer=[UNUSED, "hidden files, never read"],
    ),
    refused_own("COCO: no categories", coco(lambda w: w.pop("categories")), JSON, "'categories' is missing"),
    refused_own(
        "COCO: a box of three numbers",
        coco(lambda w: w["annotations"][0].update(bbox=[1, 2, 3])),
        JSON,
        "wanted x, y, width",
    ),
    refused_own(
        "COCO: a box that is no number",
        coco(lambda w: w["annotations"][0].update(bbox=[1, 2, 3, float("nan")])),
        JSON,
        "bbox",
    ),
    refused_own(
        "COCO: a category nobody knows",
        coco(lambda w: w["annotations"][0].update(category_id=5)),
        JSON,
        "category 5; wanted",
    ),
    refused_own(
        "nothing that is a picture",
        lambda w: shutil.rmtree(w.own / "images"),
        "own",
        "no images in it; wanted",
    ),
    Case(
        "YOLO: text file of bytes, left out",
        label(b"\xff\xfe\xfa"),
        picked,
        answer=["classes of the list without objects, left out", "left out: its text file can't be read"],
    ),
    Case(
        "picture of one's own of no bytes, left out",
        put(lambda w: w.own / f"images/{IDS[1]}.jpg", b""),
        picked,
        answer=["classes of the list without objects, left out", BROKEN],
    ),
]

CASES = [*PHOTOGRAPHS, *ANNOTATIONS, *LISTS, *RESULTS, *CHECKPOINTS, *RUNS, *STORES, *OWN]


def main() -> None:
    """The table."""
    wide = max(len(case.name) for case in CASES)
    for case in CASES:
        print(f"{case.name:<{wide}}  {case.rule:<9} {'; '.join(case.says)}")
    print(f"{len(CASES)} cases, {sum(case.rule == 'refused' for case in CASES)} refused")


if __name__ == "__main__":
    sys.exit(main())
