"""A dashboard for a run: on the page while it trains, or afterwards; in a terminal `python -m course.dashboard RUN`.

It reads the run's folder and nothing else, so it doesn't matter who trains: this page, a terminal, another machine.
"""

import argparse
import html
import math
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import ipywidgets
from matplotlib.figure import Figure

from course.kit.board import Board, steps_taken
from course.kit.explorer import Explorer, beside, html_text, row
from course.training import report, run_curves, run_pictures
from course.training.log_follower import Follower
from course.training.run_status import FINISHED, WAITING, View, view
from ssdlib.records import Example
from ssdlib.training.runs import CHECKPOINT, RunError

WHOLE, TENTH = "whole run", "last tenth"
REST = 30.0  # seconds between two looks at the images, at least: the CPU has other things to do
BROKEN = (ValueError, LookupError, RuntimeError, OSError)  # what a folder or a checkpoint may have against us


class Dashboard(Explorer):
    """Follows the run in `folder`, looking every few seconds in a thread of its own, until it is finished or `stop`.

    The detections are those of the latest checkpoint. For a narrow network they follow by themselves; the full
    one takes about half a second an image on a CPU, and waits for the button. `images` are those to look at.
    """

    alt = (
        "Three diagrams over the steps of a run: above the training loss with its two parts and the validation loss, "
        "below it the learning rate with its drops, and the mAP; then where the run stands, in words"
    )

    def __init__(self, folder: Path, every: float = 2.0, images: Sequence[Example] | None = None):
        self.folder, self.every, self.images = Path(folder), every, images
        self.found = Follower(folder)
        # the step that the reader looks at; None: the last one, as it comes
        self.reading: float | None = None
        self.seen: run_pictures.Seen | None = None
        self.problem = ""
        self._looked_at: tuple | None = None  # the checkpoint that the images show
        self._rest = -math.inf
        self._asked = False
        self._wake, self._thread = threading.Event(), None
        self._detection: threading.Thread | None = None  # the last one that was asked for
        self.board = Board(
            label="Curves of a run: loss, learning rate, mAP",
            hint="Keys: left, right: one line of the log, up, down: ten, n: whole run or last tenth.",
            view=list(run_curves.VIEW),
            frame=[0.0, run_curves.LOSS[0], run_curves.WIDE, run_curves.MAP[1]],
            width=760,
            heard=0,
            pointer_mode="press",
        )
        self.shown = ipywidgets.ToggleButtons(options=[WHOLE, TENTH], tooltips=["key n"] * 2)
        self.follow = ipywidgets.ToggleButton(False, description="follow again")
        self.detect = ipywidgets.Button(description="detect now")
        self.text, self.table, self.pictures = html_text(), html_text(), html_text()
        for later in (self.pictures, self.table):  # they change with a checkpoint and stand below
            later.add_class("course-later")
        self.board.observe(self._pressed, "pressed")
        self.board.observe(self._stepped, "arrows")
        self.board.observe(self._switched, "steps")
        self.shown.observe(self._reshown, "value")
        self.follow.observe(self._followed, "value")
        self.detect.on_click(self._detect_now)
        bar = row(self.shown, self.follow, self.detect)
        super().__init__([bar, beside(self.board, self.text), self.pictures, self.table])
        self.look()
        self.follow.value = self.view.phase != FINISHED

    # ---- following

    def look(self) -> bool:
        """Read what is new in the folder and show it. -> whether there is any point in looking again."""
        with self.turn:
            try:
                self.found.poll()
                self.problem = ""
            except BROKEN as error:
                self.problem = f"{type(error).__name__}: {error}"
        self._look_at_pictures()
        with self.turn:
            self._show()
            return self.view.phase != FINISHED

    def stop(self) -> None:
        """Look once more, then no more; the button takes it up again."""
        self.follow.value = False
        self.look()

    def close(self) -> None:
        self.follow.value = False
        super().close()

    def _followed(self, change: object = None) -> None:
        self._wake.set()  # a thread that waits sees at once that it isn't wanted any more
        self.follow.description = "following" if self.follow.value else "follow again"
        if self.follow.value:
            self._wake = threading.Event()
            self._thread = threading.Thread(target=self._go_on, args=(self._wake,), daemon=True)
            self._thread.start()

    def _go_on(self, stopped: threading.Event) -> None:
        while not stopped.wait(self.every):
            if not self._look_and_tell():
                self.follow.value = False

    def _look_and_tell(self) -> bool:
        try:
            return self.look()
        except Exception as error:  # a thread that dies in silence would look like a run that does
            self.problem = f"{type(error).__name__}: {error}; stopped looking"
            self.board.status, self.text.value = self.problem, html.escape(self.problem)
            return False

    # ---- the images

    def _look_at_pictures(self) -> None:
        """Detect with the checkpoint if it is another one than before, and it is cheap or was asked for."""
        config = self.found.config
        cheap = config is not None and config.width < 0.5 and time.monotonic() - self._rest > REST
        stamp = _stamp(self.folder / CHECKPOINT)
        with self.turn:
            if stamp is None or stamp == self._looked_at or not (cheap or self._asked):
                return
            self._asked, self._looked_at = False, stamp  # another thread needn't
        try:
            seen = run_pictures.look(self.folder, self.images)
            shown = f"{run_pictures.as_html(seen)}<br>{html.escape(seen.legend())}"
        except BROKEN as error:
            seen, shown = None, html.escape(f"no detections: {type(error).__name__}: {error}")
        self.seen, self._rest = seen, time.monotonic()
        self.pictures.value = shown

    def _detect_now(self, button: object = None) -> None:
        if _stamp(self.folder / CHECKPOINT) is None:
            self.pictures.value = html.escape(f"no {CHECKPOINT} in {self.folder} yet")
        else:
            self._asked, self._looked_at = True, None
            # beside the other messages, which wait while one is handled
            self._detection = threading.Thread(target=self._look_and_tell, daemon=True)
            self._detection.start()

    # ---- the reader

    def _pressed(self, change: dict) -> None:
        with self.turn:
            self.reading = run_curves.step_at(self.board.pressed[0], self._window())
            self._show()

    def _stepped(self, change: dict) -> None:
        with self.turn:
            right, down = steps_taken(change)
            if (right or down) and len(self.found):
                steps = self.found["step"]
                at = min(max(self._line() + right - 10 * down, 0), len(steps) - 1)
                self.reading = None if at == len(steps) - 1 else float(steps[at])
            self._show()

    def _switched(self, change: object = None) -> None:
        self.shown.value = WHOLE if self.shown.value == TENTH else TENTH

    def _reshown(self, change: object = None) -> None:
        with self.turn:
            self._show()

    def _line(self) -> int:
        last = len(self.found) - 1
        return last if self.reading is None else run_curves.nearest(self.found, self.reading)

    def _window(self) -> tuple[float, float]:
        return run_curves.window(self.found, self.shown.value == TENTH)

    # ---- what is shown

    def _show(self) -> None:
        self.view: View = view(self.found)
        reading = self.found["step"][self._line()] if len(self.found) else 0.0
        with self.board.hold_sync():
            self.board.scene = {"layers": run_curves.layers(self.found, self._window(), reading)}
            self.board.status = self.problem or self.sentence()
        self.text.value = html.escape(self.problem) or report.as_html(self.view)
        self.table.value = report.table_as_html(self.view)

    def sentence(self) -> str:
        """At the end, how far the run is, in whole percents lest a screen reader talk all the time; elsewhere what
        the log says there."""
        if self.reading is None or not len(self.found):
            if self.view.phase == WAITING or not self.view.steps:
                return report.sentence(self.view)
            done = f"{self.view.step / self.view.steps:.0%} done"
            return f"{self.view.phase}, {done}: {self.view.watch}"
        at = self._line()
        line = {name: float(self.found.columns[name][at]) for name in self.found.columns}
        parts = f"localisation {line['localisation']:.3g}, confidence {line['confidence']:.3g}"
        said = f"step {line['step']:,.0f}: loss {line['multibox']:.3g} ({parts}), learning rate {line['rate']:.3g}"
        checks = [c for c in self.found.validations if c.step <= line["step"]]
        tables = [c for c in self.found.evaluations if c.step <= line["step"]]
        said += f"; validation {checks[-1].value:.3g} at {checks[-1].step:,}" if checks else ""
        return said + (f"; mAP {tables[-1].value:.1%} at {tables[-1].step:,}" if tables else "")

    def summary(self) -> list[str]:
        return [f"{name}: {value}" for name, value in report.lines(self.view)]

    def state(self) -> str:
        with self.turn:
            reading = "" if self.reading is None or not len(self.found) else f"; {self.sentence()}"
            return f"{self.problem or report.sentence(self.view)}; {self.shown.value}{reading}"

    def still(self) -> Figure:
        with self.turn:
            figure = Figure(figsize=(9, 10.5))
            self.board.on(figure.add_axes((0.0, 0.45, 1.0, 0.55)))
            for left, told in (
                (0.02, self.summary()),
                (0.62, ["", *map("   ".join, report.table(self.view, 2))]),
            ):
                text = figure.add_axes((left, 0.2, 0.98 - left, 0.245))
                text.set_axis_off()
                text.text(0, 1, "\n".join(told), va="top", fontsize=9, linespacing=1.4, wrap=True)
            if self.seen:
                run_pictures.draw_below(self.seen, figure)
        return figure


def _stamp(path: Path) -> tuple | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


def main(arguments: Sequence[str] | None = None) -> int:
    """The same figures as text, again and again until the run is finished."""
    parser = argparse.ArgumentParser(prog="python -m course.dashboard", description=main.__doc__)
    parser.add_argument("run", type=Path, help="folder of a run, also one that isn't there yet")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks")
    parser.add_argument("--once", action="store_true", help="print once, as into a file")
    options = parser.parse_args(arguments)
    found, once = Follower(options.run), options.once or not sys.stdout.isatty()
    try:
        while True:
            found.poll()
            now = view(found)
            print(("" if once else "\033[H\033[J") + report.as_text(now), flush=True)
            if once or now.phase == FINISHED:
                return 0
            time.sleep(options.every)
    except (RunError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
