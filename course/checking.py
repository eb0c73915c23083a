"""What an exercise's check does: run the answer on cases, find the box and the rule that failed, say which mistake.

An `Exercise` knows the right function, cases to try it on, and the mistakes people make, each as a function that
makes it. An answer that agrees with such a function on every case gets the sentence that belongs to it; another
wrong answer gets the first case it fails on, with what came and what was wanted, drawn.
"""

import base64
import copy
import html
import io
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TODO, WRONG, RIGHT = "todo", "wrong", "right"
MARKS = {TODO: "○ not yet", WRONG: "✗ not right", RIGHT: "✓ right"}
COLOURS = {TODO: "#5a5a5a", WRONG: "#B34700", RIGHT: "#006B4E"}
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """Arguments to try an answer on, and what to call them in a sentence."""

    name: str
    arguments: tuple


@dataclass(frozen=True)
class Mistake:
    """A known way to get it wrong: what it gives, and the sentence for whoever made it."""

    says: str
    gives: Any  # a function where the exercise asks for one, else a value


@dataclass(frozen=True)
class Verdict:
    """What a check found, shown as a line with a mark, and a picture where there is something to see."""

    exercise: str
    state: str
    message: str
    figure: Figure | None = None

    def __repr__(self) -> str:
        return f"{MARKS[self.state]} · {self.exercise} · {self.message}"

    def _repr_html_(self) -> str:
        style = f"border-left:6px solid {COLOURS[self.state]};padding:4px 12px"
        head = (
            f"<b style='color:{COLOURS[self.state]}'>{MARKS[self.state]}</b> · {html.escape(self.exercise)}"
        )
        shown = "" if self.figure is None else f"<br>{_as_img(self.figure, self.message)}"
        return f"<div style='{style}'>{head}<br>{html.escape(self.message)}{shown}</div>"


@dataclass
class Exercise:
    """A task with its check: call it with the answer.

    `right` is a function, or a value where the exercise asks for a number, a list or a tensor. `draw(ax, case,
    found, wanted)` may show a failed case.
    """

    title: str
    right: Any
    cases: Sequence[Case] = ()
    mistakes: Sequence[Mistake] = ()
    praise: str = "It does what it should."
    draw: Callable[[Axes, Case, Any, Any], None] | None = None
    tolerance: float = TOLERANCE
    size: tuple[float, float] = field(default=(4.0, 3.6))

    def __call__(self, answer: Any) -> Verdict:
        if answer is None or answer is ...:
            return Verdict(self.title, TODO, "Fill in the cell above, run it, then run this one again.")
        if not callable(self.right):
            return self._judge_value(answer)
        if not callable(answer):
            return self._verdict(f"this wants a function; {_short(answer)} is a {type(answer).__name__}")
        return self._judge_function(answer)

    def _judge_value(self, answer: Any) -> Verdict:
        if agree(answer, self.right, self.tolerance):
            return Verdict(self.title, RIGHT, self.praise)
        for mistake in self.mistakes:
            if agree(answer, mistake.gives, self.tolerance):
                return self._verdict(mistake.says)
        return self._verdict(_difference(answer, self.right, tell=False))

    def _judge_function(self, answer: Callable) -> Verdict:
        found, wanted = [], []
        for case in self.cases:
            given = copy.deepcopy(case.arguments)
            try:
                found.append(answer(*given))
            except NotImplementedError:
                return Verdict(self.title, TODO, "Fill in the cell above, run it, then run this one again.")
            except Exception as error:  # whatever a learner's code may do
                return self._verdict(_stopped(error, case))
            if not _same(given, case.arguments):
                return self._verdict(f"your function changed what it was given ({case.name}); work on a copy")
            wanted.append(self.right(*copy.deepcopy(case.arguments)))
        if all(value is None or value is ... for value in found):
            return Verdict(self.title, TODO, "Fill in the cell above, run it, then run this one again.")
        bad = [i for i in range(len(found)) if not agree(found[i], wanted[i], self.tolerance)]
        if not bad:
            return Verdict(self.title, RIGHT, self.praise)
        first = bad[0]
        known = next((m for m in self.mistakes if self._made(m, found)), None)
        message = f"{self.cases[first].name}: {_difference(found[first], wanted[first])}"
        if known:
            message = f"{known.says} ({message})"
        return self._verdict(message, self._picture(self.cases[first], found[first], wanted[first]))

    def _made(self, mistake: Mistake, found: Sequence[Any]) -> bool:
        """Whether the answer gives what this mistake gives, on every case."""
        for case, value in zip(self.cases, found, strict=True):
            try:
                if not agree(value, mistake.gives(*copy.deepcopy(case.arguments)), self.tolerance):
                    return False
            except Exception:  # the mistake can't be made on this case
                return False
        return True

    def _picture(self, case: Case, found: Any, wanted: Any) -> Figure | None:
        if self.draw is None:
            return None
        figure, ax = plt.subplots(figsize=self.size, layout="constrained")
        plt.close(figure)  # shown by the verdict, not by the notebook
        try:
            self.draw(ax, case, found, wanted)
        except Exception:  # an answer too strange to draw; the sentence has to do
            return None
        return figure

    def _verdict(self, message: str, figure: Figure | None = None) -> Verdict:
        return Verdict(self.title, WRONG, message, figure)


