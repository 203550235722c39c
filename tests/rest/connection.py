"""The connection itself: heads, bodies, keep-alive, pipelining, limits, smuggling. Argument: the unix socket."""
import json, socket, sys, time
from http_client import connect, raw, request, Reader

S = sys.argv[1]
GET = b"GET /1.0/operations HTTP/1.1\r\nHost: x\r\n"


def refused(data, *statuses):
    status, headers, body, reader = raw(S, data)
    assert status in statuses, (data[:100], status)
    assert headers["content-type"] == "application/json"
    answer = json.loads(body)
    assert answer["type"] == "error" and answer["error_code"] == status and answer["metadata"] is None, answer
    assert reader.closed(), "a connection that cannot be read further must be closed"


def test_envelope():
    status, headers, body, _ = raw(S, GET + b"\r\n")
    assert status == 200 and headers["content-type"] == "application/json" and "date" in headers
    assert body.endswith(b"}\n")
    answer = json.loads(body)
    assert list(answer) == ["type", "status", "status_code", "operation", "error_code", "error", "metadata"]
    assert answer["type"] == "sync" and answer["status"] == "Success" and answer["status_code"] == 200


def test_versions():
    status, _, answer = request(S, "GET", "/")
    assert status == 200 and answer["metadata"] == ["/1.0"]


def test_errors():
    for verb, path, code, text in (("GET", "/nope", 404, "not found"), ("GET", "/1.0/", 404, "not found"),
                                   ("GET", "/1.0/containers", 404, "not found"),
                                   ("GET", "/1.0/virtual-machines", 404, "not found"), ("GET", "//1.0", 404, "not found"),
                                   ("DELETE", "/1.0", 501, "not implemented"), ("GET", "/1.0/cluster", 501, "not implemented"),
                                   ("GET", "/1.0/cluster/members", 501, "not implemented"),
                                   ("HEAD2", "/1.0", 404, 'Method "HEAD2" not found')):
        status, headers, answer = request(S, verb, path)
        assert (status, answer["error"]) == (code, text), (verb, path, status, answer)
        assert headers["x-content-type-options"] == "nosniff"
        assert answer["status"] == "" and answer["status_code"] == 0
    assert raw(S, b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n")[2].endswith(b"}\n\n")


def test_malformed():
    for head in (b"GET /1.0\r\nHost: x\r\n\r\n", b"GET  /1.0 HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /1.0 HTTP/1.1 \r\nHost: x\r\n\r\n",
                 b"GET 1.0 HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /1.0#x HTTP/1.1\r\nHost: x\r\n\r\n", b"G(T /1.0 HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"GET /1.0 HTTP/1.1\r\n\r\n", b"GET /1.0 HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", GET + b"A : b\r\n\r\n",
                 GET + b"A: b\r\n c\r\n\r\n", GET + b"A: \x00\r\n\r\n", GET + b": b\r\n\r\n", GET + b"A\r\n\r\n",
                 b"GET /1.0 HTTP/1.1\nHost: x\r\n\r\n", GET + b"A: b\rc\r\n\r\n", b"\r\n\r\n\r\n\r\n"):
        refused(head, 400)
    refused(b"GET /1.0 HTTP/2.0\r\nHost: x\r\n\r\n", 505)
    refused(b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414)
    refused(GET + b"".join(b"H%d: x\r\n" % i for i in range(200)) + b"\r\n", 431)
    refused(GET + b"A: " + b"x" * 70000 + b"\r\n\r\n", 431)


