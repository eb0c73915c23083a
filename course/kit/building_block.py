"""An exercise whose solution is kept for the last chapter: `BuildingBlock`."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from course.kit import my_ssd
from course.kit.checking import RIGHT, Exercise, Verdict


@dataclass
class BuildingBlock(Exercise):
    """An `Exercise` that keeps a right answer in the learner's `my_ssd.py` (see `my_ssd`), under the name that its
    function has on the page, `name`. Nothing that goes wrong there changes the verdict; it is said below it."""

    name: str = ""

    def __call__(self, answer: Any) -> Verdict:
        verdict = super().__call__(answer)
        if verdict.state != RIGHT or my_ssd.path_in() is None:
            return verdict
        return dataclasses.replace(verdict, message=f"{verdict.message} {self._keep(answer)}")

    def _keep(self, answer: Callable) -> str:
        if getattr(answer, "__name__", "") != self.name:
            return f"(Not kept for chapter 13: there its name has to be `{self.name}`.)"
        try:
            changed = my_ssd.keep(answer, self.title, lambda moved: self._judge(moved).state == RIGHT)
        except my_ssd.NotKept as error:
            return f"(Not kept for chapter 13: {error}.)"
        return f"(Kept in {my_ssd.FILE}{'' if changed else ' already'}; chapter 13 trains with it.)"

    def _judge(self, answer: Callable) -> Verdict:
        return Exercise.__call__(self, answer)
