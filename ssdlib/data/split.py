"""Which images are for training and which for testing, as the folder states it; a hash where it states nothing.

Statements, the strongest first: `train:` and `val:` or `test:` of data.yaml, or of darknet's obj.data; the lists of
ImageSets/Main; lists of images called train.txt and test.txt; the words train and val or test in the names of
folders and of COCO's files, below what all images share. What is for validation counts as for testing.
"""

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssdlib.data.formats import PICTURES, Files, FormatError, _lines, _nearest, read_yaml
from ssdlib.data.report import Notes, some

TEST_SHARE = 0.2
TRAIN, TEST, BOTH = "train", "test", "both"
PARTS = dict.fromkeys(("train", "training", "trainval"), TRAIN) | dict.fromkeys(
    ("val", "valid", "validation", "test", "testing"), TEST
)
VALIDATION = {"val", "valid", "validation"}
HOW = (
    "folders called train and val or test, data.yaml, ImageSets/Main/train.txt and test.txt, or train.txt and "
    "test.txt with one image a line"
)
NOT_LISTED = "images that neither part names"

Said = Mapping[str, set[str]]  # part -> images, by their path from the folder


def divide(files: Files, pictures: Mapping[str, str], notes: Notes) -> tuple[dict[str, str], str]:
    """-> "train", "test", "both" or "" (named by no part) for each image, and how that was decided.

    `pictures` are the annotated ones, each with the file that annotates it.
    """
    for stated in (_by_yaml, _by_darknet, _by_lists):
        said, source = stated(files, list(pictures), notes)
        if said.get(TRAIN) and said.get(TEST):
            return _followed(pictures, said, source, notes)
        if said.get(TRAIN) or said.get(TEST):
            one, other = (TRAIN, TEST) if said.get(TRAIN) else (TEST, TRAIN)
            rest = set(pictures) - said[one]
            if not rest:
                notes.guessed(f"{source} names every image for {one}, which divides nothing")
            else:
                notes.guessed(f"images that {source} doesn't name, taken for {other}", min(rest))
                return _followed(pictures, {one: said[one], other: rest}, source, notes)
    words, known = _by_words(pictures)
    if {TRAIN, TEST} <= set(words.values()):
        for name, part in words.items():
            if not part:
                notes.ignored(NOT_LISTED, name)
        _say_joined(known, notes)
        return words, "by the words train and val or test in the names of folders or files, followed"
    return _by_hash(pictures), f"by a hash of each path, because nothing states a split; to state one: {HOW}"


def share_of(name: str, seed: int = 0) -> float:
    """A number in [0, 1) that always belongs to this name; below `TEST_SHARE` it is for testing."""
    # half characters stand for the bytes of a name that isn't UTF-8
    spelling = f"{seed} {name}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.sha256(spelling).digest()[:6], "big") / 2**48


def _by_hash(pictures: Iterable[str]) -> dict[str, str]:
    parts = {name: TEST if share_of(spelled(name)) < TEST_SHARE else TRAIN for name in pictures}
    return parts if TRAIN in parts.values() else dict.fromkeys(parts, TRAIN)  # a single image is for training


def spelled(name: str) -> str:
    """A path as an image id without spaces, because result files separate words by them, and without the half
    characters that stand for bytes of a name that isn't UTF-8, because no file in UTF-8 can hold them."""
    return re.sub(r"[\s%\ud800-\udfff]", lambda letter: f"%{ord(letter[0]):02X}", name)


def _followed(pictures: Iterable[str], said: Said, source: str, notes: Notes) -> tuple[dict[str, str], str]:
    parts, twice = {}, 0
    for name in pictures:
        train, test = name in said[TRAIN], name in said[TEST]
        parts[name] = BOTH if train and test else TRAIN if train else TEST if test else ""
        twice += train and test
        if not train and not test:
            notes.ignored(NOT_LISTED, name)
    words = f"{source}, followed"
    if twice:
        words += f"; {twice} images are named for both: they are trained on and judged, so the AP says little"
    return parts, words


