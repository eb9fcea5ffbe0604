"""Two processing elements that share their activations, for sparse weights."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SparsePair", "activation_layout", "lanes_of", "weight_layout"]


def activation_layout():
    """An activation: ``live`` is 0 where it is zero or means nothing, and ``value`` is then what it was a cycle before, so that
    nothing behind it toggles."""
    return data.StructLayout({"value": signed(9), "live": 1})


def weight_layout():
    """A weight: its value, and the number of the activation that it belongs to, counted from the element's own (`lanes_of`)."""
    return data.StructLayout({"value": signed(8), "place": 2})


def lanes_of(number, lanes):
    """The lanes among which element ``number`` of a pair chooses, place 0 first, which is its own in a dense tile."""
    if lanes == 4:
        return [place ^ number for place in range(4)]
    return [4 * number + place for place in range(4)]


class SparsePair(wiring.Component):
    """``sum_out = sum_in + operand[lane 0] * weight[0] + operand[lane 1] * weight[1]``: two rows of a column, weight-stationary.

    Each element's weight says which of four activations it takes. With 4 lanes both choose among the same ones, with 8 each
    among its own four. A dense tile has place 0 throughout, and all other lanes rest. Timing and shadow weights are those of
    `ProcessingElement`, for both elements at once::

        operand_out <= operand;  product <= chosen * active;  sum_out <= sum_in + products

    Where the weight or the chosen activation is zero, the product's register keeps what it holds and the sum leaves it out:
    neither the multiplier's operand nor its result toggles.

    Parameters
    ----------
    sum_bits : int
        Bits of the sums, signed.
    lanes : int
        Activations that come at once: 4 or 8.

    Members
    -------
    operand : In(ArrayLayout(activation_layout(), lanes))
    sum_in : In(signed(sum_bits))
    weight_above, weight_left : In(ArrayLayout(weight_layout(), 2))
    moving, shift_down, shift_right : In(2)
        Bit n: of element n.
    swap : In(1)
    operand_out, sum_out : Out
    shadow : Out(ArrayLayout(weight_layout(), 2))
    """

    def __init__(self, sum_bits, lanes):
        self.sum_bits = sum_bits
        self.lanes = lanes
        operand, weights = data.ArrayLayout(activation_layout(), lanes), data.ArrayLayout(weight_layout(), 2)
        super().__init__({
            "operand": In(operand), "sum_in": In(signed(sum_bits)), "weight_above": In(weights), "weight_left": In(weights),
            "moving": In(2), "shift_down": In(2), "shift_right": In(2), "swap": In(1),
            "operand_out": Out(operand), "sum_out": Out(signed(sum_bits)), "shadow": Out(weights),
        })

    def elaborate(self, platform):
        m = Module()
        # Registers that leave the element carry the port's name, so that the Verilog has it too.
        operand = Signal(self.operand.shape(), name="operand_out", reset_less=True)
        total = Signal(signed(self.sum_bits), name="sum_out", reset_less=True)
        terms = self.sum_in
        for n in range(2):
            active = Signal(weight_layout(), name=f"active_{n}", reset_less=True)
            shadow = Signal(weight_layout(), name=f"shadow_{n}", reset_less=True)
            product = Signal(signed(17), name=f"product_{n}", reset_less=True)
            counts = Signal(name=f"counts_{n}", reset_less=True)
            with m.If(self.moving[n]):
                with m.If(self.shift_down[n]):
                    m.d.sync += shadow.eq(self.weight_above[n])
                with m.Elif(self.shift_right[n]):
                    m.d.sync += shadow.eq(self.weight_left[n])
                with m.If(self.swap):
                    m.d.sync += active.eq(shadow)
            chosen = Signal(activation_layout(), name=f"chosen_{n}")
            with m.Switch(active.place):
                for place, lane in enumerate(lanes_of(n, self.lanes)):
                    with m.Case(place):
                        m.d.comb += chosen.eq(self.operand[lane])
            multiplies = Signal(name=f"multiplies_{n}")
            m.d.comb += multiplies.eq(chosen.live & active.value.any())
            m.d.sync += counts.eq(multiplies)
            with m.If(multiplies):
                m.d.sync += product.eq(chosen.value * active.value)
            m.d.comb += self.shadow[n].eq(shadow)
            terms = terms + Mux(counts, product, 0)
        m.d.sync += [operand.eq(self.operand), total.eq(terms)]
        m.d.comb += [self.operand_out.eq(operand), self.sum_out.eq(total)]
        return m
