"""What a detector finds in images, folders and videos, and the results of a run, written as files to look at.

PyAV (FFmpeg) reads and writes the frames of videos: `pip install av`.
"""

import contextlib
import importlib.util
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from ssdlib import evaluate, files, plots
from ssdlib.data import voc
from ssdlib.data.formats import CONVERT, PICTURES, UNREAD, Files, FormatError
from ssdlib.records import Detections
from ssdlib.training import distributed, inference, threads
from ssdlib.training.runlog import read_log
from ssdlib.training.runs import RunConfig, load_run

FOUND = "detections.json"
MARK = "detections, drawn by ssdlib"  # in the PNGs, so that no later call detects in them
BATCH = 16  # images or frames in a forward pass
PIXELS = 300_000_000  # bytes of decoded images after which a forward pass takes fewer


def show(
    model: nn.Module,
    config: RunConfig,
    paths: Sequence[str],
    out: Path,
    score: float = 0.5,
    draw: bool = True,
    progress: Callable = lambda x, **_: x,
) -> list[dict[str, Any]]:
    """Detect in every image, in every image of a folder, and in every frame of a video.

    Writes `detections.json` into `out` and, with `draw`, a PNG for each image and an MP4 for each video. Returns what
    the JSON holds: {"image", "picture", "detections"} for an image, {"video", "picture", "frames"} for a video, each
    frame with its number, its second and its detections. Every file of a folder is listed, except for hidden files
    and what this function has drawn before; one that can't be read is {"image" or "video" or "file", "error"}. If
    only one file was named and it can't be read, the error is raised. Whatever ends it early, the JSON holds what was
    done until then, of a video the frames. In `out`, only what this function wrote before is replaced: raises
    FormatError, before anything is looked at, if another program's detections.json is there.
    """
    sources = [source for path in paths for source in _sources(path, out)]
    alone = len(sources) == 1 and sources[0].name in set(map(str, paths))
    out.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(out / FOUND) and _listed(out / FOUND) is None:
        raise FormatError(
            f"{out / FOUND}: not one that this command wrote and can read, so it stays; wanted another --out"
        )
    listed = _listed(out / FOUND) or set()  # before it is replaced
    everything: list[dict[str, Any]] = [{} for _ in sources]
    held: list[tuple[int, Tensor]] = []

    def look() -> None:
        """Detect in the images read since the last call, in one batch."""
        found = inference.detect_in(model, [photograph for _, photograph in held], config) if held else []
        for (place, photograph), detections in zip(held, found, strict=True):
            target = _target(out, place, sources[place], draw, ".png", listed)
            everything[place] = _picture(sources[place], photograph, detections.above(score), config, target)
        held.clear()

    try:
        for place, source in enumerate(
            progress(sources, desc="detecting", unit="image", disable=len(sources) < 2)
        ):
            try:
                if source.error:
                    raise FormatError(source.error)
                if source.kind == "video":
                    target = _target(out, place, source, draw, ".mp4", listed)
                    everything[place] = entry = _entry("video", source, target) | {"frames": []}
                    _video(model, config, source, target, score, entry["frames"])
                else:
                    held.append((place, voc.read_photograph(source.path, upright=True)))
            except (voc.VOCError, VideoError, FormatError) as error:
                if alone:
                    raise
                everything[place] = {source.kind: source.name, "error": str(error)}
            if len(held) == BATCH or sum(len(pixels.flatten()) for _, pixels in held) > PIXELS:
                look()
        look()
    finally:
        if done := [one for one in everything if one]:  # all, unless something ended it early
            with files.named(out / FOUND):
                files.write_whole(out / FOUND, (json.dumps(done, indent=1) + "\n").encode())
    return everything


