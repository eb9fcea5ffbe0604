"""One lane of the requantizer: add, multiply, shift, add, clamp."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, Signature

from .job import ParameterRecord

__all__ = ["LaneControl", "RequantizeLane"]


class LaneControl(Signature):
    """What all lanes are told, seen from the control. ``enter`` bit k: an element enters stage k at the end of the cycle.

    load_source, load_second
        Registers of stage 0 take the operands.
    multiply, load_product
        Stage 0 to 1: the product counts instead of the source, constant during an instruction; stage 1 takes it. Bit 1 of
        ``enter`` is not used.
    subtract, row_sum
        Stage 1 to 2: ``row_sum`` is subtracted instead of the bias added.
    constants
        Stage 1 to 2: the source of constant channels counts as nothing; constant during an instruction. Only with the
        parameter of this name.
    again
        Stage 2 takes the result of stage 6 instead (second pass of a norm).
    by_row, row_mult
        Stage 2 to 3: multiplier of the row instead of the channel's.
    add_bias
        Stage 3 to 4: the bias is added to the product.
    coarse_by_row, row_coarse, fine_by_row, row_fine
        Stages 3 to 4 and 4 to 5, for the stage behind: the row's shift (high and low three bits; less one without
        ``constants``) instead of the channel's.
    add_residual
        Stage 5 to 6: what is added to the result besides its zero.
    to_byte, unsigned_byte
        Stage 6 to 7: the result is clamped to int8 instead of int16, or, with both, to uint8.
    load_bias, load_mult, load_coarse, load_fine, load_zero
        The channel's registers take over from ``record``, each just ahead of the first element that needs it.
    add_zero, zero_unsigned
        Whether there is a zero, and of which type, as ``load_zero`` takes it.

    Parameters
    ----------
    constants : bool
        Channels may be constant.
    """

    def __init__(self, constants):
        super().__init__(({"constants": Out(1)} if constants else {}) | {
            "load_source": Out(1), "load_second": Out(1), "enter": Out(8),
            "multiply": Out(1), "load_product": Out(1),
            "subtract": Out(1), "row_sum": Out(signed(30)), "again": Out(1),
            "by_row": Out(1), "row_mult": Out(signed(18)), "add_bias": Out(1),
            "coarse_by_row": Out(1), "row_coarse": Out(3), "fine_by_row": Out(1), "row_fine": Out(3),
            "add_zero": Out(1), "zero_unsigned": Out(1), "add_residual": Out(1), "to_byte": Out(1), "unsigned_byte": Out(1),
            "load_bias": Out(1), "load_mult": Out(1), "load_coarse": Out(1), "load_fine": Out(1), "load_zero": Out(1),
        })


def _sum(a, b, carry):
    """``a + b + carry`` in one adder."""
    return (Cat(carry, a).as_signed() + Cat(carry, b).as_signed())[1:].as_signed()


def _same(bits, sign):
    """Whether all bits are as the sign: each as the next one, which takes the sign to none of them."""
    return ~(bits ^ Cat(bits[1:], sign)).any()


def _fits(value, width, places):
    """Whether signed ``value``, shifted right, fits into ``width`` signed bits: one bit for each number of ``places``."""
    return Cat(_same(value[width - 1 + place:-1], value[-1]) if width - 1 + place < len(value) - 1 else Const(1)
               for place in places)


def _limited(fits, value, sign):
    """``value``, or the greatest or least number of as many bits."""
    return Mux(fits, value, Cat((~sign).replicate(len(value) - 1), sign))


class RequantizeLane(wiring.Component):
    """One channel of requantization and normalization, one element a cycle, feed-forward, 7 cycles from stage 0 to 7.

    With p = x or the product with it that `Products` gives (stage 1)::

        u = p + bias, or p - row_sum, or the first pass's y             (stage 2, 32 bits)
        q = u * mult (+ bias)                                           (stages 3 and 4; two 17 by 18 products)
        y = (q + (1 << (shift - 1))) >> shift, saturated to 20 bits     (stages 5 and 6)
        result = clamp(y + zero + residual)                             (stage 7)

    20 bits lose nothing: beyond 18 bits neither zero nor residual brings a value back into range. A norm goes through
    stages 2 to 6 twice: ``xhat = (D * x - S1) * y1 >> sh``, then ``xhat * mult + bias >> shift``.

    Parameters
    ----------
    constants : bool
        A record may have shift 0: where the control says so, p is 0 in its channel. y is q then.

    Members
    -------
    control : In(LaneControl())
    source : In(signed(32))
        Element for stage 0.
    second : In(signed(16))
        Its second operand.
    record : In(ParameterRecord)
        The channel's next parameters.
    element, second_held : Out(signed(16))
        Stage 0: low half of the source, second operand.
    multiplied : In(signed(32))
        Product of the element in stage 0.
    product : Out(signed(32))
        Stage 1.
    residual : In(signed(16))
        Second operand of the element in stage 5.
    clamped, result : Out(signed(16))
        What stage 7 is about to take; stage 7. INT8 and UINT8 in the low byte, above which anything may be.
    """

    def __init__(self, constants):
        self._constants = constants
        super().__init__({
            "control": In(LaneControl(constants)), "source": In(signed(32)), "second": In(signed(16)),
            "record": In(ParameterRecord), "element": Out(signed(16)), "second_held": Out(signed(16)),
            "multiplied": In(signed(32)), "product": Out(signed(32)), "residual": In(signed(16)), "clamped": Out(signed(16)),
            "result": Out(signed(16)),
        })

    def elaborate(self, platform):
        m = Module()
        control, record = self.control, self.record

        # The channel's parameters. The shift is kept less one: the last bit it drops does the rounding. Where it may be 0 it is
        # kept as it is, and what it shifts gets a bit below instead.
        bias = Signal(signed(32), reset_less=True)
        mult = Signal(signed(18), reset_less=True)
        coarse = Signal(3, reset_less=True)
        fine = Signal(3, reset_less=True)
        offset = Signal(signed(9), reset_less=True)
        shift = Signal(6)
        m.d.comb += shift.eq(record.shift if self._constants else record.shift - 1)
        for load, register, value in (
                (control.load_bias, bias, record.bias), (control.load_mult, mult, record.mult),
                (control.load_coarse, coarse, shift[3:]), (control.load_fine, fine, shift[:3]),
                (control.load_zero, offset,
                 Mux(control.add_zero, Cat(record.zero, record.zero[7] & ~control.zero_unsigned).as_signed(), 0))):
            with m.If(load):
                m.d.sync += register.eq(value)

        # Stage 0: operands. Stage 1: source or first product.
        source = Signal(signed(32), reset_less=True)
        second = Signal(signed(16), reset_less=True)
        with m.If(control.load_source):
            m.d.sync += source.eq(self.source)
        with m.If(control.load_second):
            m.d.sync += second.eq(self.second)
        m.d.comb += [self.element.eq(source[:16]), self.second_held.eq(second)]
        product = Signal(signed(32), reset_less=True)
        with m.If(control.load_product):
            m.d.sync += product.eq(Mux(control.multiply, self.multiplied, source))
        m.d.comb += self.product.eq(product)

        # Stage 2: what the main multiplier takes; y of the second pass is in stage 6, rounded here or in stage 7.
        moved = Signal(signed(20), reset_less=True)
        round_up = Signal(reset_less=True)
        first, addend = Signal(signed(32)), Signal(signed(32))
        wide = Signal(signed(32), reset_less=True)
        counted = product
        if self._constants:
            constant = Signal(reset_less=True)
            with m.If(control.load_bias):
                m.d.sync += constant.eq(record.shift == 0)
            counted = Mux(constant & control.constants, 0, product)
        m.d.comb += [first.eq(Mux(control.again, moved, counted)),
                     addend.eq(Mux(control.again, 0, Mux(control.subtract, ~control.row_sum, bias)))]
        with m.If(control.enter[2]):
            m.d.sync += wide.eq(_sum(first, addend, Mux(control.again, round_up, control.subtract)))

        # Stages 3 and 4: product in two halves that fit the multipliers of FPGAs.
        narrow = Signal(signed(18))
        m.d.comb += narrow.eq(Mux(control.by_row, control.row_mult, mult))
        low = Signal(signed(35), reset_less=True)
        high = Signal(signed(33), reset_less=True)
        with m.If(control.enter[3]):
            m.d.sync += [low.eq(Cat(wide[:17], Const(0, 1)).as_signed() * narrow), high.eq(wide[17:].as_signed() * narrow)]
        total = Signal(signed(51), reset_less=True)
        with m.If(control.enter[4]):
            m.d.sync += total.eq(low + Cat(Const(0, 17), high).as_signed() + Mux(control.add_bias, bias, 0))

        # Stages 5 and 6: shift, each by a number of bits that a register has. What 28 bits cannot hold saturates after the
        # remaining shift of at most 7, too. Whether a result fits is seen in what has not been shifted, for every shift.
        coarse_places = Signal(3, reset_less=True)
        fine_places = Signal(3, reset_less=True)
        with m.If(control.enter[4]):
            m.d.sync += coarse_places.eq(Mux(control.coarse_by_row, control.row_coarse, coarse))
        with m.If(control.enter[5]):
            m.d.sync += fine_places.eq(Mux(control.fine_by_row, control.row_fine, fine))
        shifted = Signal(signed(28), reset_less=True)
        scaled = Cat(Const(0, 1), total).as_signed() if self._constants else total
        coarsely = Signal(signed(28))
        m.d.comb += coarsely.eq(scaled >> Cat(Const(0, 3), coarse_places))
        with m.If(control.enter[5]):
            fits = _fits(scaled, 28, range(0, 64, 8)).bit_select(coarse_places, 1)
            m.d.sync += shifted.eq(_limited(fits, coarsely, scaled[-1]))
        finely = Signal(signed(21))
        fits = Signal()
        m.d.comb += [finely.eq(shifted >> fine_places), fits.eq(_fits(shifted, 21, range(8)).bit_select(fine_places, 1))]
        with m.If(control.enter[6]):
            # The last bit rounds up, but for the largest value, which is to stay one of 20 bits.
            m.d.sync += [moved.eq(_limited(fits, finely[1:], shifted[-1])),
                         round_up.eq(finely[0] & fits & ~(finely[1:-1].all() & ~shifted[-1]))]

        # Stage 7: everything in units of the result. Zero and residual are added in stage 6.
        extra = Signal(signed(17), reset_less=True)
        with m.If(control.enter[6]):
            m.d.sync += extra.eq(offset + Mux(control.add_residual, self.residual, 0))
        final = Signal(signed(21))
        m.d.comb += final.eq(_sum(moved, extra, round_up))
        sign = final[-1]
        # All types are the sign's opposite in the bits below their own sign when they do not fit. Two conditions of two gates in a
        # row each, which the gate that limits a bit joins: these are behind an adder.
        too_wide, beyond_byte = Signal(), Signal()
        m.d.comb += [
            too_wide.eq(~_same(final[15:19], final[19]) | (final[19] != sign) | (control.to_byte & (final[14] != final[15]))),
            beyond_byte.eq(control.to_byte & (~_same(final[8:11], final[11]) | ~_same(final[11:14], final[14])
                                              | Mux(control.unsigned_byte, sign, final[7] != final[8]))),
        ]
        clamped = _limited(~(too_wide | beyond_byte), final[:16], sign)
        m.d.comb += self.clamped.eq(Cat(
            clamped[:7], Mux(control.to_byte & ~control.unsigned_byte, sign, clamped[7]), clamped[8:15], sign))
        with m.If(control.enter[7]):
            m.d.sync += self.result.eq(self.clamped)
        return m
