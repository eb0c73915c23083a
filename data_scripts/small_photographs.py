"""A devkit's photographs in a tenth of their size, for a machine that takes few megabytes.

    python data_scripts/small_photographs.py pack DEVKIT PACKED [--sets 2007-trainval] [--side 375] [--quality 45]
    python data_scripts/small_photographs.py unpack PACKED DEVKIT

`pack` shrinks each photograph until its longer side has `--side` pixels and writes it as WebP, with annotations and
image lists unchanged, into one file: 10 KB a photograph. `unpack` makes a devkit of it, in which every photograph has
its old size again, as a JPEG, so that annotations fit and everything else works as on the genuine folder. What that
costs has to be measured on the photographs it is used for, and every figure has to say that they were small.
"""

import argparse
import io
import json
import lzma
import zipfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from ssdlib.data import voc

ANNOTATIONS = "annotations.json.xz"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("devkit", type=Path)
    packing.add_argument("packed", type=Path)
    packing.add_argument("--sets", nargs="+", default=["2007-trainval"])
    packing.add_argument("--side", type=int, default=375, help="px of the longer side (375)")
    packing.add_argument("--quality", type=int, default=45, help="of WebP, 0 to 100 (45)")
    packing.set_defaults(work=lambda o: pack(o.devkit, o.packed, o.sets, o.side, o.quality))
    unpacking = commands.add_parser("unpack")
    unpacking.add_argument("packed", type=Path)
    unpacking.add_argument("devkit", type=Path)
    unpacking.set_defaults(work=lambda o: unpack(o.packed, o.devkit))
    options = parser.parse_args()
    options.work(options)


def pack(devkit: Path, packed: Path, sets: list[str], side: int = 375, quality: int = 45) -> None:
    """Write the photographs of some image sets of a devkit into the file `packed`."""
    lists, photographs, annotations = {}, [], {}
    for one in sets:
        year, _, name = one.partition("-")
        folder = devkit / f"VOC{year}"
        ids = list(voc.read_ids(folder / "ImageSets" / "Main" / f"{name}.txt"))
        lists[f"VOC{year}/ImageSets/Main/{name}.txt"] = ids
        photographs += [folder / "JPEGImages" / f"{i}.jpg" for i in ids]
        for i in ids:
            path = folder / "Annotations" / f"{i}.xml"
            annotations[path.relative_to(devkit).as_posix()] = path.read_text("utf-8")
    photographs = list(dict.fromkeys(photographs))
    with ProcessPoolExecutor() as pool, zipfile.ZipFile(packed, "w") as file:
        for name, ids in lists.items():
            file.writestr(name, "\n".join(ids) + "\n")
        file.writestr(ANNOTATIONS, lzma.compress(json.dumps(annotations).encode()))
        small = pool.map(partial(smaller, side=side, quality=quality), photographs, chunksize=32)
        for path, content in zip(photographs, small, strict=True):
            file.writestr(path.relative_to(devkit).with_suffix(".webp").as_posix(), content)
    bytes_each = packed.stat().st_size / len(photographs)
    print(f"{packed}: {len(photographs):,} photographs, {bytes_each / 1000:.1f} KB each")


def smaller(path: Path, side: int, quality: int) -> bytes:
    """A photograph as WebP with its longer side at `side` px."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, "WEBP", quality=quality, method=6)
    return content.getvalue()


def unpack(packed: Path, devkit: Path) -> None:
    """Make the devkit, with every photograph in the size that its annotation states."""
    with zipfile.ZipFile(packed) as file, ProcessPoolExecutor() as pool:
        annotations = json.loads(lzma.decompress(file.read(ANNOTATIONS)))
        for name, text in annotations.items():
            _write(devkit / name, text.encode())
        names = [name for name in file.namelist() if name != ANNOTATIONS]
        for name in (name for name in names if name.endswith(".txt")):
            _write(devkit / name, file.read(name))
        names = [name for name in names if name.endswith(".webp")]
        targets = [devkit / name for name in names]
        for target in {target.parent for target in targets}:
            target.mkdir(parents=True, exist_ok=True)
        list(pool.map(enlarge, map(file.read, names), targets, chunksize=32))
    print(f"{devkit}: {len(targets):,} photographs")


def enlarge(content: bytes, target: Path) -> None:
    """Write the photograph as a JPEG in its old size."""
    stated = voc.parse(target.parents[1] / "Annotations" / f"{target.stem}.xml").find("size")
    size = int(stated.findtext("width")), int(stated.findtext("height"))
    with Image.open(io.BytesIO(content)) as image:
        large = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    large.save(target.with_suffix(".jpg"), "JPEG", quality=95, subsampling=0)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    main()
