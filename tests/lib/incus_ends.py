"""Ends of Incus's own migration protocol that lie, on its two WebSockets: `incus_ends.py SOCKET OUTSIDE` sends to a server what it
must refuse, with files that are to come to be in the folder OUTSIDE; `... receive SOCKET INSTANCE` asks one for what it must not
give. An rsync that lies is the real one, with other bytes of the same length on the wire."""
import os, socket, subprocess, sys, tempfile, threading
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "rest"))
from http_client import WebSocket, request
from protobuf_bytes import number, text

RSYNC = ["rsync", "-ar", "--numeric-ids", "--devices", "--partial", "--sparse", "--xattrs", "--delete"]


def header(method=0, snapshots=(), names=None, features=True, state=None, refresh=None, size=None, idmap=b""):
    names = snapshots if names is None else names
    return (number(1, method) + (number(2, state) if state is not None else b"") + (text(3, idmap) if idmap else b"")
            + b"".join(text(4, n) for n in names) + b"".join(text(5, text(1, s) + number(8, 1700000000)) for s in snapshots)
            + (text(8, number(1, 1) + number(2, 1) + number(3, 0) + number(4, 1)) if features else b"")
            + (number(9, refresh) if refresh is not None else b"") + (number(11, size) if size is not None else b""))


class Peer:
    """Both WebSockets of a waiting operation."""

    def __init__(self, target, verb, path, body):
        status, _, reply = request(target, verb, path, body)
        assert status == 202, reply
        self.target, self.id = target, reply["metadata"]["id"]
        secrets = reply["metadata"]["metadata"]
        self.control, self.fs = (
            WebSocket(target, "/1.0/operations/%s/websocket?secret=%s" % (self.id, secrets[name])) for name in ("control", "fs"))
        assert self.control.status == self.fs.status == 101

    def end(self):
        self.control.sock.close()
        self.fs.sock.close()
        _, _, reply = request(self.target, "GET", "/1.0/operations/%s/wait" % self.id)
        return reply["metadata"]

    def answer(self):
        opcode, message = self.control.message()
        assert opcode == WebSocket.BINARY
        return message

    def object(self, ours, change=lambda data: data):
        """Carries an rsync's bytes, changed, and theirs, until both have ended."""
        def out():
            while data := ours.recv(65536):
                self.fs.send(change(data))
            self.fs.send(b"", WebSocket.TEXT)
        sender = threading.Thread(target=out)
        sender.start()
        try:
            while (message := self.fs.message())[0] == WebSocket.BINARY:
                ours.sendall(message[1])
        except (OSError, EOFError):
            pass
        ours.shutdown(socket.SHUT_RDWR)
        sender.join()


def send_tree(peer, tree, change=lambda data: data):
    ours, theirs = socket.socketpair()
    rsync = subprocess.Popen([*RSYNC, "-e", "%s %s wire %d" % (sys.executable, os.path.abspath(__file__), theirs.fileno()), tree + "/",
                              "peer:/"], pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL)
    theirs.close()
    peer.object(ours, change)
    rsync.wait()


def wire(fd):
    """What rsync starts in place of a remote shell."""
    def pump(source, sink):
        while data := os.read(source, 65536):
            while data:
                data = data[os.write(sink, data):]
    def back():
        pump(fd, 1)
        os._exit(0) # ours waits for us to go first
    threading.Thread(target=back, daemon=True).start()
    pump(0, fd)
    socket.socket(fileno=fd).shutdown(socket.SHUT_WR)
    threading.Event().wait()


def instance(size=None):
    body = {"name": "x1", "profiles": ["default"], "source": {"type": "migration", "mode": "push"}}
    if size:
        body["devices"] = {"root": {"type": "disk", "path": "/", "pool": "default", "size": size}}
    return "POST", "/1.0/instances", body


VOLUME = ("POST", "/1.0/storage-pools/default/volumes/custom",
          {"name": "x1", "type": "custom", "content_type": "block", "source": {"type": "migration", "mode": "push"}})


def failed(name, done, part=""):
    assert done["status"] == "Failure" and part in done["err"], (name, done)
    print("   refused:", name, "-", done["err"][:100])


