"""No check says *right* to a solution in which one operator, number, comparison or line is another.

It found cases that let a mistake pass: a yolo box whose x was half its width, a crop that left out objects only by x.
"""

import ast
import contextlib
import copy
import io
import signal
from collections.abc import Callable, Iterator

import matplotlib.pyplot as plt
import pytest
from exercise_cells import SOURCES, cells_of, is_exercise

from course.kit import checking

pytestmark = pytest.mark.nightly

PATIENCE = 3  # seconds after which a change counts as noticed: it may loop for ever

OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.GtE,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.USub: ast.UAdd,
}
WORDS = {"min": "max", "any": "all", "floor": "ceil", "maximum": "minimum", "argmax": "argmin", "sum": "mean"}
WORDS |= {new: old for old, new in WORDS.items()}

# What means the same, or differs only where a check doesn't look on purpose
SAME = {
    "both > 1",  # a box of less than a pixel
    "= -1",  # of a table of IoUs: as good as 0 for "taken"
    "left.T >= left.max()",
    "far <= 1",  # the two pieces of smooth L1 meet there
    "dim=+1",  # of a matrix: the last one
    "nonzero()[:, -1]",
    "argsort(descending=True)",  # of a matrix: along its rows
    "rank = order.argsort()",
    "1 / 2 * 1 / 7 / 1 / 2",
    "1 / 2 * 1 / 7 / 2",
    "1 / 2 / 1 / 7 * 1 / 2",
    "1 / 2 / 7 * 1 / 2",
    "length < limit",  # a gradient of just the limit is not shortened either way
    "bad >= patience",
    "orders[1]",  # all epochs have as many images
    "orders[-1]",
    "parts[-1]",
    "torch.zeros(len(scores))",  # nonzero sees no difference
    "labels >= label",  # the others are taken first
    "torch.tensor(kept)",
    "most, best = (-1.0, None)",
    "else -1.0",
    "verdict >= 'true'",
    "verdict <= 'false'",
    "if found + 0 else",  # where nothing is found the precision is 0 either way
    "range(12)",  # no recall is 1.1
    "strict=False",
    "zip(recall, precision)",
    "kind <= 'coco'",
    "<= 0.2]",  # a share is never just 0.2
    "max(0.0, (enough",  # the largest of an image's classes is compared with 1 once more
    "for box in (a, b))",  # whole numbers in float32
    "1e-10",
}


def changed(tree: ast.Module) -> Iterator[ast.Module]:
    """The tree with one change each."""
    for place, node in enumerate(ast.walk(tree)):
        for change in changes_of(node):
            other = copy.deepcopy(tree)
            here = list(ast.walk(other))[place]
            change(here)
            if ast.dump(other) != ast.dump(tree):
                yield ast.fix_missing_locations(other)


def changes_of(node: ast.AST) -> Iterator[Callable[[ast.AST], None]]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
        yield lambda here: here.ops.__setitem__(0, OPERATORS[type(here.ops[0])]())
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp | ast.UnaryOp) and type(node.op) in OPERATORS:
        yield lambda here: setattr(here, "op", OPERATORS[type(here.op)]())
    if isinstance(node, ast.BinOp):  # one side alone: times 1, plus 0
        neutral = 0 if isinstance(node.op, ast.Add | ast.Sub) else 1
        for side in ("left", "right"):
            yield lambda here, side=side: setattr(here, side, ast.Constant(neutral))
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        for step in (1, -1):
            yield lambda here, step=step: setattr(here, "value", here.value + step)
    if isinstance(node, ast.Attribute) and node.attr in WORDS:
        yield lambda here: setattr(here, "attr", WORDS[here.attr])
    if isinstance(node, ast.Name) and node.id in WORDS:
        yield lambda here: setattr(here, "id", WORDS[here.id])
    if isinstance(node, ast.Call):
        for k in range(len(node.keywords)):
            yield lambda here, k=k: here.keywords.pop(k)
    if isinstance(node, ast.FunctionDef | ast.For | ast.If | ast.While) and len(node.body) > 1:
        for k, line in enumerate(node.body):
            if not isinstance(line, ast.Return):
                yield lambda here, k=k: here.body.pop(k)


def names_of(source) -> dict:
    names = {}
    exec(cells_of(source)[0].source, names)
    return names


@contextlib.contextmanager
def patience(seconds: int) -> Iterator[None]:
    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def says_right(code: object, check: str, names: dict) -> bool:
    """What the check below an answer says; an answer that stops with an error isn't right."""
    names = dict(names)
    *before, last = check.rstrip().splitlines()
    try:
        with patience(PATIENCE), contextlib.redirect_stdout(io.StringIO()):
            exec(code, names)
            exec("\n".join(before), names)
            return eval(last, names).state == checking.RIGHT
    except Exception:
        return False
    finally:
        plt.close("all")


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.stem)
def test_a_changed_solution_is_not_right(source, monkeypatch):
    from build import solution_of

    monkeypatch.chdir(source.parents[1])
    names, tried, passed = names_of(source), 0, []
    cells = cells_of(source)
    for cell, check in zip(cells, cells[1:], strict=False):
        if not is_exercise(cell):
            continue
        solution = ast.parse(solution_of(cell.source))
        assert says_right(compile(solution, "solution", "exec"), check.source, names)
        for other in changed(solution):
            tried += 1
            if says_right(compile(other, "changed", "exec"), check.source, names):
                lines = ast.unparse(solution).splitlines()
                passed.append([line for line in ast.unparse(other).splitlines() if line not in lines])
        exec(compile(solution, "solution", "exec"), names)
    unknown = [one for one in passed if not any(known in " ".join(one) for known in SAME)]
    assert not unknown, f"{len(unknown)} of {tried} changes pass for right: {unknown}"
