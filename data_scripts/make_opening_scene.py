"""Paint the scene that is used throughout the course: a background and, each by itself, a car, a dog and a person.

    python data_scripts/make_opening_scene.py

Writes `course/kit/opening_scene/`: `background.jpg` (500 x 375), `car.png`, `dog.png`, `person.png` (with
transparency, twice as large as they are shown) and `scene.jpg`, all of them together. It uses the painter of the mini
VOC, whose recorded network detects in the scene in chapter 00; that network hasn't seen it in training. The
glyphs are OpenMoji's, CC BY-SA 4.0. The same package versions give the same bytes.
"""

import numpy as np
import torch
from make_mini_voc import Pose, background, draw_glyph, film_grain
from PIL import Image

from course.kit import opening

SEED = 14  # of the background
GLYPHS = {"car": "1F698", "dog": "1F415", "person": "1F6B6"}
LARGER = 2  # than at its place in the scene, so that an object may be drawn larger
QUALITY = 90


def main() -> None:
    opening.FOLDER.mkdir(exist_ok=True)
    rng = np.random.default_rng(SEED)
    pixels = film_grain(rng, background(rng, *opening.SIZE))
    Image.fromarray(pixels).save(opening.FOLDER / "background.jpg", quality=QUALITY)
    for name, (left, top, right, bottom) in opening.PLACES.items():
        side = LARGER * max(right - left, bottom - top)
        glyph = draw_glyph(Pose(GLYPHS[name], side, angle=0.0, mirrored=False)).astype(np.uint8)
        height, width, _ = glyph.shape
        if abs(width / height - (right - left) / (bottom - top)) > 0.02:
            raise SystemExit(
                f"{name}: the glyph is {width} x {height}, its place {right - left} x {bottom - top}"
            )
        Image.fromarray(glyph).save(opening.FOLDER / f"{name}.png", optimize=True)
    boxes = torch.tensor(list(opening.PLACES.values()), dtype=torch.float32)
    painted = opening.Painter(opening.SIZE).paint(boxes)
    Image.fromarray(painted.numpy()).save(opening.FOLDER / "scene.jpg", quality=QUALITY)


if __name__ == "__main__":
    main()
