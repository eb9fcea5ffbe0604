"""The register block: everything the host sees."""

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..interfaces import PC_BITS, ThreadState, ThreadStatus
from ..dma.axi import RELATIVE_BITS
from .axi_lite import AXI4Lite, RegisterPort
from .performance import ThreadCounters
from .register_map import BY_NAME, MAGIC, REGISTER_MAP, THREADS

__all__ = ["Registers"]


_COUNTED = [state for state in ThreadState if state is not ThreadState.IDLE]
#: Index of a register, less this, is in its low bits the state that it counts, for every thread.
_BEFORE_COUNTERS = BY_NAME["LOAD_BUSY"].offset // 4 - ThreadState.BUSY.value
assert all((BY_NAME[f"{thread.upper()}_{state.name}"].offset // 4 - _BEFORE_COUNTERS) % (1 << Shape.cast(ThreadState).width)
           == state.value for thread in THREADS for state in _COUNTED)


class Registers(wiring.Component):
    """Implements `register_map`.

    Ports: ``axi``; ``irq``; ``start``, ``abort``: written in the cycle before; ``base``, ``program`` as set; ``busy``, ``done``,
    ``error``, ``finished``, ``cause``, ``error_pc`` of `RunControl`; ``pc`` of the dispatcher; ``read_beat``, ``write_beat``: a
    beat in this cycle; ``scalar_*``: the host's ports of `ScalarRegisters`; ``status_*`` of the threads.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "axi": In(AXI4Lite()), "irq": Out(1), "start": Out(1), "abort": Out(1),
            "base": Out(64), "program": Out(RELATIVE_BITS),
            "busy": In(1), "done": In(1), "error": In(1), "finished": In(1), "cause": In(isa.ErrorCause),
            "error_pc": In(PC_BITS), "pc": In(PC_BITS), "read_beat": In(1), "write_beat": In(1),
            "scalar_write": Out(4), "scalar_target": Out(4), "scalar_data": Out(32),
            "scalar_index": Out(4), "scalar_value": In(32),
            **{f"status_{thread}": In(ThreadStatus()) for thread in THREADS},
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.port = port = RegisterPort()
        wiring.connect(m, wiring.flipped(self.axi), port.axi)

        def written(name):
            """Byte strobes of a write to the register."""
            return port.write & (port.write_index == BY_NAME[name].offset // 4).replicate(4)

        def store(name, register):
            """A plain register, up to 32 bits."""
            strobes = written(name)
            for byte in range(0, (len(register) + 7) // 8):
                with m.If(strobes[byte]):
                    m.d.sync += register[8 * byte:8 * byte + 8].eq(port.write_data[8 * byte:])

        values = {"ID": MAGIC, "VERSION": isa.VERSION, "FINGERPRINT": self.config.fingerprint}

        # Control and status.
        control, status = BY_NAME["CONTROL"], BY_NAME["STATUS"]
        irq_enable = Signal()
        irq_pending = Signal()
        command = Mux(written("CONTROL")[0], port.write_data, 0)
        m.d.comb += self.irq.eq(irq_enable & irq_pending)
        m.d.sync += [
            self.start.eq(command[control.field("start").low] & ~self.busy),
            self.abort.eq(command[control.field("abort").low] & self.busy),
        ]
        with m.If(written("CONTROL")[0]):
            m.d.sync += irq_enable.eq(port.write_data[control.field("irq_enable").low])
        with m.If(self.start):
            m.d.sync += irq_pending.eq(0)
        with m.Elif(self.finished):
            m.d.sync += irq_pending.eq(1)
        with m.Elif(written("STATUS")[0] & port.write_data[status.field("irq").low]):
            m.d.sync += irq_pending.eq(0)
        values["CONTROL"] = irq_enable << control.field("irq_enable").low
        values["STATUS"] = (self.busy << status.field("busy").low | self.done << status.field("done").low |
                            self.error << status.field("error").low | irq_pending << status.field("irq").low)
        values |= {"CAUSE": self.cause, "ERROR_PC": Mux(self.error, self.error_pc, 0), "PC": self.pc}

        # Where the program is.
        for name, register in (("BASE", self.base), ("PROGRAM", self.program)):
            for half, part in (("_LO", register[:32]), ("_HI", register[32:])):
                store(name + half, part)
                values[name + half] = part

        # Counters of the run.
        cycles = Signal(64)
        held = Signal(32)
        read_beats = Signal(32)
        write_beats = Signal(32)
        with m.If(self.start):
            m.d.sync += [cycles.eq(0), read_beats.eq(0), write_beats.eq(0)]
        with m.Elif(self.busy):
            m.d.sync += [cycles.eq(cycles + 1), read_beats.eq(read_beats + self.read_beat),
                         write_beats.eq(write_beats + self.write_beat)]
        with m.If(port.read & (port.read_index == BY_NAME["CYCLES_LO"].offset // 4)):
            m.d.sync += held.eq(cycles[32:])
        values |= {"CYCLES_LO": cycles[:32], "CYCLES_HI": held, "READ_BEATS": read_beats, "WRITE_BEATS": write_beats}

        # Scalar registers, while nothing runs.
        first = BY_NAME["R0"].offset // 4
        chosen = (port.write_index & ~(isa.REGISTERS - 1)) == first
        m.d.comb += [
            self.scalar_write.eq(Mux(chosen & ~self.busy, port.write, 0)),
            self.scalar_target.eq(port.write_index), self.scalar_data.eq(port.write_data),
            self.scalar_index.eq(port.read_index),
        ]
        values |= {f"R{n}": self.scalar_value for n in range(isa.REGISTERS)}

        # Threads. Their counters follow each other in the order of the states.
        asked = Signal(ThreadState)
        m.d.comb += asked.eq(port.read_index - _BEFORE_COUNTERS)
        for thread in THREADS:
            live = getattr(self, f"status_{thread}")
            counters = ThreadCounters()
            m.submodules[f"{thread}_counters"] = counters
            m.d.comb += [counters.clear.eq(self.start), counters.running.eq(self.busy), counters.state.eq(live.state),
                         counters.asked.eq(asked)]
            name, fields = thread.upper(), BY_NAME[f"{thread.upper()}_STATE"]
            values[f"{name}_STATE"] = (counters.counted_state.as_value() << fields.field("state").low |
                                       live.semaphore << fields.field("semaphore").low |
                                       live.idle << fields.field("idle").low)
            values[f"{name}_PC"] = live.pc
            values |= {f"{name}_{state.name}": counters.cycles for state in _COUNTED}

        with m.Switch(port.read_index):
            for register in REGISTER_MAP:
                with m.Case(register.offset // 4):
                    m.d.comb += port.read_data.eq(values.pop(register.name))
        assert not values, values
        return m
