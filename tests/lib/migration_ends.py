"""Ends of a migration that lie: `migration_ends.py SOCKET` sends to a server what it must refuse, `... receive SOCKET INSTANCE`
asks one for what it must not give, `... native SOCKET POOL UUID OUTSIDE` sends streams of btrfs that reach for the subvolume of
that UUID and for a folder outside, `... silent SOCKET` says nothing until it is cancelled, `... live SOCKET` sends running
state that is none, `... live-receive SOCKET INSTANCE` takes steps that are not its turn, `... carry SOCKET` and `... carry-receive SOCKET INSTANCE` do so
with virtual machines. Speaks the /1.0 API over the unix socket, its WebSockets, and migration.proto by hand."""
import io, os, stat, struct, sys, tarfile, uuid
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "rest"))
from http_client import WebSocket, request
from protobuf_bytes import number, text
import btrfs_stream as bs


def offer(*snapshots, version=1, kind="container", methods=("tar",), more=False, content="", size=0, config=(), live=b""):
    entries = b"".join(text(2, text(1, key) + text(2, value)) for key, value in config)
    return text(1, number(1, version) + text(2, kind) + b"".join(text(3, m) for m in methods)
                + b"".join(text(4, text(1, s)) for s in snapshots) + number(5, int(more)) + text(6, content) + number(7, size)
                + text(8, entries) + (text(9, live) if live else b""))


def frame(blocks):
    """One zstd frame as messages, of blocks (BYTES, TIMES): those of one byte are written once."""
    out = b"\x28\xb5\x2f\xfd\x00\x58"
    for i, (block, times) in enumerate(blocks):
        size, kind = (times, 1) if times > 1 else (len(block), 0)
        out += (size << 3 | kind << 1 | (i == len(blocks) - 1)).to_bytes(3, "little") + block
    return [text(5, out[i:i + 100000]) for i in range(0, len(out), 100000)]


def data(raw):
    return frame([(raw[i:i + 65536], 1) for i in range(0, len(raw), 65536)] or [(b"", 1)])


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
    secret = operation["metadata"]["control"].removeprefix("stream-")
    ws = WebSocket(socket, "/1.0/operations/%s/websocket?secret=%s" % (operation["id"], secret))
    assert ws.status == 101, ws.status
    return ws, operation["id"], secret


def instance_body(name, pool="default", size=None):
    body = {"name": name, "profiles": ["default"], "source": {"type": "migration", "mode": "push"}}
    if size or pool != "default":
        body["devices"] = {"root": {"type": "disk", "path": "/", "pool": pool, **({"size": size} if size else {})}}
    return body


def refused_sender(socket, name, messages, part, size=None, body=None, path="/1.0/instances"):
    ws, operation, secret = open_operation(socket, "POST", path, body or instance_body("x1", size=size))
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


def accepted_sender(socket, messages, body):
    ws, operation, _ = open_operation(socket, "POST", "/1.0/instances", body)
    for message in messages:
        ws.send(message, ws.BINARY)
    ws.send(text(7, b""), ws.BINARY) # all is said
    assert last_error(ws) == ""
    ws.close()
    _, _, reply = request(socket, "GET", "/1.0/operations/%s/wait" % operation)
    assert reply["metadata"]["status"] == "Success", reply


# ---- streams of btrfs ----

def inner_list(*paths):
    return b"incus\1s\0" + struct.pack("<I", len(paths)) + b"".join(b"\0" + struct.pack("<I", len(p)) + p for p in paths)


def subvolume(*commands, name=b"x"):
    here = [(bs.INO, bs.number(300))]
    out = bs.HEAD + bs.command(bs.SUBVOL, (bs.PATH, name), (bs.UUID, uuid.uuid4().bytes), (bs.CTRANSID, bs.number(300)))
    for kind, path, *more in commands:
        out += bs.command(kind, (bs.PATH, path), *([] if kind in (bs.WRITE, bs.CLONE) else here), *more)
    return out + bs.command(bs.END)


