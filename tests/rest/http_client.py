"""Raw HTTP/1.1 and WebSocket clients over a unix socket or TLS, with nothing but the standard library: the tests decide
every byte that is sent."""
import base64, hashlib, json, os, socket, ssl, struct

PATIENCE = int(os.environ.get("INCUS_TEST_PATIENCE", 1)) # as tests/lib/daemon.sh


def connect(target, cert=None, alpn=None, timeout=10):
    """target: path of a unix socket, or (host, port) for TLS. timeout: seconds of a common machine."""
    timeout *= PATIENCE
    if isinstance(target, str):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(timeout)
        s.connect(target)
        return s
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if cert:
        context.load_cert_chain(*cert)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context.wrap_socket(socket.create_connection(target, timeout))


class Reader:
    """Replies from one connection, in order."""

    def __init__(self, sock):
        self.sock, self.data = sock, b""

    def more(self):
        got = self.sock.recv(65536)
        if not got:
            raise EOFError
        self.data += got

    def line(self):
        while b"\r\n" not in self.data:
            self.more()
        line, self.data = self.data.split(b"\r\n", 1)
        return line.decode()

    def take(self, n):
        while len(self.data) < n:
            self.more()
        out, self.data = self.data[:n], self.data[n:]
        return out

    def head(self):
        status = int(self.line().split(" ")[1])
        headers = {}
        while line := self.line():
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        return status, headers

    def reply(self, verb="GET"):
        status, headers = self.head()
        body = b""
        if verb == "HEAD" or status in (100, 101, 204):
            pass
        elif headers.get("transfer-encoding") == "chunked":
            while n := int(self.line(), 16):
                body += self.take(n)
                assert self.take(2) == b"\r\n"
            assert self.line() == ""
        else:
            body = self.take(int(headers.get("content-length", 0)))
        return status, headers, body

    def closed(self):
        """True when the server ends the connection without another byte."""
        try:
            return not self.data and self.sock.recv(1) == b""
        except ConnectionResetError:
            return True


def request(target, verb, path, body=None, headers=(), cert=None):
    """One request on a connection of its own: status, headers, parsed JSON (or bytes)."""
    sock = connect(target, cert)
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"{verb} {path} HTTP/1.1", "Host: incus", "Connection: close", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(data)}")
    sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
    status, reply, text = Reader(sock).reply(verb)
    sock.close()
    return status, reply, json.loads(text) if reply.get("content-type") == "application/json" and text else text


def raw(target, data, verb="GET"):
    """Bytes as they are; status and body of the first reply."""
    sock = connect(target)
    sock.sendall(data)
    reader = Reader(sock)
    out = reader.reply(verb)
    return (*out, reader)


class WebSocket:
    TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

    def __init__(self, target, path, cert=None, headers=()):
        self.sock = connect(target, cert)
        self.reader = Reader(self.sock)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", "Host: incus", "Upgrade: websocket", "Connection: Upgrade",
                 "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", *headers]
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        self.status, reply = self.reader.head()
        if self.status == 101:
            accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
            assert reply["sec-websocket-accept"] == accept.decode()
            assert reply["upgrade"] == "websocket"

    def send(self, data, opcode=2, fin=True, mask=True):
        n = len(data)
        head = bytes([(0x80 if fin else 0) | opcode])
        flag = 0x80 if mask else 0
        if n < 126:
            head += bytes([flag | n])
        elif n < 65536:
            head += bytes([flag | 126]) + struct.pack(">H", n)
        else:
            head += bytes([flag | 127]) + struct.pack(">Q", n)
        key = os.urandom(4) if mask else b""
        if mask and n:
            masks = (key * (n // 4 + 1))[:n]
            data = (int.from_bytes(data, "big") ^ int.from_bytes(masks, "big")).to_bytes(n, "big")
        self.sock.sendall(head + key + data)

    def frame(self):
        """opcode, payload"""
        first, second = self.reader.take(2)
        assert first & 0x80 and not second & 0x80, "the server sends whole, unmasked frames"
        n = second & 0x7f
        if n == 126:
            n = struct.unpack(">H", self.reader.take(2))[0]
        elif n == 127:
            n = struct.unpack(">Q", self.reader.take(8))[0]
        return first & 0xf, self.reader.take(n)

    def message(self):
        """The next frame that is no ping or pong; pings are answered."""
        while True:
            opcode, data = self.frame()
            if opcode == self.PING:
                self.send(data, self.PONG)
            elif opcode != self.PONG:
                return opcode, data

    def close(self):
        self.sock.close()
