"""What the scenes of the page share: a board with the newest message of each kind, and a thread that works on the newest thing it is given."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
Listener = Callable[[str, bytes], None]


class Board:
    """The newest message of each kind, for all who listen. Listeners are to return at once."""

    def __init__(self) -> None:
        self.latest: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Send what there is, and all that comes."""
        with self._lock:
            self._listeners.append(listener)
            have = dict(self.latest)
        for kind, message in have.items():
            listener(kind, message)

    def publish(self, kind: str, message: bytes) -> None:
        """Put a message in the place of the one of its kind."""
        with self._lock:
            self.latest[kind] = message
            listeners = list(self._listeners)
        for listener in listeners:
            listener(kind, message)


class Newest(Generic[T]):
    """A thread that does `work` with what it was given last: what comes while it works replaces what waits."""

    def __init__(self, work: Callable[[T], None], name: str) -> None:
        self._work, self._changed = work, threading.Condition()
        self._waits: list[T] = []
        self._closing = self._working = self._hurries = False
        self._thread = threading.Thread(target=self._run, name=f"exitwave-page-{name}", daemon=True)

    def open(self) -> None:
        """Begin."""
        self._thread.start()

    def give(self, job: T) -> None:
        """What is to be done next, in the place of what waits."""
        with self._changed:
            self._waits = [job]
            self._changed.notify_all()

    @property
    def overtaken(self) -> bool:
        """Whether the work under way is no longer wanted: something newer waits, or the end."""
        return bool(self._waits) or self._closing

    def rest(self, seconds: float) -> None:
        """For `work` itself: do nothing for so long, or until somebody waits for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._hurries, timeout=seconds)

    def settle(self, seconds: float) -> bool:
        """Wait until nothing waits and nothing is worked on, at most so long; whether that is so. There is no more rest."""
        with self._changed:
            self._hurries = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._waits and not self._working, timeout=seconds)

    def close(self) -> None:
        """End after what is under way."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._working = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waits or self._closing)
                if self._closing:
                    return
                job, self._working = self._waits.pop(), True
            self._work(job)
