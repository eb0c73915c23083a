"""What an exercise's check does: run the answer on cases, find the box and the rule that failed, say which mistake.

An `Exercise` knows the right function, cases to try it on, and frequent mistakes, each as a function that makes it.
An answer that agrees with such a function on every case gets the sentence that belongs to it. Any other wrong answer
gets the first case on which it fails, with a figure of what it returned and what was wanted.
"""

import base64
import copy
import html
import io
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course.kit import progress, stopped_cells
from course.kit.comparing import TOLERANCE, agree, difference, length, same, short
from course.kit.inline import marked, plain

TODO, WRONG, RIGHT = "todo", "wrong", "right"
MARKS = {TODO: "○ not yet", WRONG: "✗ not right", RIGHT: "✓ right"}
COLOURS = {TODO: "#5a5a5a", WRONG: "#B34700", RIGHT: "#006B4E"}  # under white letters: readable on any page
MORE = "||"  # in the sentence of a mistake: what follows gives the answer away and is told from the second try on
AGAIN = "Run this check again for more."
DPI = 96  # of a page
# What PyTorch means by it, for those who haven't met the sentence yet
MEANT = {
    "bitwise_xor": "In Python a power is `**`, not `^`.",
    "unsupported operand type(s) for ^": "In Python a power is `**`, not `^`.",
    "bitwise_and": "Put each comparison in brackets: `(a < 1) & (b > 2)`.",
    "bitwise_or": "Put each comparison in brackets: `(a < 1) | (b > 2)`.",
    "Boolean value of Tensor": "`if`, `and`, `or` and `not` want one value, and this is a tensor: use `torch.where`, "
    "`&`, `|` and `~`.",
}
FILL_IN = "Fill in the cell above, run it, then run this one again."


@dataclass(frozen=True)
class Case:
    """Arguments to try an answer on, and what to call them in a sentence."""

    name: str
    arguments: tuple


class Either(tuple):
    """Several ways to make a mistake that has one sentence: `Either((f, g))`."""


@dataclass(frozen=True)
class Verdict:
    """What a check found, shown as a line with a mark, and a figure where there is something to see."""

    exercise: str
    state: str
    message: str
    figure: Figure | None = None

    def __post_init__(self) -> None:
        if self.state == RIGHT:
            progress.solve(self.exercise)

    def __repr__(self) -> str:
        return f"{MARKS[self.state]} · {self.exercise} · {self.message}"

    def _repr_html_(self) -> str:
        style = f"border-left:6px solid {COLOURS[self.state]};padding:4px 12px"
        head = f"{badge(MARKS[self.state], COLOURS[self.state])} · {marked(self.exercise)}"
        shown = "" if self.figure is None else f"<br>{_as_img(self.figure, plain(self.message))}"
        return f"<div role='status' style='{style}'>{head}<br>{marked(self.message)}{shown}</div>"


