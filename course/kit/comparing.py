"""Whether two answers are the same, whatever holds their numbers, and where they part, in words."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import torch

TOLERANCE = 1e-4


def agree(found: Any, wanted: Any, tolerance: float = TOLERANCE) -> bool:
    """Whether two answers are the same up to `tolerance`: numbers, tensors, texts, lists and tuples of them.

    Where whole numbers are wanted the tolerance isn't relative: 26,285,486 parameters are not 26,285,000."""
    if isinstance(wanted, str | None) or isinstance(found, str | None):
        return isinstance(found, type(wanted)) and found == wanted  # NumPy's texts are texts
    if isinstance(wanted, dict):
        return (
            isinstance(found, dict)
            and found.keys() == wanted.keys()
            and all(agree(found[key], wanted[key], tolerance) for key in wanted)
        )
    first, second = _tensor(found), _tensor(wanted)
    if isinstance(found, list | tuple) and not found and second is not None and not second.numel():
        return True  # an empty list has no columns to be counted
    if first is None or second is None:
        nested = isinstance(found, list | tuple) and isinstance(wanted, list | tuple)
        return (
            nested
            and len(found) == len(wanted)
            and all(agree(a, b, tolerance) for a, b in zip(found, wanted, strict=True))
        )
    return first.shape == second.shape and not bool(_off(first, second, tolerance).any())