def native(raw):
    return [offer(methods=("tar", "btrfs"))] + data(raw) + [end(len(raw))]


def hostile_streams(socket, pool, victim, outside):
    whole = subvolume((bs.MKDIR, b"rootfs"))
    out = outside.encode()
    there = out + b"/there" # is, with words that must stay
    link = (bs.SYMLINK, b"l", (bs.PATH_LINK, out))
    write = [(bs.OFFSET, bs.number(0)), (bs.DATA, b"overwritten")]
    clone = [(bs.OFFSET, bs.number(0)), (bs.CLONE_LEN, bs.number(4096)), (bs.CLONE_UUID, uuid.UUID(victim).bytes),
             (bs.CLONE_CTRANSID, bs.number(1 << 40)), (bs.CLONE_PATH, b"rootfs/secret"), (bs.CLONE_OFFSET, bs.number(0))]
    up = b"../" * 20 + out[1:]
    cases = [
        ("by way of a link", subvolume(link, (bs.MKFILE, b"l/escaped"))),
        ("writing to a link", subvolume((bs.SYMLINK, b"l", (bs.PATH_LINK, there)), (bs.WRITE, b"l", *write))),
        ("upwards", subvolume((bs.MKFILE, up + b"/escaped"))),
        ("writing upwards", subvolume((bs.WRITE, up + b"/there", *write))),
        ("another's data", subvolume((bs.MKFILE, b"f"), (bs.CLONE, b"f", *clone))),
        ("a subvolume upwards", subvolume(name=up + b"/escaped")),
        ("the name of what is kept", subvolume(name=b"@-s")),
        ("two", subvolume() + subvolume(name=b"y")[:-9]),
        ("an inner path upwards", inner_list(up + b"/escaped") + whole + subvolume(name=b"i")),
        ("an inner path by a link", inner_list(b"l/escaped") + subvolume(link) + subvolume(name=b"i")),
        ("fewer than listed", inner_list(b"a", b"b") + whole + subvolume(name=b"i")),
        ("half of it", whole[:-20]),
        ("no list", b"incus\1x\0" + whole),
        ("a long list", b"incus\1s\0" + struct.pack("<I", 1 << 30)),
        ("a long path", b"incus\1s\0" + struct.pack("<II", 1, 1 << 30)[:4] + b"\0" + struct.pack("<I", 1 << 30)),
    ]
    for name, raw in cases:
        if not raw.startswith(b"incus"):
            raw = inner_list() + raw
        refused_sender(socket, name, native(raw), "", body=instance_body("x1", pool))
    again = bs.command(bs.WRITE, (bs.PATH, b"f"), (bs.OFFSET, bs.number(0)), (bs.DATA, b"x" * 60000))
    start = inner_list() + subvolume((bs.MKFILE, b"f"))[:-len(bs.command(bs.END))]
    large = frame([(start, 1)] + [(again[:-60000], 1), (b"x", 60000)] * 1300 + [(bs.command(bs.END), 1)])
    refused_sender(socket, "more than allowed", [offer(methods=("tar", "btrfs")), *large], "more than",
                   body=instance_body("x1", pool, "1MiB"))
    nodes = [(bs.MKNOD, b"sda", (bs.MODE, bs.number(stat.S_IFBLK | 0o666)), (bs.RDEV, bs.number(os.makedev(8, 0)))),
             (bs.MKNOD, b"null", (bs.MODE, bs.number(stat.S_IFCHR | 0o666)), (bs.RDEV, bs.number(os.makedev(1, 3))))]
    accepted_sender(socket, native(inner_list() + subvolume((bs.MKDIR, b"rootfs"), *nodes)), instance_body("nodes", pool))


