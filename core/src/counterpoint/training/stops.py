"""Ctrl-C and SIGTERM: the first asks training to save and stop after the step at hand, the second leaves at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lightning import Callback, LightningModule, Trainer

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTE = b"\nStopping after this step, then saving. Once more: stop at once, without saving.\n"


class LeaveNow(BaseException):
    """The second request. Not an `Exception`, so that nothing between the handler and the trainer swallows it."""


class StopRequest(Callback):
    """Notes who asked training to stop.

    Attributes:
        asked: name of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.asked: str | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen while the block runs, and give the signals back afterwards, however it ends (main thread only)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        self._listen()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen again: Lightning has put its own handler for SIGTERM before ours, which would stop without saving."""
        self._listen()

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            raise LeaveNow
        self.asked = signal.Signals(number).name
        if os.environ.get("LOCAL_RANK", "0") == "0":
            os.write(2, NOTE)  # print is not safe in a signal handler
