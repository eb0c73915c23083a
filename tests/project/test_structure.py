"""Tests of the shape of the project: layers, no circles, the tree in docs/library.md, one environment."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def module_at(path: Path) -> str:
    """ssdlib/data/voc.py -> ssdlib.data.voc; a package's __init__.py -> the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_at(path): path for name in ("ssdlib", "course") for path in (ROOT / name).rglob("*.py")}
LIBRARY = sorted(name for name in MODULES if name.startswith("ssdlib"))
COURSE = sorted(name for name in MODULES if name.startswith("course"))

# Which layers a layer of ssdlib may import besides itself. "" is what the paper describes.
BELOW = {
    "": set(),
    "data": {""},
    "training": {"", "data"},
    "interop": {"", "data", "training"},
    "cli": {"", "data", "training"},
    "__main__": {"", "data", "training", "interop", "cli"},
}
assert set(BELOW) >= {path.parent.name for path in (ROOT / "ssdlib").glob("*/*.py")}


def layer_of(name: str) -> str:
    """ssdlib.data.voc -> data, ssdlib.anchors -> "", ssdlib.__main__ -> __main__."""
    parts = name.split(".")[1:]
    return parts[0] if len(parts) > 1 or parts == ["__main__"] or (parts and parts[0] in BELOW) else ""


def imports_of(name: str) -> set[str]:
    """Modules of ours that a module imports, anywhere in the file."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
            found |= inside or {node.module}
    return found & set(MODULES)


@pytest.mark.parametrize("name", LIBRARY)
def test_a_module_imports_only_its_own_layer_and_those_below(name):
    own = layer_of(name)
    imported = imports_of(name)
    assert not {other for other in imported if other.startswith("course")}, "the detector knows no course"
    assert {layer_of(other) for other in imported} <= BELOW[own] | {own}


@pytest.mark.parametrize("names", [LIBRARY, COURSE], ids=["ssdlib", "course"])
def test_no_module_imports_itself_in_a_circle(names):
    open_ = {name: imports_of(name) & set(names) for name in names}
    while free := [name for name, wanted in open_.items() if not wanted]:
        for name in free:
            del open_[name]
        for wanted in open_.values():
            wanted -= set(free)
    assert not open_


@pytest.mark.parametrize("name", [name for name in COURSE if name.startswith("course.kit")])
def test_the_kit_knows_no_topic(name):
    assert all(other.startswith(("course.kit", "ssdlib")) for other in imports_of(name))


def test_every_topic_has_its_checks_and_its_questions_and_nothing_lies_beside_the_topics():
    topics = {path.name for path in (ROOT / "course").iterdir() if (path / "__init__.py").exists()} - {"kit"}
    assert len(topics) == len(list((ROOT / "chapters/source").glob("[0-9]*.py")))
    for topic in topics:
        assert (ROOT / "course" / topic / "check.py").exists(), topic
        assert (ROOT / "course" / topic / "questions.toml").exists(), topic
    assert {path.name for path in (ROOT / "course").glob("*.py")} == {"__init__.py", "dashboard.py"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_says_first_what_it_is(name):
    assert ast.get_docstring(ast.parse(MODULES[name].read_text()))


@pytest.mark.parametrize("name", LIBRARY)
def test_public_functions_are_typed(name):
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = [a for a in node.args.args + node.args.kwonlyargs if a.arg not in ("self", "cls")]
            assert node.returns is not None, f"{name}.{node.name} doesn't say what it returns"
            assert all(a.annotation for a in arguments), f"{name}.{node.name} has arguments without type"


# the solutions are written as the chapters ask learners to write
@pytest.mark.parametrize("name", [name for name in COURSE if name != "course.capstone.reference"])
def test_public_functions_of_the_course_are_typed(name):
    for node in ast.parse(MODULES[name].read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert node.returns is not None and all(a.annotation for a in node.args.args), node.name


def test_there_is_one_iou():
    named = [
        f"{name}.{node.name}"
        for name in LIBRARY
        for node in ast.walk(ast.parse(MODULES[name].read_text()))
        if isinstance(node, ast.FunctionDef) and re.search(r"iou|jaccard", node.name)
    ]
    assert named == ["ssdlib.box_ops.iou"]


@pytest.mark.slow
def test_importing_every_module_prints_nothing_and_leaves_the_random_numbers_alone():
    code = "import torch; torch.manual_seed(1); a = torch.rand(1); torch.manual_seed(1)\n"
    code += "".join(f"import {name}\n" for name in LIBRARY if name != "ssdlib.__main__")
    code += "assert torch.equal(a, torch.rand(1))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def tree_in(text: str) -> list[str]:
    """Files that a drawn tree names, with their folders; every one of them has words behind it."""
    found, folders = [], []
    for line in text.splitlines():
        indent, name, words = re.fullmatch(r"( *)(\S+)(?: +(\S.*))?", line).groups()
        folders = folders[: len(indent) // 4]
        if name.endswith("/"):
            folders.append(name)
        else:
            assert words, f"{name}: what is it?"
            found.append("".join(folders) + name)
    return found


def test_the_trees_in_the_documentation_are_the_folders():
    blocks = re.findall(r"```text\n(.*?)```", (ROOT / "docs/library.md").read_text(), re.S)
    drawn = [name for block in blocks for name in tree_in(block)]
    there = {path.relative_to(ROOT).as_posix() for path in MODULES.values() if path.name != "__init__.py"} | {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "course").rglob("questions.toml")
    }
    assert sorted(drawn) == sorted(there)


def test_the_readme_leads_to_the_tree():
    assert "](docs/library.md)" in (ROOT / "README.md").read_text()


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors_of(text: str) -> set[str]:
    """What a link may name behind #: headings in small letters, without punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_the_documentation_leads_to_something_that_is_there(page):
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    targets = [t for t in re.findall(r"\]\(([^)\s]+)\)", prose) if not t.startswith("http")]
    for target in targets:
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors_of(path.read_text()), target


