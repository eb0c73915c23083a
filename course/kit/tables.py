"""Tables on a page: numbers right-aligned, headers above their columns, no cell broken where the page is narrow.

    table([("car", 1201, 0.675), ("sofa", 239, -0.011)], head=("class", "objects", "change"))

A page shows HTML; a screen reader, a terminal and the tests of the chapters read plain text.
"""

import html
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from course.kit.inline import marked, plain

HEAT = (0, 114, 178)  # blue of the colour-blind-safe palette; the larger the number, the stronger the blue
STRONGEST = 0.45  # letters stay readable above it, on a light page and on a dark one
LONG = 36  # a text of more characters may wrap

Rows = Sequence[Sequence[Any]]


class Table:
    """Rows with a head. Its `repr` is what `print` and the tests see."""

    def __init__(
        self, rows: Rows, head: Sequence[str], form: Sequence[str], caption: str, note: str, heat: Any
    ):
        self.rows = [[_plain_number(cell) for cell in row] for row in rows]
        wide = max([len(head), *map(len, self.rows)])
        odd = next((row for row in self.rows if len(row) != wide), None)
        if odd is not None or len(head) not in (0, wide):
            raise ValueError(
                f"table: {len(odd) if odd is not None else len(head)} cells in {odd or head!r}; wanted {wide}, as in "
                "the longest row"
            )
        self.head, self.caption, self.note = list(head), caption, note
        self.form = [*form, *[""] * (wide - len(form))]
        self.numeric = [self._is_numeric([row[i] for row in self.rows]) for i in range(wide)]
        self.heat = self._heat(heat)

    @staticmethod
    def _is_numeric(column: Sequence[Any]) -> bool:
        """Whether a column holds numbers and nothing else but gaps."""
        known = [cell for cell in column if cell is not None]
        return bool(known) and all(_is_number(cell) for cell in known)

    def text(self, i: int, cell: Any) -> str:
        """A cell of column i as it is written."""
        if cell is None:
            return ""
        if not _is_number(cell):
            return str(cell)
        form = self.form[i] or ("," if isinstance(cell, Integral) else ",.2f")
        written = format(cell, form).replace("%", " %")
        if written[0] in "+-" and set(written[1:]) <= set("0.,% e+-"):
            written = written[1:]  # nothing above or below zero is left of it
        return f"−{written[1:]}" if written.startswith("-") else written  # a minus sign never ends a line

    def _heat(self, asked: Any) -> list[bool]:
        if isinstance(asked, bool):
            return [asked and numeric for numeric in self.numeric]
        unknown = set(asked) - set(self.head)
        if unknown:
            raise ValueError(f"table: heat for {sorted(unknown)}; the columns are {self.head}")
        return [name in asked for name in self.head]

    def _strengths(self) -> tuple[float, float]:
        """The smallest and the largest of all numbers that get a colour."""
        values = [
            float(cell)
            for row in self.rows
            for cell, hot in zip(row, self.heat, strict=True)
            if hot and cell is not None and math.isfinite(cell)
        ]
        return (min(values), max(values)) if values else (0.0, 0.0)

    # ---- the two ways to show it

    def __repr__(self) -> str:
        written = [[plain(self.text(i, cell)) for i, cell in enumerate(row)] for row in self.rows]
        lines = ([[plain(name) for name in self.head]] if self.head else []) + written
        wide = [max(len(line[i]) for line in lines) for i in range(len(self.numeric))] if lines else []
        told = [
            "  ".join(
                cell.rjust(w) if numeric else cell.ljust(w)
                for cell, w, numeric in zip(line, wide, self.numeric, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([*filter(None, [plain(self.caption)]), *told, *filter(None, [plain(self.note)])])

    def _repr_html_(self) -> str:
        low, high = self._strengths()
        head = "".join(
            f"<th scope='col' style='{self._style(i, name)}'>{marked(name)}</th>"
            for i, name in enumerate(self.head)
        )
        body = []
        for row in self.rows:
            cells = []
            for i, cell in enumerate(row):
                text, style = self.text(i, cell), self._style(i, cell)
                if self.heat[i] and cell is not None and math.isfinite(cell):
                    share = (float(cell) - low) / (high - low) if high > low else 0.0
                    style += f";background:rgba{(*HEAT, round(STRONGEST * share, 3))}"
                kind, scope = ("th", " scope='row'") if i == 0 and not self.numeric[0] else ("td", "")
                cells.append(f"<{kind}{scope} style='{style}'>{marked(text)}</{kind}>")
            body.append(f"<tr>{''.join(cells)}</tr>")
        caption = f"<caption style='text-align:left'>{marked(self.caption)}</caption>" if self.caption else ""
        top = f"<thead><tr>{head}</tr></thead>" if self.head else ""
        said = html.escape(plain(self.caption) or ", ".join(map(plain, self.head)) or "table", quote=True)
        note = f"<p style='margin:2px 0'><small>{marked(self.note)}</small></p>" if self.note else ""
        # a table that is wider than the page scrolls by itself, with the keys, too
        return (
            f"<div class='course-table' role='region' aria-label='{said}' tabindex='0' "
            "data-lm-suppress-shortcuts='true' style='overflow-x:auto'>"
            f"<table style='margin:0'>{caption}{top}<tbody>{''.join(body)}</tbody></table></div>{note}"
        )

    def _style(self, i: int, cell: Any) -> str:
        side = "right" if self.numeric[i] else "left"
        digits = ";font-variant-numeric:tabular-nums" if self.numeric[i] else ""
        wraps = isinstance(cell, str) and len(cell) > LONG
        return f"text-align:{side}{digits};white-space:{'normal;min-width:16em' if wraps else 'nowrap'}"


def table(
    rows: Rows | Mapping[str, Sequence[Any]],
    head: Sequence[str] = (),
    form: Sequence[str] = (),
    caption: str = "",
    note: str = "",
    heat: bool | Sequence[str] = False,
) -> Table:
    """Rows of cells, or columns by their names, as the last line of a cell or for `display`.

    Numbers are written with `form`, a format for each column ("" means thousands with a comma for whole numbers, two
    decimals for others); None is an empty cell. `heat` colours numbers by their size, in all columns or
    in those it names, by one scale. Raises ValueError if rows or head differ in length."""
    if isinstance(rows, Mapping):
        head, columns = tuple(rows), [list(column) for column in rows.values()]
        lengths = {name: len(column) for name, column in zip(head, columns, strict=True)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"table: columns of different lengths: {lengths}")
        rows = list(zip(*columns, strict=True))
    return Table(rows, head, form, caption, note, heat)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, Real) and not isinstance(cell, bool)


def _plain_number(cell: Any) -> Any:
    """The number in a tensor or an array that holds one."""
    return cell.item() if hasattr(cell, "item") and getattr(cell, "ndim", 0) == 0 else cell
