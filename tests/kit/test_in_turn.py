"""Messages that arrive in two threads at once, as JupyterLab's channels deliver them."""

import threading

import ipywidgets
import pytest

from course.kit.explorer import Explorer, once
from course.kit.in_turn import in_turn
from course.kit.self_test import SelfTest


def send(widget: ipywidgets.Widget, **state: object) -> None:
    """What a browser sends when a reader has changed a widget."""
    widget.comm.handle_msg({"content": {"data": {"method": "update", "state": state}}, "buffers": []})


class Sum(Explorer):
    """Two numbers and their sum; the first time it is asked for, it takes until `on` is set."""

    def __init__(self):
        self.left, self.right = ipywidgets.IntText(1), ipywidgets.IntText(2)
        self.said, self.at_it, self.on = 0, threading.Event(), threading.Event()
        for widget in (self.left, self.right):
            widget.observe(self._show, "value")
        super().__init__([ipywidgets.HBox([self.left]), self.right])

    @once
    def _show(self, change: object = None) -> None:
        found = self.left.value + self.right.value
        if not self.at_it.is_set():
            self.at_it.set()
            self.on.wait(0.3)
        self.said = found


def two_at_once(explorer: Sum) -> None:
    """Change the first number, and the second while that is being handled in another thread."""
    first = threading.Thread(target=send, args=(explorer.left,), kwargs=dict(value=10))
    second = threading.Thread(target=send, args=(explorer.right,), kwargs=dict(value=20))
    first.start()
    assert explorer.at_it.wait(10)
    second.start()
    second.join(0.1)
    explorer.on.set()
    first.join(10)
    second.join(10)


def test_of_two_messages_at_once_the_second_is_handled_after_the_first():
    explorer = Sum()
    two_at_once(explorer)
    assert explorer.said == 30


def test_without_turns_the_second_would_be_lost(monkeypatch):
    monkeypatch.setattr("course.kit.explorer.in_turn", lambda box: threading.RLock())
    explorer = Sum()
    two_at_once(explorer)
    assert explorer.said == 12  # half of the one, nothing of the other


def test_a_message_in_the_middle_of_ones_own_is_no_deadlock():
    left, right = ipywidgets.IntText(), ipywidgets.IntText()
    left.observe(lambda change: send(right, value=change["new"]), "value")
    in_turn(ipywidgets.VBox([left, right]))
    send(left, value=7)
    assert right.value == 7


@pytest.mark.parametrize("box", [Sum, lambda: SelfTest("boxes")])
def test_messages_go_where_the_browser_sends_them(box):
    """ipykernel 7.4 asks a comm for another way, which may be blocked by a cell; without an answer it takes none."""

    def widgets(box):
        for child in box.children:
            yield from widgets(child) if isinstance(child, ipywidgets.Box) else [child]

    assert all(widget.comm._reply_subshell_for is None for widget in widgets(box()))
