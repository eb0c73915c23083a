"""The log of a run: JSON lines, one every few steps, and the place where NaN is noticed.

Kinds of lines, told apart by their keys: means of the training loss (`multibox`), validation losses (`val`) and
evaluations (`map`); and notes: drops that were changed on resuming (`drops`), layers scaled at the start (`scaled`),
another number of threads (`threads`), steps that float16's scaler left out, with its new scale (`skipped`).
Plots and dashboards read the file, never the loop.
"""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ssdlib import files
from ssdlib.loss import l2_penalty
from ssdlib.model import SSD300
from ssdlib.records import Losses
from ssdlib.training import distributed
from ssdlib.training.runs import Diverged, Progress, kept

LOG = "log.jsonl"
LEAST_SCALE = 1.0  # below it float16's gradients overflow by themselves, whatever the scale

Row = tuple[float, float, float, float]  # localisation, confidence, positives, negatives


class RunLog:
    """Collects the losses of steps and writes a line when one is due.

    Losses stay on the device until then, because reading numbers back from a GPU stalls it.
    """

    def __init__(self, out: Path, begin: Progress, every: int = 10):
        self.out, self.every = Path(out), every
        self.started = time.monotonic() - begin.seconds
        # on the device; True: of a step that was skipped
        self.unseen: list[tuple[int, float, Losses, bool]] = []
        self.seen: list[Row] = [tuple(row) for row in begin.seen]  # finite, since the last line
        self.last_finite = "no loss was finite"
        self.summary = ""
        if distributed.is_first() and (self.out / LOG).exists():
            self._go_on(begin.step)

    @property
    def seconds(self) -> float:
        """Seconds spent on the run so far, over all its sessions."""
        return time.monotonic() - self.started

    def add(
        self, step: int, rate: float, losses: Losses, model: SSD300, skipped: float | None = None
    ) -> None:
        """Take the losses of the update that made it `step` updates, or of one that was `skipped`, with the scale
        since then. May raise Diverged."""
        self.unseen.append((step, rate, losses, skipped is not None))
        if skipped is not None:
            self._skipped(step, rate, skipped)
        if step % self.every == 0:
            self.look()
            self._mean(step, rate, model)

    def _mean(self, step: int, rate: float, model: SSD300) -> None:
        """A line of means over the steps since the last one, unless no loss of theirs was finite."""
        if not self.seen:
            return
        localisation, confidence, positives, negatives = (
            sum(column) / len(self.seen) for column in zip(*self.seen, strict=True)
        )
        row = loss_row(localisation, confidence, model)
        self.write(step=step, rate=rate, **row, positives=positives, negatives=negatives)
        self.summary = f"loss {row['multibox']:.4g}, rate {rate:.0e}"
        self.seen = []

    def look(self) -> None:
        """Fetch the new losses of all processes, and raise Diverged if one isn't finite. In a skipped step it needn't
        be, since that has changed nothing."""
        if not self.unseen:
            return
        rows = [
            torch.stack([x.localisation, x.confidence, x.positives, x.negatives])
            for _, _, x, _ in self.unseen
        ]
        stacked = torch.stack(rows)
        stacked = stacked.cpu() if stacked.device.type == "mps" else stacked  # which has no float64
        rows = distributed.total(stacked.double()).tolist()
        for (step, rate, _, skipped), row in zip(self.unseen, rows, strict=True):
            if all(map(math.isfinite, row)):
                self.last_finite = f"the last finite loss was {row[0] + row[1]:.4g} at step {step}"
                self.seen.append(tuple(row))
            elif not skipped:
                self._diverged(step, rate, row)
        self.unseen = []

    def write(self, **row: Any) -> None:
        if distributed.is_first():
            with files.named(self.out / LOG), open(self.out / LOG, "a", encoding="utf-8") as file:
                file.write(json.dumps({**row, "seconds": round(self.seconds, 1)}) + "\n")

    def note(self, **row: Any) -> None:
        """`write`, unless a session that was killed before its first checkpoint has written the same."""
        row = json.loads(json.dumps(row))  # tuples become lists, as they are in the file
        if not any({name: old.get(name) for name in row} == row for old in read_log(self.out)):
            self.write(**row)

    def _go_on(self, step: int) -> None:
        """Keep a copy of the old log if it holds more than the checkpoint knows. What a killed session wrote after
        its checkpoint will be written again, but how a run diverged shouldn't be lost, nor a line that can't be
        read."""
        rows = read_log(self.out)
        known = [row for row in rows if row["step"] <= step and "diverged" not in row]
        if len(known) < len(_lines(self.out / LOG)):
            number = 1 + len(list(self.out.glob("log.old-*.jsonl")))
            files.write_whole(self.out / f"log.old-{number}.jsonl", (self.out / LOG).read_bytes())
        files.write_whole(self.out / LOG, "".join(json.dumps(row) + "\n" for row in known).encode())

    def _skipped(self, step: int, rate: float, scale: float) -> None:
        self.write(step=step, skipped=True, scale=scale)
        if scale < LEAST_SCALE:
            self.write(step=step, rate=rate, diverged=True)
            raise Diverged(
                f"step {step}: gradients overflow float16 at learning rate {rate:g}, whatever the scale; "
                f"{kept(self.out)}. A lower learning rate, a warm-up or --precision float32 may get through."
            )

    def _diverged(self, step: int, rate: float, row: Sequence[float]) -> None:
        self.write(step=step, rate=rate, diverged=True)
        raise Diverged(
            f"step {step}: localisation loss {row[0]:.3g}, confidence loss {row[1]:.3g} at learning rate {rate:g}; "
            f"{self.last_finite}; {kept(self.out)}. A lower learning rate, a warm-up or another random "
            "seed may get through."
        )


def read_log(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, up to the first that isn't one: a crash may have cut the last one short."""
    rows = []
    for line in _lines(Path(out) / LOG):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            break
        rows.append(row)
    return rows


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8", errors="replace").splitlines() if path.exists() else []


def loss_row(localisation: float, confidence: float, model: SSD300) -> dict[str, float]:
    """The figures a line reports: `multibox` is what is minimised, `keras_equivalent` compares with ssd_keras."""
    multibox, l2 = localisation + confidence, float(l2_penalty(model))
    row = {
        "localisation": localisation,
        "confidence": confidence,
        "multibox": multibox,
        "l2": l2,
        "keras_equivalent": multibox + l2,
    }
    return {name: round(value, 6) for name, value in row.items()}
