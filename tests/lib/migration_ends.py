"""Ends of a migration that lie: `migration_ends.py SOCKET` sends to a server what it must refuse, `... receive SOCKET INSTANCE`
asks one for what it must not give. Speaks the /1.0 API over the unix socket, its WebSockets, and migration.proto by hand."""
import io, os, sys, tarfile
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "rest"))
from http_client import WebSocket, request


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def text(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def number(field, n):
    return varint(field << 3) + varint(n)


def offer(*snapshots, version=1, kind="container"):
    return text(1, number(1, version) + text(2, kind) + text(3, "tar") + b"".join(text(4, text(1, s)) for s in snapshots))


def data(raw):
    """One zstd frame of raw blocks, as messages."""
    frame, blocks = b"\x28\xb5\x2f\xfd\x00\x58", [raw[i:i + 65536] for i in range(0, len(raw), 65536)] or [b""]
    for i, block in enumerate(blocks):
        frame += ((len(block) << 3) | (i == len(blocks) - 1)).to_bytes(3, "little") + block
    return [text(5, frame[i:i + 100000]) for i in range(0, len(frame), 100000)]


def end(n):
    return text(6, number(1, n))


def tar(*entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, value in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(value)
                archive.addfile(info, io.BytesIO(value))
            else:
                info.linkname = value
                archive.addfile(info)
    return out.getvalue()


F, L, H, D = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


def tree(*entries):
    raw = tar(*entries)
    return [offer()] + data(raw) + [end(len(raw))]


def fields(message):
    """Field numbers of a packed message with their bytes; enough for what servers say."""
    out, at = {}, 0
    while at < len(message):
        key, at = read_varint(message, at)
        size, at = read_varint(message, at)
        if key & 7 == 2:
            out[key >> 3] = message[at:at + size]
            at += size
        else:
            out[key >> 3] = size
    return out


def read_varint(message, at):
    n = shift = 0
    while True:
        byte = message[at]
        n |= (byte & 127) << shift
        shift += 7
        at += 1
        if byte < 128:
            return n, at


def last_error(ws):
    """What the server says of the end: "" is success, None nothing."""
    try:
        while True:
            opcode, message = ws.message()
            if opcode == ws.BINARY:
                result = fields(message).get(7)
                if result is not None:
                    return fields(result).get(1, b"").decode()
            elif opcode == ws.CLOSE:
                return None
    except (OSError, EOFError, AssertionError, IndexError):
        return None


def open_operation(socket, method, path, body):
    status, _, reply = request(socket, method, path, body)
    assert status == 202, reply
    operation = reply["metadata"]
    secret = operation["metadata"]["control"]
    ws = WebSocket(socket, "/1.0/operations/%s/websocket?secret=%s" % (operation["id"], secret))
    assert ws.status == 101, ws.status
    return ws, operation["id"], secret


def refused_sender(socket, name, messages, part, size=None):
    body = {"name": "x1", "profiles": ["default"], "source": {"type": "migration", "mode": "push"}}
    if size:
        body["devices"] = {"root": {"type": "disk", "path": "/", "pool": "default", "size": size}}
    ws, operation, secret = open_operation(socket, "POST", "/1.0/instances", body)
    again = WebSocket(socket, "/1.0/operations/%s/websocket?secret=%s" % (operation, secret))
    assert again.status != 101, "a secret that works twice"
    try:
        for message in messages:
            ws.send(message, ws.BINARY)
    except OSError:
        pass # it has had enough
    if messages and messages[-1] == b"":
        ws.close()
    else:
        last_error(ws)
        ws.close()
    _, _, reply = request(socket, "GET", "/1.0/operations/%s/wait" % operation)
    done = reply["metadata"]
    assert done["status"] == "Failure", (name, done)
    assert part in done["err"], (name, done["err"])
    print("   refused:", name, "-", done["err"][:100])


def hostile_senders(socket):
    plain = tar(("rootfs", D, ""), ("rootfs/f", F, b"x" * 3000))
    cases = [
        ("a name that leaves", tree(("../../../../../../../../escaped", F, b"x")), "leaves the directory"),
        ("an absolute name", tree(("/escaped", F, b"x")), "leaves the directory"),
        ("through a link", tree(("rootfs", L, "/"), ("rootfs/escaped", F, b"x")), "not a directory"),
        ("a hard link outwards", tree(("rootfs", D, ""), ("rootfs/h", H, "../../../x")), "leaves the archive"),
        ("a link for a file", tree(("rootfs", D, ""), ("rootfs/f", F, b"x"), ("rootfs/f", L, "/etc/passwd")), "replaces"),
        ("a wrong total", [offer()] + data(plain) + [end(len(plain) + 1)], "cut short"),
        ("an end too early", [offer()] + data(plain)[:-1] + [text(5, data(plain)[-1][5:200]), end(100)], "igration stream"),
        ("no end", [offer()] + data(plain) + [b""], "too early"),
        ("nothing at all", [b""], ""),
        ("no zstd", [offer(), text(5, b"not compressed at all"), end(21)], "Damaged"),
        ("no message", [b"\xff\xff\xff\xff\xff"], "Damaged"),
        ("data before the offer", data(plain), "Unexpected"),
        ("another version", [offer(version=9)], "version 9"),
        ("a machine", [offer(kind="virtual-machine")], "virtual-machine"),
        ("a snapshot's name", [offer("../../x")], "napshot"),
        ("a snapshot twice", [offer("a", "a")], "twice"),
        ("no tree", [offer()] + data(b"\x01" * 5000) + [end(5000)], "archive"),
        ("a failure", [offer(), text(7, text(1, "disk on fire"))], "disk on fire"),
        ("words with lines", [offer(), text(7, text(1, "a\nb"))], "The other server failed"),
    ]
    for case in cases:
        refused_sender(socket, *case)
    refused_sender(socket, "more than allowed", tree(("rootfs", D, ""), ("rootfs/f", F, b"x" * 3000000)), "more than", "1MiB")


def refused_receiver(socket, instance, name, messages, part):
    ws, operation, _ = open_operation(socket, "POST", "/1.0/instances/" + instance, {"migration": True})
    opcode, message = ws.message()
    assert opcode == ws.BINARY and 1 in fields(message), "no offer"
    for message in messages:
        ws.send(message, ws.BINARY)
    said = last_error(ws) if messages else None
    ws.close()
    _, _, reply = request(socket, "GET", "/1.0/operations/%s/wait" % operation)
    done = reply["metadata"]
    assert done["status"] == "Failure" and part in done["err"], (name, done)
    print("   refused:", name, "-", done["err"][:100], "| said:", said)


def ask(snapshot="", method="tar", parent=""):
    return text(2, text(1, snapshot) + text(2, method) + text(3, parent))


def hostile_receivers(socket, instance):
    cases = [
        ("a snapshot that is none", [ask("../../etc")], "not offered"),
        ("a parent that is none", [ask(method="btrfs", parent="x")], "not offered"),
        ("a method that is none", [ask(method="rsync")], "not offered"),
        ("a damaged list", [ask(), text(3, text(1, text(1, b"a\0b")))], "damaged"),
        ("a wrong digest", [ask(), text(3, text(1, text(1, "a") + text(2, "short")))], "damaged"),
        ("no list", [ask(), ask()], "Unexpected"),
        ("gone", [], "too early"),
    ]
    for case in cases:
        refused_receiver(socket, instance, *case)


if sys.argv[1] == "receive":
    hostile_receivers(sys.argv[2], sys.argv[3])
else:
    hostile_senders(sys.argv[1])
