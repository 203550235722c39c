"""Streams of btrfs send, command by command."""
import struct

SUBVOL, SNAPSHOT, MKFILE, MKDIR, MKNOD, SYMLINK, WRITE, CLONE, END = 1, 2, 3, 4, 5, 8, 15, 16, 21
UUID, CTRANSID, INO, MODE, RDEV, PATH, PATH_LINK, OFFSET, DATA = 1, 2, 3, 5, 8, 15, 17, 18, 19
CLONE_UUID, CLONE_CTRANSID, CLONE_PATH, CLONE_OFFSET, CLONE_LEN = 20, 21, 22, 23, 24
HEAD = b"btrfs-stream\0" + struct.pack("<I", 1)


def crc32c(data):
    """As btrfs has it: no inversion at either end."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


def number(n):
    return struct.pack("<Q", n)


def command(kind, *attributes):
    body = b"".join(struct.pack("<HH", key, len(value)) + value for key, value in attributes)
    head = struct.pack("<IHI", len(body), kind, 0)
    return struct.pack("<IHI", len(body), kind, crc32c(head + body)) + body