def test_the_readme_leads_to_every_page_of_docs():
    readme = (ROOT / "README.md").read_text()
    assert not [page.name for page in PAGES[1:] if f"](docs/{page.name}" not in readme]


def test_the_exercises_that_teachers_are_told_of_have_that_name_and_take_that_long():
    headings = {}
    for path in (ROOT / "chapters/source").glob("*.py"):
        for number, title, minutes in re.findall(
            r"^# ### (\d+\.\d) (.+?) · .*?(\d+) minutes", path.read_text(), re.M
        ):
            headings[number] = (title, minutes)
    named = re.findall(r"(\d+\.\d) ([A-Z][^|·\n]+?), (\d+)", (ROOT / "docs/teaching.md").read_text())
    assert len(named) > 30
    assert {number: (title, minutes) for number, title, minutes in named}.items() <= headings.items()


def test_the_pictures_of_the_readme_are_small():
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs/pictures").iterdir()}
    assert max(size for name, size in sizes.items() if not name.endswith(".gif")) < 200_000
    assert sum(sizes.values()) < 2_000_000


@pytest.mark.slow
def test_a_wheel_holds_every_module_and_what_the_course_reads(tmp_path):
    """Built from a copy without git, installed nowhere: imports find that folder first."""
    pytest.importorskip(
        "setuptools", "68", reason="setuptools 68 or newer isn't installed; it builds the wheel"
    )
    import shutil

    source = tmp_path / "source"
    for name in ("ssdlib", "course"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, timeout=300
    )
    if "invalid command 'bdist_wheel'" in done.stderr:
        pytest.skip("this setuptools needs the package wheel to build one, and it isn't installed")
    assert done.returncode == 0, done.stderr[-2000:]
    [wheel] = tmp_path.glob("*.whl")
    unpacked = tmp_path / "unpacked"
    shutil.unpack_archive(wheel, unpacked, "zip")
    names = sorted(set(MODULES) - {"ssdlib.__main__", "course.dashboard"})
    code = f"import sys; sys.path.insert(0, {str(unpacked)!r})\nimport importlib\n"
    code += f"for name in {names!r}:\n    file = importlib.import_module(name).__file__\n"
    code += f"    assert file.startswith({str(unpacked)!r}), file\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    read = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "course").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert len(read) > 20
    assert not {name for name in read if not (unpacked / name).exists()}


