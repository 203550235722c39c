"""Uploads that lie, and what is kept of those that are cut: `upload_ends.py SOCKET PORT CONF SERVER_CERTIFICATE BACKUP`."""
import os, sys, threading, uuid
import grpc
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from protobuf_bytes import number, text

SERVICES = {"ImportInstance": "BackupService", "ImportStoragePoolVolume": "StorageService", "CreateImage": "ImageService",
            "GetUpload": "OperationService"}
same = lambda message: message


def call(channel, kind, method):
    return getattr(channel, kind)(f"/incus.v1.{SERVICES[method]}/{method}", request_serializer=same, response_deserializer=same)


def code(function, *arguments):
    try:
        function(*arguments)
    except grpc.RpcError as error:
        return error.code().name + ": " + error.details()
    return "OK"


def get(channel, upload, project=""):
    return call(channel, "unary_unary", "GetUpload")(text(1, upload) + text(2, project))


def first(data, upload, offset=0):
    return text(1, data) + text(6, upload) + (number(7, offset) if offset else b"")


def send_until_asked(channel, upload, data, offset):
    gone = threading.Event()

    def pieces():
        yield first(data, upload, offset)
        gone.wait()
    sending = call(channel, "stream_unary", "ImportInstance").future(pieces())
    while not sending.done() and code(get, channel, upload) != "OK":  # who asks, cuts it
        pass
    gone.set()
    sending.cancel()


def cut(channel, upload, data, offset=0):
    """Sends that of an instance, and is cut once the server has it."""
    while code(get, channel, upload) != "OK" or bytes_of(get(channel, upload)) == offset:
        send_until_asked(channel, upload, data, offset)
    return get(channel, upload)


def bytes_of(reply):
    n = shift = 0
    for byte in reply[1:]:
        n |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return n
    return 0


channel = grpc.insecure_channel("unix:" + sys.argv[1])
noise = os.urandom(200000)
upload = str(uuid.uuid4())
assert "INVALID" in code(get, channel, "no-uuid"), code(get, channel, "no-uuid")
assert code(get, channel, upload).startswith("NOT_FOUND")
assert bytes_of(cut(channel, upload, noise)) == len(noise)
print("   kept:", len(noise), "bytes")

send = lambda method, message: code(call(channel, "stream_unary", method), iter([message]))
for name, said, part in (
        ("another project's", code(get, channel, upload, "p9"), "NOT_FOUND"),
        ("from another place", send("ImportInstance", first(b"x", upload, 5)), f"{len(noise)} bytes are kept"),
        ("by another method", send("CreateImage", text(1, b"x") + text(13, upload) + number(14, len(noise))), "NOT_FOUND"),
        ("without an id", send("ImportInstance", first(b"x", "", 5)), "NOT_FOUND"),
        ("of which nothing is there", send("ImportInstance", first(b"x", str(uuid.uuid4()), 5)), "NOT_FOUND"),
        ("with an id that is none", send("ImportInstance", first(b"x", "../../x")), "INVALID")):
    assert part in said, (name, said)
    print("   refused:", name, "-", said[:100])

with open(sys.argv[3] + "/client.crt", "rb") as crt, open(sys.argv[3] + "/client.key", "rb") as key, open(sys.argv[4], "rb") as root:
    credentials = grpc.ssl_channel_credentials(root.read(), key.read(), crt.read())
stranger = grpc.secure_channel("127.0.0.1:" + sys.argv[2], credentials)
said = code(get, stranger, upload)
assert said.startswith("NOT_FOUND"), said
print("   refused: another caller's -", said[:100])

assert bytes_of(cut(channel, upload, noise, len(noise))) == 2 * len(noise)
said = send("ImportInstance", first(b"", upload, 2 * len(noise)))
assert said.startswith("INVALID"), said
assert code(get, channel, upload).startswith("NOT_FOUND"), "what was no backup is still kept"
print("   whole, and no backup -", said[:100])

ids = [str(uuid.uuid4()) for _ in range(12)]
for one in ids:
    cut(channel, one, noise)
kept = [one for one in ids if code(get, channel, one) == "OK"]
assert kept == ids[-8:], (len(kept), kept)
print("   kept of twelve:", len(kept))

with open(sys.argv[5], "rb") as file:
    upload, pieces = str(uuid.uuid4()), [text(1, piece) for piece in iter(lambda: file.read(262144), b"")]
pieces[0] += text(3, "whole") + text(6, upload)
operation = call(channel, "stream_unary", "ImportInstance")(iter(pieces))
assert text(2, operation)[:40] in get(channel, upload), "whose reply was lost"
print("   its operation is told again")