def silent(socket):
    """Says nothing, and nothing is left when somebody has enough of it."""
    for messages in ([], [offer()], [offer()] + data(tar(("rootfs", D, "")))[:1]):
        ws, operation, _ = open_operation(socket, "POST", "/1.0/instances", instance_body("x1"))
        for message in messages:
            ws.send(message, ws.BINARY)
        status, _, reply = request(socket, "DELETE", "/1.0/operations/" + operation)
        assert status == 200, reply
        _, _, reply = request(socket, "GET", "/1.0/operations/%s/wait" % operation)
        assert reply["metadata"]["status"] == "Cancelled", reply
        ws.close()


HOLD, HELD, STATE, READY, GO, CARRY, CARRIED, STOPPED = range(1, 9)


def step(kind, *more):
    return text(8, number(1, kind) + b"".join(more))


def live(move=None, driver="criu", architecture=os.uname().machine):
    return text(1, move or str(uuid.uuid4())) + text(2, driver) + text(3, "4.2") + text(4, architecture)


def with_state(state, announced=1 << 20):
    first, second = tar(("rootfs", D, ""), ("rootfs/f", F, b"x")), tar(("rootfs", D, ""))
    return ([offer(live=live())] + data(first) + [end(len(first)), step(HELD, number(2, announced)), text(4, text(1, b"\xff"))]
            + data(second) + [end(len(second))] + data(state) + [end(len(state))])


def ahead(state, kept=b"\xff", last=tar(("rootfs", D, ""))):
    """As with_state(), of a source that is asked for the last of its volume before it is held."""
    first, second = tar(("rootfs", D, ""), ("rootfs/f", F, b"x")), tar(("rootfs", D, ""))
    return ([offer(live=live() + number(7, 1))] + data(first) + [end(len(first)), text(4, text(1, b"\xff"))] + data(second)
            + [end(len(second)), step(HELD), text(4, text(1, kept))] + data(last) + [end(len(last))] + data(state) + [end(len(state))])


def hostile_live_senders(socket):
    plain = tar(("rootfs", D, ""))
    body = instance_body("x1")
    body["source"]["live"] = True
    body["config"] = {"migration.stateful": "true"}
    cases = [
        ("a move without identity", [offer(live=live(move="../../escaped"))], "no identity"),
        ("a driver that is none", [offer(live=live(driver="magic"))], "not known"),
        ("another processor", [offer(live=live(architecture="vax"))], "another kind"),
        ("live twice", [offer("a", live=live(), more=True), offer("b", live=live())], "Unexpected"),
        ("no step", [offer(live=live())] + data(plain) + [end(len(plain)), end(0)], "Unexpected"),
        ("a step that is another's", [offer(live=live())] + data(plain) + [end(len(plain)), step(GO)], "Unexpected"),
        ("a name that leaves", with_state(b"../../escaped.img 1\nx.\n"), "no state has"),
        ("an absolute name", with_state(b"/escaped.img 1\nx.\n"), "no state has"),
        ("a hidden name", with_state(b".escaped.img 1\nx.\n"), "no state has"),
        ("a foreign name", with_state(b"program.sh 1\nx.\n"), "no state has"),
        ("a long name", with_state(b"a" * 200 + b".img 1\nx.\n"), ""),
        ("a size that is none", with_state(b"a.img -1\nx.\n"), "no state has"),
        ("an endless size", with_state(b"a.img 99999999999999999999999\nx.\n"), "no state has"),
        ("a piece that never ends", with_state(b"a.img 1\nxa.img 100\ny.\n"), "cut short"),
        ("half a file", with_state(b"a.img 100\nx"), "cut short"),
        ("no last line", with_state(b"a.img 1\nx"), "cut short"),
        ("no lines", with_state(b"x" * 5000), "damaged"),
        ("more than its end", with_state(b"a.img 1\nx.\nb.img 1\ny.\n"), "More comes"),
        ("more than announced", with_state(b"a.img 3000\n" + b"x" * 3000 + b".\n", announced=100), "more than"),
        ("nothing", with_state(b".\n"), ""),
        ("ahead, a name that leaves", ahead(b"../../escaped.img 1\nx.\n"), "no state has"),
        ("ahead, half a piece", ahead(b"pages-1.img 1\nxpages-1.img 100\ny"), "cut short"),
        ("ahead, more than was listed", ahead(b".\n", kept=b"\xff" * 100), "Unexpected"),
        ("ahead, a last round that leaves", ahead(b".\n", last=tar(("../../escaped", F, b"x"))), "escaped"),
        ("ahead, no state of CRIU", ahead(b"inventory.img 5\nhello.\n"), ""),
        ("no state of CRIU", with_state(b"inventory.img 5\nhello.\n"), ""),
    ]
    for name, messages, part in cases:
        refused_sender(socket, name, messages, part, body=body)


