"""Moves in a netlist that has been routed, where its paths are late."""

from .packed import Packed
from .refine import Refinement
from .routed import Routed

__all__ = ["repair"]

#: Paths are shortened to this share of the clock's period: what moves may be routed worse than was thought.
_SHARE = 0.99
#: Nets of more users keep their routes.
_MOST_USERS = 40


def repair(source, delays, target, period_ns, tell=lambda text: None):
    """Moves cells on paths that are longer than ``period_ns`` in a netlist that nextpnr has routed for ECP5, a JSON file
    ``source`` with its ``delays`` (SDF), and writes ``target``, to be routed again: nextpnr keeps the routes of all nets but
    those of cells that have moved, and of wires that are late although they could be shorter. Returns the longest path as it was
    routed, in ns, and whether there is something to route: if not, nothing is written. ``tell(text)`` hears of each round."""
    packed = Packed.read(source)
    refinement = Refinement(packed, _SHARE * period_ns, Routed.read(delays))
    longest, _, _ = refinement.standing()
    if longest <= period_ns:
        return longest, False
    refinement.run(tell)
    detours = _detours(refinement)
    moved = sum(map(packed.moved, range(len(packed.names))))
    tell(f"{moved} cells moved, {len(detours)} other wires to be shortened")
    if moved or detours:
        packed.write(target, detours)
    return longest, bool(moved or detours)


def _detours(refinement):
    """Nets on paths that are still too long, with a wire there that is longer than it need be."""
    packed, slack, target = refinement.packed, refinement.slack, refinement.target
    found = set()
    for net, arrival in slack.arrival.items():
        if arrival + slack.tail[net] > target and len(packed.users[net]) <= _MOST_USERS:
            driver, _ = packed.driver[net]
            if any(slack.length(net, cell, pin) > target and slack.wire(net, cell, pin) > slack.estimate(driver, cell, pin)
                   for cell, pin in packed.users[net]):
                found.add(net)
    return found
