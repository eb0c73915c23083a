"""Frames of a video file, in and out, by PyAV (FFmpeg): `pip install av`."""

import importlib.util
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ssdlib.records import Detections

SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
BLUE = (0, 114, 178)


class VideoError(ValueError):
    """A video can't be read or written. The message names the file and says why."""


def frames(path: Path) -> Iterator[tuple[float, Tensor]]:
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


def drawn(frame: Tensor, found: Detections, classes: Sequence[str]) -> Tensor:
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
