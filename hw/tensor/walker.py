"""The loops over K tiles and N tiles, as both threads of the tensor engine walk them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .. import isa

__all__ = ["TileWalker"]

_COUNT_BITS, _OFFSET_BITS = (isa.INSTRUCTIONS["MATMUL"].fields[name].width for name in ("k_tiles", "k_offset"))


class TileWalker(wiring.Component):
    """Walks ``for n: for k:``, or with ``k_outer`` ``for k: for n:``, one tile with each ``next``.

    The last tile's ``next`` leads back to the first, for the next instruction.

    Parameters
    ----------
    config : Config

    Members
    -------
    start : In(1)
        A walk may begin in the next cycle; none goes on.
    k_tiles, n_tiles : In
        Its counts, at least 1, constant from ``start`` on.
    k_offset : In
        Number of the first K tile within its panel, constant over the walk.
    k_outer : In(1)
    next : In(1)
        Goes to the next tile at the end of this cycle.
    k_first, k_last, n_first, n_last : Out(1)
        Place of the tile in its row and column of tiles.
    k_sub, n_sub : Out
        Number of the tile within its panel.
    k_first_next, n_first_next : Out(1)
        The same of the tile that ``next`` goes to.
    k_enters_next, n_enters_next : Out(1)
        That tile is the walk's or the panel's first one.
    k_step, n_step : Out(1)
        With ``next``, which comes late in its cycle and is for who takes them to look at, k, n goes up by one.
    k_panel, n_panel : Out(1)
        Then into the next panel.
    k_wrap, n_wrap : Out(1)
        With ``next`` k, n goes back to 0.
    """

    def __init__(self, config):
        self.k_per_panel = config.k_tiles_per_panel
        self.n_per_panel = config.tiles_per_panel
        members = {"start": In(1), "k_offset": In(_OFFSET_BITS), "k_outer": In(1), "next": In(1),
                   **{name: In(_COUNT_BITS) for name in ("k_tiles", "n_tiles")}}
        for axis, per_panel in ("k", self.k_per_panel), ("n", self.n_per_panel):
            members |= {f"{axis}_{flag}": Out(1) for flag in ("first", "last", "step", "panel", "wrap",
                                                              "first_next", "enters_next")}
            members[f"{axis}_sub"] = Out(range(max(2, per_panel)))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        moves = {"k": ~self.k_outer | self.n_last, "n": self.k_outer | self.k_last}
        for axis, count, per_panel in (("k", self.k_tiles, self.k_per_panel), ("n", self.n_tiles, self.n_per_panel)):
            def member(name, axis=axis):
                return getattr(self, f"{axis}_{name}")

            # Whether this tile is the last is found a tile before: `following` counts up to the one after the next.
            following = Signal(_COUNT_BITS, name=f"{axis}_following", init=2)
            first = Signal(name=f"{axis}_is_first", init=1)
            last = Signal(name=f"{axis}_is_last", reset_less=True)
            enters = Signal(name=f"{axis}_enters_panel", reset_less=True)
            in_panel = Signal(range(max(2, per_panel)), name=f"{axis}_in_panel", reset_less=True)
            # N tiles begin with a panel, K tiles where the instruction says.
            offset = 0 if axis == "n" or per_panel == 1 else self.k_offset
            m.d.comb += [
                member("first").eq(first),
                member("last").eq(last),
                member("sub").eq(in_panel),
                member("step").eq(moves[axis] & ~last),
                member("wrap").eq(moves[axis] & last),
                member("panel").eq(member("step") & (in_panel == per_panel - 1)),
                member("first_next").eq(Mux(moves[axis], last, first)),
                member("enters_next").eq(Mux(moves[axis], last | (in_panel == per_panel - 1), enters)),
            ]
            with m.If(self.start):
                m.d.sync += [last.eq(count == 1), enters.eq(1), in_panel.eq(offset)]
            with m.Elif(self.next & moves[axis]):
                m.d.sync += [following.eq(following + 1), first.eq(member("first_next")), last.eq(following == count),
                             enters.eq(member("enters_next")), in_panel.eq(in_panel + 1)]
                with m.If(in_panel == per_panel - 1):
                    m.d.sync += in_panel.eq(0)
                with m.If(last):
                    # What is first and last at once stays so.
                    m.d.sync += [following.eq(2), last.eq(first), in_panel.eq(offset)]
        return m
