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


def wait(answer):
    return ok(request(H, "GET", ok(answer, 202) and answer[2]["operation"] + "/wait", cert=C1))


def test_borrowed():
    """A client of one project: what its project has from another it may use, not change, and nothing else of others."""
    shared = {f"features.{f}": "false" for f in ("profiles", "images", "networks", "storage.volumes")}
    ok(request(S, "POST", "/1.0/storage-pools", {"name": "default", "driver": "dir"}), 201)
    ok(request(S, "PATCH", "/1.0/profiles/default", {"devices": {"root": {"type": "disk", "path": "/", "pool": "default"}}}))
    ok(request(S, "POST", "/1.0/projects", {"name": "theirs", "config": shared}), 201)
    assert request(S, "POST", "/1.0/storage-pools/default/volumes/custom", {"name": "v"})[0] in (200, 201)
    der = base64.b64encode(ssl.PEM_cert_to_DER_cert(open(C1[0]).read())).decode()
    path = "/1.0/certificates/" + fingerprint(C1)
    ok(request(S, "POST", "/1.0/certificates", {"type": "client", "certificate": der, "restricted": True, "projects": ["theirs"]}), 201)
    for made in ("secret", "moving"):
        answer = request(S, "POST", "/1.0/instances", {"name": made, "source": {"type": "none"}})
        ok(request(S, "GET", answer[2]["operation"] + "/wait"))
    answer = request(S, "POST", "/1.0/instances/secret/snapshots", {"name": "s"})
    ok(request(S, "GET", answer[2]["operation"] + "/wait"))
    ours, volumes = "?project=theirs", "/1.0/storage-pools/default/volumes/custom"
    ok(request(H, "GET", "/1.0/profiles/default" + ours, cert=C1))
    for verb, path2, body in (("PATCH", "/1.0/profiles/default", {"config": {"security.privileged": "true"}}),
                              ("PUT", "/1.0/profiles/default", {}), ("POST", "/1.0/profiles/default", {"name": "x"}),
                              ("POST", "/1.0/profiles", {"name": "x"}), ("POST", "/1.0/networks", {"name": "x"}),
                              ("POST", "/1.0/images", {"source": {"type": "url", "url": "https://127.0.0.1:1/"}}),
                              ("POST", "/1.0/images/aliases", {"name": "x", "target": "00"}),
                              ("POST", volumes, {"name": "x"}), ("PATCH", volumes + "/v", {"config": {"user.a": "b"}}),
                              ("DELETE", volumes + "/v", None)):
        denied(request(H, verb, path2 + ours, body, cert=C1))
    assert wait(request(H, "POST", "/1.0/instances" + ours, {"name": "mine", "source": {"type": "none"}}, cert=C1))["status"] == "Success"
    for source in ("secret", "secret/s"):
        for more in ({}, {"refresh": True}, {"instance_only": True}):
            for name in ("mine", "other"):
                denied(request(H, "POST", "/1.0/instances" + ours, {"name": name, "source": {"type": "copy", "source": source, "project": "default", **more}}, cert=C1))
        assert request(H, "POST", "/1.0/instances" + ours, {"name": "other", "source": {"type": "copy", "source": source}}, cert=C1)[0] == 404
    denied(request(H, "POST", "/1.0/instances/mine" + ours, {"name": "mine", "project": "default"}, cert=C1))
    denied(request(H, "POST", "/1.0/instances/moving", {"name": "moving", "project": "theirs"}, cert=C1))
    for path2 in ("/1.0/projects/default", "/1.0/projects/default/state"):
        assert request(H, "GET", path2, cert=C1)[0] == 404
    assert ok(request(H, "GET", "/1.0/instances?all-projects=true", cert=C1)) == ["/1.0/instances/mine?project=theirs"]
    assert wait(request(H, "DELETE", "/1.0/instances/mine" + ours, cert=C1))["status"] == "Success"
    ok(request(S, "DELETE", path))
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