# ---- data.yaml and obj.data


def _by_yaml(files: Files, pictures: Sequence[str], notes: Notes) -> tuple[Said, str]:
    return _by_settings(files, (".yaml", ".yml"), read_yaml, pictures, notes)


def _by_darknet(files: Files, pictures: Sequence[str], notes: Notes) -> tuple[Said, str]:
    return _by_settings(files, (".data",), _assignments, pictures, notes)


def _assignments(file: Path) -> dict[str, str]:
    """Lines such as `train = train.txt`."""
    rows = (line.split("=", 1) for line in _lines(file) if "=" in line)
    return {key.strip(): value.strip() for key, value in rows}


def _by_settings(
    files: Files,
    suffixes: Sequence[str],
    read: Callable[[Path], Mapping[str, Any]],
    pictures: Sequence[str],
    notes: Notes,
) -> tuple[Said, str]:
    """What the files with these suffixes state together, and which they are."""
    said: dict[str, set[str]] = {TRAIN: set(), TEST: set()}
    sources = []
    for file in files.of(*suffixes):
        found = _settings(files, file, read(file), pictures, notes)
        if found[TRAIN] or found[TEST]:
            sources.append(files.where(file))
            for part in said:
                said[part] |= found[part]
    return said, some(sources)


def _settings(
    files: Files, file: Path, settings: Mapping[str, Any], pictures: Sequence[str], notes: Notes
) -> dict[str, set[str]]:
    """Images behind `train:`, `val:`, `test:` ... of a file: folders, lists, or several of them."""
    base = posixpath.dirname(files.where(file))
    root = settings.get("path")
    bases = [posixpath.join(base, root)] if isinstance(root, str) else []
    said: dict[str, set[str]] = {TRAIN: set(), TEST: set()}
    keys = set()
    for key, part in PARTS.items():
        value = settings.get(key)
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str) or not text.strip():
                continue
            found = _behind(files, text.strip(), [*bases, base, ""], pictures, notes)
            if found is None:
                notes.ignored(
                    "folders and lists that a file names and that aren't there",
                    f"{files.where(file)}, {key}: {text}",
                )
            said[part] |= found or set()
            keys |= {key} if found else set()
    _say_joined(keys, notes)
    return said


def _say_joined(words: set[str], notes: Notes) -> None:
    if words & VALIDATION and words & {"test", "testing"}:
        notes.joined("images for validation and images for testing are judged together")


def _behind(
    files: Files, text: str, bases: Sequence[str], pictures: Sequence[str], notes: Notes
) -> set[str] | None:
    """The images in a folder, in a list, or one image; None if nothing has that name.

    The path may be one of another machine, or begin with ../ as Roboflow's do. Then the longest end of it that exists
    counts.
    """
    text = text.replace("\\", "/")
    folders = {place for name in files.all for place in _above(name)} | {""}
    tries = [posixpath.normpath(posixpath.join(base, text)) for base in bases]
    parts = [part for part in text.split("/") if part not in ("", ".", "..") and not part.endswith(":")]
    # the distinguishing part of a folder's path has to stay: images/ isn't valid/images/
    absolute = text.startswith("/") or text[1:2] == ":"
    last = next((i for i, part in enumerate(parts) if _part([part])), len(parts) - 1) if absolute else 0
    if text.endswith((".txt", *PICTURES)):
        last = len(parts) - 1
    tries += [
        posixpath.normpath(posixpath.join(base, *parts[i:]))
        for i in range(min(last + 1, len(parts)))
        for base in bases
    ]
    for place in tries:
        place = "" if place == "." else place
        if place in files.pictures:
            return {place}
        if place in files.all and place.endswith(".txt"):
            return _listed(files, files.all[place], pictures, notes)
        if place in folders and (place or set(text) <= set("./")):
            return {name for name in pictures if name.startswith(f"{place}/" if place else "")}
    return None


