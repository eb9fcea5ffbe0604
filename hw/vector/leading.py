"""Leading zeros of a number, shifted out in steps of powers of two."""

from amaranth.hdl import Cat, Mux, Signal

__all__ = ["shifted_up"]


def shifted_up(m, value, amounts):
    """``value`` shifted left by each of the falling powers of two ``amounts`` whose bits are empty, and which ones these
    are: with 1 the last, ``(result, bits of the sum of the amounts, from the least one up)``."""
    width, empties = len(value), []
    for amount in amounts:
        empty = Signal(name=f"empty_{amount}")
        result = Signal(width, name=f"shifted_{amount}")
        m.d.comb += [empty.eq(~value[width - amount:].any()), result.eq(Mux(empty, value << amount, value))]
        value = result
        empties.append(empty)
    return value, Cat(reversed(empties))