@dataclass
class Exercise:
    """A task with its check: call it with the answer.

    `right` is a function, or a value where the exercise asks for a number, a list or a tensor. `draw(ax, case,
    found, wanted)` may show a failed case. `mistakes` leads from the sentence about a known mistake to what the
    mistake gives: a function where the exercise asks for one, else a value, or `Either` of several. What follows the
    mark `MORE` in such a sentence is told from the second wrong try on. `uses` is the exercise whose answer this
    one's may call: if that was found wrong, a wrong answer that calls it may be right.
    """

    title: str
    right: Any
    cases: Sequence[Case] = ()
    mistakes: Mapping[str, Any] = field(default_factory=dict)
    praise: str = "It does what it should."
    draw: Callable[[Axes, Case, Any, Any], None] | None = None
    tolerance: float = TOLERANCE
    also: Callable[[Callable], str] | None = None  # asks an answer that is right for more: a sentence, or ""
    size: tuple[float, float] = field(default=(4.0, 3.6))
    uses: "Exercise | None" = None
    parts: Sequence[str] = ()  # names of what an answer consists of, for the sentence
    wrong: int = field(default=0, init=False, compare=False)  # tries since the last right one
    state: str = field(default="", init=False, compare=False)  # what the last check found

    def __call__(self, answer: Any) -> Verdict:
        verdict = self._verdict_on(answer)
        self.state = verdict.state
        if self.state != WRONG or not self.uses or self.uses.state not in (TODO, WRONG):
            return verdict
        if not _calls(answer, getattr(self.uses, "name", "")):
            return verdict
        stop = "" if verdict.message.endswith((".", "?", "!")) else "."
        earlier = f"It uses your answer to {self.uses.title}, which wasn't right when checked; begin there."
        return replace(verdict, message=f"{verdict.message}{stop} {earlier}")

    def _verdict_on(self, answer: Any) -> Verdict:
        if stopped := stopped_cells.sentence():
            return Verdict(self.title, TODO, stopped)
        if answer is None or answer is ...:
            return Verdict(self.title, TODO, FILL_IN)
        if not callable(self.right):
            return self._judge_value(answer)
        if not callable(answer):
            return self._verdict(f"this wants a function; {short(answer)} is a {type(answer).__name__}")
        return self._judge_function(answer)

    def _judge_value(self, answer: Any) -> Verdict:
        if agree(answer, self.right, self.tolerance):
            return self._passed()
        for says, gives in self.mistakes.items():
            if any(agree(answer, one, self.tolerance) for one in ways(gives)):
                return self._verdict(says)
        if callable(answer):
            return self._verdict(f"yours is a {type(answer).__name__}; a value was asked for")
        return self._verdict(difference(answer, self.right, self.tolerance, tell=False))

    def _judge_function(self, answer: Callable) -> Verdict:
        found, wanted, stopped = [], [], ""
        for case in self.cases:
            given = copy.deepcopy(case.arguments)
            try:
                value = answer(*given)
            except KeyboardInterrupt:
                return self._verdict(f"{case.name}: your function ran until you stopped it; does a loop end?")
            except Exception as error:  # a learner's code may raise anything
                if _says_it_isnt_written(error):
                    return Verdict(self.title, TODO, FILL_IN)
                stopped = _stopped(error, case)
                break
            if not same(given, case.arguments):
                stopped = f"your function changed what it was given ({case.name}); work on a copy"
                break
            found.append(value)
            wanted.append(self.right(*copy.deepcopy(case.arguments)))
        if not stopped and all(value is None or value is ... for value in found):
            returns = " If it is filled in: a `return` is missing, or no `if` of yours was true."
            returns = "" if _is_empty(answer) else returns
            return Verdict(self.title, TODO, FILL_IN + returns)
        bad = [i for i in range(len(found)) if not agree(found[i], wanted[i], self.tolerance)]
        if not bad:
            if not stopped and self.also:
                stopped = self.also(answer)
            return self._verdict(stopped) if stopped else self._passed()
        first = bad[0]  # the ordinary cases stand first, so their error is told before one at an edge
        made = lambda gives: any(self._made(one, found) for one in ways(gives))  # noqa: E731
        known = "" if stopped else next((says for says, gives in self.mistakes.items() if made(gives)), "")
        parting = difference(*self._by_name(found[first], wanted[first]), self.tolerance)
        case = f"{self.cases[first].name}: {parting}"
        picture = self._picture(self.cases[first], found[first], wanted[first])
        return self._verdict(known, picture, f" ({case})") if known else self._verdict(case, picture)

    def _by_name(self, *answers: Any) -> tuple:
        """The parts of answers under their names, if each has as many."""
        if not self.parts or any(length(one) != len(self.parts) for one in answers):
            return answers
        return tuple(dict(zip(self.parts, one, strict=True)) for one in answers)

    def _made(self, mistake: Callable, found: Sequence[Any]) -> bool:
        """Whether the answer gives what this mistake gives, on every case."""
        for case, value in zip(self.cases, found, strict=True):
            try:
                if not agree(value, mistake(*copy.deepcopy(case.arguments)), self.tolerance):
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

    def _passed(self) -> Verdict:
        self.wrong = 0
        return Verdict(self.title, RIGHT, self.praise)

    def _verdict(self, message: str, figure: Figure | None = None, case: str = "") -> Verdict:
        self.wrong += 1
        told = by_degrees(message, self.wrong) + case
        more = f". {AGAIN}" if MORE in message and self.wrong == 1 else ""
        return Verdict(self.title, WRONG, told + more, figure)


def by_degrees(says: str, tries: int) -> str:
    """The sentence of a mistake as it is told at the first wrong try, up to MORE, and from the second on, whole."""
    first, mark, rest = (part.strip() for part in says.partition(MORE))
    if tries == 1 or not mark:
        return first
    return first + ("" if rest[:1] in ",;:" else " ") + rest


def ways(gives: Any) -> Either:
    """What a mistake gives, as one or several values."""
    return gives if isinstance(gives, Either) else Either((gives,))


def _calls(answer: Any, name: str) -> bool:
    """Whether a function of that name is used in the code of an answer, or in a function inside it."""
    code = answer if isinstance(answer, CodeType) else getattr(answer, "__code__", None)
    inner = [part for part in code.co_consts if isinstance(part, CodeType)] if code else []
    names = (*code.co_names, *code.co_freevars) if code else ()
    return name in names or any(_calls(part, name) for part in inner)


def _says_it_isnt_written(error: Exception) -> bool:
    """Whether the answer itself raises NotImplementedError; PyTorch does, too, as for `1 - mask` of booleans."""
    raised = traceback.extract_tb(error.__traceback__)[-1]
    return isinstance(error, NotImplementedError) and "NotImplementedError" in (raised.line or "")


def _stopped(error: Exception, case: Case) -> str:
    """An exception in a learner's code, as one sentence with the line of that code, not of the library it called."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    lines = [frame.line for frame in frames if frame.filename == frames[0].filename and frame.line]
    at = f" in the line `{lines[-1]}`" if lines else ""
    text = str(error).strip().splitlines()
    told = f"{case.name}: your function stopped with {type(error).__name__}{at}" + (
        f": {text[0]}" if text else ""
    )
    meant = next((words for part, words in MEANT.items() if part in str(error)), "")
    return f"{told}. {meant}" if meant else told


def _is_empty(answer: Callable) -> bool:
    """Whether a function holds nothing but `...`."""
    code = getattr(answer, "__code__", None)
    return (
        code is not None
        and not code.co_names
        and code.co_nlocals == code.co_argcount
        and len(code.co_code) < 9
    )


def badge(text: str, colour: str) -> str:
    """White letters on a dark colour: readable on a light page and on a dark one."""
    return f"<b style='background:{colour};color:#fff;padding:1px 7px;border-radius:3px'>{text}</b>"


def _as_img(figure: Figure, alt: str) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=2 * DPI)  # two pixels for each one of the page
    data = base64.b64encode(out.getvalue()).decode()
    width = f"width='{figure.get_figwidth() * DPI:.0f}'"
    return f"<img alt='{html.escape(alt, quote=True)}' {width} src='data:image/png;base64,{data}'>"
