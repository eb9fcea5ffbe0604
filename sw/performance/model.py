"""The control unit in front of the engines, and the prediction of a whole program."""

from collections import deque
from dataclasses import dataclass

from weft.hw import isa
from weft.hw.errors import ProgramError

from .banks import SumBanks
from .queues import DeferredQueue, Queue
from .tensor import TensorEngine
from .tokens import Tokens
from .transfers import LoadEngine, ReadPort, StoreEngine
from .vector import VectorEngine

__all__ = ["Prediction", "predict", "predict_instructions"]

#: From the start (or a jump) to the request of the first instructions; from the last engine's end to done.
_TO_FETCH, _TO_DONE = 3, 6
#: Cycles from one instruction's dispatch to the next one's, more for each register field unless all name R0, and of
#: CALC and BRANCH.
_DISPATCH, _REGISTER, _CALCULATION = 2, 2, 5
_REGISTERS = {name: tuple(field for field in instruction.fields if field.endswith("_reg"))
              for name, instruction in isa.INSTRUCTIONS.items()}
#: Instructions that are fetched ahead, and those of one burst.
_AHEAD_BYTES, _BURST_BYTES = 1024, 256
_REGISTER_MASK = (1 << 32) - 1


@dataclass(frozen=True)
class Prediction:
    """``cycles`` from the start to done; ``dram_read_beats``, ``dram_write_beats``."""
    cycles: int
    dram_read_beats: int
    dram_write_beats: int


def predict(image, registers=None, latency=64, in_flight=16):
    """`Prediction` of a `weft.hw.image.Image`.

    ``registers``: scalar registers instead of the image's; ``latency`` of the memory in cycles, ``in_flight``: bursts it
    takes at a time. Raises ProgramError for code that does not end, or whose tokens come from later instructions.
    """
    code = image.code.tobytes()
    size = isa.INSTRUCTION_BYTES
    decoded = [isa.decode(code[n:n + size]) for n in range(0, len(code), size)]
    return predict_instructions(image.config, [(i.mnemonic, f) for i, f in decoded],
                                image.registers if registers is None else registers, latency, in_flight)


def predict_instructions(config, instructions, registers=None, latency=64, in_flight=16):
    """As `predict`, of a list of ``(mnemonic, fields)``."""
    return _Control(config, latency, in_flight).run(instructions, registers or {})


class _Control:
    def __init__(self, config, latency, in_flight):
        self.config = config
        tokens, banks = Tokens(), SumBanks(config)
        in_flight = min(in_flight, config.bursts_in_flight)
        self.port = ReadPort(latency, in_flight)
        self.engines = {
            isa.Engine.LOAD: LoadEngine(config, tokens, self.port),
            isa.Engine.TENSOR: TensorEngine(config, tokens, banks),
            isa.Engine.VECTOR: VectorEngine(config, tokens, banks),
            isa.Engine.STORE: StoreEngine(config, tokens, latency, in_flight),
        }
        # The array never waits for the vector engine's reads, but they do for its own: they come when those are known, and
        # so do stores, which wait for the results. Loads wait for the bus, where instructions that are fetched meanwhile pass.
        deferred = {engine: DeferredQueue(self.engines[engine], config.queue_depth)
                    for engine in (isa.Engine.LOAD, isa.Engine.VECTOR, isa.Engine.STORE)}
        self.deferred = list(deferred.values())
        tokens.more = lambda counter: any(queue.signals(counter) for queue in self.deferred)
        self.queues = {isa.Engine.TENSOR: Queue(self.engines[isa.Engine.TENSOR], config.queue_depth), **deferred}
        self.burst = max(8, min(16, _BURST_BYTES // config.data_bytes))
        self.per_burst = self.burst * config.data_bytes // isa.INSTRUCTION_BYTES
        self.ahead = max(1, max(_AHEAD_BYTES, 16 * config.data_bytes) // isa.INSTRUCTION_BYTES // self.per_burst)

    def drained(self):
        """Cycle in which every engine is idle."""
        for queue in self.deferred:
            queue.drain()
        load, tensor, vector, store = self.engines.values()
        return max(load.done, tensor.done, vector.free, store.done)

    def run(self, instructions, registers):
        values = [0] * isa.REGISTERS
        for number, value in registers.items():
            values[number] = int(value) & _REGISTER_MASK
        cycle, pc = 0, 0
        fetched = self.jump(_TO_FETCH)
        for _ in range(1 << 24):
            if pc >= len(instructions):
                raise ProgramError("the program runs beyond its last instruction")
            name, fields = instructions[pc]
            cycle = max(cycle, next(fetched)(cycle))
            pc += 1
            if name in ("END", "BARRIER"):
                cycle = max(cycle + _DISPATCH, self.drained() + 2)
                if name == "END":
                    return Prediction(cycle + _TO_DONE, self.port.beats, self.engines[isa.Engine.STORE].port.beats)
            elif name == "CALC":
                cycle += _CALCULATION
                if fields["rd"]:
                    values[fields["rd"]] = _calc(fields, values)
            elif name == "BRANCH":
                cycle += _CALCULATION
                if _taken(fields, values):
                    pc += fields["offset"]
                    fetched = self.jump(cycle)
            else:
                uses = _REGISTERS[name]
                adds = len(uses) if any(fields[field] for field in uses) else 0
                if adds:
                    fields = _with_registers(fields, values)
                engine = isa.INSTRUCTIONS[name].engine
                cycle = self.queues[engine].put(name, fields, cycle + _DISPATCH + _REGISTER * adds)
        raise ProgramError("the program does not end")

    def jump(self, cycle):
        """Functions, one for each instruction from a jump in ``cycle`` on: its dispatcher's cycle to the cycle in which
        it has been fetched."""
        # The first ones are all requested at once, others by twos, or when half of the places are free.
        coming = deque(self.port.fetch(cycle + number, self.burst) for number in range(self.ahead))
        beats = self.burst // self.per_burst
        arrived = 0

        def first(now):
            nonlocal arrived
            arrived = coming.popleft() - self.burst + beats
            if len(coming) < max(self.ahead - 2, self.ahead // 2):
                coming.extend(self.port.fetch(max(now, arrived) + number, self.burst)
                              for number in range(self.ahead - 1 - len(coming)))
            return arrived

        while True:
            yield first
            for number in range(1, self.per_burst):
                yield lambda now, number=number: arrived + number * beats


def _signed(value):
    return value - (1 << 32) if value >> 31 else value


def _calc(f, values):
    total = (values[f["ra"]] << f["left"]) + values[f["rb"]] + f["imm"] & _REGISTER_MASK
    return _signed(total) >> f["right"] & _REGISTER_MASK


def _taken(f, values):
    a, b = _signed(values[f["ra"]]), _signed(values[f["rb"]])
    return {isa.Condition.EQ: a == b, isa.Condition.NE: a != b, isa.Condition.LT: a < b,
            isa.Condition.GE: a >= b}[isa.Condition(f["cond"])]


def _with_registers(fields, values):
    """Fields with their registers added, as far as they matter here: addresses."""
    register = fields.get("dram_reg", 0)
    if not register:
        return fields
    return {**fields, "dram_addr": fields["dram_addr"] + _signed(values[register])}
