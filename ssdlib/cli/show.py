"""What a detector finds in pictures, folders and videos, and what a run came to, written where people can look.

Frames of videos come and go by PyAV (FFmpeg): `pip install av`.
"""

import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from ssdlib import evaluate, files, plots
from ssdlib.data import voc
from ssdlib.data.formats import PICTURES, FormatError, pictures_below
from ssdlib.records import Detections
from ssdlib.training import distributed, inference
from ssdlib.training.runlog import read_log
from ssdlib.training.runs import RunConfig, load_run


def show(
    model: nn.Module,
    config: RunConfig,
    paths: Sequence[str],
    out: Path,
    score: float = 0.5,
    draw: bool = True,
    progress: Callable = lambda x, **_: x,
) -> list[dict[str, Any]]:
    """Detect in every picture, in every picture of a folder, and in every frame of a video.

    Writes `detections.json` into `out` and, with `draw`, a PNG for each picture and an MP4 for each video. Returns
    what the JSON holds: {"image", "picture", "detections"} for a picture, {"video", "picture", "frames"} for a video,
    each frame with its number, its second and its detections. What can't be read ends it, but not if it lies in a
    folder that was named: then it becomes {"image" or "video", "error"}, and the next one follows.
    """
    sources = [source for path in paths for source in _sources(Path(path), str(path))]
    named = {str(path) for path in paths}
    out.mkdir(parents=True, exist_ok=True)
    everything: list[dict[str, Any]] = []
    for name, path in progress(sources, desc="detecting", unit="image", disable=len(sources) < 2):
        # numbered: two folders may hold pictures of one name
        target = out / f"{len(everything):04d}_{path.stem}" if draw else None
        moves = path.suffix.lower() in SUFFIXES
        try:
            everything.append((_video if moves else _image)(model, config, name, path, target, score))
        except (voc.VOCError, VideoError) as error:
            if name in named:
                raise
            everything.append({"video" if moves else "image": name, "error": str(error)})
    with files.named(out / "detections.json"):
        (out / "detections.json").write_text(json.dumps(everything, indent=1) + "\n")
    return everything


