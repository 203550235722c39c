"""Who may do what over TLS: strangers, tokens, restricted and removed certificates, the port changed live.
Arguments: the unix socket, a folder with c1.crt, c1.key, c2.crt, c2.key."""
import base64, json, socket, ssl, sys
from http_client import WebSocket, connect, request, Reader

S, DIR = sys.argv[1:3]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


PORT = free_port()
H = ("127.0.0.1", PORT)
C1, C2 = ((f"{DIR}/c{i}.crt", f"{DIR}/c{i}.key") for i in (1, 2))


def fingerprint(cert):
    import hashlib
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(open(cert[0]).read())).hexdigest()


def ok(answer, status=200):
    assert answer[0] == status, answer
    return answer[2].get("metadata")


def denied(answer):
    assert answer[0] == 403 and answer[2]["error"] == "not authorized", answer


def token(**more):
    op = ok(request(S, "POST", "/1.0/certificates", {"name": "client", "type": "client", "token": True, **more}), 202)
    assert op["class"] == "token" and op["status"] == "Running" and op["may_cancel"]
    m = op["metadata"]
    assert m["addresses"] == [f"127.0.0.1:{PORT}"] and m["request"]["name"] == "client"
    text = json.dumps({"client_name": "client", "fingerprint": m["fingerprint"], "addresses": m["addresses"],
                       "secret": m["secret"], "expires_at": "0001-01-01T00:00:00Z"})
    return op["id"], base64.b64encode(text.encode()).decode()


def redeem(text, cert):
    return request(H, "POST", "/1.0/certificates", {"trust_token": text, "type": "client"}, cert=cert)


def test_port():
    assert request(S, "POST", "/1.0/certificates", {"name": "x", "type": "client", "token": True})[0] == 400
    ok(request(S, "PATCH", "/1.0", {"config": {"core.https_address": f"127.0.0.1:{PORT}"}}))
    assert connect(H).version() == "TLSv1.3"
    busy = socket.socket()
    busy.bind(("127.0.0.1", 0))
    busy.listen()
    answer = request(S, "PATCH", "/1.0", {"config": {"core.https_address": f"127.0.0.1:{busy.getsockname()[1]}"}})
    assert answer[0] == 400, answer
    assert ok(request(S, "GET", "/1.0"))["config"]["core.https_address"] == f"127.0.0.1:{PORT}"
    assert request(H, "GET", "/")[0] == 200


def test_stranger():
    for cert in (None, C1):
        info = ok(request(H, "GET", "/1.0", cert=cert))
        assert info["auth"] == "untrusted" and not info.get("environment") and not info.get("config"), info
        for verb, path in (("GET", "/1.0/instances"), ("GET", "/1.0/profiles"), ("GET", "/1.0/certificates"), ("PUT", "/1.0"),
                           ("GET", "/1.0/operations"), ("GET", "/1.0/warnings"), ("GET", "/internal/ready"), ("DELETE", "/1.0")):
            denied(request(H, verb, path, {} if verb == "PUT" else None, cert=cert))
        assert request(H, "GET", "/nope", cert=cert)[0] == 404
        denied(request(H, "POST", "/1.0/certificates", {"name": "me", "type": "client"}, cert=cert))
    denied(request(H, "GET", "/1.0", headers=["X-Incus-authenticated: true"]))
    assert WebSocket(H, "/1.0/events").status == 403


def test_token():
    op, text = token()
    for bad in ("", "x", base64.b64encode(b"{}").decode(), base64.b64encode(b'{"secret":"00"}').decode()):
        assert redeem(bad, C1)[0] in (400, 403), bad
    assert redeem(text, None)[0] == 400
    answer = redeem(text, C1)
    assert answer[0] == 201 and answer[1]["location"] == "/1.0/certificates/" + fingerprint(C1), answer
    answer = redeem(text, C2)
    assert answer[0] == 403 and answer[2]["error"] == "No matching certificate add operation found", answer
    info = ok(request(H, "GET", "/1.0", cert=C1))
    assert info["auth"] == "trusted" and info["auth_user_method"] == "tls" and info["auth_user_name"] == fingerprint(C1)
    op, text = token()
    ok(request(S, "DELETE", "/1.0/operations/" + op))
    assert redeem(text, C2)[0] == 403
    denied(request(H, "GET", "/internal/ready", cert=C1))
    ws = WebSocket(H, "/1.0/events", cert=C1)
    assert ws.status == 101
    ws.close()


