"""AP by class as chapter 09 shows it."""

import math

from course.training.figures import ap_table
from ssdlib.evaluate import Table


def test_every_class_stands_once_with_its_ap_and_a_class_without_objects_has_none():
    ap = {"bicycle": 0.25, "boat": 0.5, "car": math.nan, "dog": 1.0, "sofa": 0.0}
    shown = ap_table(Table("11point", ap, {}), columns=2)
    assert shown.rows == [
        ["bicycle", 25.0, "dog", 100.0],
        ["boat", 50.0, "sofa", 0.0],
        ["car", None, "", None],
    ]
    assert shown.head == ["class", "AP"] * 2
    assert "mAP (11point) 43.75" in repr(shown)
