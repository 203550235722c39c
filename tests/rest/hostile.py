#!/usr/bin/python3
"""Requests that no client should send. usage: hostile.py SOCKET"""
import json
import sys

import grpc

from http_client import Reader, connect

socket_path = sys.argv[1]
failures = []


def expect(what, got, wanted):
    if got not in wanted:
        failures.append("%s: %s, expected one of %s" % (what, got, wanted))


def rest(verb, path, body, content_type="application/json"):
    """HTTP status and, of an error, what the envelope says."""
    sock = connect(socket_path)
    head = "%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (
        verb, path, content_type, len(body))
    try:
        sock.sendall(head.encode() + body)
    except OSError:
        pass  # refused before all was read: the reply says why
    status, _, raw = Reader(sock).reply(verb)
    sock.close()
    reply = json.loads(raw)
    if status >= 400:
        assert reply["type"] == "error" and reply["error_code"] == status and reply["error"], reply
        assert reply["metadata"] is None, reply
    return status


def profile(**fields):
    return json.dumps(dict({"name": "p"}, **fields)).encode()


deep = 1000
bodies = {
    "1,000 arrays": b'{"name":"p","config":' + b"[" * deep + b"]" * deep + b"}",
    "1,000 objects": b'{"name":"p","config":' + b'{"a":' * deep + b"1" + b"}" * deep + b"}",
    "a million arrays": b"[" * 1000000,
    "cut": b'{"name":"p","config":{',
    "nothing": b"",
    "no object": b"[]",
    "a word": b"true",
    "two documents": b'{"name":"p"}{"name":"q"}',
    "NUL in text": b'{"name":"p","description":"a\\u0000b"}',
    "raw NUL": b'{"name":"p","description":"a\x00b"}',
    "NUL in a key": b'{"name":"p","config":{"user.a\\u0000b":"x"}}',
    "invalid UTF-8": b'{"name":"p","description":"\xff\xfe"}',
    "overlong UTF-8": b'{"name":"p","description":"\xc0\xaf"}',
    "half a surrogate": b'{"name":"p","description":"\\ud800"}',
    "name is a number": b'{"name":1}',
    "config is a list": b'{"name":"p","config":[]}',
    "config holds an object": b'{"name":"p","config":{"user.a":{}}}',
    "devices hold text": b'{"name":"p","devices":{"root":"x"}}',
    "devices hold a list": b'{"name":"p","devices":{"root":["x"]}}',
    "unknown key": profile(config={"no.such.key": "1"}),
    "bad value": profile(config={"limits.memory": "much"}),
    "unknown device": profile(devices={"x": {"type": "nosuch"}}),
    "no name": b"{}",
    "a path as a name": profile(name="../../x"),
    "a NUL name": b'{"name":"a\\u0000"}',
    "a control character": profile(config={"user.a": "\x01"}),
    "a line break in a line": profile(config={"limits.memory": "1MB\nlxc.x=y"}),
}
for what, body in bodies.items():
    expect("REST, " + what, rest("POST", "/1.0/profiles", body), [400])
expect("REST, 20 MB of text", rest("POST", "/1.0/profiles", profile(description="x" * (20 << 20))), [400, 413])

for path in ("/1.0/profiles/..%2f..%2fx", "/1.0/profiles/%00", "/1.0/profiles/%ff", "/1.0/profiles/" + "x" * 300,
             "/1.0/instances/..", "/1.0/instances/%2e%2e/state", "/1.0/instances/none/files?path=%00",
             "/1.0/instances?filter=((((", "/1.0/instances?recursion=x"):
    expect("REST, GET " + path, rest("GET", path, b""), [400, 404])
for verb, path in (("POST", "/1.0/instances"), ("PUT", "/1.0"), ("PATCH", "/1.0"), ("POST", "/1.0/projects"), ("POST", "/1.0/networks"),
                   ("POST", "/1.0/storage-pools"), ("POST", "/1.0/certificates"), ("PUT", "/1.0/profiles/default"), ("PUT", "/1.0/instances")):
    for what in ("1,000 arrays", "cut", "raw NUL", "invalid UTF-8", "no object"):
        expect("REST, %s %s, %s" % (verb, path, what), rest(verb, path, bodies[what]), [400])
for what, body in {"noise": bytes(range(256)) * 40, "nothing": b"", "gzip of nothing": b"\x1f\x8b\x08\x00" + b"\0" * 20}.items():
    status = rest("POST", "/1.0/images", body, "application/octet-stream")
    expect("REST, image of " + what, status, [202, 400])
expect("REST, multipart without boundary", rest("POST", "/1.0/images", b"x", "multipart/form-data"), [400, 202])

# ---- gRPC: protobuf bytes made by hand ----


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def nested(depth):
    body = b""
    for _ in range(depth):
        body = field(2, body)
    return body


channel = grpc.insecure_channel("unix:" + socket_path)
code = grpc.StatusCode


def call(method, body):
    rpc = channel.unary_unary("/incus.v1." + method, request_serializer=bytes, response_deserializer=bytes)
    try:
        rpc(body, timeout=20)
        return code.OK
    except grpc.RpcError as error:
        return error.code()


expect("gRPC, a profile that is there", call("ProfileService/GetProfile", field(1, b"default")), [code.OK])
for what, body in {"NUL in text": field(1, b"default\0x"), "NUL alone": field(1, b"\0"), "invalid UTF-8": field(1, b"\xff\xfe"),
                   "overlong UTF-8": field(1, b"\xc0\xaf"), "depth 1,000": nested(1000), "depth 100,000": nested(20000),
                   "a length beyond the end": varint(1 << 3 | 2) + varint(1 << 40) + b"x", "an endless number": b"\x08" + b"\xff" * 20,
                   "a group": b"\x0b\x0c", "wire type 7": b"\x0f", "field 0": b"\x02\x01x",
                   "cut": field(1, b"default")[:-2]}.items():
    expect("gRPC, " + what, call("ProfileService/GetProfile", body), [code.INVALID_ARGUMENT])
expect("gRPC, an unknown method", call("ProfileService/NoSuch", b""), [code.UNIMPLEMENTED])
expect("gRPC, an unknown service", call("NoSuch/X", b""), [code.UNIMPLEMENTED])
expect("gRPC, a path as a name", call("ProfileService/GetProfile", field(1, b"../../x")), [code.NOT_FOUND, code.INVALID_ARGUMENT])
expect("gRPC, 20 MB", call("ProfileService/GetProfile", field(1, b"x" * (20 << 20))), [code.RESOURCE_EXHAUSTED])
expect("gRPC, still there", call("ProfileService/GetProfile", field(1, b"default")), [code.OK])

for line in failures:
    print("FAILED:", line, file=sys.stderr)
sys.exit(bool(failures))