def hostile_live_receivers(socket, instance):
    empty = text(3, b"")
    whole, last = [ask(), empty], text(2, text(2, "tar") + number(4, 1))
    cases = [
        ("ready before all", [step(READY)]), ("state before it stands still", [step(STATE)]),
        ("a step of its own", [step(HELD)]), ("no kind", [step(0)]), ("held twice", [step(HOLD), step(HOLD)]),
        ("ready without state", [*whole, step(HOLD), step(READY)]), ("state twice", [step(HOLD), step(STATE), step(STATE)]),
        ("the last round twice", [*whole, last, empty, last, empty]), ("the last round once held", [step(HOLD), last, empty]),
        ("the last round, no list", [*whole, last, step(HOLD)]),
    ]
    for name, messages in cases:
        refused_receiver(socket, instance, name, messages, "Unexpected", live=True)
    refused_receiver(socket, instance, "the last round of what is not there", [text(2, text(1, "s9") + text(2, "tar") + number(4, 1)), empty],
                     "not offered", live=True)
    for url in ("http://127.0.0.1:1", "https://a\nb", "file:///etc/passwd", ""):
        refused_receiver(socket, instance, "a server that is none", [step(HOLD), step(STATE), step(READY, text(3, url), text(4, "x"))],
                         "names no URL", live=True)
    refused_receiver(socket, instance, "gone while it stands still", [step(HOLD), b""], "too early", live=True)


def channel(n, *more):
    return text(9, number(1, n) + b"".join(more))


def carried(*messages):
    raw = tar(("templates", D, ""))
    machine = offer(kind="virtual-machine", methods=("tar", "block"), content="block", size=1 << 20, live=live(driver="libvirt") + number(6, 1))
    return [machine] + data(raw) + [end(len(raw)), *messages]


def hostile_carriers(socket):
    body = {**instance_body("x1"), "type": "virtual-machine",
            "config": {"migration.stateful": "true", "security.secureboot": "false", "limits.memory": "64MiB"}}
    body["source"]["live"] = True
    disk, memory = number(2, 1), number(2, 2)
    junk = text(3, b"\x28\xb5\x2f\xfd\x00\x58" + (3000 << 3).to_bytes(3, "little") + b"x" * 3000)  # of a frame that goes on
    cases = [
        ("no connection of that number", [channel(7, junk)], "Unexpected"),
        ("a place that is none", [channel(1, number(2, 3))], "Unexpected"),
        ("no place", [channel(1, junk)], "Unexpected"),
        ("a connection twice", [channel(1, disk), channel(1, disk, junk), channel(3, disk)], ""),
        ("too many connections", [channel(n, disk) for n in range(1, 40)], ""),
        ("no zstd", [channel(1, memory), channel(1, text(3, b"not compressed at all"))], "Damaged"),
        ("a step that is another's", [step(GO)], "Unexpected"),
        ("a message of another phase", [text(6, number(1, 1))], "Unexpected"),
        ("nothing carried", [step(CARRIED)], "sent no machine"), ("no memory", [channel(1, disk), step(CARRIED)], "sent no machine"),
        ("memory without bytes", [channel(1, disk), channel(2, memory), step(CARRIED)], "did not come in whole"),
        ("memory that is none", [channel(1, disk), channel(2, memory), channel(2, junk), step(CARRIED)], ""),
        ("a disk that is none", [channel(1, disk, junk), channel(2, memory), channel(2, junk, number(4, 1)), step(CARRIED)], ""),
        ("given up", [step(STOPPED), text(7, text(1, "disk on fire"))], "disk on fire"),
        ("given up without a reason", [step(STOPPED), step(GO)], "Unexpected"),
        ("gone", [channel(1, memory), b""], "too early"),
    ]
    for name, messages, part in cases:
        refused_sender(socket, name, carried(*messages), part, body=body)


