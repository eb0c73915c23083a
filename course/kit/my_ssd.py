"""`my_ssd.py` in the learner's folder: the functions of the building blocks, collected as they are solved.

An ordinary module that its owner may read, run and edit. A later solution replaces an earlier one, and the file as it
was is then kept in `aside`. Pages outside a learner's folder (`places.page_home`) neither read nor write it.
"""

import ast
import datetime
import dis
import inspect
import linecache
import shutil
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock

from course.kit import places
from course.kit.places import ASIDE
from ssdlib.files import write_whole

FILE = "my_ssd.py"
LOCK = ".my_ssd.lock"
HEAD = '''"""The functions of my SSD, kept as their checks said right; chapter 13 trains with them.

This file is mine. I may edit it; what a later solution replaces is kept in the folder `aside`.
"""
'''
PLAIN = int | float | str | bool | tuple | type(None)  # constants of a page that can be written down


class NotKept(Exception):
    """A solution can't be kept, or the file can't be run. The message says why and what to do, in a sentence."""

    def _render_traceback_(self) -> list[str]:  # asked by IPython instead of a traceback
        return [str(self)]


def path_in(home: Path | None = None) -> Path | None:
    """Where the file of a learner's folder lies, by default of the one this page lies in; None if it lies in none."""
    home = home or places.page_home()
    return home / FILE if home else None


def read(home: Path | None = None) -> dict[str, Callable]:
    """The functions of the file, by name; {} where there is none. Raises NotKept if the file can't be run."""
    path = path_in(home)
    if path is None or not path.is_file():
        return {}
    names = _run(path.read_text("utf-8"), path)
    return {name: value for name, value in names.items() if inspect.isfunction(value)}


def keep(
    answer: Callable, title: str, works: Callable[[Callable], bool], home: Path | None = None
) -> Path | None:
    """Write a function with what it needs of its page into the file. -> the file if it changed, None if all of it was
    there already.

    `title` is the exercise's, "1.4 IoU". `works` judges the function once more as it will lie in the file, away from
    its page. Raises NotKept with the reason, and then nothing was written.
    """
    path = path_in(home)
    if path is None:
        return None
    try:
        with filelock.FileLock(path.with_name(LOCK), timeout=5):
            return _keep(answer, title, works, path)
    except (OSError, filelock.Timeout) as error:
        raise NotKept(f"{FILE} can't be written: {error}") from None


def _keep(answer: Callable, title: str, works: Callable[[Callable], bool], path: Path) -> Path | None:
    before = path.read_text("utf-8") if path.is_file() else HEAD
    _run(before, path)  # of a file that is broken nothing is overwritten
    text = before
    name = answer.__name__
    for needed in [*_helpers(answer), answer]:
        heading = f"# {title}" if needed is answer else f"# for {name}"
        text = _with_imports(text, needed)
        text = _with_function(text, needed, heading, replace=needed is answer)
    if text == before:
        return None
    try:
        moved = _run(text, path).get(name)
    except NotKept:
        moved = None
    if moved is None or not works(moved):
        raise NotKept(
            f"`{name}` works on this page but not by itself in {FILE}: it may need something that another cell made, "
            "or a function that the file has in another form"
        )
    if path.is_file() and _replaces(before, text):
        _put_aside(path)
    write_whole(path, text.encode())
    return path


def _run(text: str, path: Path) -> dict[str, Any]:
    """The names that a text defines as a module."""
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    try:
        exec(compile(text, str(path), "exec"), module.__dict__)
    except SyntaxError as error:
        raise NotKept(
            f"{path.name} can't be read, line {error.lineno}: {error.msg}; mend it by hand"
        ) from None
    except Exception as error:  # whatever its owner wrote
        raise NotKept(f"{path.name} stops with {type(error).__name__}: {error}; mend it by hand") from None
    lines = text.splitlines(keepends=True)
    linecache.cache[str(path)] = (len(text), None, lines, str(path))  # for tracebacks and `getsource`
    return vars(module)


def source_of(function: Callable) -> str:
    """The lines of a function. Raises NotKept if they can't be had, as those of a lambda."""
    try:
        text = textwrap.dedent(inspect.getsource(function)).strip() + "\n"
        tree = ast.parse(text)
    except (OSError, TypeError, SyntaxError):
        raise NotKept("its lines can't be found; define it with `def` in a cell of its own") from None
    if function.__name__ == "<lambda>":
        raise NotKept("it or a function that it uses is a `lambda`; write it with `def`")
    if not isinstance(tree.body[0], ast.FunctionDef) or tree.body[0].name != function.__name__:
        raise NotKept(f"wanted a function that begins with `def {function.__name__}`")
    return text


def globals_of(function: Callable) -> dict[str, Any]:
    """What a function takes from its page, by name: modules, functions, constants. Builtins aren't in it."""
    names = set(_global_names(function.__code__))
    head = ast.parse(source_of(function)).body[0]
    beside = [*head.decorator_list, *head.args.defaults, *filter(None, head.args.kw_defaults)]
    every = [*head.args.posonlyargs, *head.args.args, *head.args.kwonlyargs]
    beside += [a.annotation for a in every if a.annotation] + ([head.returns] if head.returns else [])
    names |= {n.id for part in beside for n in ast.walk(part) if isinstance(n, ast.Name)}
    there = function.__globals__
    return {name: there[name] for name in sorted(names) if name in there and name != function.__name__}