def _off(found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> torch.Tensor:
    """Which numbers of two tensors of one shape differ."""
    whole = not wanted.is_floating_point()
    found, wanted = found.double(), wanted.double()
    near = torch.isclose(found, wanted, 0.0 if whole else tolerance, tolerance, equal_nan=True)
    if whole:  # a fraction that is off by rounding in float32 alone is near, too
        near |= (found != found.round()) & torch.isclose(found, wanted, 1e-6, 0.0)
    return ~near


def _tensor(value: Any) -> torch.Tensor | None:
    """A number, a tensor, an array or a (nested) list of them as a tensor; None for anything else."""
    parts_inside = isinstance(value, list | tuple) and any(
        hasattr(v, "shape") or isinstance(v, list | tuple) for v in value
    )
    if parts_inside:
        parts = [_tensor(v) for v in value]
        if any(part is None or part.shape != parts[0].shape for part in parts):
            return None
        same = len({part.dtype for part in parts}) == 1
        return torch.stack(parts if same else [part.double() for part in parts])
    try:
        found = torch.as_tensor(value)
        if found.is_floating_point() and not isinstance(value, torch.Tensor):
            found = torch.as_tensor(value, dtype=torch.float64)  # Python's floats have as many digits
        return None if found.is_complex() else found.detach().cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def difference(found: Any, wanted: Any, tolerance: float = TOLERANCE, tell: bool = True) -> str:
    """Where two answers part, in a few words. Without `tell` what was wanted stays a secret."""
    if found is None:
        return "your answer is None; is a `return` missing?"
    if isinstance(found, Iterator):
        return (
            f"yours is a {type(found).__name__}, which gives its values only once; put `list(...)` around it"
        )
    if said := _other_kind(found, wanted):
        return said
    first, second = _tensor(found), _tensor(wanted)
    if first is None or second is None:
        return _difference_of_parts(found, wanted, tolerance, tell)
    if first.shape != second.shape:
        shape = tuple(second.shape)
        return f"yours has shape {tuple(first.shape)}, wanted {shape if shape else 'a single number'}"
    if not tell:
        return f"yours is {short(found)}; {_how_many_differ(found, wanted, tolerance)}"
    off = _off(first, second, tolerance).nonzero()
    place = tuple(off[0].tolist())
    numbers = f"yours is {_number(first[place])}, wanted {_number(second[place])}"
    if first.ndim == 0:
        return numbers
    where = ", ".join(map(str, place))
    return f"at [{where}] {numbers}" + (
        f"; {len(off)} of {first.numel()} numbers {'differs' if len(off) == 1 else 'differ'}"
        if first.numel() > 1
        else ""
    )


def _other_kind(found: Any, wanted: Any) -> str:
    """Words where an answer is of another kind than what was asked for: a number in quotation marks, one value for a
    list, a list for a dictionary; "" if it isn't."""
    number = isinstance(wanted, int | float) and not isinstance(wanted, bool)
    if isinstance(found, str) and number:
        return (
            f"yours is a text because of the quotation marks: {short(found)}; write the number without them"
        )
    if isinstance(found, tuple) and len(found) == 2 and number and all(type(x) is int for x in found):
        whole, part = found
        if isinstance(wanted, int) and part >= 100:
            return f"in Python a comma makes two numbers of it; write it without: {whole}{part}"
        return f"in Python a comma makes two numbers of it; write a point: {whole}.{part}"
    if isinstance(found, list | tuple) and isinstance(wanted, list | tuple) and found:
        if all(isinstance(x, int | float) for x in wanted) and all(isinstance(x, str) for x in found):
            if not isinstance(wanted[0], bool):
                return "yours are texts because of the quotation marks; write the numbers without them"
        if all(isinstance(x, bool) for x in wanted) and all(x in ("True", "False") for x in found):
            return "yours are texts because of the quotation marks; write True and False without them"
    if isinstance(wanted, list | tuple) and isinstance(found, bool | int | float):
        return f"yours is a single value, {short(found)}; {len(wanted)} were asked for, in a list"
    if isinstance(wanted, dict) and not isinstance(found, dict):
        return f"yours is a {type(found).__name__}; a dictionary with {', '.join(map(repr, wanted))} was asked for"
    return ""


def _difference_of_parts(found: Any, wanted: Any, tolerance: float, tell: bool) -> str:
    """The same for answers that are no tensors: texts, or several things at once."""
    if tell and isinstance(wanted, list | tuple) and isinstance(found, list | tuple):
        if len(found) != len(wanted):
            return f"yours has length {len(found)}, wanted {len(wanted)}"
        at = next(i for i in range(len(wanted)) if not agree(found[i], wanted[i], tolerance))
        if found[at] is None:
            return f"at [{at}], counted from 0, yours is None, wanted {short(wanted[at])}"
        place = f"at [{at}]" if isinstance(wanted[at], str | int | float) else f"part {at}"
        return f"{place}, counted from 0: {difference(found[at], wanted[at], tolerance)}"
    if tell and isinstance(wanted, dict) and isinstance(found, dict) and found.keys() == wanted.keys():
        at = next((key for key in wanted if not agree(found[key], wanted[key], tolerance)), None)
        if at is None:
            return f"yours is {short(found)}; its parts are right, but write them as numbers"
        if found[at] is None:
            return f"`{at}`: yours is None, wanted {short(wanted[at])}"
        return f"`{at}`: {difference(found[at], wanted[at], tolerance)}"
    told = f", wanted {short(wanted)}" if tell else f"; {_how_many_differ(found, wanted, tolerance)}"
    return f"yours is {short(found)}{told}"


def _how_many_differ(found: Any, wanted: Any, tolerance: float) -> str:
    """Of the parts of a list, without saying which."""
    if not length(wanted) or length(found) != length(wanted):
        return "that isn't it"
    off = sum(not agree(one, other, tolerance) for one, other in zip(found, wanted, strict=True))
    if not off:
        return "its parts are right; write them in a list"
    return f"{off} of {len(wanted)} {'isn' if off == 1 else 'aren'}'t right"


def length(value: Any) -> int | None:
    """Of a list, a tuple or an array; None for what has none."""
    if isinstance(value, np.ndarray | torch.Tensor) and not value.ndim:
        return None
    return len(value) if isinstance(value, list | tuple | np.ndarray | torch.Tensor) else None


def same(first: Any, second: Any) -> bool:
    """Whether nothing changed: exact for tensors, and true for what can't be compared."""
    if isinstance(first, torch.Tensor):
        alike = first.shape == second.shape
        return alike and bool(torch.isclose(first.double(), second.double(), 0, 0, equal_nan=True).all())
    if isinstance(first, np.ndarray):
        return same(torch.from_numpy(first), torch.from_numpy(second))
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if is_dataclass(first):
        return same(vars(first), vars(second)) if hasattr(first, "__dict__") else True
    if isinstance(first, str | int | float | set):
        return first == second or first != first  # NaN isn't equal to itself
    return True


def short(value: Any) -> str:
    text = repr(value.tolist() if isinstance(value, torch.Tensor) and value.numel() < 9 else value)
    text = " ".join(text.split())
    return text if len(text) < 70 else f"{text[:67]}..."


def _number(value: torch.Tensor) -> str:
    if value.dtype == torch.bool:
        return str(bool(value))
    if value.isfinite() and value == value.round():
        return str(int(value))  # 2359808, not 2.35981e+06
    return f"{value.item():.6g}"