def hostile_carried(socket, instance):
    cases = [
        ("a connection of its own", [step(CARRY), channel(1, number(2, 1))]), ("carried before all", [step(CARRY), step(CARRIED)]),
        ("ready meanwhile", [step(CARRY), step(READY)]), ("carried twice", [step(CARRY), step(CARRY)]),
    ]
    for name, messages in cases:
        refused_receiver(socket, instance, name, messages, "Unexpected", live=True)
    refused_receiver(socket, instance, "gone meanwhile", [step(CARRY), b""], "too early", live=True)


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
        ("offers without end", [offer(more=True)] * 5, "Unexpected"),
        ("a key of the volume", [offer(config=[("snapshots.expiry", "never\nmore")])], "snapshots.expiry"),
        ("no tree", [offer()] + data(b"\x01" * 5000) + [end(5000)], "archive"),
        ("a failure", [offer(), text(7, text(1, "disk on fire"))], "disk on fire"),
        ("words with lines", [offer(), text(7, text(1, "a\nb"))], "The other server failed"),
    ]
    for case in cases:
        refused_sender(socket, *case)
    refused_sender(socket, "more than allowed", tree(("rootfs", D, ""), ("rootfs/f", F, b"x" * 3000000)), "more than", "1MiB")
    volume = {"name": "x1", "type": "custom", "content_type": "block", "source": {"type": "migration", "mode": "push"}}
    path, disk = "/1.0/storage-pools/default/volumes/custom", offer(kind="custom", methods=("block",), content="block", size=1 << 20)
    for name, messages, part in (
            ("a longer disk", [disk] + data(b"x" * (3 << 20)) + [end(3 << 20)], "more than"),
            ("a disk of no size", [offer(kind="custom", methods=("block",), content="block")], "without size"),
            ("an endless disk", [offer(kind="custom", methods=("block",), content="block", size=1 << 63)], "without size"),
            ("no disk", [offer(kind="custom")], "content type")):
        refused_sender(socket, name, messages, part, body=volume, path=path)


def refused_receiver(socket, instance, name, messages, part, live=False):
    ws, operation, _ = open_operation(socket, "POST", "/1.0/instances/" + instance, {"migration": True, "live": live})
    opcode, message = ws.message()
    assert opcode == ws.BINARY and 1 in fields(message), "no offer"
    for message in filter(None, messages):
        ws.send(message, ws.BINARY)
    said = last_error(ws) if messages and messages[-1] else None
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
        ("a list without end", [ask()] + [text(3, number(2, 1))] * 5, "Unexpected"),
        ("gone", [], "too early"),
    ]
    for case in cases:
        refused_receiver(socket, instance, *case)


if sys.argv[1] == "native":
    hostile_streams(*sys.argv[2:])
elif sys.argv[1] == "silent":
    silent(sys.argv[2])
elif sys.argv[1] == "live":
    hostile_live_senders(sys.argv[2])
elif sys.argv[1] == "live-receive":
    hostile_live_receivers(sys.argv[2], sys.argv[3])
elif sys.argv[1] == "carry":
    hostile_carriers(sys.argv[2])
elif sys.argv[1] == "carry-receive":
    hostile_carried(sys.argv[2], sys.argv[3])
elif sys.argv[1] == "receive":
    hostile_receivers(sys.argv[2], sys.argv[3])
else:
    hostile_senders(sys.argv[1])
