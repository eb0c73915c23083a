"""The questions at the end of a chapter: choose an option, read at once why it is right or wrong.

The questions of a topic lie in `course/TOPIC/questions.toml`. A question may carry a `proof`, a Python
expression over the library; a test evaluates it and compares it with the `value` of the right option.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets

from course.kit import progress, stills
from course.kit.checking import COLOURS, RIGHT, WRONG, badge
from course.kit.in_turn import in_turn
from course.kit.inline import marked, plain
from course.kit.keys import Keys
from course.kit.leave import Leave

FOLDER = Path(__file__).parents[1]


@dataclass(frozen=True)
class Option:
    text: str
    because: str  # feedback for choosing it
    right: bool = False
    value: Any = None  # what `proof` gives if this option is the right one


@dataclass(frozen=True)
class Question:
    ask: str
    options: tuple[Option, ...]
    proof: str = ""


def read_questions(topic: str) -> list[Question]:
    """The questions of a topic ("matching")."""
    found = tomllib.loads((FOLDER / topic / "questions.toml").read_text(encoding="utf-8"))
    return [
        Question(q["ask"], tuple(Option(**option) for option in q["option"]), q.get("proof", ""))
        for q in found["question"]
    ]


class SelfTest(ipywidgets.VBox):
    """All questions of a topic with radio buttons: Tab goes to the next question, the arrow keys choose."""

    def __init__(self, topic: str):
        self.topic, self.questions = topic, read_questions(topic)
        self.choices, self.answers = [], []
        before = progress.reached().answers.get(topic, [])
        for number, question in enumerate(self.questions):
            chosen = before[number] if number < len(before) else None
            texts = [plain(option.text) for option in question.options]
            choice = ipywidgets.RadioButtons(
                options=[(text, i) for i, text in enumerate(texts)],
                value=chosen if chosen in range(len(texts)) else None,
                layout=ipywidgets.Layout(width="auto"),
            )
            choice.observe(self._answer, "value")
            self.choices.append(choice)
            self.answers.append(ipywidgets.HTML())
        self.score = ipywidgets.HTML()
        rows = []
        for number, question in enumerate(self.questions):
            head = ipywidgets.HTML(f"<b>{number + 1}. {marked(question.ask)}</b>")
            rows.append(ipywidgets.VBox([head, self.choices[number], self.answers[number]]))
        super().__init__([*rows, self.score, Leave(), Keys()])
        self.add_class(stills.LIVE)
        in_turn(self)
        self._answer()

    def right(self) -> int:
        """How many questions are answered correctly so far."""
        pairs = zip(self.questions, self.choices, strict=True)
        return sum(c.value is not None and q.options[c.value].right for q, c in pairs)

    def _answer(self, change: object = None) -> None:
        for question, choice, answer in zip(self.questions, self.choices, self.answers, strict=True):
            if choice.value is not None:
                option = question.options[choice.value]
                mark, colour = ("✓", COLOURS[RIGHT]) if option.right else ("✗", COLOURS[WRONG])
                answer.value = (
                    f"<div role='status' style='border-left:6px solid {colour};padding-left:12px'>"
                    f"{badge(mark, colour)} {marked(option.because)}</div>"
                )
        progress.answer(self.topic, [choice.value for choice in self.choices], self.right())
        self.score.value = f"<b>{self.right()} of {len(self.questions)}</b>"

    def __repr__(self) -> str:
        return f"SelfTest({self.topic}: {self.right()} of {len(self.questions)})"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        found = super()._repr_mimebundle_(**kwargs)
        data = dict(found[0] if isinstance(found, tuple) else found or {})
        data["text/plain"], data["text/html"] = repr(self), self._as_page()
        return data, {}

    def _ipython_display_(self) -> None:
        stills.show(*self._repr_mimebundle_())

    def _as_page(self) -> str:
        """For pages without a kernel: every option unfolds its feedback."""
        parts = []
        for number, question in enumerate(self.questions, 1):
            parts.append(f"<p><b>{number}. {marked(question.ask)}</b></p>")
            for option in question.options:
                mark = "✓" if option.right else "✗"
                parts.append(
                    f"<details><summary>{marked(option.text)}</summary>"
                    f"<p>{mark} {marked(option.because)}</p></details>"
                )
        return "<div>" + "".join(parts) + "</div>"
