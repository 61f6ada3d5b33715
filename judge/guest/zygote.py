"""Processes that do nothing but fork others.

After a fork each page is copied when one side first writes to it. The fork server writes to many between two runs,
which a process that only forks does not; and one that has compiled a program forks a child that need not.
"""

import ctypes
import errno
import marshal
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

CLONE, CLONE_PARENT = 56, 0x8000
FORK_FLAGS = CLONE_PARENT | signal.SIGCHLD
MESSAGE_BYTES = 32768
MOST_DESCRIPTORS = 16
_libc = ctypes.PyDLL(None, use_errno=True)


class Zygote:
    """The server's end of one. Its children are the server's own: there they are watched and reaped."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def fork(self, task: tuple[Any, ...], descriptors: Sequence[int]) -> int:
        """The id of a new process that runs this task. Raises OSError, also when the zygote has ended."""
        message = marshal.dumps(task)
        if len(message) > MESSAGE_BYTES:  # which would arrive without its end
            raise OSError(errno.E2BIG, f"a command line of {len(message)} bytes, more than {MESSAGE_BYTES}")
        socket.send_fds(self._channel, [message], list(descriptors))
        answer = self._channel.recv(8)
        if not answer:
            raise OSError(errno.EPIPE, "the process that forks has ended")
        number = int.from_bytes(answer, "little", signed=True)
        if number < 0:
            raise OSError(-number, f"fork: {os.strerror(-number)}")
        return number

    def close(self) -> None:
        """It ends when it is not forking."""
        self._channel.close()


def serve_forks(channel: socket.socket, run_child: Callable[[bytes, list[int]], NoReturn]) -> NoReturn:
    """Forks a child for each message until the other end is closed. run_child: what a child does with it."""
    room = socket.CMSG_SPACE(MOST_DESCRIPTORS * 4)
    fork, flags = _libc.syscall, FORK_FLAGS
    while True:
        message, attached, _, _ = channel.recvmsg(MESSAGE_BYTES, room)
        if not message:
            os._exit(0)
        descriptors = [number for _, _, data in attached for number in memoryview(data).cast("i")]
        # Not `os.fork`: it makes the child set up again what threads share, at the price of 160 copied pages, and its
        # children would be ours, not the server's. There are no threads here.
        number = fork(CLONE, flags, 0, 0, 0, 0)
        if number == 0:
            run_child(message, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        channel.send((number if number > 0 else -ctypes.get_errno()).to_bytes(8, "little", signed=True))
