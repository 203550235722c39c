"""A screen through the WebSockets of an operation. Arguments: the unix socket, a running virtual machine."""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "rest"))
from http_client import WebSocket, request

S, NAME = sys.argv[1:]
status, reply = request(S, "POST", f"/1.0/instances/{NAME}/console", {"type": "vga", "width": 0, "height": 0})[0:3:2]
assert status == 202, (status, reply)
fds, operation = reply["metadata"]["metadata"]["fds"], reply["operation"]


def channel(name):
    ws = WebSocket(S, f"{operation}/websocket?secret={fds[name]}")
    assert ws.status == 101, ws.status
    return ws


def linked(ws):
    message = struct.pack("<IBBIII", 0, 1, 0, 0, 0, 18)
    ws.send(b"REDQ" + struct.pack("<III", 2, 2, len(message)) + message, ws.BINARY)
    seen = b""
    while len(seen) < 20:
        seen += ws.message()[1]
    assert seen[:4] == b"REDQ" and struct.unpack("<I", seen[16:20])[0] == 0, seen


control = channel("control")
first, second = channel("0"), channel("0")
linked(first)
linked(second)
first.close()
third = channel("0")
linked(third)
assert WebSocket(S, f"{operation}/websocket?secret={fds['control']}").status != 101
assert request(S, "GET", operation)[2]["metadata"]["status"] == "Running"
control.close()