def test_smuggling():
    post = b"POST /1.0/profiles HTTP/1.1\r\nHost: x\r\n"
    for headers in (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 5\r\nContent-Length: 5\r\n",
                    b"Content-Length: 5, 5\r\n", b"Content-Length: +5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 0x5\r\n",
                    b"Content-Length:\r\n", b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"):
        refused(post + headers + b"\r\n0\r\n\r\n", 400)
    refused(post + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501)
    refused(post.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400)
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n"
    for body in (b"5\n{\"a\":\r\n", b"g\r\n", b"-1\r\n", b"0x5\r\n", b"1\r\nab\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n", b" 1\r\n"):
        refused(chunked + body, 400)


def test_keep_alive():
    sock = connect(S)
    reader = Reader(sock)
    for _ in range(3):
        sock.sendall(GET + b"\r\n")
        assert reader.reply()[0] == 200
    sock.sendall((GET + b"\r\n") * 50 + b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [reader.reply()[0] for _ in range(51)] == [200] * 50 + [404]
    sock.sendall(GET + b"Connection: close\r\n\r\n")
    status, headers, _ = reader.reply()
    assert status == 200 and headers["connection"] == "close" and reader.closed()
    status, headers, _, reader = raw(S, b"GET /1.0/operations HTTP/1.0\r\n\r\n")
    assert status == 200 and reader.closed()


def test_bodies():
    """A body that the route does not want is read away; chunks of any size are joined."""
    sock = connect(S)
    reader = Reader(sock)
    sock.sendall(b"GET /1.0/operations HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" + GET + b"\r\n")
    assert reader.reply()[0] == 200 and reader.reply()[0] == 200
    text = b'{"name": "body-test", "description": "in pieces"}'
    sock.sendall(b"POST /1.0/profiles HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for i in range(len(text)):
        sock.sendall(b"1;ext=1\r\n" + text[i:i + 1] + b"\r\n")
    sock.sendall(b"0\r\nTrailer: x\r\n\r\n" + GET + b"\r\n")
    status, headers, _ = reader.reply()
    assert status == 201 and headers["location"] == "/1.0/profiles/body-test", (status, headers)
    assert reader.reply()[0] == 200
    assert request(S, "GET", "/1.0/profiles/body-test")[2]["metadata"]["description"] == "in pieces"
    assert request(S, "DELETE", "/1.0/profiles/body-test")[0] == 200
    for body in (b"", b"{", b"[]", b"null", b'"x"', b"{}x", b"\xff", b"[" * 1000 + b"]" * 1000, b'{"config": ' + b'{"a":' * 1000 + b"1" + b"}" * 1001):
        status, _, answer = request(S, "POST", "/1.0/profiles", body)
        assert status == 400, (body[:20], status, answer)
    status, _, _, reader = raw(S, b"POST /1.0/profiles HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
    assert status == 413 and reader.closed()


def test_continue():
    sock = connect(S)
    reader = Reader(sock)
    head = b"POST /1.0/profiles HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    sock.sendall(head)
    assert reader.head()[0] == 100
    sock.sendall(b"{}")
    assert reader.reply()[0] == 400
    # What is refused before the body is wanted: no 100, and the connection ends.
    sock.sendall(head.replace(b"/1.0/profiles", b"/nope"))
    assert reader.reply()[0] == 404 and reader.closed()
    refused(GET + b"Expect: something\r\n\r\n", 417)


def test_slow():
    """Bytes that come one by one, and a gRPC preface that stops half-way: nobody else waits."""
    half = connect(S)
    half.sendall(b"PR")
    slow = connect(S)
    for byte in GET + b"\r\n":
        slow.sendall(bytes([byte]))
    assert Reader(slow).reply()[0] == 200
    start = time.time()
    assert request(S, "GET", "/1.0/operations")[0] == 200 and time.time() - start < 2
    half.sendall(b"OPFIND / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert Reader(half).reply()[0] == 404


def test_many():
    socks = [connect(S) for _ in range(300)]
    for s in socks:
        s.sendall(GET + b"\r\n")
    assert all(Reader(s).reply()[0] == 200 for s in socks)
    for s in socks:
        s.close()


def test_etag():
    status, headers, answer = request(S, "GET", "/1.0/profiles/default")
    tag, before = headers["etag"], answer["metadata"]["description"]
    assert tag.startswith('"') and len(tag) == 66
    put = {k: answer["metadata"][k] for k in ("config", "devices")}
    assert request(S, "PUT", "/1.0/profiles/default", {**put, "description": "one"}, ["If-Match: " + tag])[0] == 200
    status, _, answer = request(S, "PUT", "/1.0/profiles/default", {**put, "description": "two"}, ["If-Match: " + tag])
    assert status == 412 and answer["error"].startswith("ETag doesn't match: "), answer
    assert request(S, "GET", "/1.0/profiles/default")[1]["etag"] != tag
    assert request(S, "PUT", "/1.0/profiles/default", {**put, "description": before})[0] == 200
    assert request(S, "GET", "/1.0/profiles/default")[1]["etag"] == tag


def test_patch():
    request(S, "POST", "/1.0/profiles", {"name": "p1", "description": "d", "config": {"user.a": "1"}})
    assert request(S, "PATCH", "/1.0/profiles/p1", {"config": {"user.b": "2"}})[0] == 200
    got = request(S, "GET", "/1.0/profiles/p1")[2]["metadata"]
    assert got["description"] == "d" and got["config"] == {"user.a": "1", "user.b": "2"}, got
    assert request(S, "POST", "/1.0/profiles", {"name": "p1"})[0] == 409
    assert request(S, "DELETE", "/1.0/profiles/p1")[0] == 200
    assert request(S, "GET", "/1.0/profiles/p1")[0] == 404


def test_lists():
    answer = request(S, "GET", "/1.0/profiles")[2]
    assert "/1.0/profiles/default" in answer["metadata"]
    assert any(p["name"] == "default" for p in request(S, "GET", "/1.0/profiles?recursion=1")[2]["metadata"])
    assert request(S, "GET", "/1.0/operations")[2]["metadata"] == {}
    for query in ("project=%zz", "project=%00", "project=%ff"):
        assert request(S, "GET", "/1.0/profiles?" + query)[0] == 400, query
    assert request(S, "GET", "/1.0/profiles/a%2Fb")[0] in (400, 404)
    assert request(S, "GET", "/1.0/profiles/..%2F..%2Fetc")[0] in (400, 404)


def test_options():
    status, headers, body, _ = raw(S, b"OPTIONS /1.0 HTTP/1.1\r\nHost: x\r\nOrigin: https://a\r\n\r\n")
    assert status == 200 and body == b"" and "access-control-allow-origin" not in headers
    request(S, "PATCH", "/1.0", {"config": {"core.https_allowed_origin": "https://a", "core.https_allowed_credentials": "true"}})
    headers = raw(S, b"OPTIONS /1.0 HTTP/1.1\r\nHost: x\r\nOrigin: https://a\r\n\r\n")[1]
    assert headers["access-control-allow-origin"] == "https://a" and headers["access-control-allow-credentials"] == "true"
    assert "access-control-allow-origin" not in raw(S, b"OPTIONS /1.0 HTTP/1.1\r\nHost: x\r\n\r\n")[1]
    request(S, "PATCH", "/1.0", {"config": {"core.https_allowed_origin": "", "core.https_allowed_credentials": ""}})


only = sys.argv[2:]
for name, test in list(globals().items()):
    if name.startswith("test_") and (not only or name[5:] in only):
        print("--", name[5:], flush=True)
        test()
