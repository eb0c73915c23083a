"""What a browser tells Python when a reader presses a board or an arrow key, for tests without a browser."""

from course.kit.board import Board


def press(board: Board, x: float, y: float) -> None:
    """Press the board at a place, px of the picture."""
    board.pressed = [x, y, board.pressed[2] + 1]


def arrows(board: Board, right: int, down: int = 0) -> None:
    """Arrow keys: so many steps right and down, in one message."""
    board.arrows = [board.arrows[0] + right, board.arrows[1] + down]
