"""Where a run stands, in words: the lines beside the dashboard's curves, and the same for a terminal."""

import html
import math

from course.training.run_status import (
    DIVERGED,
    EVALUATING,
    FINISHED,
    INTERRUPTED,
    MARKS,
    RUNNING,
    SILENT,
    WAITING,
    WINDOW,
    View,
)
from ssdlib.training.estimate import in_words
from ssdlib.training.runlog import LOG


def sentence(view: View) -> str:
    """The state of the run in a few words, without anything that depends on the time of day."""
    done = f"step {view.step:,}" + (f" of {view.steps:,}" if view.steps else "")
    if view.phase == WAITING:
        return _waiting(view)
    said = {
        RUNNING: f"running, {done}",
        EVALUATING: f"all steps are done, evaluating; {done}",
        SILENT: f"no news, {done}",
        INTERRUPTED: f"interrupted, {done}",
        DIVERGED: f"stopped by NaN, {done}",
        FINISHED: f"finished, {done}",
    }[view.phase]
    return f"{said}; {MARKS[view.mood]} {view.mood}"


def _waiting(view: View) -> str:
    if view.config:
        return (
            f"a run of {view.steps:,} steps; waiting for its first line, after {view.config.log_every} steps"
        )
    name = "/".join(view.folder.parts[-2:])  # the whole path would differ from machine to machine
    return f"waiting for {name}/{LOG}" if view.folder.exists() else f"waiting for the folder {name}"


def lines(view: View) -> list[tuple[str, str]]:
    """Name and value of all that is known, in the order in which one wants to know it."""
    found = [("run", sentence(view)), ("watch", f"{MARKS[view.mood]} {view.watch}")]
    if view.last:
        found += _progress(view) + _losses(view)
    for name, checks, form in (
        ("validation", view.validations, "{:.2f}"),
        ("mAP", view.evaluations, "{:.1%}"),
    ):
        if checks:
            best = view.best(checks)
            said = f"{form.format(checks[-1].value)} at step {checks[-1].step:,}"
            same = best is None or best is checks[-1]
            said += " (the best so far)" if same and len(checks) > 1 else ""
            found.append((name, said if same else f"{said}; best {form.format(best.value)} at {best.step:,}"))
    return found + [("note", problem) for problem in view.problems]


def _progress(view: View) -> list[tuple[str, str]]:
    rate = f"{view.last['rate']:.3g}"
    if view.next_drop:
        rate += f", a tenth of it in {view.next_drop:,} steps"
    if view.config and view.step < view.config.warmup:
        rate += f", rising until step {view.config.warmup:,}"
    images = f"{view.speed:.1f} images/s, " if math.isfinite(view.speed) else ""
    pace = f"{images}{view.pace:.3g} s a step" if math.isfinite(view.pace) else "known after two lines"
    found = [("learning rate", rate), ("speed", pace), ("time", _time(view))]
    due = _due(view)
    if due and view.phase != FINISHED:
        found.append(("next", due))
    if view.age is not None and view.phase in (RUNNING, EVALUATING, SILENT):
        found.append(("last news", f"{in_words(round(view.age), exact=True)} ago"))
    return found


def _digits(value: float) -> str:
    """Two decimals; of small values two digits."""
    return f"{value:.2f}" if not abs(value) < 0.1 else f"{value:.2g}"


def _time(view: View) -> str:
    said = f"{in_words(view.spent, exact=True)} so far"
    if view.phase in (RUNNING, SILENT) and math.isfinite(view.left):
        said += f", about {in_words(view.left, exact=True)} left"
        if view.uncounted:
            checks = "check" if view.uncounted == 1 else "checks"
            said += (
                f" and {view.uncounted} {checks} (validation, evaluation), of which none has been timed yet"
            )
    return said


def _due(view: View) -> str:
    if not view.config:
        return ""
    named = (
        ("checkpoint", view.next(view.config.checkpoint_every)),
        ("validation", view.next(view.config.val_every)),
        ("evaluation", view.next(view.config.map_every) or (view.steps - view.step)),
    )
    return ", ".join(f"{name} in {steps:,} steps" for name, steps in named if steps)


def _losses(view: View) -> list[tuple[str, str]]:
    now, mean = (
        {name: _digits(values[name]) for name in ("multibox", "localisation", "confidence")}
        for values in (view.last, view.mean)
    )
    positives, negatives = view.last["positives"], view.last["negatives"]
    return [
        ("loss", f"{now['multibox']} = localisation {now['localisation']} + confidence {now['confidence']}"),
        (f"mean of {WINDOW} lines", f"{mean['multibox']} = {mean['localisation']} + {mean['confidence']}"),
        ("L2 beside it", _digits(view.last["l2"])),
        ("anchors", f"{positives:.0f} positives, {negatives:.0f} mined negatives a batch"),
    ]


def table(view: View, columns: int = 4) -> list[list[str]]:
    """Rows of cells "class 67.6 (+1.2)": AP in percent, in brackets the change since the evaluation before."""
    cells = [
        f"{name} {100 * ap:.1f}" + (f" ({100 * change:+.1f})" if math.isfinite(change) else "")
        for name, ap, change in view.table()
    ]
    rows = -(-len(cells) // columns)
    return [cells[i::rows] for i in range(rows)]


def as_text(view: View) -> str:
    """Everything for a terminal."""
    found = [f"{name:<17} {value}" for name, value in lines(view)]
    if view.evaluations:
        found += ["", f"AP in percent after step {view.evaluations[-1].step:,}"]
        found += ["".join(f"{cell:<27}" for cell in cells).rstrip() for cells in table(view)]
    return "\n".join([str(view.folder), *found])


def as_html(view: View) -> str:
    """The lines as a table for a page."""
    rows = [
        f"<tr><th scope='row' style='text-align:left;vertical-align:top;padding-right:12px'>{html.escape(name)}</th>"
        f"<td>{html.escape(value)}</td></tr>"
        for name, value in lines(view)
    ]
    return f"<table style='line-height:1.5'>{''.join(rows)}</table>"


def table_as_html(view: View) -> str:
    """AP by class for a page; empty before the first evaluation."""
    if not view.evaluations:
        return ""
    rows = [
        "<tr>" + "".join(f"<td style='padding-right:18px'>{html.escape(c)}</td>" for c in cells) + "</tr>"
        for cells in table(view)
    ]
    earlier = any(math.isfinite(change) for *_, change in view.table())
    change = "; in brackets the change since the evaluation before" if earlier else ""
    head = f"AP in percent after step {view.evaluations[-1].step:,}{change}"
    return (
        f"<table><caption style='text-align:left;white-space:nowrap'>{head}</caption>{''.join(rows)}</table>"
    )