def draw_run(out: Path, table: evaluate.Table, data: inference.Data, count: int = 12) -> list[Path]:
    """Loss curve, precision-recall curves, table and a sheet of detections beside the truth, as files."""
    model, config, _ = load_run(out, distributed.start())
    chosen = range(0, len(data[0]), max(1, len(data[0]) // count))[:count]
    few = [data[0][i] for i in chosen], [data[1][i] for i in chosen]
    with threads.as_chosen():
        found = inference.detect_in(model, few[1], config)
    table.write_csv(out / "ap.csv")
    return [
        out / "ap.csv",
        plots.save(plots.loss_curve(read_log(out)), out / "loss.png"),
        plots.save(plots.precision_recall(table), out / "precision_recall.png"),
        plots.save(plots.detections(*few, found, classes=config.classes), out / "detections.png"),
    ]


def rows(found: Detections, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Detections as JSON takes them: class, score, four corners in px of the image."""
    columns = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    return [
        {"class": classes[label - 1], "score": round(score, 6), "box": [round(x, 2) for x in box]}
        for label, score, box in columns
    ]


@dataclass(frozen=True)
class Source:
    """A file to detect in."""

    name: str  # in the JSON
    path: Path
    kind: str  # "image", "video", or "file" for what is neither
    error: str = ""  # why nothing is detected in it


def _sources(name: str, out: Path) -> list[Source]:
    """The files behind a word of the command line. Raises FormatError if there can be none."""
    path = Path(name)
    if not path.is_dir():
        if not path.exists():
            _refuse_what_is_no_file(str(name))
        return [Source(str(name), path, "video" if path.suffix.lower() in SUFFIXES else "image")]
    inside = Files(path)
    drawn = _drawn_before(inside, out)
    found = [_source(one) for one in inside.all.values() if one not in drawn]
    if not any(one.kind != "file" and not one.error for one in found):
        there = f", but {found[0].error}" if found else ""
        raise FormatError(f"{path}: nothing to look at{there}; wanted {', '.join((*PICTURES, *SUFFIXES))}")
    return sorted(found, key=lambda one: one.kind != "image")  # images, then videos, then the rest


def _source(path: Path) -> Source:
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        return Source(str(path), path, "image")
    if suffix in SUFFIXES:
        return Source(str(path), path, "video")
    if suffix in UNREAD:
        return Source(str(path), path, "image", f"{path}: {suffix} is {CONVERT}")
    return Source(str(path), path, "file", f"{path}: neither image nor video by its name")


def _refuse_what_is_no_file(name: str) -> None:
    if name.isdecimal() or "://" in name:
        what = "the number of a camera" if name.isdecimal() else "an address"
        raise FormatError(
            f"{name}: {what}; wanted an image, a folder or a video file; record the stream first, for instance by "
            f"ffmpeg -i {'/dev/video' * name.isdecimal()}{name} -t 60 film.mp4"
        )
    if set(name) & set("*?["):
        raise FormatError(
            f"{name}: no file matches; wanted names of files, or the folder itself, in which all images are found"
        )


def _drawn_before(inside: Files, out: Path) -> set[Path]:
    """What this module wrote into a folder earlier: all of `out` if it lies within, what a detections.json names, and
    PNGs with its mark."""
    own = {path for path in inside.all.values() if out.resolve() in path.resolve().parents}
    own = set() if out.resolve() == inside.folder.resolve() else own
    for path in inside.all.values():
        if path.name == FOUND:
            if (listed := _listed(path)) is not None:
                own |= {path, *(path.parent / name for name in listed)}
        elif _is_marked(path):
            own.add(path)
    return own


def _listed(path: Path) -> set[str] | None:
    """The names of what was drawn, according to a detections.json; None if it isn't there or isn't of this module."""
    try:
        rows = json.loads(path.read_text("utf-8"))
        ours = isinstance(rows, list) and all(
            set(row) & {"image", "video", "file"} and set(row) & {"detections", "frames", "error"}
            for row in rows
        )
        names = {row.get("picture") for row in rows} if ours else set()
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return {name for name in names if isinstance(name, str)} if ours else None


def _is_marked(path: Path) -> bool:
    """Whether a file is a PNG that this module drew."""
    if not re.fullmatch(r"\d{4,}_.*\.png", path.name):
        return False
    with contextlib.suppress(OSError, SyntaxError, ValueError), Image.open(path, formats=["PNG"]) as image:
        return image.info.get("Description") == MARK
    return False


def _target(out: Path, place: int, source: Source, draw: bool, suffix: str, listed: set[str]) -> Path | None:
    """Where to draw. The name is numbered, because two folders may hold images of one name; a long one is cut off.

    Another number follows where the name belongs to a file that this module didn't draw: those it did are `listed`,
    or carry its mark.
    """
    if not draw:
        return None
    stem = source.path.stem.encode(errors="surrogateescape")[:200].decode(errors="ignore")
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    paths = (out / f"{place:04d}_{name}{suffix}" for name in names)
    return next(p for p in paths if not os.path.lexists(p) or p.name in listed or _is_marked(p))


def _entry(kind: str, source: Source, target: Path | None) -> dict[str, Any]:
    return {kind: source.name} | ({"picture": target.name} if target is not None else {})


def _picture(
    source: Source, photograph: Tensor, found: Detections, config: RunConfig, target: Path | None
) -> dict[str, Any]:
    """The entry of one image, drawn into `target` if there is one."""
    entry = _entry("image", source, target)
    if (frames := voc.frame_count(source.path)) > 1:
        entry["note"] = f"the first of {frames} frames; nothing was detected in those after it"
    if target is not None:
        plots.save(plots.picture(photograph, found, config.classes), target, Description=MARK)
    return entry | {"detections": rows(found, config.classes)}


def _video(
    model: nn.Module,
    config: RunConfig,
    source: Source,
    target: Path | None,
    score: float,
    frames: list[dict[str, Any]],
) -> None:
    """Append the rows of all frames of a video to `frames`, and draw them into `target` if there is one."""
    path, writer = source.path, None
    try:
        for batch in _in_batches(enumerate(read_frames(path))):
            detections = inference.detect_in(model, [frame for _, (_, frame) in batch], config)
            for (number, (seconds, frame)), found in zip(batch, detections, strict=True):
                found = found.above(score)
                row = {"frame": number, "seconds": round(seconds, 3)}
                frames.append(row | {"detections": rows(found, config.classes)})
                if target is not None:
                    writer = writer or Writer(target, frame_rate(path))
                    writer.add(draw_detections(frame, found, config.classes))
    finally:
        if writer is not None:
            writer.close()


def _in_batches(things: Iterable) -> Iterator[list]:
    rest = iter(things)
    while batch := list(itertools.islice(rest, BATCH)):
        yield batch


SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
BLUE = (0, 114, 178)


class VideoError(ValueError):
    """A video can't be read or written. The message names the file and says why."""


def read_frames(path: Path) -> Iterator[tuple[float, Tensor]]:
    """(seconds from the beginning, (H, W, 3) uint8 RGB) of every frame, one in memory at a time.

    Frames are turned upright where the file says how the camera was held. Raises VideoError if there is no video in
    the file or PyAV is missing; a file that breaks off yields the frames before.
    """
    av = _pyav(path)
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: {error.strerror or error}; wanted a video file") from None
    with container:
        if not container.streams.video:
            raise VideoError(f"{path}: no video in it; wanted a video file")
        count, rate, start = 0, container.streams.video[0].average_rate or 25, None
        try:
            for frame in container.decode(video=0):
                pixels = frame.to_ndarray(format="rgb24")
                turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counter-clockwise
                pixels = np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
                seconds = count / rate
                if frame.time is not None:  # some formats don't begin with 0
                    start = frame.time - seconds if start is None else start
                    seconds = frame.time - start
                yield float(seconds), torch.from_numpy(pixels)
                count += 1
        except av.FFmpegError as error:
            if not count:
                raise VideoError(f"{path}: {error.strerror}; wanted a video file") from None
        if not count:
            raise VideoError(f"{path}: no frames in it; wanted a video file")


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
        """Append a frame. Its last row or column is repeated if a side is odd, because the codec wants even ones."""
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
