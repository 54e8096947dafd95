"""One open stream's ear: woken by the hub, or by its client hanging up."""

import contextlib
import os
import select
import socket
from enum import Enum

STALL_S = 60  # a client that takes nothing for so long is dropped


class Heard(Enum):
    """What ended a wait."""

    NOTHING = "the time is up"
    WAKE = "something was written"
    GONE = "the client hung up"


class Listener:
    """Waits for the hub and for the client's socket at once.

    Attributes:
        key_id: the API key that opened the stream.
    """

    def __init__(self, sock, key_id):
        """Begin to listen.

        Args:
            sock: the client's TCP socket.
            key_id: id of `res.users.apikeys`.
        """
        self.key_id = key_id
        self._socket = sock
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        self._poll.register(sock, select.POLLIN)

    def ring(self):
        """Wake the stream, now or at its next wait."""
        if self._bell is not None:
            os.eventfd_write(self._bell, 1)

    def wait(self, timeout_s):
        """Wait for the hub, the client's end, or the time.

        Args:
            timeout_s: how long at most, in seconds.
        """
        heard = Heard.NOTHING
        for fd, _flags in self._poll.poll(max(0, timeout_s) * 1000):
            if fd == self._bell:
                os.eventfd_read(self._bell)
                heard = Heard.WAKE
            elif self._hung_up():
                return Heard.GONE
        return heard

    def can_write(self, timeout_s=STALL_S):
        """Tell whether the client has taken enough of what was sent to send it more.

        Args:
            timeout_s: how long to wait for it, in seconds.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        return bool(poll.poll(timeout_s * 1000))

    def hang_up(self):
        """Break the connection: the server shall not wait for a client that reads nothing."""
        with contextlib.suppress(OSError):  # it was broken already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self):
        """Free what the wait needs. May be called twice."""
        if self._bell is not None:
            bell, self._bell = self._bell, None
            os.close(bell)

    def _hung_up(self):
        try:
            if self._socket.recv(1, socket.MSG_PEEK):
                # A client that talks on a stream: its bytes stay for the server to read, and would
                # wake us for ever.
                self._poll.unregister(self._socket)
                return False
        except OSError:
            pass
        return True


def tune(sock):
    """Send lines at once, and learn of a client that vanished without a word.

    The evented server leaves Nagle's algorithm on and writes headers and body apart, so that on a
    kept-alive connection each answer waits about 40 ms for the client's delayed acknowledgement.

    Args:
        sock: the client's TCP socket, or None.
    """
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALL_S * 1000
        )  # https://datatracker.ietf.org/doc/html/rfc5482