def _global_names(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _global_names(inner)


def _of_the_page(value: Any, function: Callable) -> bool:
    """Whether a function was defined where `function` was, and isn't imported."""
    return inspect.isfunction(value) and value.__globals__ is function.__globals__


def _helpers(function: Callable, seen: tuple[Callable, ...] = ()) -> list[Callable]:
    """Functions of the same page that a function calls, and those that these call; callees first."""
    found: list[Callable] = []
    for value in globals_of(function).values():
        if _of_the_page(value, function) and value not in (function, *seen, *found):
            found += [h for h in _helpers(value, (*seen, function, *found)) if h not in found]
            found.append(value)
    return found


def _line_for(name: str, value: Any, function: Callable) -> str:
    """The line that gives a module the name that a page's function uses."""
    if inspect.ismodule(value):
        parent, _, last = value.__name__.rpartition(".")
        if name == value.__name__:
            return f"import {name}"
        if name == last:
            return f"from {parent} import {name}"
        return f"import {value.__name__} as {name}"
    if isinstance(value, PLAIN):
        return f"{name} = {value!r}"
    source, own = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if source and own and source not in ("__main__", function.__module__):
        return f"from {source} import {own}" + ("" if own == name else f" as {name}")
    if module := _imported_from(name, value):
        return f"from {module} import {name}"
    raise NotKept(f"it uses `{name}`, a {type(value).__name__} of this page; make it inside the function")


def _imported_from(name: str, value: Any) -> str:
    """The module of the library that has a value by this name, such as SSD300_ANCHORS; "" if none has."""
    ours = {key: module for key, module in sys.modules.items() if key.startswith(("ssdlib.", "course."))}
    found = sorted(key for key, module in ours.items() if getattr(module, name, None) is value)
    defining = [key for key in found if f"\n{name} = " in inspect.getsource(ours[key])]
    return next(iter(defining or found), "")


def _with_imports(text: str, function: Callable) -> str:
    """The text with the imports and constants that a function needs, below those that are there."""
    wanted = [
        _line_for(name, value, function)
        for name, value in globals_of(function).items()
        if not _of_the_page(value, function)
    ]
    there = {line for node in ast.parse(text).body for line in ast.unparse(node).splitlines()}
    new = [line for line in wanted if ast.unparse(ast.parse(line)) not in there]
    if not new:
        return text
    lines, body = text.splitlines(), ast.parse(text).body
    _refuse_another_value(new, body, function)
    first = next((n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)), None)
    above = [n for n in body if first is None or n.lineno < first.lineno]
    end = above[-1].end_lineno if above else 0
    gap = [""] if above and isinstance(above[-1], ast.Expr) else []
    lines[end:end] = gap + new
    return "\n".join(lines) + "\n"


def _refuse_another_value(new: Sequence[str], body: Sequence[ast.stmt], function: Callable) -> None:
    """A constant that another function of the file uses keeps its value, or that function would be another one."""
    bound = {t.id for n in body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    others = [n for n in body if isinstance(n, ast.FunctionDef) and n.name != function.__name__]
    for line in new:
        node = ast.parse(line).body[0]
        name = node.targets[0].id if isinstance(node, ast.Assign) else ""
        if name in bound:
            users = [o.name for o in others for n in ast.walk(o) if isinstance(n, ast.Name) and n.id == name]
            if users:
                where = f"in {FILE}, where `{users[0]}` uses it"
                raise NotKept(f"its `{name}` has another value {where}; make it inside the function")


def _with_function(text: str, function: Callable, heading: str, replace: bool) -> str:
    """The text with a function: in its old one's place, or at the end. What the file has by that name stays unless it
    may be replaced."""
    source = source_of(function)
    lines = text.splitlines()
    old = next((n for n in ast.parse(text).body if getattr(n, "name", None) == function.__name__), None)
    if old is None:
        return text.rstrip() + f"\n\n\n{heading}\n{source}"
    start = min([old.lineno, *(d.lineno for d in old.decorator_list)]) - 1
    there = "\n".join(lines[start : old.end_lineno]) + "\n"
    if there == source or not replace:
        return text
    lines[start : old.end_lineno] = source.rstrip().splitlines()
    return "\n".join(lines) + "\n"


def _replaces(before: str, after: str) -> bool:
    """Whether a line of the earlier file is gone."""
    rest = iter(after.splitlines())
    return not all(any(line == other for other in rest) for line in before.splitlines() if line.strip())


def _put_aside(path: Path) -> None:
    folder = path.parent / ASIDE
    folder.mkdir(exist_ok=True)
    today, number = datetime.date.today().isoformat(), 1
    while (kept := folder / f"{path.stem} {today} {number}.py").exists():
        number += 1
    shutil.copy2(path, kept)
