"""The film of chapter 12: the frames that were drawn, and what was found in each."""

import pytest
import torch
from hands import arrows

from course.own_images.film_player import Film


@pytest.fixture
def film() -> Film:
    pictures = [torch.full((30, 40, 3), 60 * n, dtype=torch.uint8) for n in range(3)]
    dog = {"class": "dog", "score": 0.912, "box": [1, 2, 3, 4]}
    frames = [{"frame": n, "seconds": n / 4, "detections": [dog] * n} for n in range(3)]
    return Film(pictures, frames)


def test_each_frame_shows_its_picture_and_names_what_is_in_it(film):
    seen = [film.board.picture]
    assert film.summary() == ["frame 1 of 3, second 0.00", "nothing found"]
    film.play.value += 2
    seen.append(film.board.picture)
    assert film.summary() == ["frame 3 of 3, second 0.50", "dog 0.91", "dog 0.91"] and not film.play.playing
    film.play.value += 1  # from the beginning again
    assert film.board.picture == seen[0] != seen[1] and repr(film) == "Film(frame 1 of 3)"


def test_keys_go_through_the_frames_and_stop_at_both_ends(film):
    arrows(film.board, 1)
    assert film.place.value == 1
    film.board.steps += 5
    assert film.place.value == 2
    arrows(film.board, -9)
    assert film.place.value == 0 and film.still()


@pytest.mark.parametrize(
    ("size", "wanted"), [((30, 40), 480), ((90, 160), 480), ((160, 90), 236), ((50, 50), 420)]
)
def test_a_film_from_a_phone_held_upright_is_no_taller_than_a_laptop_has_room_for(size, wanted):
    film = Film([torch.zeros(*size, 3, dtype=torch.uint8)], [{"frame": 0, "seconds": 0, "detections": []}])
    height, width = size
    assert film.board.width == wanted and film.board.width * height / width <= 421
