"""Tests of tables: what a page, a screen reader and a test see of the same rows."""

import math
import re

import numpy as np
import pytest
import torch

from course.kit.tables import STRONGEST, table

ROWS = [("car", 1201, 67.5, None), ("sofa", 239, -1.04, float("nan"))]
HEAD = ("class", "objects", "change", "gap")


def test_the_text_has_its_numbers_under_the_ends_of_their_headers():
    assert repr(table(ROWS, HEAD, caption="By *class*", note="Recorded.")) == "\n".join(
        [
            "By class",
            "class  objects  change  gap",
            "car      1,201   67.50",
            "sofa       239   −1.04  nan",
            "Recorded.",
        ]
    )


def test_a_column_is_right_aligned_in_head_and_body_if_it_holds_numbers_and_left_if_not():
    page = table(ROWS, HEAD)._repr_html_()
    sides = re.findall(r"<t[hd][^>]*text-align:(\w+)[^>]*>([^<]*)<", page)
    assert sides == [
        *[("left", "class"), ("right", "objects"), ("right", "change"), ("right", "gap")],
        *[("left", "car"), ("right", "1,201"), ("right", "67.50"), ("right", "")],
        *[("left", "sofa"), ("right", "239"), ("right", "−1.04"), ("right", "nan")],
    ]


def test_heads_say_what_they_are_heads_of():
    page = table(ROWS, HEAD)._repr_html_()
    assert page.count("<th scope='col'") == 4 and page.count("<th scope='row'") == 2
    assert "aria-label='class, objects, change, gap'" in page and "tabindex='0'" in page


def test_columns_by_name_are_the_same_table():
    columns = dict(zip(HEAD, zip(*ROWS, strict=True), strict=True))
    assert table(columns)._repr_html_() == table(ROWS, HEAD)._repr_html_()


def test_formats_are_those_asked_for_column_by_column():
    found = table([("a", 0.5, 2012, 1e-3)], form=("", ".0%", "d", ".0e"))
    assert repr(found) == "a  50 %  2012  1e-03"


def test_nothing_is_below_zero_that_is_written_as_zero():
    assert repr(table([(-0.0, -0.004, -0.005001, "-0")])) == "0.00  0.00  −0.01  -0"
    assert repr(table([(0.0, 0.01, 0.06, -math.inf)], form=["+.1f"] * 4)) == "0.0  0.0  +0.1  −inf"


def test_tensors_and_arrays_of_one_number_are_numbers():
    rows = [(torch.tensor(0.25), np.float32(3), np.int64(1200), torch.tensor(7), True)]
    assert repr(table(rows)) == "0.25  3.00  1,200  7  True"


def test_heat_goes_from_nothing_at_the_least_number_to_the_strongest_at_the_largest_over_the_columns_it_names():
    page = table(
        [("a", 0, 5, 100), ("b", 10, None, 100)], ("n", "x", "y", "z"), heat=("x", "y")
    )._repr_html_()
    assert [float(a) for a in re.findall(r"rgba\(0, 114, 178, ([\d.]+)\)", page)] == [
        0.0,
        STRONGEST / 2,
        STRONGEST,
    ]
    page = table(
        [(1, 1)], ("x", "y"), heat=True
    )._repr_html_()  # all the same: no colour, no division by zero
    assert re.findall(r"178, ([\d.]+)\)", page) == ["0.0", "0.0"]


def test_what_a_cell_says_is_never_html():
    page = table([("<b>", "a & b", "`x<y`")], caption="<i>")._repr_html_()
    assert "<b>" not in page and "&lt;b&gt;" in page and "a &amp; b" in page and "<code>x&lt;y</code>" in page
    assert "<i>" not in page


def test_an_empty_table_is_no_error():
    assert repr(table([], HEAD)).split() == list(HEAD)
    assert repr(table([])) == "" and "<table" in table([])._repr_html_()


@pytest.mark.parametrize(
    "rows, head, heat, words",
    [
        ([(1, 2), (3,)], (), False, r"1 cells in \[3\]; wanted 2"),
        ([(1, 2)], ("a",), False, "wanted 2"),
        ({"a": [1], "b": [1, 2]}, (), False, "'b': 2"),
        ([(1,)], ("a",), ("c",), r"heat for \['c'\]; the columns are \['a'\]"),
    ],
)
def test_rows_that_dont_fit_are_refused_with_what_was_found(rows, head, heat, words):
    with pytest.raises(ValueError, match=words):
        table(rows, head, heat=heat)