def _above(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


# ---- lists


def _by_lists(files: Files, pictures: Sequence[str], notes: Notes) -> tuple[dict[str, set[str]], str]:
    """ImageSets/Main/train.txt and the like; else train.txt, test.txt ... wherever they lie."""
    word = {p: next((w for w in _words(p.stem) if w in PARTS), "") for p in files.of(".txt")}
    sets = [path for path in word if "ImageSets" in path.relative_to(files.folder).parts[:-1]]
    main = [path for path in sets if path.parent.name == "Main"] or sets
    # cat_train.txt says in which images cats are
    main = [path for path in main if path.stem.lower() in PARTS]
    for chosen in (main, [path for path in word if word[path] and path not in sets]):
        held = {path: found for path in chosen if (found := _listed(files, path, pictures, notes))}
        words = {word[path] for path in held}
        if {"trainval", "test"} <= words:  # as in VOC: train and val are the two halves of trainval
            held = {path: found for path, found in held.items() if word[path] in ("trainval", "test")}
        elif "train" in words:
            held = {path: found for path, found in held.items() if word[path] != "trainval"}
        said: dict[str, set[str]] = {TRAIN: set(), TEST: set()}
        for path, found in held.items():
            said[PARTS[word[path]]] |= found
        if held and (said[TRAIN] != set(pictures) or said[TEST]):
            _say_joined({word[path] for path in held}, notes)
            return said, some([files.where(path) for path in held], 4)
    return {}, ""


def _listed(files: Files, file: Path, pictures: Sequence[str], notes: Notes) -> set[str]:
    """The images that a list names, one a line: by path, by name, or by id without a suffix. Those that it names
    and that aren't there are counted, unless all are missing: then it lists something else."""
    by_name: dict[str, list[str]] = {}
    for name in pictures:
        last = name.rpartition("/")[2]
        by_name.setdefault(last, []).append(name)
        by_name.setdefault(last.rpartition(".")[0], []).append(name)
    try:
        lines = [line.strip().replace("\\", "/") for line in _lines(file)]
    except FormatError:
        return set()
    found, gone = set(), []
    for line in filter(None, lines):
        line = re.sub(r'^"(.*)"$', r"\1", re.sub(r"\s+-?[01]$", "", line) if line[0] == '"' else line)
        near = _nearest(by_name.get(line.rpartition("/")[2], []), line if "." in line else f"{line}.")
        near = [name for name in near if name == line or name.startswith(f"{line}.")] or near
        if len(near) == 1:
            found.add(near[0])
        else:
            gone.append(f"{files.where(file)}: {line}" + (" (several of the name)" if near else ""))
    if found:
        for one in gone:
            notes.ignored("images that a list names and that aren't there, or not annotated", one)
    return found


# ---- words


def _by_words(pictures: Mapping[str, str]) -> tuple[dict[str, str], set[str]]:
    """What the folders of an image's annotation, the name of COCO's file, or the folders of the image say; without
    what all of them share, because that distinguishes nothing: a whole set may lie in a folder called test. -> parts,
    and the words that were found."""
    said = _without_common({name: _above_parts(said) for name, said in pictures.items()})
    own = _without_common({name: _above_parts(name) for name in pictures})
    words = {word for some in (said, own) for path in some.values() for one in path for word in _words(one)}
    return {name: _part(said[name]) or _part(own[name]) for name in pictures}, words & set(PARTS)


def _above_parts(path: str) -> list[str]:
    return path.split("/")[:-1]


def _without_common(paths: Mapping[str, list[str]]) -> dict[str, list[str]]:
    shared = 0
    for level in zip(*paths.values(), strict=False):
        if len(set(level)) > 1:
            break
        shared += 1
    return {name: path[shared:] for name, path in paths.items()}


def _part(folders: Sequence[str]) -> str:
    known = [PARTS[word] for folder in folders for word in _words(folder) if word in PARTS]
    return known[0] if known else ""


def _words(path: str) -> list[str]:
    """The words in a path, in lower case, without what tools append to them: trainset, testImages, val2017."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path).lower())
    return [re.sub(r"(?<=.)(set|data|images?|imgs?|labels?)$", "", word) for word in words]
