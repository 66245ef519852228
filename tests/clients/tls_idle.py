#!/usr/bin/env python3
"""Opens TLS connections to a SIP server, has an OPTIONS answered on each, and leaves them open.

For each count that is read from standard input it opens what is missing and prints the number of
connections; it ends with its input.
"""

import socket
import ssl
import sys

host, port, authority = sys.argv[1:4]
context = ssl.create_default_context(cafile=authority)
open_now = []


def one(number):
    raw = socket.create_connection((host, int(port)), timeout=20)
    connection = context.wrap_socket(raw, server_hostname=host)
    local = "%s:%d" % raw_name(connection)
    connection.sendall(
        (
            "OPTIONS sip:{0} SIP/2.0\r\nVia: SIP/2.0/TLS {1};branch=z9hG4bK{2};rport\r\n"
            "Max-Forwards: 70\r\nFrom: <sip:idle@{0}>;tag={2}\r\nTo: <sip:{0}>\r\n"
            "Call-ID: idle{2}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        ).format(host, local, number).encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += connection.recv(4096)
    assert answer.startswith(b"SIP/2.0 200 "), answer
    return connection


def raw_name(connection):
    return connection.getsockname()[:2]


for line in sys.stdin:
    while len(open_now) < int(line):
        open_now.append(one(len(open_now)))
    print(len(open_now), flush=True)
