"""How many threads compute on a CPU: the number that was asked for, else the one with which steps measure fastest.

Threads wait for each other at the end of every operator. Where another program uses one of the cores, all of them
wait for the thread that shares it, and one thread may take half the time of two. This can't be known beforehand, so
a few steps are measured. With another number of threads sums are taken in another order, so a run is bit-for-bit
identical only with a fixed number.
"""

import contextlib
import os
import statistics
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch

from ssdlib.training import distributed

ROUNDS = 3  # that count, after a first one that makes buffers and chooses kernels
# rounds that count -> how many times faster the best has to be for no further one; where none counts yet, the present
# number has to be the slower one, for its first step is the first of all
OBVIOUS = {0: 5.0, 1: 3.0, 2: 2.0}
CLEAR = 0.9  # of the time with the present number: a smaller gain may be chance, and isn't worth a change
SLOW = 2.0  # times the pace measured at the last choice: then it is time for another
RECENT = 20  # steps whose median is that pace

_deciding: list[object] = []  # the choosers that exist; the first of them decides
_last: int | None = None  # what was chosen last


@contextlib.contextmanager
def fixed(count: int | None) -> Iterator[None]:
    """Compute with `count` threads in this block, whatever would be faster; None leaves the choice. The number from
    before is set again afterwards."""
    with restored():
        if count:
            torch.set_num_threads(count)
            _deciding.append(count)
        yield


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Set the number of threads again that was there before the block, or the function that this decorates."""
    before, deciding = torch.get_num_threads(), len(_deciding)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        del _deciding[deciding:]


@contextlib.contextmanager
def as_chosen() -> Iterator[None]:
    """Compute with the number that was chosen last in this process, if one was and none is fixed now."""
    with restored():
        if _last and not _deciding:
            torch.set_num_threads(min(_last, torch.get_num_threads()))
        yield


class Chooser:
    """Times steps while they are taken, and sets the number of torch's threads. To be used inside of `restored`.

    It begins with torch's own number, lets that and its half take steps in turn, and goes on to the half of that as
    long as it pays. The number isn't chosen where it is fixed: by `fixed`, by OMP_NUM_THREADS, on a GPU, by another
    chooser around this one, or because several processes share the cores.
    """

    def __init__(self, device: torch.device):
        self.now = self.most = torch.get_num_threads()  # the number that the caller has set is a bound
        self.free = (
            device.type == "cpu"
            and self.most > 1
            and not _deciding
            and not os.environ.get("OMP_NUM_THREADS")
            and distributed.processes() == 1
        )
        _deciding.append(self)
        self.news: dict[str, Any] | None = None  # a change that isn't in the log yet
        self._pace = 0.0  # seconds a step, when it was chosen
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._times: dict[int, list[float]] = {}
        self._numbers: list[int] = []  # that are tried against each other
        self._turns: list[int] = []  # which of them takes which of the next steps
        if self.free:
            self._try(self.now // 2)

    @property
    def trying(self) -> bool:
        """Whether the next steps belong to a choice that isn't made yet."""
        return bool(self._turns)

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Around each step, or other work of which there are many pieces of the same size."""
        if self._turns:
            torch.set_num_threads(self._turns[0])
        begun = time.perf_counter()
        yield
        took = time.perf_counter() - begun
        if not self._turns:
            self._recent.append(took)
            return
        self._times[self._turns.pop(0)].append(took)
        if not self._turns or self._clear():
            self._choose()

    def look(self) -> None:
        """At a checkpoint: try other numbers if steps have become twice as slow, and more threads if fewer compute
        than could, since the program that kept the cores busy may have ended."""
        if not self.free or self._turns or not self._recent:
            return
        pace = statistics.median(self._recent)
        slow = pace > SLOW * self._pace
        self._pace = min(pace, self._pace)
        self._recent.clear()
        if slow or self.now < self.most:
            self._try(self.now // 2 if slow else 0, min(2 * self.now, self.most))

    def told(self) -> dict[str, Any] | None:
        """The change since the last call, for a line of the log; None if there was none."""
        news, self.news = self.news, None
        return news

    def _try(self, *others: int) -> None:
        numbers = [self.now, *(n for n in others if n and n not in (self.now, *self._times))]
        if len(numbers) > 1:
            self._numbers, self._turns = numbers, numbers * (1 + ROUNDS)
            self._times |= {n: [] for n in numbers}

    def _clear(self) -> bool:
        """Whether a round is complete and no other is needed, because beside a busy program each costs time."""
        times = [self._times[n] for n in self._numbers]
        rounds = len(times[0]) - 1
        if rounds not in OBVIOUS or len(times[-1]) <= rounds:
            return False
        paces = [statistics.median(took[1:] or took) for took in times]
        best, second = sorted(paces)[:2]
        return second >= OBVIOUS[rounds] * best and (rounds > 0 or best < paces[0])

    def _choose(self) -> None:
        """Take the fastest of the numbers tried if the difference is clear, and try the next one in that
        direction."""
        global _last
        before, self._turns = self.now, []
        paces = {n: statistics.median(took[1:] or took) for n, took in self._times.items()}
        best = min(paces, key=lambda n: paces[n])
        if paces[best] < CLEAR * paces[before]:
            self.now = best
            self._try(best // 2 if best < before else min(2 * best, self.most))
            shown = {str(n): float(f"{pace:.3g}") for n, pace in paces.items()}
            first = self.news["before"] if self.news else before
            self.news = {"threads": best, "before": first, "seconds_a_step": shown}
        self._pace, _last = paces[self.now], self.now
        torch.set_num_threads(self.now)
        if not self._turns:
            self._times = {}
