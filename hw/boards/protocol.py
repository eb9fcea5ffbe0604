"""What host and board say to each other over the serial line: the hardware and the host's side read this file.

Frames as in SLIP (RFC 1055): a frame stands between two `END` bytes; inside, `END` and `ESC` are written as `ESC` and a
second byte. What begins in the middle of a frame, or misses bytes of one, ends at the next `END`. The last four bytes of a
frame are the CRC-32 (zip's, low byte first) of those before; a frame whose CRC is wrong changes nothing.

The host asks, the board answers, one at a time. Numbers have their low byte first.

    request:  sequence u8, command u8, address u32, length u16, data u8[length] (of a write), CRC-32
    answer:   sequence u8, status u8, data u8[length] (of a read that is OK), CRC-32

A request whose frame is damaged is answered by `CORRUPTED`; its sequence is not to be trusted. The host sends a request again,
with the same sequence, if it is answered so, if the answer is damaged, or if none comes. A write that has been executed is only
answered the second time: a request directly after another write with the same sequence is not executed. So a lost answer
does not start the accelerator twice.
"""

import enum
import struct
import zlib

__all__ = ["END", "ESC", "ESC_END", "ESC_ESC", "WRITE", "Space", "Status", "HEADER_BYTES", "CRC_BYTES", "MAX_DATA", "IDENTITY",
           "MAGIC", "VERSION", "MEMORY_BASE", "BAUD", "REQUEST", "encode", "decode", "unescape", "request"]

END, ESC, ESC_END, ESC_ESC = 0xC0, 0xDB, 0xDC, 0xDD

#: Bit of the command that makes it a write; the bits above are the `Space`.
WRITE = 1


class Space(enum.IntEnum):
    """What an address is in."""
    MEMORY = 0          #: bytes of the memory on the chip, any address and length
    REGISTERS = 1       #: registers of the accelerator, whole words of 4 bytes
    IDENTITY = 2        #: what the board is (`IDENTITY`), to be read only


class Status(enum.IntEnum):
    """What became of a request."""
    OK = 0
    CORRUPTED = 1       #: the frame did not arrive as it was sent
    REFUSED = 2         #: the frame did, but its command, address or length is none


#: Speed of the serial line where none is asked for. The USB adapters on all the boards know it.
BAUD = 1_000_000

#: A request before its data: sequence, command, address, length.
REQUEST = struct.Struct("<BBIH")
HEADER_BYTES = REQUEST.size
CRC_BYTES = 4
#: Most data in a frame.
MAX_DATA = 1024

#: Contents of the space `IDENTITY`: `MAGIC`, `VERSION`, bytes of memory, clock in Hz.
IDENTITY = struct.Struct("<IIII")
MAGIC = int.from_bytes(b"WLNK", "little")
#: Version of this protocol.
VERSION = 1

#: Where the accelerator sees the first byte of the memory.
MEMORY_BASE = 0x4000_0000


def encode(body):
    """The frame of a body, its CRC added."""
    body = bytes(body) + struct.pack("<I", zlib.crc32(body))
    escaped = body.replace(bytes([ESC]), bytes([ESC, ESC_ESC])).replace(bytes([END]), bytes([ESC, ESC_END]))
    return bytes([END]) + escaped + bytes([END])


def unescape(data):
    """The bytes that stand between two `END`, or None where `ESC` is followed by something else."""
    parts = bytes(data).split(bytes([ESC]))
    meant = {ESC_END: END, ESC_ESC: ESC}
    if any(not part or part[0] not in meant for part in parts[1:]):
        return None
    return parts[0] + b"".join(bytes([meant[part[0]]]) + part[1:] for part in parts[1:])


def decode(data):
    """The body of a frame, from the bytes between two `END`; None if it is damaged."""
    body = unescape(data)
    if body is None or len(body) < CRC_BYTES or zlib.crc32(body[:-CRC_BYTES]) != int.from_bytes(body[-CRC_BYTES:], "little"):
        return None
    return body[:-CRC_BYTES]


def request(sequence, space, address, length, data=None):
    """The body of a request: a read of ``length`` bytes, or a write of ``data``."""
    command = space << 1 | (WRITE if data is not None else 0)
    return REQUEST.pack(sequence, command, address, length) + (bytes(data) if data is not None else b"")
