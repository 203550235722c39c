#!/usr/bin/env python3
"""An image server for tests: files of a folder over TLS on loopback, and simple streams trees.

  image_server.py serve FOLDER CERT KEY PORTFILE   serves until killed; PORTFILE gets the port
  image_server.py add FOLDER NAME ALIASES VERSION META [ROOTFS]
                                                   publishes an image in FOLDER's tree

Beside a file X the server looks for instructions: X.redirect (a URL to go to), X.headers (a JSON object of
headers of the reply), X.cut (a number of bytes after which the connection breaks), X.breaks (the same, so many times as the
file has lines, which it loses), X.ranges (parts are sent when they are asked for). A folder is its index.json.
"""
import hashlib
import http.server
import json
import os
import platform
import shutil
import ssl
import sys

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, status, headers, body=b"", cut=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True

    def instruction(self, name):
        try:
            with open(self.file + name) as file:
                return file.read().strip()
        except OSError:
            return None

    def do_GET(self):
        self.file = self.server.folder + "/" + self.path.split("?")[0].lstrip("/")
        if os.path.isdir(self.file):
            self.file += "/index.json"
        with open(self.server.folder + "/requests.log", "a") as log:
            log.write(f"{self.command} {self.path} {self.headers.get('Range', '')}".rstrip() + "\n")
        redirect, headers, cut = (self.instruction(n) for n in (".redirect", ".headers", ".cut"))
        if redirect:
            return self.reply(302, {"Location": redirect})
        try:
            with open(self.file, "rb") as file:
                body = file.read()
        except OSError:
            return self.reply(404, {})
        breaks = (self.instruction(".breaks") or "").split("\n")
        if breaks[0]:
            cut = breaks[0]
            with open(self.file + ".breaks", "w") as file:
                file.write("\n".join(breaks[1:]))
        status, headers, wanted = 200, json.loads(headers or "{}"), self.headers.get("Range", "")
        if wanted and os.path.exists(self.file + ".ranges"):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            status, body = 206, body[start:]
        self.reply(status, headers, body, int(cut) if cut else None)

    do_HEAD = do_GET


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, address):
        pass  # clients that go away in the middle are part of the tests


def serve(folder, cert, key, portfile):
    server = Server(("127.0.0.1", 0), Handler)
    server.folder = folder
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with open(portfile + ".new", "w") as file:
        file.write(str(server.server_port))
    os.rename(portfile + ".new", portfile)
    server.serve_forever()


def digest(*files):
    sha = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            sha.update(file.read())
    return sha.hexdigest()


def write(path, tree):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        json.dump(tree, file, indent=1)


def item(folder, source, ftype, place):
    os.makedirs(f"{folder}/{place}", exist_ok=True)
    path = f"{place}/{os.path.basename(source)}"
    shutil.copyfile(source, f"{folder}/{path}")
    return {"ftype": ftype, "path": path, "size": os.path.getsize(source), "sha256": digest(source)}


def add(folder, name, aliases, version, meta, rootfs=None):
    products_path = f"{folder}/streams/v1/images.json"
    try:
        with open(products_path) as file:
            tree = json.load(file)
    except OSError:
        tree = {"format": "products:1.0", "products": {}}
    arch = ARCHITECTURES.get(platform.machine(), platform.machine())
    product = tree["products"].setdefault(
        f"{name}:{arch}", {"aliases": aliases, "arch": arch, "os": name, "release": "edge", "variant": "default", "versions": {}})
    place = f"images/{name}/{version}"
    if rootfs:
        squashfs = rootfs.endswith(".squashfs")
        metadata = item(folder, meta, "incus.tar.xz", place)
        metadata["combined_squashfs_sha256" if squashfs else "combined_rootxz_sha256"] = digest(meta, rootfs)
        items = {"incus.tar.xz": metadata, "root": item(folder, rootfs, "squashfs" if squashfs else "root.tar.xz", place)}
    else:
        items = {"combined": item(folder, meta, "incus_combined.tar.gz", place)}
    product["versions"][version] = {"items": items}
    write(products_path, tree)
    write(f"{folder}/streams/v1/index.json", {"format": "index:1.0", "index": {"images": {
        "datatype": "image-downloads", "path": "streams/v1/images.json", "products": sorted(tree["products"])}}})
    print(digest(meta, rootfs) if rootfs else digest(meta))


if __name__ == "__main__":
    {"serve": serve, "add": add}[sys.argv[1]](*sys.argv[2:])
