"""Judge real detections by every rule of chapter 11, name their errors, and write course/facts/real_detections.json.

    python data_scripts/price_rules.py --detections DIR --data VOCdevkit --official CSV --what "a sentence"

DIR holds the devkit's result files (comp4_det_test_<class>.txt), VOCdevkit the annotations and lists of VOC2007;
photographs aren't needed. CSV, with columns class and ap11, is what the official VOCevaldet.m says of the same files.
Only numbers are written, no detection and no annotation. Refuses a tree with uncommitted changes in course or ssdlib.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from record_run import facts_now

from course.evaluation import ap_by_size, errors, judging, rule_variants
from course.evaluation.devkit_rule import TRUE
from ssdlib.data.voc import VOCError
from ssdlib.evaluate import ResultError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detections", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--official", type=Path, required=True)
    parser.add_argument(
        "--what", required=True, help="what these detections are, for the pages that show them"
    )
    options = parser.parse_args()
    now = facts_now("course", "data_scripts/price_rules.py")
    try:
        subject = judging.from_files(options.detections, options.data)
    except (ResultError, VOCError) as error:
        raise SystemExit(f"price_rules: {error}") from None
    with open(options.official, encoding="utf-8", newline="") as file:
        official = {row["class"]: float(row["ap11"]) for row in csv.DictReader(file)}
    facts = dict(
        detections=options.what,
        count=subject.count,
        images=len(subject.examples),
        **now,
        seed="none: nothing here is drawn by chance",
        official=official,
        **judged(subject),
    )
    write(rule_variants.RECORDED, facts)
    off = max(abs(facts["prices"][rule_variants.DEVKIT][name] - official[name]) for name in subject.results)
    print(
        f"{rule_variants.RECORDED.name}: {subject.count:,} detections, at most {off:.1g} from the official AP"
    )


def judged(subject: judging.Subject) -> dict[str, Any]:
    """What chapter 11 shows of detections: what each rule is worth, kinds of errors and their effect on AP, AP by
    size."""
    anatomy = errors.error_anatomy(subject)
    gains = errors.gains(subject, anatomy)
    return dict(
        prices=shortened(rule_variants.prices(subject), 12),
        errors=errors.counts(anatomy),
        false=sum(int((a.kinds != "").sum()) for a in anatomy.values()),
        objects=sum(a.judged.total for a in anatomy.values()),
        gains=shortened(gains, 4),
        confused=errors.confused(subject, anatomy)[:8],
        ends={name: end(of_class) for name, of_class in subject.judged.items()},
        sizes={size: list(row) for size, row in ap_by_size.means(ap_by_size.by_size(subject)).items()},
    )


def end(judged: judging.Judged) -> list[float]:
    """How many of the objects are found with all detections, and the precision at the last of them."""
    hits = np.flatnonzero(judged.said == TRUE)
    return [len(hits), judged.total, round(float(judged.precision[hits[-1]]), 6) if len(hits) else 0.0]


def write(path: Path, facts: dict[str, Any]) -> None:
    """JSON with a line for each entry of the second level, so that a change of one shows as one line."""
    lines = json.dumps(facts, indent=1).replace("\n   ", " ").replace("\n  }", " }").replace("\n  ]", " ]")
    path.write_text(lines + "\n", encoding="utf-8")


def shortened(table: dict[str, dict[str, float]], digits: int) -> dict[str, dict[str, float]]:
    """Twelve digits for the devkit's own rule, six for the others."""
    return {
        name: {
            c: round(v, digits if name == rule_variants.DEVKIT else min(digits, 6)) for c, v in row.items()
        }
        for name, row in table.items()
    }


if __name__ == "__main__":
    main()
