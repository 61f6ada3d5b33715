"""What is known of the cluster from outside of it."""

import socket

from alpharay.serve.cluster import HeadWatch


def test_a_head_is_gone_when_it_was_missed_three_times_in_a_row():
    with socket.create_server(("127.0.0.1", 0)) as head:
        watch = HeadWatch(f"127.0.0.1:{head.getsockname()[1]}")
        assert not any(watch.gone() for _ in range(5))
    assert [watch.gone() for _ in range(3)] == [False, False, True]


def test_a_head_that_comes_back_in_time_was_never_gone():
    with socket.create_server(("127.0.0.1", 0)) as head:
        port = head.getsockname()[1]
    watch = HeadWatch(f"127.0.0.1:{port}")
    assert not watch.gone()
    with socket.create_server(("127.0.0.1", port)):
        assert not watch.gone()
    assert [watch.gone() for _ in range(3)] == [False, False, True]