def agree(found: Any, wanted: Any, tolerance: float = TOLERANCE) -> bool:
    """Whether two answers are the same up to `tolerance`: numbers, tensors, texts, lists and tuples of them."""
    if isinstance(wanted, str | None) or isinstance(found, str | None):
        return type(found) is type(wanted) and found == wanted
    if isinstance(wanted, dict):
        return (
            isinstance(found, dict)
            and found.keys() == wanted.keys()
            and all(agree(found[key], wanted[key], tolerance) for key in wanted)
        )
    first, second = _tensor(found), _tensor(wanted)
    if first is None or second is None:
        nested = isinstance(found, list | tuple) and isinstance(wanted, list | tuple)
        return (
            nested
            and len(found) == len(wanted)
            and all(agree(a, b, tolerance) for a, b in zip(found, wanted, strict=True))
        )
    return first.shape == second.shape and torch.allclose(first, second, tolerance, tolerance, equal_nan=True)


def _tensor(value: Any) -> torch.Tensor | None:
    """A number, a tensor, an array or a (nested) list of numbers as float64; None for anything else."""
    try:
        return torch.as_tensor(value).detach().double()
    except (TypeError, ValueError, RuntimeError):
        return None


def _difference(found: Any, wanted: Any, tell: bool = True) -> str:
    """Where two answers part, in a few words. Without `tell` what was wanted stays a secret."""
    if found is None:
        return "your answer is None; is a `return` missing?"
    first, second = _tensor(found), _tensor(wanted)
    if first is None or second is None:
        return f"yours is {_short(found)}" + (f", wanted {_short(wanted)}" if tell else "; that isn't it")
    if first.shape != second.shape:
        return f"yours has shape {tuple(first.shape)}, wanted {tuple(second.shape)}"
    if not tell:
        return f"yours is {_short(found)}; that isn't it"
    if first.ndim == 0:
        return f"yours is {_number(first)}, wanted {_number(second)}"
    off = (~torch.isclose(first, second, TOLERANCE, TOLERANCE, equal_nan=True)).nonzero()
    place = tuple(off[0].tolist())
    where = ", ".join(map(str, place))
    return f"at [{where}] yours is {_number(first[place])}, wanted {_number(second[place])}" + (
        f"; {len(off)} of {first.numel()} numbers differ" if first.numel() > 1 else ""
    )


def _stopped(error: Exception, case: Case) -> str:
    """An exception in a learner's code, as one sentence with its line."""
    frames = traceback.extract_tb(error.__traceback__)
    line = frames[-1].line if len(frames) > 1 and frames[-1].line else ""
    at = f" in the line `{line}`" if line else ""
    text = str(error).strip().splitlines()
    return f"{case.name}: your function stopped with {type(error).__name__}{at}: {text[0] if text else ''}"


def _same(first: Any, second: Any) -> bool:
    """Whether nothing changed: exact for tensors, and true for what can't be compared."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second) or bool(first.isnan().any())
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    return True


def _short(value: Any) -> str:
    text = repr(value.tolist() if isinstance(value, torch.Tensor) and value.numel() < 9 else value)
    text = " ".join(text.split())
    return text if len(text) < 70 else f"{text[:67]}..."


def _number(value: torch.Tensor) -> str:
    if value.isfinite() and value == value.round():
        return str(int(value))  # 2359808, not 2.35981e+06
    return f"{value.item():.6g}"


def _as_img(figure: Figure, alt: str) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=80)
    data = base64.b64encode(out.getvalue()).decode()
    return f"<img alt='{html.escape(alt, quote=True)}' src='data:image/png;base64,{data}'>"
