"""Reading and writing a board over its serial line (`weft.hw.boards.protocol`), with what goes wrong on the way."""

import struct

from weft.hw.boards import protocol
from weft.hw.boards.protocol import Space, Status
from weft.hw.errors import RunError

__all__ = ["BoardLink"]

#: How long a request may take, all its repetitions together; and the answer to one, beside the time on the line (USB
#: adapters hold bytes back for 16 ms).
_REQUEST_SECONDS = 0.8
_ANSWER_SECONDS = 0.12
#: A line that has been silent for so long carries nothing any more.
_QUIET_SECONDS = 0.02
#: Longest time of a frame's data on the line, so that a slow line leaves time for repetitions.
_FRAME_SECONDS = 0.04
_BITS_PER_BYTE = 10


class BoardLink:
    """Requests to the board at the far end of a port.

    ``port``: `weft.board.port.SerialPort`, or another object with its members. ``resent``: requests that had to be sent
    again, so far. Every method raises RunError within a second where the board does not answer, answers something
    that is no answer, or is gone.
    """

    def __init__(self, port):
        self.port, self.resent = port, 0
        self._sequence, self._buffered = 0, bytearray()
        self._chunk = max(16, min(protocol.MAX_DATA, int(port.baud / _BITS_PER_BYTE * _FRAME_SECONDS)) // 4 * 4)
        # The first request of all: also ends what a host before us may have left unfinished, and is no write.
        identity = self.read(Space.IDENTITY, 0, protocol.IDENTITY.size)
        magic, version, self.memory_bytes, self.clock_hz = protocol.IDENTITY.unpack(identity)
        if magic != protocol.MAGIC:
            raise RunError(f"what answers on {port.name} is no Weft board: it says 0x{magic:08x}")
        if version != protocol.VERSION:
            raise RunError(f"the board on {port.name} speaks version {version} of the link, this Weft version "
                           f"{protocol.VERSION}")

    def read(self, space, address, count, progress=None):
        """``count`` bytes from ``address`` of a `weft.hw.boards.protocol.Space`. ``progress(bytes)`` is called now and then."""
        parts = []
        for start in range(0, count, self._chunk):
            size = min(self._chunk, count - start)
            parts.append(self._request(space, address + start, size, None))
            if progress is not None:
                progress(start + size)
        return b"".join(parts)

    def write(self, space, address, data, progress=None):
        """Writes bytes to ``address``."""
        data = bytes(data)
        for start in range(0, len(data), self._chunk):
            part = data[start:start + self._chunk]
            self._request(space, address + start, len(part), part)
            if progress is not None:
                progress(start + len(part))

    def read_words(self, address, count):
        """``count`` registers from byte offset ``address`` on."""
        return struct.unpack(f"<{count}I", self.read(Space.REGISTERS, address, 4 * count))

    def write_word(self, address, value):
        """Writes one register."""
        self.write(Space.REGISTERS, address, struct.pack("<I", value & 0xFFFFFFFF))

    def _request(self, space, address, length, data):
        self._sequence = (self._sequence + 1) % 256
        frame = protocol.encode(protocol.request(self._sequence, space, address, length, data))
        expected = length if data is None else 0
        try:
            return self._exchange(frame, expected, f"{'read' if data is None else 'write'} of {length} bytes at "
                                                   f"0x{address:x} of {space.name.lower()}")
        except OSError as error:
            raise RunError(f"the connection to the board on {self.port.name} was lost: {error}") from None

    def _exchange(self, frame, expected, what):
        """The data of the answer to a request's frame."""
        port = self.port
        longest = 2 * (2 + expected + protocol.CRC_BYTES) + 2       # if every byte had to be escaped
        on_line = (len(frame) + longest) * _BITS_PER_BYTE / port.baud
        give_up = port.now() + max(_REQUEST_SECONDS, 2 * (on_line + _ANSWER_SECONDS))
        heard, sent = 0, 0
        while port.now() < give_up:
            self._buffered.clear()
            port.write(frame)
            self.resent += sent > 0
            sent += 1
            deadline = min(give_up, port.now() + on_line + _ANSWER_SECONDS)
            allowed = 4 * longest
            while allowed > 0 and (left := deadline - port.now()) > 0:
                found = port.read(min(allowed, 4096), left)
                heard, allowed = heard + len(found), allowed - len(found)
                answer = self._answer(found, expected)
                if answer == Status.CORRUPTED:
                    # What is on its way goes by first: the board hears nothing while it answers.
                    while port.now() < give_up and port.read(4096, _QUIET_SECONDS):
                        pass
                    break
                if answer == Status.REFUSED:
                    raise RunError(f"the board on {port.name} refuses the {what}")
                if answer is not None:
                    return answer
        if not heard:
            raise RunError(f"the board on {port.name} does not answer at {port.baud} baud ({what})")
        raise RunError(f"what comes from {port.name} at {port.baud} baud is no answer of a Weft board: {heard} bytes in answer "
                       f"to {sent} times the same {what}, none of them as they should be")

    def _answer(self, found, expected):
        """What the bytes received so far say: data of an answer, a `Status` that is not OK, or None."""
        self._buffered += found
        *frames, rest = bytes(self._buffered).split(bytes([protocol.END]))
        self._buffered[:] = rest
        for frame in filter(None, frames):
            body = protocol.decode(frame)
            if body is None or len(body) < 2:
                # Damaged on the way, or noise. It is the answer that is missing, so ask again.
                return Status.CORRUPTED
            sequence, status = body[:2]
            if status == Status.CORRUPTED:
                return Status.CORRUPTED
            # An answer to an earlier request that was sent twice is of no use.
            if sequence == self._sequence:
                if status == Status.REFUSED:
                    return Status.REFUSED
                if status == Status.OK and len(body) == 2 + expected:
                    return body[2:]
        return None
