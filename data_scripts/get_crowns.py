"""Get a small genuine set: tree crowns seen from the air, as folders of tiles with Pascal XML.

    python data_scripts/get_crowns.py [--out data/crowns] [--side 300]

Four aerial photographs with 951 boxes come with the PyPI package deepforest (MIT licence; B. Weinstein and others,
photographs by the National Ecological Observatory Network). pip downloads its wheel, 21 MB; nothing of it is
installed or run. A whole photograph is up to 2,472 px wide and a crown 40, so both large ones are cut into tiles.
Those of one become the part train, those of the other test. Images without a crown stay in.

    python data_scripts/get_crowns.py --facts course/facts/crowns_boxes.csv

writes size and corners of the 951 boxes instead, which chapter 12 compares with the anchors.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from ssdlib.data import own
from ssdlib.data.formats import FormatError

PACKAGE, INSIDE = "deepforest==2.1.0", "deepforest/data/"
PARTS = {"2019_YELL_2_528000_4978000_image_crop2": "train", "2019_YELL_2_541000_4977000_image_crop": "test"}
LEAST = 0.4  # of a crown's area has to lie in a tile


def unpack(into: Path) -> None:
    """The photographs that have XML, and that XML."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(into), PACKAGE]
    if subprocess.run(pip).returncode:
        sys.exit(f"{PACKAGE}: pip couldn't download it; wanted its wheel; check the internet connection")
    [wheel] = into.glob("deepforest-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(INSIDE) and name.endswith(".xml")]
        for name in names:
            for suffix in (".xml", ".png"):
                member = name.removesuffix(".xml") + suffix
                (into / Path(member).name).write_bytes(archive.read(member))
    wheel.unlink()


def cut(example, part: str, out: Path, side: int) -> None:
    """Write the tiles of one photograph: every crown goes to each tile with enough of it."""
    width, height = example.size
    with Image.open(example.path) as photograph:
        for top in range(0, height - side // 2, side):
            for left in range(0, width - side // 2, side):
                tile = (left, top, min(left + side, width), min(top + side, height))
                name = f"{part}_{top:04d}_{left:04d}"
                photograph.crop(tile).convert("RGB").save(out / part / f"{name}.png")
                (out / part / f"{name}.xml").write_text(_xml(example, tile), encoding="utf-8")


def _xml(example, tile: tuple[int, int, int, int]) -> str:
    left, top, right, bottom = tile
    lines = ["<annotation>", f"\t<size><width>{right - left}</width><height>{bottom - top}</height></size>"]
    for x1, y1, x2, y2 in example.boxes.tolist():
        a, b, c, d = max(x1, left), max(y1, top), min(x2, right), min(y2, bottom)
        if c <= a or d <= b or (c - a) * (d - b) < LEAST * (x2 - x1) * (y2 - y1):
            continue
        corners = zip(
            ("xmin", "ymin", "xmax", "ymax"), (a - left + 1, b - top + 1, c - left, d - top), strict=True
        )
        box = "".join(f"<{tag}>{value:g}</{tag}>" for tag, value in corners)
        lines.append(f"\t<object><name>tree</name><bndbox>{box}</bndbox></object>")
    return "\n".join([*lines, "</annotation>", ""])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("data/crowns"), help="default: %(default)s")
    parser.add_argument("--side", type=int, default=300, help="of a tile, px (default: %(default)s)")
    parser.add_argument("--facts", type=Path, help="write the boxes there instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        unpack(Path(folder))
        try:
            found = own.read_folder(Path(folder))
        except FormatError as error:
            sys.exit(str(error))
        if options.facts:
            rows = [
                f"{number},{e.size[0]},{e.size[1]}," + ",".join(f"{x:g}" for x in box)
                for number, e in enumerate(found.examples)
                for box in e.boxes.tolist()
            ]
            options.facts.write_text(
                "\n".join(["picture,width,height,xmin,ymin,xmax,ymax", *rows, ""]), "utf-8"
            )
            print(f"{options.facts}: {len(rows)} boxes")
            return
        for example in tqdm(found.examples, unit="photograph"):
            part = PARTS.get(example.path.stem)
            if part:
                (options.out / part).mkdir(parents=True, exist_ok=True)
                cut(example, part, options.out, options.side)
    print(f"{options.out}: {own.read_folder(options.out)}")


if __name__ == "__main__":
    main()
