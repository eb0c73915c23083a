"""Logs of runs, written by hand."""

import dataclasses
import json

from ssdlib.training.runs import RECIPES

CONFIG = dataclasses.replace(
    RECIPES["mini"], steps=400, batch_size=8, drops=(300,), warmup=0, val_every=100, map_every=200
)


def line(step, loss=3.0, seconds=None, rate=0.03, **more):
    """A line of training, by hand: two seconds a line of ten steps."""
    row = {"step": step, "rate": rate, "localisation": loss / 4, "confidence": 3 * loss / 4, "multibox": loss}
    row |= {"l2": 1.5, "keras_equivalent": loss + 1.5, "positives": 40.0, "negatives": 120.0}
    return json.dumps({**row, "seconds": step / 5 if seconds is None else seconds, **more})


def checked(step, value, seconds):
    return json.dumps({"step": step, "val": {"multibox": value}, "seconds": seconds})


def judged(step, value, seconds, **ap):
    return json.dumps({"step": step, "map": value, "ap": ap, "seconds": seconds})


def folder(place, *lines, config=CONFIG):
    place.mkdir(exist_ok=True)
    if config:
        (place / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    (place / "log.jsonl").write_text("".join(one + "\n" for one in lines))
    return place


def upto(steps, loss=3.0):
    return [line(step, loss) for step in range(10, steps + 1, 10)]
