"""What a fork server and the process that forks for it say to each other."""

import socket

import pytest

from alpharay.judge.guest.zygote import Zygote


def test_a_task_that_is_too_long_for_one_message_is_refused_and_not_cut():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, pytest.raises(OSError, match=r"a command line of 32\d+ bytes"):
        Zygote(ours).fork(("tool", "x" * 32768), [])
