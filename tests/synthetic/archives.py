"""ZIPs as other programs make them, and as an attacker does (APPNOTE.TXT of PKWARE)."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Final

LOCAL: Final = b"PK\x03\x04"  # 4.3.7
CENTRAL: Final = b"PK\x01\x02"  # 4.3.12
END: Final = b"PK\x05\x06"  # 4.3.16
_HEADER_BYTES: Final = 30  # of a local header, without the name
_END_BYTES: Final = 22  # without a comment
_VERSION: Final = struct.pack("<HHHHH", 20, 0, zipfile.ZIP_DEFLATED, 0, 0)
_FLAGS_AT: Final = {LOCAL: 6, CENTRAL: 8}


def zipped(
    files: Mapping[str, bytes] | list[tuple[str, bytes]],
    method: int = zipfile.ZIP_DEFLATED,
    *,
    zip64: bool = False,
) -> bytes:
    """Return a ZIP of files; a list may name one twice."""
    pairs = list(files.items()) if isinstance(files, Mapping) else files
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in pairs:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            archive.NameToInfo.pop(info.filename, None)  # else a repeated name is warned of
            with archive.open(info, "w", force_zip64=zip64) as entry:
                entry.write(content)
    return stream.getvalue()


def with_name(content: bytes, name: bytes) -> bytes:
    """Return a ZIP of one file whose name is these bytes, whatever they are."""
    archive = bytearray(zipped({"x" * len(name): content}))
    archive[_HEADER_BYTES : _HEADER_BYTES + len(name)] = name
    archive[-_END_BYTES - len(name) : -_END_BYTES] = name
    return bytes(archive)


def encrypted(content: bytes) -> bytes:
    """Return a ZIP of one file that claims to be encrypted."""
    archive = bytearray(zipped({"secret.dcm": content}))
    for magic, offset in _FLAGS_AT.items():
        archive[archive.index(magic) + offset] |= 1
    return bytes(archive)


def link(target: str) -> bytes:
    """Return a ZIP of one symbolic link, as Info-ZIP writes it."""
    info = zipfile.ZipInfo("link.dcm")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(info, target)
    return stream.getvalue()


def overlapping(files: int, content: bytes) -> bytes:
    """Return a ZIP whose files all are the same bytes of it (D. Fifield, 2019, "full overlap")."""
    whole = _local(b"a", _deflated(content), content)
    entry = _central(b"a", whole, content, 0)
    return whole + _end([entry] * files, len(whole))


def quoted(files: int, content: bytes) -> bytes:
    """Return a ZIP whose files each hold all files behind them (D. Fifield, 2019, "quoted").

    A stored block of deflate (RFC 1951, 3.2.4) quotes the next local header; then the next file's
    compressed bytes follow, which are the same bytes of the archive.
    """
    names = [b"%06d.dcm" % n for n in range(files)]
    whole = _local(names[-1], _deflated(content), content)
    made = [(names[-1], whole, content)]
    for name in reversed(names[:-1]):
        header = whole[: _HEADER_BYTES + len(name)]
        content = header + content
        size = len(header)
        whole = _local(name, struct.pack("<BHH", 0, size, 0xFFFF ^ size) + whole, content)
        made.append((name, whole, content))
    entries = [
        _central(name, each, inflated, len(whole) - len(each)) for name, each, inflated in made
    ]
    return whole + _end(entries, len(whole))


def _deflated(content: bytes) -> bytes:
    compress = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compress.compress(content) + compress.flush()


def _local(name: bytes, compressed: bytes, content: bytes) -> bytes:
    sizes = _sizes(compressed, content)
    return LOCAL + _VERSION + sizes + struct.pack("<HH", len(name), 0) + name + compressed


def _central(name: bytes, whole: bytes, content: bytes, offset: int) -> bytes:
    sizes = _sizes(whole[_HEADER_BYTES + len(name) :], content)
    rest = struct.pack("<HHHHHLL", len(name), 0, 0, 0, 0, 0, offset)
    return CENTRAL + struct.pack("<H", 20) + _VERSION + sizes + rest + name


def _sizes(compressed: bytes, content: bytes) -> bytes:
    return struct.pack("<LLL", zlib.crc32(content), len(compressed), len(content))


def _end(entries: list[bytes], offset: int) -> bytes:
    count, size = len(entries), sum(map(len, entries))
    return b"".join(entries) + END + struct.pack("<HHHHLLH", 0, 0, count, count, size, offset, 0)
