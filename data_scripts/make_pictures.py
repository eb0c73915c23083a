"""Pictures of the README, into docs/pictures: a dragged explorer, the way of a batch, detections, the chapters.

    python data_scripts/make_pictures.py [--only moving batch found photographs chapters] [--out docs/pictures]

`found`, `photographs` and `chapters` are figures of the committed notebooks, made smaller. `moving` is the matching
explorer of the reading edition, dragged in a Chromium, with a screenshot after each move; it needs playwright and the
mini VOC (`make mini`). Nothing is trained and nothing is fetched.
"""

import argparse
import base64
import io
import math
import os
import shutil
import sys
from pathlib import Path

import nbformat
from PIL import Image

ROOT = Path(__file__).parents[1]
MOST = 1_500_000  # bytes of the moving picture
FRAMES = 18
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

# for each chapter the beginning of the cell whose figure stands for it, and the part of the figure that is shown, as
# shares of its width and height (left, top, right, bottom)
WHOLE = (0, 0, 1, 1)
FIGURES = {
    "00_start_here": ("figure = box_figures.detected(few[:4]", (0.03, 0.08, 0.5, 0.5)),
    "01_boxes_and_voc": ("explorer = overlap.Overlaps", (0, 0, 0.5, 1)),
    "02_anchors": ("explorer = anchor_browser.AnchorBrowser", (0, 0, 0.4, 1)),
    "03_matching": ("draw_matching(scene, found)", WHOLE),
    "04_multibox_loss": ("explorer = loss_anatomy.LossAnatomy", (0, 0, 1, 0.7)),
    "05_network": ("figures.draw_network", WHOLE),
    "06_augmentation": ("figure = figures.strip(shown)", (0, 0, 0.6, 1)),
    "07_sgd_instability": ('figures.ten(["paper", "near", "beyond"]', (0, 0.08, 0.68, 0.9)),
    "08_learning_rate_drops": ("published_figures.losses(curve)", WHOLE),
    "09_full_training": ("dashboard.Dashboard(", (0, 0, 1, 0.5)),
    "10_detection": ("explorer = nms_bench.NmsBench", (0, 0, 0.5, 1)),
    "11_evaluation": ("explorer = curve_explorer.CurveExplorer", (0.45, 0, 1, 0.75)),
    "12_your_own_images": ("figure = plots.detections(shown, pixels, seen, score=0.4", (0.5, 0.1, 1, 0.54)),
    "13_your_ssd": ("sheet = figures.certificate", (0, 0.04, 1, 0.67)),
}
FOUND = ("00_start_here", "figure = box_figures.detected(few[:4]")
FREE = ("10_detection", "figure = photographs.free_drawn(")


def figure_of(chapter: str, words: str) -> Image.Image:
    """The figure below the first cell of a chapter that holds `words` and shows one."""
    path = ROOT / "chapters" / f"{chapter}.ipynb"
    for cell in nbformat.read(path, as_version=4).cells:
        if words in cell.source:
            for out in cell.get("outputs", ()):
                data = out.get("data", {})
                if drawn := data.get("image/png") or data.get("image/jpeg"):
                    image = Image.open(io.BytesIO(base64.b64decode(drawn))).convert("RGBA")
                    white = Image.new("RGBA", image.size, "white")
                    return Image.alpha_composite(white, image).convert("RGB")
    raise SystemExit(f"{path}: no cell with {words!r} shows a figure; name another one in FIGURES")


