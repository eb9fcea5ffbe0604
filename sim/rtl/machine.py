"""Runs programs on the Verilated accelerator."""

import ctypes
import time
from dataclasses import dataclass

import numpy as np

from weft.hw.control import host
from weft.hw.control.register_map import BY_NAME, MAGIC
from weft.hw.errors import InputError, RunError
from weft.hw.memory.wrapper import COLLISION_NOISE

from . import recording
from .recording import Recording
from .library import Library

__all__ = ["RtlMachine", "RtlResult", "RtlLog", "BASE"]

#: Where the program's memory begins on the bus.
BASE = 0x4000_0000
#: What unused memory holds, so that a stray read or write shows.
_FILL = 0xA5
_CHUNK = 100_000
#: Cycles without a beat after which the threads are asked whether they still move.
_IDLE = 20_000
#: Cycles without a beat that end a run even if a thread says that it is busy.
_HUNG = 50_000_000


@dataclass(frozen=True)
class RtlLog:
    """Every beat written, in order: ``addresses`` int64[n] (bytes from the base), ``data`` uint8[n, data_bytes],
    ``strobes`` bool[n, data_bytes]."""
    addresses: np.ndarray
    data: np.ndarray
    strobes: np.ndarray

    def bytes(self):
        """The written bytes one by one: addresses int64[m], values uint8[m]."""
        addresses = self.addresses[:, None] + np.arange(self.data.shape[1])
        return addresses[self.strobes], self.data[self.strobes]


@dataclass(frozen=True)
class RtlResult:
    """``outputs``: uint8[bytes] by output buffer; ``buffers``: the same of every buffer but constants; ``store_log``;
    ``stats``: cycles, dram_read_bytes, dram_write_bytes, engines ``{thread: {state: cycles}}``, seconds,
    cpu_seconds (of the thread that simulates), sim_khz (by cpu_seconds); ``recording``:
    `weft.sim.rtl.recording.Recording` of a machine that profiles, else None."""
    outputs: dict
    buffers: dict
    store_log: RtlLog
    stats: dict
    recording: Recording | None = None


class RtlMachine:
    """The RTL of a configuration, from our generator or from a folder of Verilog files.

    One simulation is made for each run, so that runs do not influence each other; several can run in threads.
    ``noise``: memories return noise where the accelerator may not rely on them (`weft.hw.memory.wrapper`); ``profile``: runs
    are recorded, which takes a build of its own.
    """

    def __init__(self, config, verilog_dir=None, optimize="speed", noise=False, profile=False):
        self.config, self.profile = config, profile
        self.library = Library(config, verilog_dir, optimize, [f"-D{COLLISION_NOISE}"] if noise else [], profile)

    def run(self, image, inputs, memory="reference", seed=0, registers=None, progress=None, errors=None,
            limit_cycles=None):
        """Runs one program.

        ``inputs``: uint8[bytes] for each input buffer, and for state buffers, which are zero otherwise; ``memory``:
        "reference" (64 cycles latency, 16 bursts in flight, a beat in each cycle) or "stress" (random latency, gaps and
        back-pressure, by ``seed``); ``registers``: instead of the image's; ``progress(cycles)`` is called now and then;
        ``errors``: ``(start, end)`` offsets that answer with SLVERR; ``limit_cycles``: stop there.

        Raises RunError when the accelerator stops with an error (cause and instruction), breaks a rule of AXI, writes
        where it may not, or comes to rest (which thread waits for what).
        """
        image.check_configuration(self.config.fingerprint, f"the RTL of {self.config.name}")
        if memory not in ("reference", "stress"):
            raise InputError(f"memory must be 'reference' or 'stress', not {memory!r}")
        run = _Run(self.library, image, inputs, memory == "stress", seed)
        try:
            if self.profile:
                recording.attach(run.call)
            if errors is not None:
                run.call("errors", *errors)
            return run.execute(registers, progress, limit_cycles)
        finally:
            run.close()