def draw_run(out: Path, table: evaluate.Table, data: inference.Data, count: int = 12) -> list[Path]:
    """Loss curve, precision-recall curves, table and a sheet of detections beside the truth, as files."""
    model, config, _ = load_run(out, distributed.start())
    chosen = range(0, len(data[0]), max(1, len(data[0]) // count))[:count]
    few = [data[0][i] for i in chosen], [data[1][i] for i in chosen]
    found = inference.detect_in(model, few[1], config)
    table.write_csv(out / "ap.csv")
    return [
        out / "ap.csv",
        plots.save(plots.loss_curve(read_log(out)), out / "loss.png"),
        plots.save(plots.precision_recall(table), out / "precision_recall.png"),
        plots.save(plots.detections(*few, found, classes=config.classes), out / "detections.png"),
    ]


def rows(found: Detections, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Detections as JSON takes them: class, score, four corners in px of the picture."""
    columns = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    return [
        {"class": classes[label - 1], "score": round(score, 6), "box": [round(x, 2) for x in box]}
        for label, score, box in columns
    ]


def _sources(path: Path, name: str) -> list[tuple[str, Path]]:
    """The files behind a word of the command line, each with the name it gets in the JSON."""
    if not path.is_dir():
        return [(name, path)]
    inside = list(pictures_below(path).values())
    inside += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not inside:
        raise FormatError(f"{path}: nothing to look at; wanted {', '.join((*PICTURES, *SUFFIXES))}")
    return [(str(p), p) for p in inside]


def _image(
    model: nn.Module, config: RunConfig, name: str, path: Path, target: Path | None, score: float
) -> dict[str, Any]:
    """One picture, drawn into `target` with .png behind it if there is one."""
    photograph = voc.read_photograph(path, upright=True)
    [found] = inference.detect_in(model, [photograph], config)
    found = found.above(score)
    entry: dict[str, Any] = {"image": name}
    if target is not None:
        picture = target.with_name(f"{target.name}.png")
        plots.save(plots.picture(photograph, found, config.classes), picture)
        entry["picture"] = picture.name
    return entry | {"detections": rows(found, config.classes)}


def _video(
    model: nn.Module, config: RunConfig, name: str, path: Path, target: Path | None, score: float
) -> dict[str, Any]:
    """All frames of a video, drawn into `target` with .mp4 behind it if there is one."""
    target = target.with_name(f"{target.name}.mp4") if target is not None else None
    frames, writer = [], None
    try:
        for number, (seconds, frame) in enumerate(read_frames(path)):
            [found] = inference.detect_in(model, [frame], config)
            found = found.above(score)
            frames.append(
                {"frame": number, "seconds": round(seconds, 3), "detections": rows(found, config.classes)}
            )
            if target is not None:
                writer = writer or Writer(target, frame_rate(path))
                writer.add(draw_detections(frame, found, config.classes))
    finally:
        if writer is not None:
            writer.close()
    return {"video": name} | ({"picture": target.name} if target else {}) | {"frames": frames}


SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
BLUE = (0, 114, 178)


class VideoError(ValueError):
    """A video can't be read or written. The message names the file and says why."""


def read_frames(path: Path) -> Iterator[tuple[float, Tensor]]:
    """(seconds from the beginning, (H, W, 3) uint8 RGB) of every frame, one in memory at a time.

    Frames are turned upright where the file says how the camera was held. Raises VideoError if there is no video in
    the file or PyAV is missing; a file that breaks off gives the frames before.
    """
    av = _pyav(path)
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: {error.strerror or error}; wanted a video file") from None
    with container:
        if not container.streams.video:
            raise VideoError(f"{path}: no pictures in it; wanted a video file")
        count, rate = 0, container.streams.video[0].average_rate or 25
        try:
            for frame in container.decode(video=0):
                pixels = frame.to_ndarray(format="rgb24")
                turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counter-clockwise
                pixels = np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
                yield float(frame.time if frame.time is not None else count / rate), torch.from_numpy(pixels)
                count += 1
        except av.FFmpegError as error:
            if not count:
                raise VideoError(f"{path}: {error.strerror}; wanted a video file") from None


def frame_rate(path: Path) -> Fraction:
    """Frames a second, as the file states it; 25 if it doesn't."""
    av = _pyav(path)
    try:
        with av.open(str(path)) as container:
            return Fraction(container.streams.video[0].average_rate or 25)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise VideoError(f"{path}: {error}; wanted a video file") from None


class Writer:
    """An MP4 of (H, W, 3) uint8 frames of one size: `add` each, then `close`."""

    def __init__(self, path: Path, rate: Fraction | int = 25):
        self.path, self.rate, self.stream = Path(path), Fraction(rate), None
        self.container = _pyav(path).open(str(path), mode="w", format="mp4")

    def add(self, frame: Tensor) -> None:
        """Append a frame. Its last row or column is repeated if a side is odd: the codec wants even ones."""
        av = _pyav(self.path)
        height, width, _ = frame.shape
        pixels = np.pad(frame.numpy(), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self.stream is None:
            self.stream = self.container.add_stream(_codec(av), rate=self.rate.limit_denominator(60_000))
            self.stream.height, self.stream.width = pixels.shape[:2]
            self.stream.pix_fmt = "yuv420p"
        if pixels.shape[:2] != (self.stream.height, self.stream.width):
            raise VideoError(f"{self.path}: a frame of {width}x{height}, others differ; wanted one size")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        self.container.mux(self.stream.encode(picture))

    def close(self) -> None:
        """Write what the codec still holds, and the end of the file."""
        if self.stream is not None:
            self.container.mux(self.stream.encode())
        self.container.close()


def draw_detections(frame: Tensor, found: Detections, classes: Sequence[str]) -> Tensor:
    """The frame with boxes, names and scores on it, (H, W, 3) uint8; the frame itself stays as it is."""
    picture = Image.fromarray(frame.numpy())
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(max(12, frame.shape[0] // 28))
    for box, score, label in zip(
        found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
    ):
        pen.rectangle(box, outline=BLUE, width=max(2, frame.shape[0] // 180))
        words = f"{classes[label - 1]} {score:.2f}"
        left, top, right, bottom = pen.textbbox((box[0], box[1]), words, font=font)
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=BLUE)
        pen.text((box[0], box[1]), words, fill="white", font=font)
    return torch.from_numpy(np.array(picture))


def _codec(av: Any) -> str:
    """H.264 where this FFmpeg has it, which browsers play; else MPEG-4."""
    return "libx264" if "libx264" in av.codecs_available else "mpeg4"


def _pyav(path: Path) -> Any:
    if importlib.util.find_spec("av") is None:
        raise VideoError(f"{path}: PyAV isn't installed; wanted for videos: pip install av")
    import av

    return av
