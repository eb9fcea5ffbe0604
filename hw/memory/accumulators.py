"""The accumulators: int32 words that the array adds to and the vector engine reads."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, Signature

from .. import isa
from ..choice import Choice
from ..interfaces import AccumulatorRead, TokenSignal
from .wrapper import OnChipMemory

__all__ = ["Accumulators", "ResultPort", "sum_bits"]


def sum_bits(rows):
    """Bits of a sum of `rows` products of a 9-bit and an 8-bit signed factor."""
    return 17 + (rows - 1).bit_length()


class ResultPort(Signature):
    """One row of results a cycle from the array; never refused.

    valid
        A word is to be written.
    address
        The accumulator word.
    accumulate
        1: adds to the word, 0: overwrites it.
    rescale, distance
        With ``rescale`` the word is first shifted right by ``distance`` with rounding (0 from 32 on).
    sums
        ``cols`` signed sums, `Accumulators.SUMS_AFTER` cycles after all else.
    token
        Counter to add to once the word can be read (0: none).
    """

    def __init__(self, config):
        super().__init__({
            "valid": Out(1),
            "address": Out((config.accumulator_words - 1).bit_length()),
            "accumulate": Out(1),
            "rescale": Out(1),
            "distance": Out(6),
            "sums": Out(data.ArrayLayout(signed(sum_bits(config.rows)), config.cols)),
            "token": Out(isa.SEMAPHORE_BITS),
        })


class Accumulators(wiring.Component):
    """``accumulator_banks`` memories of ``cols`` int32, the bank chosen by the high bits of the address.

    Computes ``word = (accumulate ? rescaled(word) : 0) + sums`` with ``rescaled(x) = (x + (1 << (distance - 1))) >>
    distance``, one word a cycle. Addresses go through a register to their bank; from there, read, choice of the bank, shift,
    addition and write take four cycles, so the same address may come again every fourth cycle, which the row issuer never
    undercuts. The sums are needed for the addition only, and come that much later than where they go, so that they need not
    wait here. The vector engine's read loses against the array's in the same bank.

    Parameters
    ----------
    config : Config

    Members
    -------
    results : In(ResultPort(config))
    vector : In(AccumulatorRead(config))
    acc_signal : Out(TokenSignal())
        ``results.token``, in a cycle from which on a read sees the word.
    """

    #: Cycles from ``results.valid`` to that in which the word may come again, to be added to or to be read.
    LATENCY = 4
    #: Cycles from ``results.valid`` to ``results.sums``.
    SUMS_AFTER = 4

    def __init__(self, config):
        self.config = config
        super().__init__({
            "results": In(ResultPort(config)), "vector": In(AccumulatorRead(config)),
            "acc_signal": Out(TokenSignal()),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        banks, cols = config.accumulator_banks, config.cols
        depth = config.accumulator_words // banks
        row_bits = (depth - 1).bit_length()
        bank_bits = (banks - 1).bit_length()
        results, vector = self.results, self.vector

        memories = []
        for number in range(banks):
            memories.append(OnChipMemory(32 * cols, depth))
            m.submodules[f"bank_{number}"] = memories[-1]

        # Request: the array reads what it adds to, and comes first.
        array_bank, vector_bank = results.address[row_bits:], vector.address[row_bits:]
        array_reads = Signal()
        m.d.comb += [
            array_reads.eq(results.valid & results.accumulate),
            vector.ready.eq(~(array_reads & (array_bank == vector_bank))),
        ]
        for number, memory in enumerate(memories):
            by_array, by_vector = array_reads & (array_bank == number), vector.valid & (vector_bank == number)
            m.d.sync += [memory.read_enable.eq(by_array | by_vector),
                         memory.read_address.eq(Mux(by_array, results.address[:row_bits], vector.address[:row_bits]))]

        def choose(name, bank):
            m.submodules[name] = choice = Choice(32 * cols, banks)
            m.d.comb += [choice.number.eq(bank), *(word.eq(memory.read_data) for word, memory in zip(choice.words, memories))]
            return choice.word

        vector_accepted, vector_read = Signal(), Signal()
        vector_bank_asked, vector_bank_read = Signal(bank_bits, reset_less=True), Signal(bank_bits, reset_less=True)
        vector_data = Signal(data.ArrayLayout(signed(32), cols), reset_less=True)
        m.d.sync += [vector_accepted.eq(vector.valid & vector.ready), vector_bank_asked.eq(vector_bank),
                     vector_read.eq(vector_accepted), vector_bank_read.eq(vector_bank_asked)]
        vector_word = choose("vector_choice", vector_bank_read)
        with m.If(vector_read):
            m.d.sync += vector_data.eq(vector_word)
        m.d.comb += vector.data.eq(vector_data)

        # What the array's stages carry along: asked, read, chosen, shifted.
        carried = {"address": unsigned(len(results.address)), "token": isa.SEMAPHORE_BITS}
        asked = carried | {"accumulate": 1, "rescale": 1, "distance": 6}
        layouts = {name: data.StructLayout(fields)
                   for name, fields in (("asked", asked), ("read", asked), ("chosen", carried), ("shifted", carried))}
        valid = [Signal(name=f"valid_{name}") for name in layouts]
        stage = [Signal(layout, name=f"stage_{name}", reset_less=True) for name, layout in layouts.items()]
        m.d.sync += [after.eq(before) for before, after in zip((results.valid, *valid), valid)]
        with m.If(results.valid):
            m.d.sync += [getattr(stage[0], field).eq(getattr(results, field)) for field in asked]
        with m.If(valid[0]):
            m.d.sync += stage[1].eq(stage[0])
        # How far the chosen word is shifted has a register of its own, as it goes to every bit of every lane.
        distance, clears = Signal(5, reset_less=True), Signal(reset_less=True)
        with m.If(valid[1]):
            m.d.sync += [
                *(getattr(stage[2], field).eq(getattr(stage[1], field)) for field in carried),
                distance.eq(Mux(stage[1].rescale, stage[1].distance, 0)),
                clears.eq(~stage[1].accumulate | (stage[1].rescale & stage[1].distance[5])),
            ]
        with m.If(valid[2]):
            m.d.sync += stage[3].eq(stage[2])

        word = Signal(data.ArrayLayout(signed(32), cols), reset_less=True)
        array_word = choose("array_choice", stage[1].address[row_bits:])
        with m.If(valid[1]):
            m.d.sync += word.eq(array_word)

        shifted = Signal(data.ArrayLayout(signed(32), cols), reset_less=True)
        rounding = Signal(cols, reset_less=True)
        with m.If(valid[2]):
            with m.If(clears):
                m.d.sync += [shifted.eq(0), rounding.eq(0)]
            with m.Else():
                for lane in range(cols):
                    # One bit more on the right: the last bit shifted out rounds.
                    moved = Cat(Const(0, 1), word[lane]).as_signed() >> distance
                    m.d.sync += [shifted[lane].eq(moved[1:33]), rounding[lane].eq(moved[0])]

        # Addition and write in one cycle; the rounding bit is the adder's carry.
        total = Signal(data.ArrayLayout(signed(32), cols))
        for lane in range(cols):
            m.d.comb += total[lane].eq(shifted[lane] + results.sums[lane] + rounding[lane])
        written = stage[3].address
        for number, memory in enumerate(memories):
            m.d.comb += [
                memory.write_enable.eq(valid[3] & (written[row_bits:] == number)),
                memory.write_address.eq(written[:row_bits]),
                memory.write_data.eq(total),
                memory.write_mask.eq(1),
            ]

        # A read that is accepted while the word is being written comes behind it.
        m.d.comb += [self.acc_signal.valid.eq(valid[3]), self.acc_signal.id.eq(stage[3].token)]
        return m
