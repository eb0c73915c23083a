"""Check that the VOC on this disk is complete: read every annotation, decode every JPEG, count everything.

    python data_scripts/verify_voc.py [DEVKIT] [--quick] [--any-counts]

Prints a table of images and objects for each class and set. Whatever is wrong is listed, by kind, and makes the
exit code 1. The expected counts are those of course/facts/voc_classes.csv, which were made on the genuine
annotations and include the totals. `--any-counts` is for other sets in VOC's layout, such as the mini VOC;
`--quick` checks only whether the photographs exist.
"""

import argparse
import sys
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

from count_facts import HEAD, per_class
from tqdm import tqdm

from course.boxes import voc_facts
from ssdlib.data import voc
from ssdlib.data.store import StoreError, checked_photograph
from ssdlib.records import Example

REMEDY = "move the faulty VOC2007 or VOC2012 elsewhere and run download_voc.py again"
LISTED = 20  # problems of one kind that are printed
Problems = dict[str, list[str]]  # kind -> sentences
Counts = dict[
    str, dict[str, voc_facts.Row]
]  # set -> class, or "all" -> images, objects, images_easy, objects_easy


def verify(
    devkit: Path, wanted: Counts | None, quick: bool = False, workers: int = 2
) -> tuple[Counts, Problems]:
    """What the sets of VOC 07+12 in `devkit` hold, and all that is wrong with them.

    `wanted` are the expected counts, None if any are accepted. `workers` decode at the same time.
    """
    problems: Problems = {"image lists": [], "annotations": [], "photographs": [], "counts": []}
    found, everything = {}, []
    for name in voc.COUNTS:
        num_images = wanted[name]["all"]["images"] if wanted else None
        examples = read_set(devkit, name, num_images, problems)
        found[name] = count(name, examples)
        everything += examples
        if wanted and examples:
            problems["counts"] += differences(name, found[name], wanted[name])
    problems["counts"].sort(key=lambda sentence: ", all:" not in sentence)  # totals first
    check = missing if quick else undecodable
    # Threads, because Pillow releases the interpreter's lock while it decodes, and a process would have to import
    # PyTorch.
    with ThreadPool(workers) as pool:
        sentences = tqdm(
            pool.imap(check, everything), desc="photographs", total=len(everything), unit="image"
        )
        problems["photographs"] = [sentence for sentence in sentences if sentence]
    return found, problems


def read_set(devkit: Path, name: str, num_images: int | None, problems: Problems) -> list[Example]:
    """The examples of a set that can be read; the others go to `problems`."""
    try:
        ids = voc.image_ids(devkit, name)
    except (voc.VOCError, OSError) as error:
        problems["image lists"].append(str(error))
        return []
    if num_images not in (None, len(ids)):
        problems["image lists"].append(f"{name}: lists {len(ids)} images, wanted {num_images}")
    examples = []
    for image_id in tqdm(ids, desc=name, unit="annotation"):
        try:
            examples.append(voc.read_listed(devkit, name, image_id))
        except (voc.VOCError, OSError) as error:
            problems["annotations"].append(str(error))
    return examples


def missing(example: Example) -> str | None:
    return None if example.path.is_file() else f"{example.path}: not there; the image list names it"


def undecodable(example: Example) -> str | None:
    try:
        checked_photograph(example)
    except (voc.VOCError, StoreError) as error:
        return missing(example) or str(error)
    return None


def count(name: str, examples: Sequence[Example]) -> dict[str, voc_facts.Row]:
    """Counted by the function that made the file of facts."""
    columns = HEAD.split(",")[2:]
    if not examples:
        return {title: dict.fromkeys(columns, 0) for title in [*voc.CLASSES[1:], "all"]}
    rows = [line.split(",") for line in per_class(name, examples)]
    return {title: dict(zip(columns, map(int, numbers), strict=True)) for _, title, *numbers in rows}


def differences(name: str, found: dict[str, voc_facts.Row], wanted: dict[str, voc_facts.Row]) -> list[str]:
    """A sentence for each class whose number differs from the expected one."""
    return [
        f"{name}, {title}: {written(row)}; wanted {written(wanted[title])}"
        for title, row in found.items()
        if row != wanted[title]
    ]


def written(row: voc_facts.Row) -> str:
    easy = f"{row['objects_easy']} in {row['images_easy']} not difficult"
    return f"{row['objects']} objects in {row['images']} images, {easy}"


def table(found: Counts) -> str:
    """Images and objects, difficult ones included, of each class and set."""
    lines = [" " * 12 + "".join(f"{name:>18}" for name in found)]
    lines.append(" " * 12 + f"{'images':>10}{'objects':>8}" * len(found))
    for title in [*voc.CLASSES[1:], "all"]:
        rows = [found[name][title] for name in found]
        lines.append(f"{title:<12}" + "".join(f"{row['images']:>10}{row['objects']:>8}" for row in rows))
    for part in ("trainval", "test"):
        rows = [found[name]["all"] for name in found if name.endswith(f"-{part}")]
        images, objects = (sum(row[what] for row in rows) for what in ("images", "objects"))
        lines.append(f"{part}: {images} images with {objects} objects")
    return "\n".join(lines)


def report(problems: Problems) -> str:
    """At most LISTED sentences of each kind, and how many more there are."""
    lines = []
    for kind, sentences in problems.items():
        if sentences:
            lines += [f"{kind}: {len(sentences)} wrong", *(f"    {s}" for s in sentences[:LISTED])]
        if len(sentences) > LISTED:
            lines.append(f"    and {len(sentences) - LISTED} more")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. -> 0 nothing is wrong, 1 something is, 130 interrupted."""
    parser = argparse.ArgumentParser(description="Check that the VOC on this disk is complete.")
    parser.add_argument(
        "devkit", type=Path, nargs="?", default=Path("data/VOCdevkit"), help="default: %(default)s"
    )
    parser.add_argument("--quick", action="store_true", help="don't decode the photographs")
    parser.add_argument("--any-counts", action="store_true", help="accept other numbers than VOC's")
    options = parser.parse_args(arguments)
    try:
        found, problems = verify(
            options.devkit, None if options.any_counts else voc_facts.classes(), options.quick
        )
    except KeyboardInterrupt:
        print("\nstopped; the same command starts from the beginning", file=sys.stderr)
        return 130
    print(table(found))
    if wrong := report(problems):
        print(f"{wrong}\n{options.devkit}: not complete; {REMEDY}", file=sys.stderr)
        return 1
    how = "complete, as far as it shows without decoding" if options.quick else "complete"
    print(f"{options.devkit}: {how}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
