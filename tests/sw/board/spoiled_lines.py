"""Ways to spoil the line between host and board."""

import random

__all__ = ["Spoiled", "unlucky"]


class Spoiled:
    """A port whose bytes ``spoil`` may change on the way: it takes a byte and gives those that arrive."""

    def __init__(self, port, spoil_sent=None, spoil_received=None):
        self.port, self.name, self.baud = port, port.name, port.baud
        self.spoil_sent, self.spoil_received = spoil_sent, spoil_received

    def now(self):
        return self.port.now()

    def write(self, data):
        self.port.write(self._through(data, self.spoil_sent))

    def read(self, limit, seconds):
        return self._through(self.port.read(limit, seconds), self.spoil_received)

    def close(self):
        self.port.close()

    @staticmethod
    def _through(data, spoil):
        return b"".join(spoil(bytes([byte])) for byte in data) if spoil else data


def unlucky(seed, chance, ways):
    """A function for `Spoiled`: each byte is spoilt with a probability, in one of the ``ways``."""
    rng = random.Random(seed)
    how = {"flip": lambda byte: bytes([byte[0] ^ 1 << rng.randrange(8)]), "drop": lambda byte: b"",
           "double": lambda byte: byte * 2, "end": lambda byte: b"\xc0"}
    return lambda byte: how[rng.choice(ways)](byte) if rng.random() < chance else byte
