"""The control unit: registers, run control, fetch, dispatch, the engines' queues and the token counters."""

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..dma.axi import BeatStream, BurstRequest
from ..interfaces import InstructionStream, PC_BITS, ThreadStatus, TokenSignal, TokenWait
from .axi_lite import AXI4Lite
from .dispatch import Dispatch, ScalarRegisters
from .fetch import Fetch
from .instruction_queue import InstructionQueue, read_bits
from .register_map import THREADS
from .registers import Registers
from .run import RunControl
from .tokens import TokenCounters

__all__ = ["ENGINES", "TOKEN_PORTS", "ControlUnit", "connect_memory"]

#: Engines that have an instruction queue.
ENGINES = ("load", "tensor", "vector", "store")
#: Names of the token wait ports and of the token signal ports, with the threads they belong to.
TOKEN_PORTS = {"load": "load", "weights": "weights", "rows": "tensor", "accumulators": "tensor", "source": "vector",
               "destination": "vector", "store": "store"}


class ControlUnit(wiring.Component):
    """Everything that decides, and nothing that moves data.

    Ports: ``axi`` AXI4-Lite slave, ``irq``; ``request``, ``beats``: fetch, to and from the read master; an instruction stream
    for each of `ENGINES`; ``wait_*``, ``signal_*`` of `TOKEN_PORTS`; ``status_*`` of the threads; ``read_error``,
    ``write_error`` and their ``_pc``; ``read_beat``, ``write_beat``, ``bus_busy`` of the AXI masters; ``base``; ``stop``:
    engines are held in reset and nothing new goes to the bus.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "axi": In(AXI4Lite()), "irq": Out(1),
            "request": Out(BurstRequest()), "beats": In(BeatStream(config)),
            **{name: Out(InstructionStream()) for name in ENGINES},
            **{f"wait_{name}": In(TokenWait()) for name in TOKEN_PORTS},
            **{f"signal_{name}": In(TokenSignal()) for name in TOKEN_PORTS},
            **{f"status_{name}": In(ThreadStatus()) for name in THREADS},
            "read_error": In(1), "read_error_pc": In(PC_BITS), "write_error": In(1), "write_error_pc": In(PC_BITS),
            "read_beat": In(1), "write_beat": In(1), "bus_busy": In(1),
            "base": Out(config.address_bits), "stop": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        until_start = ResetInserter(self.stop)
        m.submodules.registers = registers = Registers(config)
        m.submodules.run = run = RunControl()
        m.submodules.scalars = scalars = ScalarRegisters()
        m.submodules.fetch = fetch = until_start(Fetch(config))
        m.submodules.dispatch = dispatch = until_start(Dispatch(config))
        m.submodules.tokens = tokens = until_start(TokenCounters(TOKEN_PORTS, TOKEN_PORTS, ("load", "store")))

        statuses = {name: getattr(self, f"status_{name}") for name in THREADS}
        idle = [status.idle for status in statuses.values()]
        for name in ENGINES:
            queue = InstructionQueue(read_bits(config, isa.Engine[name.upper()]), config.queue_depth)
            m.submodules[f"{name}_queue"] = queue = until_start(queue)
            wiring.connect(m, getattr(dispatch, name), queue.i)
            wiring.connect(m, queue.o, wiring.flipped(getattr(self, name)))
            idle.append(~queue.o.valid)
        engines_idle = Signal()
        m.d.sync += engines_idle.eq(all_of(idle))

        wiring.connect(m, wiring.flipped(self.axi), registers.axi)
        wiring.connect(m, fetch.request, wiring.flipped(self.request))
        wiring.connect(m, wiring.flipped(self.beats), fetch.beats)
        wiring.connect(m, fetch.o, dispatch.i)
        for name in TOKEN_PORTS:
            wiring.connect(m, wiring.flipped(getattr(self, f"wait_{name}")), getattr(tokens, f"wait_{name}"))
        for name in TOKEN_PORTS:
            wiring.connect(m, wiring.flipped(getattr(self, f"signal_{name}")), getattr(tokens, f"signal_{name}"))
        for name, status in statuses.items():
            wiring.connect(m, wiring.flipped(status), getattr(registers, f"status_{name}"))
        for name in dict.fromkeys(TOKEN_PORTS.values()):
            m.d.comb += getattr(tokens, f"pc_{name}").eq(statuses[name].pc)

        m.d.comb += [
            self.irq.eq(registers.irq), self.base.eq(registers.base), self.stop.eq(run.stop),
            fetch.program.eq(registers.program), fetch.jump.eq(dispatch.jump), fetch.target.eq(dispatch.target),
            dispatch.engines_idle.eq(engines_idle),
            scalars.index.eq(dispatch.index), dispatch.value.eq(scalars.value),
            scalars.write.eq(dispatch.write), scalars.target.eq(dispatch.rd), scalars.result.eq(dispatch.result),
            scalars.host_write.eq(registers.scalar_write), scalars.host_target.eq(registers.scalar_target),
            scalars.host_data.eq(registers.scalar_data),
            scalars.host_index.eq(registers.scalar_index), registers.scalar_value.eq(scalars.host_value),
            run.start.eq(registers.start), run.ended.eq(dispatch.ended), run.bus_busy.eq(self.bus_busy),
            registers.busy.eq(run.busy), registers.done.eq(run.done), registers.error.eq(run.error),
            registers.finished.eq(run.finished), registers.cause.eq(run.cause), registers.error_pc.eq(run.error_pc),
            registers.pc.eq(dispatch.pc),
            registers.read_beat.eq(self.read_beat), registers.write_beat.eq(self.write_beat),
            run.error_read.eq(self.read_error), run.pc_read.eq(self.read_error_pc),
            run.error_write.eq(self.write_error), run.pc_write.eq(self.write_error_pc),
            run.error_overflow.eq(tokens.overflow), run.pc_overflow.eq(tokens.overflow_pc),
            run.error_fetch.eq(dispatch.fetch_error), run.pc_fetch.eq(dispatch.pc),
            run.error_illegal.eq(dispatch.illegal), run.pc_illegal.eq(dispatch.pc),
            run.error_abort.eq(registers.abort), run.pc_abort.eq(dispatch.pc),
        ]
        return m


def all_of(conditions):
    """1 if every condition is."""
    result = 1
    for condition in conditions:
        result = result & condition
    return result


def connect_memory(m, top, control, dma):
    """Wires control unit and DMA unit to each other and to the top's ports ``s_axi``, ``m_axi``, ``irq``."""
    wiring.connect(m, wiring.flipped(top.s_axi), control.axi)
    wiring.connect(m, dma.axi, wiring.flipped(top.m_axi))
    wiring.connect(m, control.request, dma.fetch_request)
    wiring.connect(m, dma.fetch_beats, control.beats)
    for name in ("load", "store"):
        wiring.connect(m, getattr(control, name), getattr(dma, name))
        for port in ("wait", "signal", "status"):
            wiring.connect(m, getattr(dma, f"{name}_{port}"), getattr(control, f"{port}_{name}"))
    m.d.comb += [
        top.irq.eq(control.irq), dma.base.eq(control.base), dma.stop.eq(control.stop),
        control.read_error.eq(dma.read_error), control.read_error_pc.eq(dma.read_error_pc),
        control.write_error.eq(dma.write_error), control.write_error_pc.eq(dma.write_error_pc),
        control.read_beat.eq(dma.read_beat), control.write_beat.eq(dma.write_beat),
        control.bus_busy.eq(dma.busy),
    ]
