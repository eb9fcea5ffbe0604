"""Decoding: the fields of every vector instruction mapped to one job."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..interfaces import instruction_layout

__all__ = ["Kind", "Element", "Step", "ParameterRecord", "job_layout", "multiplies", "Decoder"]


class Kind(enum.Enum, shape=3):
    """What a job computes: the low bits of the opcode."""
    SYNC = 0
    REQUANT = 1
    STATS = 2
    NORM = 3
    SOFTMAX = 4
    TABLE = 5


assert all(isa.INSTRUCTIONS[kind.name if kind.name != "SYNC" else "VECTOR_SYNC"].opcode & 7 == kind.value
           for kind in Kind)


class Element(enum.Enum, shape=2):
    """Element type of an operand, as in the instruction set."""
    INT8 = isa.Element.INT8
    UINT8 = isa.Element.UINT8
    INT16 = isa.Element.INT16
    ACC = isa.Element.ACC


class Step(enum.Enum, shape=2):
    """How an address goes on to the next element of its loop."""
    STAY = 0        #: the same address
    INNER = 1       #: one inner stride on
    RESTART = 2     #: back to the start of the inner loop
    OUTER = 3       #: one outer stride on from the start of the inner loop


#: What requantization needs to know of one channel (``sim/README.md``).
ParameterRecord = data.StructLayout({"bias": unsigned(32), "mult": unsigned(18), "shift": unsigned(6), "zero": unsigned(8)})


def _width(*names):
    """Bits of the widest of the fields with these names in any vector instruction."""
    return max(instruction.fields[name].width for instruction in isa.BY_OPCODE.values() if instruction.engine == isa.Engine.VECTOR
               for name in names if name in instruction.fields)


def _as_encoded(*names):
    """``{name: bits}`` of fields that a job has as the instruction has them."""
    return {name: _width(name) for name in names}


def job_layout(config):
    """Layout of a job: the instruction's operands in the engine's own terms.

    ``by_rows`` tells the loop order: 1 for row: for group (STATS, SOFTMAX), 0 for group: for row. ``inner`` and
    ``outer`` strides are those of the source (``src``), second operand or mask (``res``) and destination (``dst``) in that
    order. ``src_waits`` and ``src_signals`` are the tokens taken at the start and given at the end where they are not given
    tile by tile.
    """
    word = (config.scratchpad_words - 1).bit_length()
    source = max(word, (config.accumulator_words - 1).bit_length())
    state = (config.state_rows - 1).bit_length()
    return data.StructLayout({
        "kind": Kind, "by_rows": 1, **_as_encoded("rows", "tiles"),
        "src_type": Element, "src_base": source, "src_inner": source, "src_outer": source,
        "res_used": 1, "res_type": Element, "res_base": word, "res_inner": word, "res_outer": word,
        "dst_type": Element, "dst_base": word, "dst_inner": word, "dst_outer": word,
        "param_base": word,
        **_as_encoded("param_hold", "residual", "multiply", "row_scale", "table", "slot"), "state_base": state,
        **_as_encoded("features", "rms", "eps", "key_start", "key_limit", "causal", "query_start", "mask", "first", "last"),
        **_as_encoded("src_wait"), "src_waits": _width("wait_count", "tiles"), **_as_encoded("src_wait_each"),
        **_as_encoded("src_signal"), "src_signals": _width("signal_count", "tiles"), **_as_encoded("src_signal_each"),
        **_as_encoded("dst_wait", "dst_wait_each", "dst_signal", "dst_signal_each"),
    })


def multiplies(job):
    """Whether a job's items go through the first products."""
    return (job.kind == Kind.STATS) | (job.kind == Kind.NORM) | ((job.kind == Kind.REQUANT) & job.multiply)