def bad_headers(target):
    cases = [
        ("no message", b"\xff\xff\xff\xff\xff", "Damaged"),
        ("a failure", number(1, 0) + text(2, "disk on fire"), "disk on fire"),
        ("names without snapshots", header(names=["a"]), "names 1 snapshots and describes 0"),
        ("a snapshot's name", header(snapshots=["../../x"]), "napshot"),
        ("a snapshot twice", header(snapshots=["a", "a"]), "twice"),
        ("no method", header(method=9, features=False), "cannot send"),
        ("rbd alone", header(method=3, features=False), "cannot send"),
        ("a disk", header(method=4), "a disk"),
        ("running state", header(state=0), "running state"),
        ("shifted files", header(idmap=number(1, 1) + number(2, 1) + number(3, 100000) + number(4, 0) + number(5, 65536)), "shifted"),
    ]
    for name, message, part in cases:
        peer = Peer(target, *instance())
        peer.control.send(message)
        failed(name, peer.end(), part)
    failed("nothing", Peer(target, *instance()).end(), "too early")


def bad_data(target):
    for name, pieces in (("no rsync", [b"\0" * 4096] * 10), ("a great deal of it", [b"x" * 65536] * 100), ("nothing", []),
                         ("a version", [(31).to_bytes(4, "little") + b"\xff" * 70000])):
        peer = Peer(target, *instance("1MiB"))
        peer.control.send(header())
        peer.answer()
        try:
            for piece in pieces:
                peer.fs.send(piece)
            peer.fs.send(b"", WebSocket.TEXT)
        except OSError:
            pass # it has had enough
        failed(name, peer.end())
    for name, size, sent, part in (("a longer disk", 1 << 20, 3 << 20, "more than"), ("a disk of no size", 0, 0, "without size")):
        peer = Peer(target, *VOLUME)
        peer.control.send(header(method=4, size=size))
        try:
            if size:
                peer.answer()
            for _ in range(sent >> 16):
                peer.fs.send(b"x" * 65536)
            peer.fs.send(b"", WebSocket.TEXT)
            peer.answer() # what it says of that
        except (OSError, EOFError):
            pass
        failed(name, peer.end(), part)


def bad_trees(target, outside):
    """Whether rsync or we refuse it does not matter, as long as nothing is outside."""
    absolute = outside.encode() + b"/escaped"
    names = [(b"aa/aa/escaped", b"../../escaped"), (b"a" * len(absolute), absolute),
             (b"up" * 8 + b"x" * len(absolute), b"../" * 5 + b"/" + absolute)]
    for honest, lie in names:
        with tempfile.TemporaryDirectory() as tree:
            flat = honest.replace(b"/", b"_")
            open(os.path.join(tree.encode(), flat), "w").write("x")
            peer = Peer(target, *instance())
            peer.control.send(header())
            peer.answer()
            send_tree(peer, tree, lambda data: data.replace(flat, lie))
            failed("a file called " + lie.decode(), peer.end())
    with tempfile.TemporaryDirectory() as tree:
        os.symlink(outside, tree + "/rootfs")
        peer = Peer(target, *instance())
        peer.control.send(header(snapshots=["s0"]))
        peer.answer()
        send_tree(peer, tree) # the snapshot has a link where the instance then has a directory
        os.unlink(tree + "/rootfs")
        os.mkdir(tree + "/rootfs")
        open(tree + "/rootfs/escaped", "w").write("x")
        send_tree(peer, tree)
        print("   a link first, then a directory -", peer.end()["status"])


def bad_receivers(target, name):
    ask = ("POST", "/1.0/instances/" + name, {"migration": True})
    garbage = [b"\0" * 4096] * 10 + [b"\xff" * 70000]
    cases = [
        ("another method", [header(method=2)], [], "not offered"),
        ("a disk", [header(method=4)], [], "not offered"),
        ("no message", [b"\xff\xff\xff"], [], "Damaged"),
        ("a snapshot that is none", [header(refresh=1, names=["../../etc"])], [], "not offered"),
        ("no rsync", [header()], garbage, ""),
        ("files that there are not", [header()], [(31).to_bytes(4, "little") + bytes(8) + b"\x07\xff\xff\xff\x7f" * 5000], ""),
        ("gone", [], [], "too early"),
    ]
    for case, control, data, part in cases:
        peer = Peer(target, *ask)
        peer.answer()
        try:
            for message in control:
                peer.control.send(message)
            for piece in data:
                peer.fs.send(piece)
        except OSError:
            pass
        failed(case, peer.end(), part)


if sys.argv[1] == "wire":
    wire(int(sys.argv[2]))
elif sys.argv[1] == "receive":
    bad_receivers(*sys.argv[2:])
else:
    bad_headers(sys.argv[1])
    bad_data(sys.argv[1])
    bad_trees(*sys.argv[1:])