def test_git_ignores_no_module():
    """`data/` without a slash before it would hide ssdlib/data from git, and from ruff."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    paths = [path.relative_to(ROOT).as_posix() for path in MODULES.values()]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *paths], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")


def requirement(line: str) -> tuple[str, str]:
    name, bounds = re.fullmatch(r"([\w.-]+)\s*(.*)", line.strip()).groups()
    return name.lower().replace("_", "-"), bounds.replace(" ", "")


def test_conda_and_pip_users_get_the_same_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = dict(map(requirement, project["dependencies"] + project["optional-dependencies"]["test"]))
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    plain = [entry for entry in listed if isinstance(entry, str)]
    by_pip = [entry for item in listed if isinstance(item, dict) for entry in item["pip"] if entry != "-e ."]
    found = dict(map(requirement, plain + by_pip))
    assert found.pop("python") == project["requires-python"]
    found.pop("pip")
    conda_names = {"pytorch": "torch"}  # the same package under another name
    found = {conda_names.get(name, name): bounds for name, bounds in found.items()}
    assert found == wanted


def test_no_machine_path_and_no_tool_of_ours_is_in_the_project():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    if not any(listed):
        pytest.skip("not a git checkout: there is no list of the project's files")
    words = re.compile(r"/(?:work|root|home)/\w+|/tmp/|nbgitpuller|pypi\.org|files\.pythonhosted")
    for name in filter(None, listed):
        path = ROOT / name
        if (
            path.suffix in (".py", ".md", ".ipynb", ".toml", ".yml", ".jsonl")
            and name != "tests/project/test_structure.py"
        ):
            hit = words.search(path.read_text())
            assert not hit, f"{name} names {hit[0]!r}"


def test_the_documentation_says_without_make_what_make_does():
    """Each of the four commands is the Makefile's own, with its variables filled in."""
    makefile = (ROOT / "Makefile").read_text()
    for name, value in re.findall(r"^(PROMPT|MINI|BIN) := (.*)$", makefile, re.MULTILINE):
        makefile = makefile.replace(f"$({name})", value)
    [block] = re.findall(r"Without make.*?```\n(.*?)```", (ROOT / "docs/versions.md").read_text(), re.DOTALL)
    install, mini, copy, lab = block.strip().splitlines()
    assert install == 'python -m pip install -e ".[test]"' and '--editable ".[test]"' in makefile
    assert mini.removeprefix("python ") in makefile
    assert copy.removeprefix("python ") in makefile
    made = makefile.replace("$(HOME_FOLDER)", "my_course").replace('"', "")
    assert all(word in made for word in lab.removeprefix("python -m jupyter ").split())


def _decided_by_locale(tree: ast.AST) -> list[int]:
    """Lines that read or write text in whatever encoding the system's language brings along."""
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        builtin = isinstance(call.func, ast.Name) and name == "open"
        if any(keyword.arg == "encoding" for keyword in call.keywords):
            continue
        mode = ast.unparse(call.args[1]) if len(call.args) > 1 else ""
        if builtin and "b" not in mode and mode != "mode":  # a mode by that name has to be looked at by hand
            found.append(call.lineno)
        if isinstance(call.func, ast.Attribute) and name in ("read_text", "write_text"):
            if len(call.args) < (1 if name == "read_text" else 2):
                found.append(call.lineno)
    return found


def test_text_is_read_and_written_in_an_encoding_that_no_locale_decides():
    """Windows' own isn't UTF-8: a class "Äpfel" would be written in one and read in the other."""
    sources = [
        p for name in ("ssdlib", "course", "data_scripts", "benchmarks") for p in (ROOT / name).rglob("*.py")
    ]
    assert len(sources) > 100
    found = {p.relative_to(ROOT).as_posix(): _decided_by_locale(ast.parse(p.read_bytes())) for p in sources}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_the_encodings_that_a_locale_would_decide_are_seen():
    bare = 'open("a"); open("a", "w"); path.read_text(); path.write_text(x); folder.joinpath("b").read_text()'
    said = (
        'open("a", "rb"); open("a", encoding="utf-8"); path.read_text("utf-8"); path.write_text(x, "utf-8")'
    )
    assert (len(_decided_by_locale(ast.parse(bare))), _decided_by_locale(ast.parse(said))) == (5, [])
