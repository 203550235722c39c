"""Entries of archives that a stranger might make; for the scripts beside it that write such archives."""
import io
import os
import tarfile


def entry(name, kind=tarfile.REGTYPE, data=b"x\n", link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o755
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    return info, data


def directory(name):
    return entry(name, tarfile.DIRTYPE)


def symlink(name, to):
    return entry(name, tarfile.SYMTYPE, link=to)


def write(path, why, entries):
    """Writes the archive, and prints it with what the refusal has to say."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    print(path, why)
    return path
