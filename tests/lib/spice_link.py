#!/usr/bin/env python3
"""Stands in for a SPICE viewer: opens two main-channel connections of spice+unix://PATH one after the other and says what
the server answered. The first messages are as SPICE's protocol document has them: magic "REDQ", version 2.2, a link message."""
import os
import socket
import struct
import sys

path = sys.argv[-1].removeprefix("--uri=").removeprefix("spice+unix://")
for _ in range(2):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20 * int(os.environ.get("INCUS_TEST_PATIENCE", 1)))
        s.connect(path)
        message = struct.pack("<IBBIII", 0, 1, 0, 0, 0, 18)
        s.sendall(b"REDQ" + struct.pack("<III", 2, 2, len(message)) + message)
        answer = s.makefile("rb").read(20)
        magic, major, minor, size, error = struct.unpack("<4sIIII", answer)
        print("spice", magic.decode(), major, "error", error, file=sys.stderr)
