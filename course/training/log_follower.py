"""The log of a run, read while it grows, again and again, whatever happens to the file meanwhile.

The run may be here, in a terminal or on another machine whose disk is mounted or whose `log.jsonl` is copied over
again and again. Nothing but the folder's files is looked at.
"""

import json
import math
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssdlib.training.runlog import LOG
from ssdlib.training.runs import CONFIG, LOCK, RunConfig, RunError, config_from

PARTS = ("localisation", "confidence", "multibox", "l2", "positives", "negatives")
COLUMNS = ("step", "rate", *PARTS, "seconds", "pace")  # pace: seconds a step since the line before
WHOLE = ("steps", "batch_size", "warmup", "log_every", "val_every", "map_every", "checkpoint_every")


@dataclass(frozen=True)
class Check:
    """A validation or an evaluation."""

    step: int
    value: float  # multibox loss, or mAP from 0 to 1
    took: float  # seconds; NaN if the log doesn't say
    ap: dict[str, float]  # by class; of an evaluation


class Follower:
    """What the folder of a run says so far. `poll` reads on."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.config: RunConfig | None = None
        self.config_problem = ""
        self.opened = time.monotonic()
        self.news: float | None = None  # when the log was last seen to change, on this machine's own clock
        self.held: bool | None = None  # does a process train there? None: no lock was seen, as in a copy
        self._config_stamp: tuple | None = None
        self._looked = False
        self._forget()

    def _forget(self) -> None:
        self.columns = {name: array("d") for name in COLUMNS}
        self.validations: list[Check] = []
        self.evaluations: list[Check] = []
        # step and learning rate, if that is the log's last word
        self.diverged: tuple[int, float] | None = None
        self.unreadable: list[int] = []  # numbers of the lines that are no rows
        self.backwards = 0  # how often the step fell
        self.longest = 0.0  # seconds between two lines, at most
        self.last: tuple[float, float] | None = None  # step and seconds of the last row of any kind
        self._lines, self._content = 0, b""

    def __len__(self) -> int:
        return len(self.columns["step"])

    def __getitem__(self, column: str) -> np.ndarray:
        """(T,) float64, a copy: one number for each line of training."""
        return np.array(self.columns[column])

    @property
    def step(self) -> int:
        """The last step that the log knows of."""
        return int(self.last[0]) if self.last else 0

    def poll(self) -> bool:
        """Read what is new in the folder. -> whether anything was."""
        if self.folder.is_file():
            raise RunError(f"{self.folder}: a file; wanted the folder of a run, which holds {LOG}")
        held = self.held
        if (self.folder / LOCK).exists():
            self.held = True
        elif self.held:
            self.held = False  # the process that trained has ended; what it wrote last is read below
        fresh = self._poll_config() | self._poll_log() | (held != self.held)
        self._looked = True
        return fresh

    def age(self) -> float | None:
        """Seconds since the log changed. By this machine's clock alone once it was seen to change; before that by
        the file's date, unless that lies in the future: then the clocks differ and it can't be told."""
        if self.news is not None:
            return time.monotonic() - self.news
        try:
            age = time.time() - (self.folder / LOG).stat().st_mtime
        except OSError:
            return None
        if age >= -2:
            return max(age, 0.0)
        waited = time.monotonic() - self.opened
        return waited if waited > 60 else None

    def _poll_config(self) -> bool:
        path = self.folder / CONFIG
        try:
            state = path.stat()
            stamp = (state.st_ino, state.st_size, state.st_mtime_ns)
            if stamp == self._config_stamp:
                return False
            self.config = _numbers(config_from(json.loads(path.read_text("utf-8"))))
            self._config_stamp, self.config_problem = stamp, ""
        except FileNotFoundError:
            return False
        except (ValueError, TypeError, AttributeError, OSError) as error:  # RunError is a ValueError
            before, self.config_problem = (
                self.config_problem,
                f"{path}: {_why(error)}; wanted a run's settings",
            )
            return before != self.config_problem
        return True

    def _poll_log(self) -> bool:
        try:
            content = (self.folder / LOG).read_bytes()
        except FileNotFoundError:
            content = b""
        end = content.rfind(b"\n") + 1
        if _row(content[end:]) is None:  # the last line may still be in the making
            content = content[:end]
        if content == self._content:
            return False
        known = self._lines, self.last
        self._forget()
        self._content = content
        for line in content.splitlines():
            self._lines += 1
            row = _row(line)
            if row is not None:
                self._add(row)
            elif line.strip():
                self.unreadable.append(self._lines)
        if (
            self._looked and content and known != (self._lines, self.last)
        ):  # a copy of the same lines is no news
            self.news = time.monotonic()
        return True

    def _add(self, row: dict[str, Any]) -> None:
        step, seconds = row["step"], number(row.get("seconds"))
        before, self.last = self.last, (step, seconds)
        steps, took = (step - before[0], seconds - before[1]) if before else (math.nan, math.nan)
        self.backwards += steps < 0
        if took > self.longest:
            self.longest = took
        self.diverged = (int(step), number(row.get("rate"))) if row.get("diverged") else None
        took = (
            took if steps == 0 and took >= 0 else math.nan
        )  # a check comes right after the line of its step
        if "val" in row:
            value = row["val"].get("multibox") if isinstance(row["val"], dict) else None
            self.validations.append(Check(int(step), number(value), took, {}))
        elif "map" in row:
            ap = row.get("ap") if isinstance(row.get("ap"), dict) else {}
            ap = {str(name): number(value) for name, value in ap.items()}
            self.evaluations.append(Check(int(step), number(row["map"]), took, ap))
        elif "multibox" in row:
            pace = (seconds - before[1]) / steps if before and steps > 0 else math.nan
            values = {name: number(row.get(name)) for name in PARTS}
            values |= {"step": step, "rate": number(row.get("rate")), "seconds": seconds, "pace": pace}
            for name in COLUMNS:
                self.columns[name].append(values[name])


def number(value: Any) -> float:
    """A float; NaN for whatever isn't a number, or is too large to be one."""
    try:
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def _row(line: bytes) -> dict[str, Any] | None:
    """A line of the log, None if it is none: every line is a JSON object with a step."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and math.isfinite(number(row.get("step"))) else None


def _numbers(config: RunConfig) -> RunConfig:
    """The same settings, if all that a view computes with are whole numbers."""
    for name in WHOLE:
        if type(getattr(config, name)) is not int or getattr(config, name) < 0:
            raise ValueError(f"{name} is {getattr(config, name)!r}, no whole number")
    if not all(type(drop) is int for drop in config.drops):
        raise ValueError(f"drops are {config.drops!r}, not whole numbers")
    return config


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return "not JSON, or half written"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
