"""The accumulators: int32 words that the array adds to and the vector engine reads."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, Signature

from .. import isa
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
    distance``, one word a cycle: read, choice of the bank, shift, addition and write take four cycles, so the same
    address may come again every fourth cycle, which the row issuer never undercuts. The sums are needed for the addition only,
    and come that much later than where they go, so that they need not wait here.
    The vector engine's read loses against the array's in the same bank.

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

    #: Cycles from ``results.valid`` to the end of the write.
    LATENCY = 4
    #: Cycles from ``results.valid`` to ``results.sums``.
    SUMS_AFTER = 3

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
            with m.If(array_reads & (array_bank == number)):
                m.d.comb += [memory.read_enable.eq(1), memory.read_address.eq(results.address[:row_bits])]
            with m.Elif(vector.valid & (vector_bank == number)):
                m.d.comb += [memory.read_enable.eq(1), memory.read_address.eq(vector.address[:row_bits])]

        def choose(bank, target):
            with m.Switch(bank):
                for number, memory in enumerate(memories):
                    with m.Case(number):
                        m.d.sync += target.eq(memory.read_data)

        vector_accepted = Signal()
        vector_bank_read = Signal(bank_bits, reset_less=True)
        vector_data = Signal(data.ArrayLayout(signed(32), cols), reset_less=True)
        m.d.sync += [vector_accepted.eq(vector.valid & vector.ready), vector_bank_read.eq(vector_bank)]
        with m.If(vector_accepted):
            choose(vector_bank_read, vector_data.as_value())
        m.d.comb += vector.data.eq(vector_data)

        # What the array's stages carry along: read, chosen, shifted.
        carried = {"address": unsigned(len(results.address)), "token": isa.SEMAPHORE_BITS}
        asked = carried | {"accumulate": 1, "rescale": 1, "distance": 6}
        layouts = {"read": data.StructLayout(asked), **dict.fromkeys(("chosen", "shifted"), data.StructLayout(carried))}
        valid = [Signal(name=f"valid_{name}") for name in layouts]
        stage = [Signal(layout, name=f"stage_{name}", reset_less=True) for name, layout in layouts.items()]
        m.d.sync += [valid[0].eq(results.valid), valid[1].eq(valid[0]), valid[2].eq(valid[1])]
        with m.If(results.valid):
            m.d.sync += [getattr(stage[0], field).eq(getattr(results, field)) for field in asked]
        # How far the chosen word is shifted has a register of its own, as it goes to every bit of every lane.
        distance, clears = Signal(5, reset_less=True), Signal(reset_less=True)
        with m.If(valid[0]):
            m.d.sync += [
                *(getattr(stage[1], field).eq(getattr(stage[0], field)) for field in carried), distance.eq(Mux(stage[0].rescale, stage[0].distance, 0)),
                clears.eq(~stage[0].accumulate | (stage[0].rescale & stage[0].distance[5])),
            ]
        with m.If(valid[1]):
            m.d.sync += stage[2].eq(stage[1])

        word = Signal(data.ArrayLayout(signed(32), cols), reset_less=True)
        with m.If(valid[0]):
            choose(stage[0].address[row_bits:], word.as_value())

        shifted = Signal(data.ArrayLayout(signed(32), cols), reset_less=True)
        rounding = Signal(cols, reset_less=True)
        with m.If(valid[1]):
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
        written = stage[2].address
        for number, memory in enumerate(memories):
            m.d.comb += [
                memory.write_enable.eq(valid[2] & (written[row_bits:] == number)),
                memory.write_address.eq(written[:row_bits]),
                memory.write_data.eq(total),
                memory.write_mask.eq(1),
            ]

        done = Signal()
        token = Signal(isa.SEMAPHORE_BITS, reset_less=True)
        m.d.sync += [done.eq(valid[2]), token.eq(stage[2].token)]
        m.d.comb += [self.acc_signal.valid.eq(done), self.acc_signal.id.eq(token)]
        return m
