"""Tests for `full_width`: the parts of the recorded training follow each other without a gap or an overlap."""

import json

from course.kit import places
from course.training import full_width


def test_the_parts_follow_each_other_step_by_step():
    rows = full_width.log()
    images = [row.images for row in rows]
    assert images == list(range(80, images[-1] + 1, 80))  # a line for every ten steps of 8 images


def test_the_last_line_is_the_last_of_the_last_part():
    lines = places.recording("full_width", "frozen", "log.jsonl").read_text().splitlines()
    last = [row for row in map(json.loads, lines) if "multibox" in row][-1]
    found = full_width.log()[-1]
    assert (found.multibox, found.images) == (last["multibox"], 8 * (200 + 950 + 150 + last["step"]))


def test_the_mean_of_the_last_images_is_that_of_their_rows():
    rows = [full_width.Seen(images=80 * n, rate=0.1, multibox=0.0, keras=float(n)) for n in range(1, 6)]
    assert full_width.last(rows, 160) == 4.5


def test_what_was_measured_on_the_held_out_photographs_stands_at_its_images():
    lines = places.recording("full_width", "frozen", "log.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    losses = {8 * (1300 + row["step"]): row["val"]["multibox"] for row in rows if "val" in row}
    scores = {8 * (1300 + row["step"]): row["map"] for row in rows if "map" in row}
    found = full_width.held_out()
    assert {images: loss for images, loss, _ in found if loss is not None} == losses
    assert {images: score for images, _, score in found if score is not None} == scores
    assert [images for images, _, _ in found] == sorted(losses | scores)
