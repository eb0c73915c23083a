"""Cells that train may be interrupted: what the learner reads then, and what the cells below go on with.

with interruptible(out, recorded=recording("mini")) as mine:
    mine.table = engine.train(config, train, test, out, resume=True, bar=mine.bar)

done = mine.or_recorded(test)  # the run in `out` if it is finished, else the recorded one, and it says so

with interruptible(instead="the table shows the recorded curvature"):  # a computation that the page can do without
    value = measure()
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ssdlib import evaluate, files
from ssdlib.anchors import default_boxes
from ssdlib.training import inference, runlog, runs
from ssdlib.training.inference import Data


class Interrupted(Exception):
    """The learner stopped a cell whose result the cells below can't do without. Shown as one sentence."""

    def _render_traceback_(self) -> list[str]:  # asked by IPython instead of a traceback
        return [str(self)]


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the test data it was judged on, and its table of AP."""

    folder: Path
    test: Data
    table: evaluate.Table


class Attempt:
    """A training that may be stopped. `table` is what `engine.train` returned, None if it didn't come so far."""

    def __init__(self, out: Path | None, recorded: Path | None):
        self.out, self.recorded = out, recorded
        self.table: evaluate.Table | None = None
        self.said = ""  # why it isn't finished
        self._shown: Any = None

    def bar(self, *arguments: Any, **named: Any) -> tqdm:
        """tqdm, and the attempt knows how far it came."""
        self._shown = tqdm(*arguments, **named)
        return self._shown

    @property
    def step(self) -> int:
        """How many updates are done; without a bar, as the log says."""
        if self._shown is not None:
            return int(self._shown.n)
        rows = runlog.read_log(self.out) if self.out is not None else []
        return int(rows[-1]["step"]) if rows else 0

    def close(self) -> None:
        """Stop the bar where it stands."""
        if self._shown is not None:
            self._shown.close()

    def stands(self) -> str:
        """Where an interrupted run stands and how it goes on, in a sentence."""
        saved = saved_step(self.out)
        if saved is None:
            kept = "nothing was saved yet: run the cell again, and it begins anew"
        else:
            kept = f"saved at {saved:,}: run the cell again, and it goes on from there"
        return f"Interrupted at step {max(self.step, saved or 0):,}, {kept}."

    def or_recorded(
        self, test: Data, recorded_test: Callable[[], Data] | None = None, say: Callable[[str], Any] = print
    ) -> Run:
        """The run in `out` if it is finished; else the recorded one, judged here and now on `recorded_test()` (on
        `test`, where none is given), and that is said. Raises Interrupted if there is no recorded one."""
        if self.table is not None:
            return Run(self.out, test, self.table)
        why = self.said or "Your run isn't finished."
        if self.recorded is None:
            raise Interrupted(f"{why} The cells from here on need it.")
        say(
            f"{why}\nUntil it is finished, what follows shows the recorded run, recordings/{self.recorded.name}."
        )
        data = test if recorded_test is None else recorded_test()
        return Run(self.recorded, data, judge(self.recorded, data))


@contextmanager
def interruptible(
    out: Path | None = None, recorded: Path | None = None, instead: str = ""
) -> Iterator[Attempt]:
    """Let a training in the folder `out` be stopped by the button, or by a loss that is no number, with a sentence.

    With a `recorded` run the page goes on: see `Attempt.or_recorded`. So it does where `instead` says, as half a
    sentence, what the page does without the result. With neither it ends here, in the sentence."""
    attempt = Attempt(Path(out) if out is not None else None, recorded)
    try:
        yield attempt
    except KeyboardInterrupt:
        if instead:
            attempt.said = f"Interrupted: {instead}. Run the cell again for its own result."
        elif out is not None:
            attempt.said = attempt.stands()
        else:
            attempt.said = "Interrupted; this cell keeps nothing: run it again."
    except runs.Diverged as error:
        attempt.said = f"Stopped: {error}"
    finally:
        attempt.close()
    if attempt.said:
        if recorded is None and not instead:
            raise Interrupted(f"{attempt.said} The cells below need its result.") from None
        print(attempt.said, file=sys.stdout, flush=True)


def saved_step(out: Path | None) -> int | None:
    """The step of the checkpoint in a run's folder, None if there is none."""
    path = None if out is None else out / runs.CHECKPOINT
    return int(files.load_checkpoint(path)["step"]) if path is not None and path.exists() else None


def judge(folder: Path, data: Data) -> evaluate.Table:
    """The AP of a run's network on `data`; nothing is written into its folder."""
    model, config, _ = runs.load_run(folder)
    found = inference.detect_all(model, data, default_boxes(), config)
    results = evaluate.collect([example.image_id for example in data[0]], found, config.classes)
    return evaluate.evaluate(results, data[0], classes=config.classes)