class _Run:
    def __init__(self, library, image, inputs, stress, seed):
        self.library, self.image = library, image
        self.data = self._fill(image, inputs)
        self.handle = library.new()
        self.call("memory", self.data.ctypes.data, self.data.size, BASE)
        for buffer in image.buffers:
            if buffer.kind in ("output", "work", "state"):
                self.call("writable", buffer.offset, buffer.offset + buffer.bytes)
        self.call("configure", int(stress), seed, 64, 16)

    @staticmethod
    def _fill(image, inputs):
        data = np.full(-(-image.memory_bytes // 4096) * 4096, _FILL, np.uint8)
        data[:image.constant.size] = image.constant
        given = image.host_data(inputs)
        for buffer in image.buffers:
            if buffer.kind != "constant":
                data[buffer.offset:buffer.offset + buffer.bytes] = given.get(buffer.name, 0)
        return data

    def call(self, name, *arguments):
        return getattr(self.library, name)(self.handle, *arguments)

    def close(self):
        self.call("delete")

    # Registers.

    def write(self, name, value):
        self.call("write", BY_NAME[name].offset, value & 0xFFFFFFFF)
        self._check()

    def read(self, name):
        value = self.call("read", BY_NAME[name].offset)
        self._check()
        return value

    def field(self, register, name):
        bits = BY_NAME[register].field(name)
        return self.read(register) >> bits.low & ((1 << bits.width) - 1)

    def _check(self):
        message = self.call("message").decode()
        if message:
            raise RunError(f"The RTL broke a rule: {message}; {self._states()}" if "AXI4-Lite" not in message else
                           f"The RTL broke a rule: {message}")

    # The run.

    def execute(self, registers, progress, limit):
        image = self.image
        self.call("reset")
        if self.read("ID") != MAGIC or self.read("FINGERPRINT") != image.config.fingerprint:
            raise RunError(f"The RTL is not that of configuration {image.config.name}: ID 0x{self.read('ID'):08x}, "
                           f"fingerprint 0x{self.read('FINGERPRINT'):08x}, not 0x{image.config.fingerprint:08x}")
        host.set_up(self.write, image, BASE, registers)
        started, begin, cpu_begin = self.call("cycle"), time.perf_counter(), time.thread_time()
        self.write("CONTROL", BY_NAME["CONTROL"].mask("start") | BY_NAME["CONTROL"].mask("irq_enable"))
        self._until_interrupt(progress, limit, started)
        seconds, cpu_seconds = time.perf_counter() - begin, time.thread_time() - cpu_begin
        if not self.field("STATUS", "done"):
            raise host.stopped(self.read, image)
        self._check_guards()
        stats = self._stats(seconds, cpu_seconds, self.call("cycle") - started)
        buffers = {b.name: self.data[b.offset:b.offset + b.bytes].copy() for b in image.buffers if b.kind != "constant"}
        profile = (recording.recorded(self.call, self.library.profile_interval(), stats["cycles"])
                   if hasattr(self.library, "profile_interval") else None)
        return RtlResult({b.name: buffers[b.name] for b in image.buffers if b.kind == "output"}, buffers, self._log(), stats,
                         profile)

    def _until_interrupt(self, progress, limit, started):
        before = None
        while True:
            status = self.call("run", _CHUNK, _IDLE)
            if status == 1:
                return
            self._check()
            cycles = self.call("cycle") - started
            if progress is not None:
                progress(cycles)
            if limit is not None and cycles > limit:
                raise RunError(f"The program did not end within {limit} cycles: {self._states()}")
            if self.call("idle") > _IDLE:
                moved = [self.read(name) for name in host.PROGRESS]
                if moved == before or self.call("idle") > _HUNG:
                    raise host.at_rest(self._peek, self.image)
                before = moved
                # The register reads above are no progress; look again after a while.
                self.call("run", _IDLE, 1 << 62)
            else:
                before = None

    def _peek(self, name):
        """Reads a register past the checks of `read`, which would ask for the threads' states again."""
        return self.call("read", BY_NAME[name].offset)

    def _states(self):
        """Which thread does what."""
        return host.thread_states(self._peek, self.image.source)

    def _check_guards(self):
        """Bytes outside of output and work buffers are as they were (the loop refuses to write them; this proves it)."""
        used = self.image.constant.size
        buffers = sorted((b.offset, b.offset + b.bytes) for b in self.image.buffers)
        for start, stop in [*buffers, (self.data.size, self.data.size)]:
            bad = np.flatnonzero(self.data[used:start] != _FILL)
            if bad.size:
                raise RunError(f"The guard byte at offset 0x{used + bad[0]:x} was overwritten")
            used = max(used, stop)
        if not np.array_equal(self.data[:self.image.constant.size], self.image.constant):
            raise RunError("A constant was overwritten")

    def _stats(self, seconds, cpu_seconds, simulated):
        return {**host.run_figures(self.read, self.image.config.data_bytes), "seconds": seconds, "cpu_seconds": cpu_seconds,
                "sim_khz": simulated / max(cpu_seconds, 1e-9) / 1000}

    def _log(self):
        count, size = self.call("log_size"), self.image.config.data_bytes

        def copied(name, kind, length):
            if not length:
                return np.empty(0, kind)
            pointer = ctypes.cast(self.call(name), ctypes.POINTER(np.ctypeslib.as_ctypes_type(kind)))
            return np.ctypeslib.as_array(pointer, (length,)).copy()

        strobes = copied("log_strobes", np.uint64, 2 * count).view(np.uint8).reshape(count, 16)
        return RtlLog(copied("log_addresses", np.uint64, count).astype(np.int64),
                      copied("log_data", np.uint8, count * size).reshape(count, size),
                      np.unpackbits(strobes, axis=1, bitorder="little")[:, :size].astype(bool))
