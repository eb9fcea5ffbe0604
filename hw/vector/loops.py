"""Counters and addresses of the engine's loops."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .job import Step

__all__ = ["GroupCounter", "AddressWalker"]


class GroupCounter(wiring.Component):
    """Counts the groups of ``vector_lanes`` channels of ``tiles`` tiles.

    Parameters: ``config``.

    Members
    -------
    tiles : In(12)
        Tiles to count, at least 1, from ``restart`` on.
    restart, advance : In(1)
        To the first group (wins); to the next group, from the last one to the first.
    group : Out
        Group within the panel.
    part : Out
        Group within the tile.
    first, last : Out(1)
        The first tile's first group; the last tile's last group.
    next_last : Out(1)
        The group after this one is the last, perhaps of the next round.
    first_tile, first_of_tile, first_of_panel, tile_end, panel_end : Out(1)
        Where the group lies.
    """

    def __init__(self, config):
        self.groups_per_panel = config.panel // config.vector_lanes
        self.groups_per_tile = config.groups_per_tile
        super().__init__({
            "tiles": In(12), "restart": In(1), "advance": In(1),
            "group": Out(range(self.groups_per_panel)), "part": Out(range(self.groups_per_tile)),
            "first": Out(1), "last": Out(1), "next_last": Out(1), "first_tile": Out(1), "first_of_tile": Out(1),
            "first_of_panel": Out(1), "tile_end": Out(1), "panel_end": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # Registers say whether the tile is the first or the last: reads begin at them.
        left = Signal(12)       # tiles with this one
        first_tile, last_tile = Signal(init=1), Signal()
        m.d.comb += [
            self.first_tile.eq(first_tile),
            self.first_of_tile.eq(self.part == 0),
            self.first_of_panel.eq(self.group == 0),
            self.first.eq(self.first_tile & self.first_of_tile),
            self.tile_end.eq(self.part == self.groups_per_tile - 1),
            self.panel_end.eq(self.group == self.groups_per_panel - 1),
            self.last.eq(self.tile_end & last_tile),
        ]
        if self.groups_per_tile == 1:
            m.d.comb += self.next_last.eq(Mux(self.last, self.tiles == 1, left == 2))
        else:
            m.d.comb += self.next_last.eq(last_tile & (self.part == self.groups_per_tile - 2))
        # ``advance`` comes late in its cycle: it enables the registers, and chooses nothing.
        with m.If(self.restart | self.advance):
            with m.If(self.restart | self.last):
                m.d.sync += [left.eq(self.tiles), first_tile.eq(1), last_tile.eq(self.tiles == 1), self.part.eq(0),
                             self.group.eq(0)]
            with m.Else():
                m.d.sync += [self.part.eq(self.part + 1), self.group.eq(self.group + 1)]
                with m.If(self.tile_end):
                    m.d.sync += [self.part.eq(0), left.eq(left - 1), first_tile.eq(0), last_tile.eq(left == 2)]
                with m.If(self.panel_end):
                    m.d.sync += self.group.eq(0)
        return m


class AddressWalker(wiring.Component):
    """The address of a two-level loop: ``base + outer * o + inner * i``.

    Parameters: ``width`` of an address; addresses wrap.

    Members
    -------
    load, base : In
        Sets the address and the start of the inner loop.
    inner, outer : In
        Strides, constant while the loop runs.
    advance, step : In
        In a cycle with ``advance`` the address takes ``step``.
    address, following : Out
        The current address, and that of the next cycle.
    """

    def __init__(self, width):
        super().__init__({
            "load": In(1), "base": In(width), "inner": In(width), "outer": In(width),
            "advance": In(1), "step": In(Step), "address": Out(width), "following": Out(width),
        })

    def elaborate(self, platform):
        m = Module()
        start = Signal.like(self.base)
        next_start = Signal.like(self.base)
        m.d.comb += [next_start.eq(start + self.outer), self.following.eq(self.address)]
        m.d.sync += self.address.eq(self.following)
        with m.If(self.load):
            m.d.comb += self.following.eq(self.base)
            m.d.sync += start.eq(self.base)
        with m.Elif(self.advance):
            with m.Switch(self.step):
                with m.Case(Step.INNER):
                    m.d.comb += self.following.eq(self.address + self.inner)
                with m.Case(Step.RESTART):
                    m.d.comb += self.following.eq(start)
                with m.Case(Step.OUTER):
                    m.d.comb += self.following.eq(next_start)
                    m.d.sync += start.eq(next_start)
        return m
