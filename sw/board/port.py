"""A serial port of the host."""

import time

from weft.hw.errors import InputError

__all__ = ["SerialPort"]

#: Longest wait for the operating system to take bytes; a port whose device is gone takes none.
_WRITE_SECONDS = 0.5


class SerialPort:
    """A serial port, 8 data bits, no parity, one stop bit, by pyserial.

    Every port that `weft.Board` takes has these members; `write` and `read` raise OSError when the device is gone.
    Raises InputError where the port cannot be opened or pyserial is not installed.
    """

    def __init__(self, name, baud):
        try:
            import serial
        except ModuleNotFoundError:
            raise InputError("pyserial is not installed; install it with: pip install 'weft[board]'") from None
        self.name, self.baud = name, baud
        try:
            self._serial = serial.Serial(name, baud, timeout=0, write_timeout=_WRITE_SECONDS, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as error:
            raise InputError(f"cannot open serial port {name}: {error}") from None

    def now(self):
        """A clock in seconds."""
        return time.monotonic()

    def write(self, data):
        """Sends bytes."""
        self._serial.write(data)

    def read(self, limit, seconds):
        """Up to ``limit`` bytes; waits until there is one, for ``seconds``."""
        self._serial.timeout = max(0, seconds)
        first = self._serial.read(1)
        waiting = min(limit - 1, self._serial.in_waiting) if first else 0
        return first + self._serial.read(waiting) if waiting > 0 else first

    def close(self):
        """Gives the port back."""
        self._serial.close()
