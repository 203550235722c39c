"""WebSockets: handshake, frames, events. Argument: the unix socket."""
import json, sys, threading
from http_client import WebSocket, connect, raw, request, Reader

S = sys.argv[1]


def events(query=""):
    ws = WebSocket(S, "/1.0/events" + query)
    assert ws.status == 101
    return ws


def make_event(name):
    """A lifecycle event: a certificate cannot be faked, a project can."""
    assert request(S, "POST", "/1.0/projects", {"name": name})[0] == 201
    assert request(S, "DELETE", "/1.0/projects/" + name)[0] == 200


def next_event(ws, action):
    while True:
        opcode, data = ws.message()
        assert opcode == ws.TEXT
        event = json.loads(data)
        if event["metadata"].get("action") == action:
            return event


def test_handshake():
    head = b"GET /1.0/events HTTP/1.1\r\nHost: x\r\n"
    for headers in (b"", b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nConnection: upgrade\r\n",
                    b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n",
                    b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"):
        assert raw(S, head + headers + b"\r\n")[0] == 400, headers
    reply = raw(S, head + b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    assert reply[0] == 101 and reply[1]["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_errors_before_upgrade():
    ws = WebSocket(S, "/1.0/events?type=nonsense")
    assert ws.status == 400
    ws = WebSocket(S, "/1.0/operations/00000000-0000-0000-0000-000000000000/websocket?secret=x")
    assert ws.status == 404, ws.status


def test_events():
    ws, other = events("?type=lifecycle&all-projects=true"), events("?type=logging&all-projects=true")
    make_event("ws-events")
    event = next_event(ws, "project-created")
    assert event["type"] == "lifecycle" and event["metadata"]["source"].startswith("/1.0/projects/ws-events"), event
    assert event["metadata"]["requestor"]["protocol"] == "unix" and event["metadata"]["requestor"]["address"] == "@", event
    next_event(ws, "project-deleted")
    ws.close()
    other.close()


def test_ping_and_close():
    ws = events()
    ws.send(b"are you there", ws.PING)
    while True:
        opcode, data = ws.frame()
        if opcode == ws.PONG:
            assert data == b"are you there"
            break
    ws.send(b"\x03\xe8", ws.CLOSE)
    assert ws.message()[0] == ws.CLOSE


def test_protocol_errors():
    """The connection ends; the daemon stays."""
    for frame in (b"\x81\x02hi", b"\xf1\x80abcd", b"\x83\x80abcd", b"\x09\x80abcd", b"\x89\xfe\x00\x80" + b"x" * 132,
                  b"\x80\x80abcd", b"\x81\xff" + b"\xff" * 8 + b"abcd"):
        ws = events()
        ws.sock.sendall(frame)
        try:
            while ws.message()[0] != ws.CLOSE:
                pass
        except (EOFError, ConnectionResetError):
            pass
    assert request(S, "GET", "/1.0/operations")[0] == 200


def test_many_listeners():
    sockets = [events("?type=lifecycle&all-projects=true") for _ in range(40)]
    make_event("ws-many")
    for ws in sockets:
        next_event(ws, "project-created")
        ws.close()


only = sys.argv[2:]
for name, test in list(globals().items()):
    if name.startswith("test_") and (not only or name[5:] in only):
        print("--", name[5:], flush=True)
        test()