class Decoder(wiring.Component):
    """Combinational: one instruction ``word`` to the ``job`` it asks for.

    Parameters: ``config``. Ports: ``word`` In(isa.INSTRUCTION_BITS), ``job`` Out(job_layout(config)).
    """

    def __init__(self, config):
        super().__init__({"word": In(isa.INSTRUCTION_BITS), "job": Out(job_layout(config))})

    def elaborate(self, platform):
        m = Module()
        job = self.job

        def fields(mnemonic):
            return data.View(instruction_layout(mnemonic), self.word)

        def same(view, *names):
            return [getattr(job, name).eq(getattr(view, name)) for name in names]

        def tile_tokens(view):
            return same(view, "src_wait", "src_wait_each", "src_signal", "src_signal_each", "dst_wait", "dst_wait_each",
                        "dst_signal", "dst_signal_each")

        def strides(view, operand, inner, outer):
            return [getattr(job, operand + "_base").eq(getattr(view, operand + "_base")),
                    getattr(job, operand + "_inner").eq(getattr(view, f"{operand}_{inner}_stride")),
                    getattr(job, operand + "_outer").eq(getattr(view, f"{operand}_{outer}_stride"))]

        # A signal of its own: a process that reads a part of the bundle it writes simulates with a stale value.
        kind = Signal(Kind)
        m.d.comb += [kind.eq(Kind(self.word[:3])), job.kind.eq(kind), job.src_waits.eq(1), job.src_signals.eq(1)]
        with m.Switch(kind):
            with m.Case(Kind.SYNC):
                view = fields("VECTOR_SYNC")
                m.d.comb += [job.src_wait.eq(view.wait), job.src_waits.eq(view.wait_count),
                             job.src_signal.eq(view.signal), job.src_signals.eq(view.signal_count)]
            with m.Case(Kind.REQUANT):
                view = fields("REQUANT")
                m.d.comb += [
                    *strides(view, "src", "row", "panel"), *strides(view, "res", "row", "panel"),
                    *strides(view, "dst", "row", "panel"), *tile_tokens(view),
                    *same(view, "src_type", "res_type", "dst_type", "rows", "tiles", "param_base", "param_hold",
                          "residual", "multiply", "row_scale", "table", "slot", "state_base"),
                    job.res_used.eq(view.residual | view.multiply),
                ]
            with m.Case(Kind.STATS):
                view = fields("STATS")
                m.d.comb += [
                    *strides(view, "src", "panel", "row"), job.by_rows.eq(1), job.src_type.eq(Element.INT16),
                    *same(view, "rows", "tiles", "features", "rms", "eps", "state_base", "src_wait", "src_signal"),
                ]
            with m.Case(Kind.NORM):
                view = fields("NORM")
                m.d.comb += [
                    *strides(view, "src", "row", "panel"), *strides(view, "dst", "row", "panel"), *tile_tokens(view),
                    job.src_type.eq(Element.INT16),
                    *same(view, "dst_type", "rows", "tiles", "features", "param_base", "state_base"),
                ]
            with m.Case(Kind.SOFTMAX):
                view = fields("SOFTMAX")
                m.d.comb += [
                    job.by_rows.eq(1), job.src_type.eq(Element.ACC), job.dst_type.eq(Element.UINT8),
                    job.src_base.eq(view.acc_base), job.src_inner.eq(view.acc_stride), job.src_outer.eq(1),
                    job.res_base.eq(view.mask_base), job.res_inner.eq(1), job.res_outer.eq(view.mask_row_stride),
                    job.dst_base.eq(view.dst_base), job.dst_inner.eq(view.dst_panel_stride), job.dst_outer.eq(1),
                    job.res_used.eq(view.mask),
                    *same(view, "rows", "tiles", "key_start", "key_limit", "causal", "query_start", "mask", "param_base",
                          "first", "last", "state_base", "src_wait", "src_signal", "dst_wait", "dst_signal",
                          "dst_signal_each"),
                ]
                with m.If(view.src_wait_each):
                    m.d.comb += job.src_waits.eq(view.tiles)
                with m.If(view.src_signal_each):
                    m.d.comb += job.src_signals.eq(view.tiles)
            with m.Case(Kind.TABLE):
                view = fields("TABLE")
                m.d.comb += same(view, "src_base", "slot", "src_wait", "src_signal")
        return m