def save(image: Image.Image, path: Path, colors: int) -> None:
    """As a PNG with a palette."""
    image.quantize(colors, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {image.width} x {image.height}, {path.stat().st_size:,} bytes")


def chapters(out: Path) -> None:
    for chapter, (words, (left, top, right, bottom)) in FIGURES.items():
        image = figure_of(chapter, words)
        w, h = image.size
        image = image.crop((round(left * w), round(top * h), round(right * w), round(bottom * h)))
        image.thumbnail((160, 120), Image.Resampling.LANCZOS)
        save(image, out / f"{chapter[:2]}.png", 48)


def found(out: Path) -> None:
    image = figure_of(*FOUND)
    save(image, out / "found.png", 96)


def free(out: Path) -> None:
    """What the full-width network found in freely licensed photographs."""
    image = figure_of(*FREE)
    image.thumbnail((1000, 1000), Image.Resampling.LANCZOS)
    save(image, out / "photographs.png", 128)


def batch(out: Path) -> None:
    """The way of a batch, with the chapters that explain each step."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    upper = [
        ("photograph\nand boxes", "01"),
        ("augmentation", "06"),
        ("matching,\noffsets", "02 03 04"),
        ("SSD300", "05"),
        ("multibox\nloss", "04"),
        ("SGD step,\ncheckpoint", "07 08 09"),
    ]
    lower = [("decode,\nsuppress", "10"), ("average\nprecision", "11")]
    figure, axes = plt.subplots(figsize=(9, 2.7), dpi=160)
    axes.set(xlim=(-0.1, 11.7), ylim=(-0.1, 3.45))
    axes.axis("off")

    def boxed(x: float, y: float, words: str, number: str, color: str) -> None:
        axes.text(x + 0.8, y + 0.55, words, ha="center", va="center", fontsize=9)
        axes.add_patch(plt.Rectangle((x, y), 1.6, 1.1, facecolor=color, edgecolor="black", lw=1, zorder=0))
        axes.text(x + 0.8, y + 1.18, number, ha="center", va="bottom", fontsize=9, color="#555555")

    def arrow(start: tuple[float, float], end: tuple[float, float]) -> None:
        axes.annotate("", end, start, arrowprops=dict(arrowstyle="-|>", color="black", shrinkA=0, shrinkB=0))

    for i, (words, number) in enumerate(upper):
        boxed(2 * i, 1.95, words, number, "#cfe5f5" if i != 3 else "#fde3c8")
        if i:
            arrow((2 * i - 0.4, 2.5), (2 * i, 2.5))
    for i, (words, number) in enumerate(lower):
        boxed(8 + 2 * i, 0, words, number, "#d5efe3")
    axes.plot([6.8, 6.8], [1.95, 0.55], color="black", lw=1)
    arrow((6.8, 0.55), (8, 0.55))
    arrow((9.6, 0.55), (10, 0.55))
    axes.text(0, 0.9, "Training runs along the upper row.", fontsize=10, va="center")
    axes.text(0, 0.35, "A trained network takes the lower one.", fontsize=10, va="center")
    memory = io.BytesIO()
    figure.savefig(memory, bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)
    save(Image.open(memory).convert("RGB"), out / "batch.png", 32)


def moving(out: Path) -> None:
    """The matching explorer: an object is dragged over the picture, and its anchors follow."""
    from playwright.sync_api import sync_playwright

    sys.path.append(str(ROOT / "chapters/book"))
    import book

    import live
    from course.kit import pictures

    os.environ["COURSE_VOC"] = str(pictures.mini_voc())  # also where the genuine one is on disk
    explorer = live.EXPLORERS["Matcher"][0]()
    look = "body { margin: 8px; font: 15px sans-serif; background: white; --color-background-border: #ccc; }"
    look += " .course-explorer { padding: 0 8px; border: 0; }"
    look += " .course-explorer button { display: none; }"  # it copies a link, which the README can't use
    html = (
        f'<!doctype html><html class="course-live"><meta charset="utf-8"><style>{live.style()}\n{look}</style>'
        f"<body>{book.as_page('Matcher', repr(explorer))}<script>{live.script()}</script></body></html>"
    )
    box = [float(v) for v in explorer.board.boxes[0]]
    centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    path = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if path is None:
        raise SystemExit("no Chromium here; on Debian `apt-get install chromium` brings one")
    frames = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=("--no-sandbox", "--disable-gpu"), timeout=180_000
        )
        page = browser.new_page(viewport={"width": 860, "height": 640})
        page.set_default_timeout(180_000)
        page.set_content(html)
        canvas = page.locator(".course-board canvas").first
        canvas.wait_for()
        frame = canvas.bounding_box()
        x0, y0, x1, _ = page.evaluate("() => course.shown[0].board.view")
        k = frame["width"] / (x1 - x0)

        def at(x: float, y: float) -> tuple[float, float]:
            return frame["x"] + (x - x0) * k, frame["y"] + (y - y0) * k

        def take() -> None:
            page.wait_for_timeout(150)
            shot = page.locator(".course-explorer").first.screenshot()
            frames.append(Image.open(io.BytesIO(shot)).convert("RGB"))

        page.mouse.move(*at(*centre))
        page.mouse.down()
        for i in range(FRAMES):
            turn = 2 * math.pi * i / FRAMES
            x, y = centre[0] + 70 * math.sin(turn), centre[1] - 45 * (1 - math.cos(turn))
            page.mouse.move(*at(x, y), steps=2)
            take()
        page.mouse.up()
        browser.close()
    for width in (720, 640, 560, 480):
        small = [
            f.resize((width, round(f.height * width / f.width)), Image.Resampling.LANCZOS) for f in frames
        ]
        first = small[len(small) // 2].quantize(96, dither=Image.Dither.NONE)
        flat = [f.quantize(palette=first, dither=Image.Dither.NONE) for f in small]
        target = out / "matching.gif"
        flat[0].save(target, save_all=True, append_images=flat[1:], duration=180, loop=0, optimize=True)
        if target.stat().st_size <= MOST:
            print(f"{target}: {len(flat)} frames, {flat[0].size}, {target.stat().st_size:,} bytes")
            return
    raise SystemExit(f"{target} has {target.stat().st_size:,} bytes, {MOST:,} are allowed")


MADE = {"moving": moving, "batch": batch, "found": found, "photographs": free, "chapters": chapters}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=MADE, default=list(MADE))
    parser.add_argument("--out", type=Path, default=ROOT / "docs/pictures")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.only:
        MADE[name](given.out)


if __name__ == "__main__":
    main()
