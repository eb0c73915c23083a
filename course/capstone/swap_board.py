"""Explorer of chapter 13: which blocks are yours in the next run, and what that costs."""

import time
from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure

from course.capstone.bisection import STAGES, Fault
from course.capstone.blocks import BLOCKS, BY_NAME
from course.capstone.trial import Tried
from course.kit.board import Board, layer, steps_taken
from course.kit.explorer import Explorer, html_text
from ssdlib.plots import BLACK, BLUE, RED

COLUMNS, WIDE, HIGH, GAP = 4, 190.0, 66.0, 12.0
SHAKE = 0.5  # seconds: a pressed button that moves within a tile is one click
ROWS = -(-len(BLOCKS) // COLUMNS)
VIEW = (0.0, 0.0, COLUMNS * (WIDE + GAP) + GAP, ROWS * (HIGH + GAP) + GAP)


def place(index: int) -> list[float]:
    """The tile of a block, xyxy in px of the board."""
    x, y = GAP + index % COLUMNS * (WIDE + GAP), GAP + index // COLUMNS * (HIGH + GAP)
    return [x, y, x + WIDE, y + HIGH]


def hit(x: float, y: float) -> int | None:
    """The block whose tile lies at a point of the board; None between the tiles."""
    for index in range(len(BLOCKS)):
        x1, y1, x2, y2 = place(index)
        if x1 <= x < x2 and y1 <= y < y2:
            return index
    return None


class SwapBoard(Explorer):
    """A click, or n for the tile with the thick frame, swaps a block; arrow keys go from tile to tile."""

    alt = (
        "Sixteen tiles in four rows, the blocks of a detector in the order of a run; those that are yours are full "
        "and say so, those that the library lends are empty and dashed"
    )

    def __init__(
        self, there: Sequence[str], tried: Sequence[Tried] = (), wrong: Mapping[str, Fault] | None = None
    ):
        self.there = tuple(there)
        self.tried = {one.block: one for one in tried}
        self.wrong = dict(wrong or {})
        self.chosen = [name for name in self.there if name not in self.wrong and not self._fails(name)]
        self.at = 0
        self.clicked: tuple[int | None, float] | None = None  # the last tile, and when
        self.board = Board(
            label="The blocks of the detector.",
            hint="Keys: arrows choose a block, n swaps it. A click does both.",
            view=list(VIEW),
            frame=list(VIEW),
            width=820,
            pointer_mode="press",
        )
        self.card = html_text(width="820px")
        self.board.observe(self._press, "pressed")
        self.board.observe(self._arrows, "arrows")
        self.board.observe(self._step, "steps")
        super().__init__([self.board, self.card])
        self._show()

    def _fails(self, name: str) -> bool:
        return name in self.tried and (bool(self.tried[name].wrong) or self.tried[name].too_slow)

    @property
    def names(self) -> tuple[str, ...]:
        """The blocks that are yours in the next run, in its order."""
        return tuple(block.name for block in BLOCKS if block.name in self.chosen)

    def swap(self, index: int) -> None:
        """Take a block for the library's, or the library's for it; one that isn't solved stays lent."""
        self.at, name = index, BLOCKS[index].name
        if name in self.chosen:
            self.chosen.remove(name)
        elif name in self.there:
            self.chosen.append(name)
        self._show()

    def _press(self, change: dict) -> None:
        index, now = hit(*self.board.pressed[:2]), time.monotonic()
        same = self.clicked is not None and index == self.clicked[0] and now - self.clicked[1] < SHAKE
        self.clicked = (index, now)
        if index is not None and not same:
            self.swap(index)

    def _arrows(self, change: dict) -> None:
        right, down = steps_taken(change)
        self.at = (self.at + right + COLUMNS * down) % len(BLOCKS)
        self._show()

    def _step(self, change: dict) -> None:
        self.swap(self.at)

    def length(self) -> float:
        """How many times as long the run is with these blocks."""
        return 1 + sum(self.tried[name].share for name in self.names if name in self.tried)

    def summary(self) -> list[str]:
        block = BLOCKS[self.at]
        lines = [
            f"{len(self.names)} of {len(BLOCKS)} blocks are yours in the next run.",
            f"With them it takes about {self.length():.2f} times as long as with the library's.",
        ]
        differ = [name for name in self.names if name in self.wrong]
        if differ:
            stage = STAGES[self.wrong[differ[0]].stage]
            lines.append(
                f"It isn't the library's run: {', '.join(differ)}; the first difference is in {stage}."
            )
        says = self.tried[block.name].says() if block.name in self.tried else ""
        if block.name not in self.there:
            says = f"not solved yet: chapter {block.chapter} asks for {', '.join(block.needs)}"
        lines.append(f"{block.name}: {block.does}" + (f"; {says}" if says else ""))
        return lines

    def state(self) -> str:
        return f"yours: {len(self.names)} of {len(BLOCKS)}, at {BLOCKS[self.at].name}"

    def _show(self) -> None:
        tiles = torch.tensor([place(i) for i in range(len(BLOCKS))])
        yours = torch.tensor([block.name in self.chosen for block in BLOCKS])
        bad = torch.tensor([block.name in self.wrong or self._fails(block.name) for block in BLOCKS])
        layers = [
            layer(tiles[yours], BLUE, line=2, fill=0.25),
            layer(tiles[~yours], BLACK, line=1.2, dash=(5, 4), alpha=0.6),
            layer(tiles[bad], RED, line=3, dash=(2, 3)),
            layer(tiles[self.at : self.at + 1], BLACK, line=4),
        ]
        names = [
            (x + 8, y + 28, block.name) for block, (x, y, _, _) in zip(BLOCKS, tiles.tolist(), strict=True)
        ]
        whose = [
            (x + 8, y + 56, self._whose(block.name))
            for block, (x, y, _, _) in zip(BLOCKS, tiles.tolist(), strict=True)
        ]
        layers += [layer(texts=names, color="#ffffff"), layer(texts=whose, color="#f2f2f2")]
        self.board.scene = {"layers": layers}
        self.board.status = self.summary()[-1]
        self.card.value = "<br>".join(self.summary())

    def _whose(self, name: str) -> str:
        bad = " (differs)" if name in self.wrong else " (fails)" if self._fails(name) else ""
        if name in self.chosen:
            return f"yours{bad}"
        return f"lent{bad}" if name in self.there else f"lent; chapter {BY_NAME[name].chapter}"

    def still(self) -> Figure:
        return self.stacked()
