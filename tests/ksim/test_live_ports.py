"""Ports for brokers and proxies: below the ephemeral range, kept free, and open to the one listener they are meant for."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from ksim.live.owners import owner
from ksim.live.ports import EPHEMERAL, HOST, LOWEST, Ports


def listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.listen()
    return listener


def test_no_port_lies_where_outgoing_connections_take_theirs() -> None:
    ports = Ports()
    taken = [ports.take() for _ in range(50)]
    ports.close()

    assert len(set(taken)) == 50
    assert all(LOWEST <= port < EPHEMERAL for port in taken)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a listener take the place of a bound socket")
def test_nobody_but_a_listener_that_shares_gets_a_port_that_is_held() -> None:
    ports = Ports()
    port = ports.take()
    stranger = socket.socket()
    with pytest.raises(OSError, match="Address already in use"):
        stranger.bind((HOST, port))
    listener = listen(port)

    with socket.create_connection((HOST, port)) as connection:
        assert connection.getpeername() == (HOST, port)
    for each in (stranger, listener, ports):
        each.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a listener take the place of a bound socket")
def test_a_port_that_is_held_refuses_connections_before_and_after_its_listener() -> None:
    ports = Ports()
    port = ports.take()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))
    listen(port).close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))
    ports.close()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_connection_is_known_by_the_process_that_made_it(family: socket.AddressFamily) -> None:
    """Java's sockets are IPv6 ones, with IPv4 addresses inside."""
    listener = listen(0)
    connection = socket.socket(family)
    try:
        if family == socket.AF_INET6:
            connection.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    prefix = "::ffff:" if family == socket.AF_INET6 else ""
    connection.connect((prefix + HOST, listener.getsockname()[1]))
    port = connection.getsockname()[1]

    assert owner(port, [1, os.getpid()]) == os.getpid()
    assert owner(port, []) is None
    assert owner(listener.getsockname()[1], []) is None
    connection.close()
    listener.close()
