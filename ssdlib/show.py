"""What a detector finds in pictures, folders and videos, and what a run came to, written where people can look."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ssdlib import disk, distributed, evaluate, inference, plots, video, voc
from ssdlib.formats import PICTURES, FormatError, pictures_below
from ssdlib.records import Detections
from ssdlib.runlog import read_log
from ssdlib.runs import RunConfig, load_run


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
        moves = path.suffix.lower() in video.SUFFIXES
        try:
            everything.append((_video if moves else _image)(model, config, name, path, target, score))
        except (voc.VOCError, video.VideoError) as error:
            if name in named:
                raise
            everything.append({"video" if moves else "image": name, "error": str(error)})
    with disk.named(out / "detections.json"):
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
    inside += sorted(p for p in path.rglob("*") if p.suffix.lower() in video.SUFFIXES and p.is_file())
    if not inside:
        raise FormatError(f"{path}: nothing to look at; wanted {', '.join((*PICTURES, *video.SUFFIXES))}")
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
        for number, (seconds, frame) in enumerate(video.frames(path)):
            [found] = inference.detect_in(model, [frame], config)
            found = found.above(score)
            frames.append(
                {"frame": number, "seconds": round(seconds, 3), "detections": rows(found, config.classes)}
            )
            if target is not None:
                writer = writer or video.Writer(target, video.frame_rate(path))
                writer.add(video.drawn(frame, found, config.classes))
    finally:
        if writer is not None:
            writer.close()
    return {"video": name} | ({"picture": target.name} if target else {}) | {"frames": frames}
