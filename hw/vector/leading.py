"""Leading zeros of a number, counted and shifted out in steps of powers of two."""

from amaranth.hdl import Cat, Mux, Signal

__all__ = ["empty_places", "shifted_up"]


def empty_places(value, amounts):
    """Leading zeros of ``value``, counted in ``amounts``, powers of two of which each is half of the one before: one bit for
    each, from the least one up."""
    width, last, empties = len(value), amounts[-1], []
    # Which parts are empty is seen in the value as it comes, not in the value after each shift.
    some = [value[width - place - last:width - place].any() for place in range(0, 2 * amounts[0] - last, last)]
    while some:
        half = (len(some) + 1) // 2
        empty = ~Cat(some[:half]).any()
        some = [Mux(empty, behind, before) for before, behind in zip(some[:half - 1], some[half:], strict=True)]
        empties.append(empty)
    return Cat(reversed(empties))


def shifted_up(m, value, amounts):
    """``value`` shifted left by its leading zeros as `empty_places` counts them, and these: ``(result, places)``."""
    places = Signal(len(amounts), name=f"places_{amounts[-1]}")
    m.d.comb += places.eq(empty_places(value, amounts))
    for amount, empty in zip(amounts, reversed(places), strict=True):
        result = Signal(len(value), name=f"shifted_{amount}")
        m.d.comb += result.eq(Mux(empty, value << amount, value))
        value = result
    return value, places
