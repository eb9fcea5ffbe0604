"""Integers of Python as the machine's."""


def sign(value, bits):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def clamp(value, low, high):
    return min(max(value, low), high)


def shift_round(x, n):
    return (x + (1 << (n - 1))) >> n if n else x


RANGE = {0: (-128, 127), 1: (0, 255), 2: (-32768, 32767)}
