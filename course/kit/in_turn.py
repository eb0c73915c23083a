"""One message at a time for the widgets of an explorer, in whichever thread the kernel receives it.

A kernel has more than one thread for messages: JupyterLab opens a second channel (a subshell) for widgets, so that
they answer while a cell runs. Messages that arrive before this channel is open are handled by the first thread, so a
menu that is chosen just after a button was pressed would be handled beside it, half of the one and half of the other.
"""

import threading
from collections.abc import Callable, Iterator

import ipywidgets


def in_turn(box: ipywidgets.Box) -> threading.RLock:
    """From now on a message for a widget in `box` waits until the one before it has been handled. -> the lock, for
    threads that change these widgets, too."""
    turn = threading.RLock()
    for widget in _within(box):
        widget.comm.on_msg(_handler(widget, turn))
        # ipykernel 7.4 handles a widget's message in the thread that wrote to it last. While a cell trains that
        # thread has no time, and the widget wouldn't answer: so messages go where JupyterLab sends them.
        widget.comm._reply_subshell_for = None
    return turn


def _handler(widget: ipywidgets.Widget, turn: threading.RLock) -> Callable[[dict], None]:
    def handle(message: dict) -> None:
        with turn:
            widget._handle_msg(message)

    return handle


def _within(box: ipywidgets.Box) -> Iterator[ipywidgets.Widget]:
    for child in box.children:
        yield from _within(child) if isinstance(child, ipywidgets.Box) else [child]
