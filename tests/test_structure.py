"""Tests of the shape of the project: the map of rooms, the README's tree, one environment in two files."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]

# The rooms in import order: a room may import only rooms above it.
ORDER = """
    records boxes
    anchors coding matching loss model weights keras_file
    voc formats own survey disk store usable augment batches
    detect evaluate
    distributed checkpoint recipes runs lock published transfer runlog inference memory engine estimate
    plots video show export exported doctor options __main__
""".split()


def imports_of(room: str) -> set[str]:
    """Rooms that a room imports, anywhere in the file."""
    tree = ast.parse((ROOT / "ssdlib" / f"{room}.py").read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "ssdlib":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ssdlib."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("ssdlib.")}
    return found


def test_every_module_is_on_the_map():
    rooms = {path.stem for path in (ROOT / "ssdlib").glob("*.py")} - {"__init__"}
    assert rooms == set(ORDER)


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_rooms_above_it(room):
    assert imports_of(room) <= set(ORDER[: ORDER.index(room)])


@pytest.mark.parametrize("room", ORDER)
def test_a_room_says_first_what_it_is_and_fits_on_a_few_screens(room):
    source = (ROOT / "ssdlib" / f"{room}.py").read_text()
    assert ast.get_docstring(ast.parse(source))
    assert len(source.splitlines()) <= 275


@pytest.mark.parametrize("room", ORDER)
def test_public_functions_are_typed_and_documented(room):
    for node in ast.walk(ast.parse((ROOT / "ssdlib" / f"{room}.py").read_text())):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = [a for a in node.args.args + node.args.kwonlyargs if a.arg not in ("self", "cls")]
            assert node.returns is not None, f"{room}.{node.name} doesn't say what it returns"
            assert all(a.annotation for a in arguments), f"{room}.{node.name} has arguments without type"


COURSE = sorted(path.stem for path in (ROOT / "course").glob("*.py") if path.stem != "__init__")
MACHINERY = (
    "board",
    "checking",
    "comparing",
    "explorer",
    "inline",
    "keys",
    "free_photographs",
    "pictures",
    "prompt_server",
    "self_test",
)


@pytest.mark.parametrize("room", ORDER)
def test_the_detector_knows_nothing_of_the_course(room):
    source = (ROOT / "ssdlib" / f"{room}.py").read_text()
    assert not re.search(r"^\s*(from|import) course", source, re.M)


@pytest.mark.parametrize("room", COURSE)
def test_a_file_of_the_course_says_first_what_it_is_and_fits_on_a_few_screens(room):
    source = (ROOT / "course" / f"{room}.py").read_text()
    tree = ast.parse(source)
    assert ast.get_docstring(tree) and len(source.splitlines()) <= (450 if room.startswith("check_") else 275)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert node.returns is not None and all(a.annotation for a in node.args.args), node.name


@pytest.mark.parametrize("room", COURSE)
def test_the_machinery_of_the_course_knows_no_chapter(room):
    tree = ast.parse((ROOT / "course" / f"{room}.py").read_text())
    modules = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    ours = {name.split(".")[1] for name in modules if name.startswith("course.")}
    assert room not in MACHINERY or ours <= set(MACHINERY)


def test_there_is_one_iou():
    named = [
        f"{path.name}:{node.name}"
        for path in (ROOT / "ssdlib").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and re.search(r"iou|jaccard", node.name)
    ]
    assert named == ["boxes.py:iou"]


def test_importing_every_room_prints_nothing_and_leaves_chance_alone():
    code = "import torch; torch.manual_seed(1); a = torch.rand(1); torch.manual_seed(1)\n"
    code += "".join(f"import ssdlib.{room}\n" for room in ORDER if room != "__main__")
    code += "assert torch.equal(a, torch.rand(1))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_tree_in_the_readme_is_the_folder():
    text = (ROOT / "README.md").read_text()
    [tree] = re.findall(r"```text\nssdlib/\n(.*?)```", text, re.S)
    named = [
        line.split()[0].removesuffix(".py") for line in tree.splitlines() if re.match(r"\s+\w+\.py\s", line)
    ]
    assert named == ORDER


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
            and name != "tests/test_structure.py"
        ):
            hit = words.search(path.read_text())
            assert not hit, f"{name} names {hit[0]!r}"
