"""The learner's own copy of the chapters: made once, brought up to date later without losing an answer.

    python -m course.kit.working_copy                 make it, or bring a new version in: `make lab` does this
    python -m course.kit.working_copy --afresh 03     one page as it came; yours is kept in the folder `aside`

The pages in `chapters` are executed artefacts that belong to the project: a learner who runs them would rewrite files
that `git pull` wants to change. A copy doesn't know what the learner did to it unless it is compared with what it was
made from; that is kept in `.shipped`, without outputs.
"""

import argparse
import datetime
import json
import os
import shutil
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course.kit import places
from course.kit.places import ASIDE, SHIPPED

LAB = Path(__file__).parent / "lab"  # JupyterLab's settings and its first layout, as `make lab` starts it
LAYOUT = ".lab/default-37a8.jupyterlab-workspace"  # where JupyterLab keeps its layout in a learner's folder
ALIKE = 0.6  # two cells in the same place are one cell in two versions if so much of their text is the same


@dataclass
class Merged:
    """A page of which the learner's cells and the new version's are both part."""

    page: NotebookNode
    kept: int = 0  # cells that the learner changed or added
    both: list[str] = field(
        default_factory=list
    )  # first lines of cells that both changed; the learner's stands


def bring(pages: Path, home: Path) -> list[str]:
    """Make the learner's folder `home` from the folder `pages`, or bring its new version in. -> what happened, in
    sentences; none if nothing did.

    Cells that the learner left alone follow the new version, changed and added ones stay."""
    (home / SHIPPED).mkdir(parents=True, exist_ok=True)
    told, made = [], 0
    for path in sorted([*pages.glob("*.ipynb"), *pages.glob("*.md")]):
        mine, base = home / path.name, home / SHIPPED / path.name
        if not mine.exists():
            _write(mine, path.read_bytes())
            _write(base, _as_shipped(path))
            made += 1
        elif not base.exists() or base.read_bytes() != _as_shipped(path):
            try:
                told += _update(path, mine, base)
            except (ValueError, OSError, nbformat.ValidationError) as error:
                way_out = f"`--afresh {path.stem}` lays a new page and keeps yours"
                told.append(f"{mine}: {_first_line(error)}; left as it is. {way_out}")
    if made:
        told.insert(0, f"{made} pages laid into {home}; they are yours, and `git pull` doesn't touch them.")
    return told


def lay_out(home: Path) -> None:
    """Let JupyterLab begin without its side bar; what a learner has made of its layout stays."""
    if not (home / LAYOUT).exists():
        (home / LAYOUT).parent.mkdir(parents=True, exist_ok=True)
        _write(home / LAYOUT, (LAB / "workspace.json").read_bytes())


def afresh(name: str, home: Path | None = None, pages: Path = places.CHAPTERS) -> Path | None:
    """Lay a page ("03", or its whole name) again as it came. -> where the learner's page is kept, if there was one.

    In JupyterLab an open page asks whether to revert to what is on disk: revert."""
    home = home or places.page_home() or places.learner_home()
    found = sorted(path for path in pages.glob("*.ipynb") if path.stem.startswith(name))
    if len(found) != 1:
        there = ", ".join(path.stem for path in sorted(pages.glob("*.ipynb")))
        raise LookupError(f"{name!r}: wanted the name of one page, or how it begins, of {there}")
    mine, kept = home / found[0].name, None
    (home / SHIPPED).mkdir(parents=True, exist_ok=True)
    if mine.exists():
        (home / ASIDE).mkdir(exist_ok=True)
        today, number = datetime.date.today().isoformat(), 1
        while (kept := home / ASIDE / f"{mine.stem} {today} {number}.ipynb").exists():
            number += 1
        shutil.copy2(mine, kept)
    _write(mine, found[0].read_bytes())
    _write(home / SHIPPED / mine.name, _as_shipped(found[0]))
    return kept


def merge(base: NotebookNode, mine: NotebookNode, new: NotebookNode) -> Merged:
    """Three versions of a page, what it was made from, what the learner made of it, and what it is now -> one."""
    base_to_mine = _by_id(base.cells, mine.cells) or _alike(base.cells, mine.cells)
    new_to_base = {j: i for i, j in _alike(base.cells, new.cells).items()}
    merged, cells, placed = Merged(NotebookNode(mine)), [], {}
    for j, cell in enumerate(new.cells):
        i = new_to_base.get(j)
        k = base_to_mine.get(i) if i is not None else None
        if i is not None and k is None and base.cells[i].source == cell.source:
            continue  # the learner deleted it
        taken = cell
        if k is not None:
            theirs, was = mine.cells[k], base.cells[i].source
            if theirs.source != was:
                merged.kept += 1
                if cell.source not in (was, theirs.source):
                    merged.both.append(cell.source.strip().partition("\n")[0])
            if theirs.source != was or cell.source == was:
                taken = theirs  # with its outputs
        taken = NotebookNode(taken, id=cell.id)  # by its id it is known next time
        cells.append(taken)
        if k is not None:
            placed[k] = taken
    mine_to_base = {k: i for i, k in base_to_mine.items()}
    known, at = {cell.id for cell in cells}, 0
    for k, cell in enumerate(mine.cells):
        if k in placed:
            at = next(n for n, other in enumerate(cells) if other is placed[k]) + 1
        elif k not in mine_to_base or cell.source != base.cells[mine_to_base[k]].source:
            if cell.id in known:
                cell = NotebookNode(cell, id=uuid.uuid4().hex[:8])
            cells.insert(at, cell)  # the learner's own, below the cell it stood below
            merged.kept, at = merged.kept + 1, at + 1
    merged.page["cells"] = cells
    return merged


