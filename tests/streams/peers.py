"""Peers of the sort that one would rather not have: `peers.py NAME PORT`, or PATH.

A conversation is "hello" and "bulk N" lines from the client, answered by "HELLO" and by N
bytes. Each peer says "done" on its standard output at its end.
"""
import array
import os
import socket
import struct
import sys
import time

LINE, BULK = b"hello\n", b"bulk 100000\n"


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def connect(port):
    s = socket.create_connection(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def receive(s, count):
    data = b""
    while len(data) < count:
        part = s.recv(count - len(data))
        if not part:
            raise EOFError(f"{len(data)} of {count} bytes")
        data += part
    return data


def steps():
    """The client's side of the conversation in the smallest steps: functions of a socket."""
    for byte in LINE:
        yield lambda s, byte=byte: s.sendall(bytes([byte]))
    for _ in range(6):
        yield lambda s: receive(s, 1)
    for byte in BULK:
        yield lambda s, byte=byte: s.sendall(bytes([byte]))
    for _ in range(10):
        yield lambda s: receive(s, 10000)
    yield lambda s: s.shutdown(socket.SHUT_WR)
    yield lambda s: s.recv(1)


def resets(port):
    """A client that resets after each step."""
    points = len(list(steps()))
    for point in range(points + 1):
        s = connect(port)
        for _, step in zip(range(point), steps()):
            step(s)
        reset(s)
    print(points + 1)


def resetting_server(_):
    """A server that resets after so many bytes were read, and so many written."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    points = [(got, said) for got in range(7) for said in (0,)]
    points += [(6, said) for said in range(1, 7)]
    print(len(points), flush=True)
    for got, said in points:
        s, _ = listener.accept()
        receive(s, got)
        s.sendall(b"HELLO\n"[:said])
        reset(s)


def byte_by_byte(port):
    s = connect(port)
    for byte in LINE * 50:
        s.sendall(bytes([byte]))
    assert receive(s, 300) == b"HELLO\n" * 50
    s.shutdown(socket.SHUT_WR)
    assert s.recv(1) == b""


def never_reads(port):
    s = connect(port)
    s.sendall(b"bulk 100000000\n")
    sys.stdin.readline()
    s.close()


def end_with_data(port):
    """Bytes and the end in one segment, or nearly: the end must not be missed."""
    for n in range(300):
        s = connect(port)
        if n % 3 == 0:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        s.sendall(LINE)
        s.shutdown(socket.SHUT_WR)
        assert receive(s, 6) == b"HELLO\n"
        assert s.recv(1) == b"", n
        s.close()


def urgent(port):
    """An urgent byte makes reads stop short, and is no part of the stream."""
    for pause in (0, 0.02):
        s = connect(port)
        s.sendall(b"hel")
        time.sleep(pause)
        s.send(b"!", socket.MSG_OOB)
        s.sendall(b"lo\n")
        assert receive(s, 6) == b"HELLO\n"
        s.sendall(LINE)
        assert receive(s, 6) == b"HELLO\n"
        s.close()


def passed_descriptors(path):
    """Descriptors that come with the bytes make reads stop short."""
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]
    for _ in range(50):
        s.sendmsg([b"he"], rights)
        s.sendmsg([b"l"], rights)
        s.sendall(b"lo\n")
        assert receive(s, 6) == b"HELLO\n"
    s.close()


if __name__ == "__main__":
    where = sys.argv[2] if len(sys.argv) > 2 else "0"
    globals()[sys.argv[1]](int(where) if where.isdigit() else where)
    print("done", flush=True)
