"""Driving the whole accelerator in cocotb: registers, memory and a monitor of what is written.

Memory and register master are those of cocotbext-axi, which knows nothing of our design.
"""

import logging

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, First, RisingEdge, Timer
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from weft.hw.control.register_map import BY_NAME, THREADS
from weft.hw.isa import encode_program

__all__ = ["Device", "Accelerator", "BASE"]

#: Where the program's memory begins on the bus.
BASE = 0x10000
_FILL = 0xA5
# Where the zeros for the scratchpad are, behind the instructions that load them.
_ZEROS = 0x1000


class Device:
    """What has the accelerator's ports, with a clock, ``memory_bytes`` of memory from `BASE` on and a register master.

    ``random``: a `random.Random`; with it the memory pauses its channels at random.
    """

    def __init__(self, dut, memory_bytes, random=None):
        self.dut = dut
        dut.rst.value = 1
        Clock(dut.clk, 2, unit="ns").start()
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=BASE + memory_bytes)
        # A line for each burst and register access would hide what a bench reports.
        for part in self.registers.write_if, self.registers.read_if, self.ram.write_if, self.ram.read_if:
            part.log.setLevel(logging.ERROR)
        if random is not None:
            for channel in (self.ram.write_if.aw_channel, self.ram.write_if.w_channel, self.ram.write_if.b_channel,
                            self.ram.read_if.ar_channel, self.ram.read_if.r_channel):
                channel.set_pause_generator(_pauses(random))

    async def reset(self):
        self.dut.rst.value = 1
        for _ in range(4):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        for _ in range(2):
            await RisingEdge(self.dut.clk)

    async def write(self, name, value):
        await self.registers.write_dword(BY_NAME[name].offset, value & 0xFFFFFFFF)

    async def read(self, name):
        return await self.registers.read_dword(BY_NAME[name].offset)

    async def status(self, field):
        """Whether a field of STATUS is set."""
        return bool(await self.read("STATUS") & BY_NAME["STATUS"].mask(field))

    async def command(self, field):
        """Writes a field of CONTROL, with the interrupt enabled."""
        await self.write("CONTROL", BY_NAME["CONTROL"].mask(field) | BY_NAME["CONTROL"].mask("irq_enable"))

    async def start(self, program, registers=()):
        """Starts the instructions at byte ``program`` of the memory, with scalar registers set: {number: value}."""
        await self.write("BASE_LO", BASE)
        await self.write("BASE_HI", 0)
        await self.write("PROGRAM_LO", program)
        await self.write("PROGRAM_HI", 0)
        for number, value in dict(registers).items():
            await self.write(f"R{number}", value)
        await self.write("STATUS", BY_NAME["STATUS"].mask("irq"))
        await self.command("start")

    async def finish(self, limit_cycles=200_000):
        """Waits for the interrupt. Raises AssertionError with what every thread does when it does not come."""
        if self.dut.irq.value != 1:
            await First(RisingEdge(self.dut.irq), Timer(2 * limit_cycles, unit="ns"))
        assert self.dut.irq.value == 1, f"not ended after {limit_cycles} cycles: {await self.state()}"

    async def state(self):
        """Text: status, cause and what each thread does."""
        states = {t: hex(await self.read(f"{t.upper()}_STATE")) for t in THREADS}
        pcs = {t: await self.read(f"{t.upper()}_PC") for t in THREADS}
        return (f"status {await self.read('STATUS'):#x}, cause {await self.read('CAUSE')} at instruction "
                f"{await self.read('ERROR_PC')}, states {states}, instructions {pcs}")


