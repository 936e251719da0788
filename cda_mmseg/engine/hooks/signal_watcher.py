"""Notice signals, whatever the main thread is doing."""

import os
import select
import signal
import socket
import sys
import threading
import time
from types import FrameType

# Launchers often deliver one request twice: to the process group and through the launcher.
SECOND_SIGNAL_AFTER = 2.0


class SignalWatcher:
    """Note a first signal, obey a second one at once, and give up when a time limit has passed.

    Python runs signal handlers in the main thread between two instructions, so one that waits inside a collective
    operation for a process that has died never gets to them. But the interpreter's wake-up descriptor is written to at
    once, and a thread reads it.

    Forked children (data loader workers) have no part in it, and leave the process group: terminals and schedulers
    signal whole groups, and a run whose workers are gone cannot finish its iteration.

    Args:
        signals (tuple[signal.Signals, ...]): What to watch for.
        time_limit (float | None): Seconds from the first signal to :meth:`disarm`; then the process exits. None for no
            limit.
    """

    def __init__(self, signals: tuple[signal.Signals, ...], time_limit: float | None) -> None:
        self.signals = signals
        self.time_limit = time_limit
        self.received: signal.Signals | None = None
        self._received_at: float | None = None
        self._armed = True
        self._closed = False
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._former_descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._former_handlers = {number: signal.signal(number, self._handle) for number in signals}
        os.register_at_fork(
            before=self._hold_back, after_in_parent=self._let_through, after_in_child=self._release_in_child
        )
        self._thread = threading.Thread(target=self._watch, name='signal watcher', daemon=True)
        self._thread.start()

    def disarm(self) -> None:
        """Lift the time limit: from here on the process ends by itself."""
        self._armed = False
        self._writer.send(b'\0')

    def close(self) -> None:
        """Give the signals back to their former handlers."""
        if not self._former_handlers:
            return
        for number, handler in self._former_handlers.items():
            signal.signal(number, handler)
        self._former_handlers = {}
        signal.set_wakeup_fd(self._former_descriptor)
        # Closing the descriptor alone would not wake the thread while a forked worker still holds a copy of it.
        self._closed = True
        self._writer.send(b'\0')
        self._thread.join()
        self._writer.close()
        self._reader.close()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Take the place of the default handler, which would end the process."""
        if self.received is None:
            self.received = signal.Signals(number)

    def _watch(self) -> None:
        """Read signal numbers until the watcher is closed."""
        while True:
            readable, _, _ = select.select([self._reader], [], [], self._time_left())
            if not readable:
                self._exit(f'No agreement with the other processes within {self.time_limit} s: they may be dead.')
            numbers = self._reader.recv(64)
            if self._closed:
                return
            for number in set(numbers) & set(self.signals):
                if self._received_at is None:
                    self._received_at = time.monotonic()
                    self._handle(number, None)
                elif time.monotonic() - self._received_at > SECOND_SIGNAL_AFTER:
                    self._exit('Second signal.')

    def _time_left(self) -> float | None:
        """Tell how long to wait for the next event."""
        if self._received_at is None or self.time_limit is None or not self._armed:
            return None
        return max(0.0, self._received_at + self.time_limit - time.monotonic())

    def _exit(self, reason: str) -> None:
        """End the process here and now."""
        sys.stderr.write(f'{reason} Exiting without saving; the last checkpoint stands.\n')
        sys.stderr.flush()
        # the main thread may be stuck for good, so no orderly end is possible
        os._exit(128 + self.received)

    def _hold_back(self) -> None:
        """Hold signals back while a child is forked, until it has handlers of its own."""
        if self._former_handlers:
            signal.pthread_sigmask(signal.SIG_BLOCK, self.signals)

    def _let_through(self) -> None:
        """Let signals through again."""
        if self._former_handlers:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self.signals)

    def _release_in_child(self) -> None:
        """Let a forked child take no part: its signals would be written to the descriptor that it shares."""
        if not self._former_handlers:
            return
        signal.set_wakeup_fd(-1)
        for number in self._former_handlers:
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        self._let_through()
        self._former_handlers = {}