def _update(path: Path, mine: Path, base: Path) -> list[str]:
    """Bring one file's new version in."""
    if path.suffix != ".ipynb":
        if base.exists() and mine.read_bytes() != base.read_bytes():
            told = [f"{mine.name}: you changed it, so it stays; the new version is {path}"]
        else:
            _write(mine, path.read_bytes())
            told = [f"{mine.name}: the new version"]
    else:
        new = nbformat.read(path, as_version=4)
        before = nbformat.read(base, as_version=4) if base.exists() else new
        merged = merge(before, nbformat.read(mine, as_version=4), new)
        _write(mine, nbformat.writes(merged.page).encode() + b"\n")
        cells = f"{merged.kept} cell{'' if merged.kept == 1 else 's'} of yours stay" if merged.kept else ""
        told = [f"{mine.name}: the new version" + (f"; {cells}" if cells else "")]
        told += [f"  both changed, yours stands: {line}" for line in merged.both]
    _write(base, _as_shipped(path))
    return told


def _as_shipped(path: Path) -> bytes:
    """What of a file tells a learner's change from a later version: of a notebook all but the outputs."""
    if path.suffix != ".ipynb":
        return path.read_bytes()
    page = json.loads(path.read_text(encoding="utf-8"))
    for cell in page["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return json.dumps(page, indent=1, ensure_ascii=False).encode()


def _by_id(base: Sequence[NotebookNode], mine: Sequence[NotebookNode]) -> dict[int, int]:
    """Index in `base` -> index in `mine` of the same cell."""
    at = {cell.id: k for k, cell in enumerate(mine)}
    return {i: at[cell.id] for i, cell in enumerate(base) if cell.id in at}


def _alike(old: Sequence[NotebookNode], new: Sequence[NotebookNode]) -> dict[int, int]:
    """Index in `old` -> index in `new`, by what stands in the cells: first exercises by the name they ask for, then
    equal cells in their order, then similar ones between those."""
    named = {name: j for j, cell in enumerate(new) if (name := _asked_for(cell))}
    pairs = {i: named[name] for i, cell in enumerate(old) if (name := _asked_for(cell)) in named}
    keys = [[(cell.cell_type, cell.source) for cell in cells] for cells in (old, new)]
    matcher, taken = SequenceMatcher(None, *keys, autojunk=False), set(pairs.values())
    for tag, i0, i1, j0, j1 in matcher.get_opcodes():
        free = [j for j in range(j0, j1) if j not in taken]
        for i in (i for i in range(i0, i1) if i not in pairs):
            if tag == "equal":
                j = j0 + i - i0
                found = [j] if j in free else []
            else:
                found = [j for j in free if _similar(old[i], new[j])][:1]
            if found:
                pairs[i] = found[0]
                free = [j for j in free if j > found[0]]
                taken.add(found[0])
    return pairs


def _asked_for(cell: NotebookNode) -> str:
    """The name that an exercise's cell asks for: of its function, or left of its `=`. "" if it is none."""
    if "exercise" not in cell.metadata.get("tags", ()):
        return ""
    for line in cell.source.splitlines():
        if line.startswith("def "):
            return line[4:].partition("(")[0].strip()
        if line[:1].isidentifier() and "=" in line:
            return line.partition("=")[0].strip()
    return ""


def _similar(one: NotebookNode, other: NotebookNode) -> bool:
    if one.cell_type != other.cell_type:
        return False
    matcher = SequenceMatcher(None, one.source, other.source, autojunk=False)
    return matcher.quick_ratio() >= ALIKE and matcher.ratio() >= ALIKE


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing, also if the power fails in between."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    with open(unfinished, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m course.kit.working_copy", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--afresh", metavar="PAGE", help='lay one page as it came: "03"; yours is kept aside')
    options = parser.parse_args(arguments)
    home = places.learner_home()
    try:
        if options.afresh:
            kept = afresh(options.afresh, home)
            print("laid afresh" + (f"; yours is kept as {kept}" if kept else ""))
        else:
            for sentence in bring(places.CHAPTERS, home):
                print(sentence)
            lay_out(home)
    except (LookupError, OSError) as error:
        print(error.args[0] if isinstance(error, LookupError) else error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
