"""An exported detector at work: numpy, Pillow and onnxruntime, no PyTorch and nothing else of this library.

This file can be copied beside a model.onnx and used alone:

    python exported.py model.onnx picture.jpg

It does what `inference.detect_in` and `detect` do, in the same order: resample, run the network, threshold, top-k,
suppress, keep, clip, scale.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SCORE, TOP_K, NMS_IOU, KEEP = 0.01, 400, 0.45, 200
PICTURES = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")  # Pillow would pass other formats to other programs
TURNS = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Exported:
    """`Exported(path)(picture)` -> (D, 4) boxes in px of the image, (D,) scores, (D,) labels, best first.

    `picture` is (H, W, 3) uint8 RGB. `classes[label - 1]` is the name of a label.
    """

    def __init__(self, path: Path, threads: int = 0):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads  # 0: onnxruntime chooses
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        facts = self.session.get_modelmeta().custom_metadata_map
        if "classes" not in facts:
            raise ValueError(f"{path}: no list of classes in it; wanted a file that `ssdlib export` wrote")
        self.classes, self.canvas = tuple(json.loads(facts["classes"])), int(facts["canvas"])

    def __call__(
        self,
        picture: np.ndarray,
        score: float = SCORE,
        top_k: int = TOP_K,
        nms_iou: float = NMS_IOU,
        keep: int = KEEP,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image = stretched(picture, self.canvas).transpose(2, 0, 1)[None]
        boxes, scores = (x[0] for x in self.session.run(["boxes", "scores"], {"images": image}))
        kept = []
        for label in range(1, scores.shape[1]):
            mine = np.flatnonzero(scores[:, label] > score)
            mine = mine[np.argsort(-scores[mine, label], kind="stable")][:top_k]
            kept += [(float(scores[i, label]), label, i) for i in mine[suppressed(boxes[mine], nms_iou)]]
        kept = sorted(kept, key=lambda one: -one[0])[:keep]  # stable: equals stay class by class
        labels = np.array([label for _, label, _ in kept], dtype=np.int64)
        anchors = np.array([anchor for *_, anchor in kept], dtype=np.int64)
        height, width, _ = picture.shape
        factor = np.array([width, height, width, height], dtype=np.float32) / self.canvas
        return boxes[anchors].clip(0, self.canvas) * factor, scores[anchors, labels], labels


def stretched(picture: np.ndarray, side: int) -> np.ndarray:
    """(H, W, 3) uint8 -> (side, side, 3) float32, by bilinear interpolation.

    Nothing is smoothed before a reduction, because the network was trained on images resampled so (see
    `augment.warp`).
    """
    for axis in (0, 1):
        length = picture.shape[axis]
        where = ((np.arange(side, dtype=np.float32) + 0.5) * (length / side) - 0.5).clip(0, length - 1)
        low = np.floor(where).astype(np.int64)
        part = (where - low).reshape([-1, 1, 1] if axis == 0 else [1, -1, 1]).astype(np.float32)
        low_, high = picture.take(low, axis), picture.take((low + 1).clip(max=length - 1), axis)
        picture = low_ * (1 - part) + high * part
    return picture.astype(np.float32)


def suppressed(boxes: np.ndarray, max_iou: float) -> list[int]:
    """Greedy suppression of (n, 4) boxes, best first -> the indices of those that stay."""
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    stay: list[int] = []
    for i, box in enumerate(boxes):
        low, high = np.maximum(boxes[stay, :2], box[:2]), np.minimum(boxes[stay, 2:], box[2:])
        both = (high - low).clip(min=0).prod(axis=1)
        if not (both > max_iou * (area[stay] + area[i] - both)).any():
            stay.append(i)
    return stay


def _upright(image: Image.Image) -> Image.Image:
    """In RGB, turned as the camera noted; as stored where the note can't be read. Not by Pillow's exif_transpose: it
    writes the notes anew, which fails for those that are slightly damaged. TIFFs Pillow turns by itself."""
    pixels = image.convert("RGB")
    try:
        turn = None if image.format == "TIFF" else TURNS.get(image.getexif().get(0x0112))
    except Exception:  # many kinds of errors on broken notes, whatever the pixels are
        turn = None
    return pixels if turn is None else pixels.transpose(turn)


def _read(path: str) -> np.ndarray:
    """(H, W, 3) uint8; or the program ends."""
    try:
        with Image.open(path, formats=PICTURES) as image:
            deep = image.mode[0] in "IF"  # Pillow would clip everything above 255
            pixels = None if deep else np.array(_upright(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        said = getattr(error, "strerror", None) or str(error).replace(f" {path!r}", "")
        sys.exit(f"{path}: {said}; wanted an image, one of {', '.join(PICTURES)}")
    if pixels is None:
        sys.exit(f"{path}: more than 8 bits a colour; wanted 8, convert it to such a JPEG or PNG first")
    return pixels


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what an exported detector finds in images, one JSON line each. Ends with 2 if it is called wrongly, with
    1 and a sentence at a model or an image that can't be read."""
    model, *pictures = (arguments if arguments is not None else sys.argv[1:]) or [""]
    if not pictures:
        print("usage: python exported.py model.onnx picture.jpg ...", file=sys.stderr)
        sys.exit(2)
    if not Path(model).is_file():
        sys.exit(f"{model}: no such file; wanted the model.onnx that `ssdlib export` wrote")
    try:
        detector = Exported(Path(model))
    except ImportError:
        raise
    except Exception as error:  # onnxruntime has many kinds
        sys.exit(f"{model}: {error}; wanted the model.onnx that `ssdlib export` wrote")
    for path in pictures:
        found = detector(_read(path), score=0.5)
        rows: list[dict[str, Any]] = [
            {
                "class": detector.classes[label - 1],
                "score": round(float(score), 6),
                "box": [round(x, 2) for x in box.tolist()],
            }
            for box, score, label in zip(*found, strict=True)
        ]
        print(json.dumps({"image": path, "detections": rows}))


if __name__ == "__main__":
    main()
