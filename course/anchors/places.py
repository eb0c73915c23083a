"""Where an anchor stands among the 8,732: maps one after the other, rows from the top, cells from the left."""

from dataclasses import dataclass

from torch import Tensor

from ssdlib.anchors import SSD300_ANCHORS, AnchorSpec


@dataclass(frozen=True)
class Place:
    """Where an anchor stands in the list."""

    map: int  # 0..5
    row: int
    column: int
    shape: int  # 0 = small square, 1 = large square, 2 = first ratio wide, 3 = tall ...


def place_of(index: int, spec: AnchorSpec = SSD300_ANCHORS) -> Place:
    """Anchor number 0..8731 -> its place."""
    if not 0 <= index < sum(spec.per_map):
        raise IndexError(f"there is no anchor {index}; they go from 0 to {sum(spec.per_map) - 1}")
    level = 0
    while index >= spec.per_map[level]:
        index -= spec.per_map[level]
        level += 1
    cell, shape = divmod(index, spec.boxes_per_cell[level])
    return Place(level, *divmod(cell, spec.feature_maps[level]), shape)


def index_of(place: Place, spec: AnchorSpec = SSD300_ANCHORS) -> int:
    """The way back: place -> anchor number."""
    cell = place.row * spec.feature_maps[place.map] + place.column
    return sum(spec.per_map[: place.map]) + cell * spec.boxes_per_cell[place.map] + place.shape


def anchors_of(level: int, row: int, column: int) -> slice:
    """Where the anchors of a cell stand among the 8,732, and so the rows of what the network says about them."""
    start = index_of(Place(level, row, column, 0))
    return slice(start, start + SSD300_ANCHORS.boxes_per_cell[level])


def by_map(chosen: Tensor) -> list[int]:
    """(8732,) bool -> how many anchors of each map are chosen."""
    return [int(part.sum()) for part in chosen.split(SSD300_ANCHORS.per_map)]


def describe(anchor: int) -> str:
    """ "38² map, row 12, column 3, 42x21 px"."""
    at = place_of(anchor)
    width, height = SSD300_ANCHORS.shapes(at.map)[at.shape]
    cells = SSD300_ANCHORS.feature_maps[at.map]
    return f"{cells}² map, row {at.row}, column {at.column}, {width:.0f}x{height:.0f} px"