class Accelerator(Device):
    """The whole accelerator, for program images. ``written``: bytes written so far, (bus address, value)."""

    def __init__(self, dut, memory_bytes, random=None):
        super().__init__(dut, max(memory_bytes, _ZEROS + (1 << 15)), random)
        self.written = []
        cocotb.start_soon(self._monitor())

    async def _monitor(self):
        """Write beats in the order of the data channel; addresses come in the same order on theirs."""
        dut, size = self.dut, len(self.dut.m_axi_wstrb)
        bursts, beats = [], []
        address = None
        while True:
            # Settled values of the cycle that the next edge ends.
            await FallingEdge(dut.clk)
            if dut.rst.value == 1:
                continue
            if dut.m_axi_awvalid.value == 1 and dut.m_axi_awready.value == 1:
                bursts.append((int(dut.m_axi_awaddr.value), int(dut.m_axi_awlen.value) + 1))
            if dut.m_axi_wvalid.value == 1 and dut.m_axi_wready.value == 1:
                beats.append((int(dut.m_axi_wdata.value), int(dut.m_axi_wstrb.value)))
            while beats and (bursts or address is not None):
                if address is None:
                    address, left = bursts.pop(0)
                data, strobe = beats.pop(0)
                raw = data.to_bytes(size, "little")
                self.written += [(address + n, raw[n]) for n in range(size) if strobe >> n & 1]
                address, left = (address + size, left - 1) if left > 1 else (None, 0)

    async def _clear(self, config):
        """Fills the scratchpad with zeros."""
        words = min(256, config.scratchpad_words)
        load = dict(dram_addr=_ZEROS, run_words=words, inner_count=config.scratchpad_words // words,
                    inner_spm_stride=words, outer_count=1)
        self.ram.write(BASE, bytes(encode_program([("LOAD", load), ("END", {})])))
        self.ram.write(BASE + _ZEROS, bytes(words * config.word_bytes))
        await self.start(0)
        await self.finish()

    async def run(self, image, inputs, limit_cycles=200_000):
        """Runs a program image; returns its memory as uint8[memory_bytes] once the interrupt comes.

        Raises AssertionError when the accelerator reports an error or does not end.
        """
        if image.config.panel < image.config.word_bytes:
            # Bytes of a word beyond the panel are stored as they are; the golden model has zeros there.
            await self._clear(image.config)
        data = np.full(image.memory_bytes, _FILL, np.uint8)
        data[:image.constant.size] = image.constant
        for buffer in image.buffers:
            if buffer.kind != "constant":
                data[buffer.offset:buffer.offset + buffer.bytes] = inputs[buffer.name] if buffer.kind == "input" else 0
        self.ram.write(BASE, data.tobytes())
        self.written.clear()
        await self.start(image.code_offset, image.registers)
        await self.finish(limit_cycles)
        assert await self.status("done"), f"not done: {await self.state()}"
        return np.frombuffer(self.ram.read(BASE, image.memory_bytes), np.uint8)

    def check(self, image, golden, memory):
        """Asserts that memory and order of writes equal a `weft.sim.golden.GoldenResult`, and nothing else changed.

        Returns how many bytes were compared.
        """
        log = golden.store_log
        wanted = (log.addresses[:, None] + np.arange(log.data.shape[-1])).reshape(-1) + BASE
        assert [a for a, _ in self.written] == wanted.tolist(), "bytes are written at other addresses, or in another order"
        assert [v for _, v in self.written] == log.data.reshape(-1).tolist(), "other bytes are written"
        unused = np.ones(image.memory_bytes, bool)
        unused[:image.constant.size] = False
        assert np.array_equal(memory[:image.constant.size], image.constant), "constants changed"
        for buffer in image.buffers:
            if buffer.kind != "constant":
                part = slice(buffer.offset, buffer.offset + buffer.bytes)
                unused[part] = False
                assert np.array_equal(memory[part], golden.buffers[buffer.name]), f"buffer {buffer.name} differs"
        assert (memory[unused] == _FILL).all(), "guard bytes changed"
        return wanted.size


def _pauses(random):
    """Whether to pause, cycle by cycle: stretches of mostly busy and mostly idle."""
    while True:
        chance = 0.8 * random.random()
        for _ in range(random.randint(1, 60)):
            yield random.random() < chance
