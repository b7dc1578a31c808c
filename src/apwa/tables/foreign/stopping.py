"""A way to stop a reading that goes on in another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Stop:
    """Set once, from any thread; what is to end because of it is told at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = False
        self._tell: Callable[[], None] | None = None

    @property
    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        with self._lock:
            self._set = True
            if self._tell is not None:
                self._tell()

    def when_set(self, tell: Callable[[], None] | None) -> None:
        """Call ``tell`` when it is set, or now if it is; None takes that back."""
        with self._lock:
            self._tell = tell
            if tell is not None and self._set:
                tell()