def test_restricted():
    ok(request(S, "POST", "/1.0/projects", {"name": "theirs", "config": {"features.profiles": "true"}}), 201)
    sock = connect(H, C1)  # a connection that is open while its rights change
    reader = Reader(sock)

    def ask(path):
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return reader.reply()[0]
    assert ask("/1.0/profiles") == 200
    path = "/1.0/certificates/" + fingerprint(C1)
    ok(request(S, "PATCH", path[:-20], {"restricted": True, "projects": ["theirs"]}))
    assert ask("/1.0/profiles") == 403 and ask("/1.0/profiles?project=theirs") == 200
    assert ok(request(H, "GET", "/1.0/projects", cert=C1)) == ["/1.0/projects/theirs"]
    for verb, path2, body in (("PATCH", "/1.0", {"config": {}}), ("POST", "/1.0/projects", {"name": "more"}),
                              ("PATCH", "/1.0/projects/theirs", {"description": "x"}), ("DELETE", "/1.0/projects/theirs", None),
                              ("PATCH", path, {"restricted": False}), ("PATCH", path, {"projects": ["default", "theirs"]}),
                              ("DELETE", path, None), ("POST", "/1.0/storage-pools", {"name": "p", "driver": "dir"}),
                              ("POST", "/1.0/certificates", {"name": "x", "type": "client", "token": True}),
                              ("POST", "/1.0/profiles", {"name": "x"}), ("GET", "/1.0/instances", None)):
        denied(request(H, verb, path2, body, cert=C1))
    ok(request(H, "POST", "/1.0/profiles?project=theirs", {"name": "mine"}, cert=C1), 201)
    ok(request(H, "DELETE", "/1.0/profiles/mine?project=theirs", cert=C1))
    assert request(H, "POST", "/1.0/certificates", {"name": "x", "type": "client"}, cert=C1)[2]["error"] == "Client is already trusted"
    assert request(S, "PATCH", path, {"projects": ["nowhere"]})[0] == 400
    ok(request(S, "DELETE", path))
    assert ask("/1.0/profiles?project=theirs") == 403
    ok(request(S, "DELETE", "/1.0/projects/theirs"))


def test_direct_add():
    der = base64.b64encode(ssl.PEM_cert_to_DER_cert(open(C2[0]).read())).decode()
    answer = request(S, "POST", "/1.0/certificates", {"type": "client", "certificate": der})
    assert answer[0] == 201, answer
    assert ok(request(S, "GET", "/1.0/certificates/" + fingerprint(C2)))["name"] == "c2"
    answer = request(S, "POST", "/1.0/certificates", {"type": "client", "certificate": der})
    assert answer[0] == 409 and answer[2]["error"] == "Certificate already in trust store"
    assert request(S, "POST", "/1.0/certificates", {"type": "client", "certificate": "aGVsbG8="})[0] == 400
    assert request(S, "POST", "/1.0/certificates", {"type": "nonsense", "certificate": der})[0] == 400
    assert ok(request(H, "GET", "/1.0", cert=C2))["auth"] == "trusted"
    ok(request(S, "DELETE", "/1.0/certificates/" + fingerprint(C2)[:12]))
    assert request(S, "GET", "/1.0/certificates/" + fingerprint(C2))[0] == 404


def test_port_again():
    """From one port to another, to another host on the same port, to none; old connections live on."""
    global H
    old = connect(H)
    port = free_port()
    ok(request(S, "PATCH", "/1.0", {"config": {"core.https_address": f"[::]:{port}"}}))
    H = ("127.0.0.1", port)
    assert request(H, "GET", "/")[0] == 200
    old.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert Reader(old).reply()[0] == 200
    ok(request(S, "PATCH", "/1.0", {"config": {"core.https_address": f"127.0.0.1:{port}"}}))
    assert request(H, "GET", "/")[0] == 200
    ok(request(S, "PATCH", "/1.0", {"config": {"core.https_address": ""}}))
    try:
        connect(H)
        assert False, "the port is still open"
    except ConnectionRefusedError:
        pass


for name, test in list(globals().items()):
    if name.startswith("test_"):
        print("--", name[5:], flush=True)
        test()
