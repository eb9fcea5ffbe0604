"""A board that runs programs: `weft.Board`."""

import time
from dataclasses import dataclass

import numpy as np

from weft.board.link import BoardLink
from weft.board.port import SerialPort
from weft.hw import isa
from weft.hw.boards.protocol import BAUD, MEMORY_BASE, Space
from weft.hw.control import host
from weft.hw.control.register_map import BY_NAME, MAGIC, REGISTER_MAP
from weft.hw.errors import InputError, RunError

__all__ = ["Board", "BoardResult"]

#: Seconds in which no thread moves that end a run.
_HUNG_SECONDS = 1.0
#: Seconds for an accelerator to end its bursts after an abort.
_SETTLE_SECONDS = 0.5


@dataclass(frozen=True)
class BoardResult:
    """``outputs``: uint8[bytes] by output buffer; ``buffers``: the same of outputs and states; ``stats``: cycles,
    dram_read_bytes, dram_write_bytes, engines ``{thread: {state: cycles}}``, seconds, cpu_seconds (None: nothing was
    simulated). ``recording`` is None, as of a machine that does not profile."""
    outputs: dict
    buffers: dict
    stats: dict
    recording: None = None


class Board:
    """An FPGA board built by ``weft build``, as a backend: ``program.run(..., backend=board)``.

    ``port``: name of its serial port, ``/dev/ttyUSB0`` or ``COM3``, or an object with the members of
    `weft.board.port.SerialPort`; ``baud``: as the board was built. ``memory_bytes``, ``clock_hz``: of the board.

    A run loads the program's constants unless the run before had the same. Raises InputError for a port that cannot be
    opened, RunError where no Weft board answers; every wait is bounded, by a second where the board is silent or gone.
    """

    def __init__(self, port, baud=BAUD):
        self._port = SerialPort(port, baud) if isinstance(port, str) else port
        self._loaded = None
        try:
            self.link = BoardLink(self._port)
            identity, self.isa_version, self.fingerprint = self.link.read_words(BY_NAME["ID"].offset, 3)
            if identity != MAGIC:
                raise RunError(f"the accelerator of the board on {self.name} says ID 0x{identity:08x}, not 0x{MAGIC:08x}")
        except BaseException:
            self._port.close()
            raise
        self.memory_bytes, self.clock_hz = self.link.memory_bytes, self.link.clock_hz

    def close(self):
        """Gives the port back."""
        self._port.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    @property
    def name(self):
        """The port's name."""
        return self._port.name

    # Registers.

    def read(self, name):
        """Value of a register, named as in the table of ``hw/README.md``."""
        return self.link.read_words(BY_NAME[name].offset, 1)[0]

    def write(self, name, value):
        """Writes a register."""
        self.link.write_word(BY_NAME[name].offset, value)

    # Programs.

    def run(self, image, inputs, memory="reference", seed=0, registers=None, progress=None):
        """Runs one program: arguments and result as of `weft.sim.rtl.RtlMachine.run`, but that ``memory`` and ``seed`` say
        nothing to a board.

        Raises InputError for a program that is for another configuration or larger than the board's memory, RunError
        when the accelerator stops with an error or comes to rest, and when the board is not there any more.
        """
        self._check(image)
        try:
            return self._run(image, inputs, registers, progress)
        except BaseException:
            self._loaded = None
            raise

    def _check(self, image):
        if self.isa_version != isa.VERSION:
            raise InputError(f"the board on {self.name} has instruction set {self.isa_version}, this Weft has {isa.VERSION}")
        image.check_configuration(self.fingerprint, f"the board on {self.name}")
        if image.memory_bytes > self.memory_bytes:
            raise InputError(f"the program takes {image.memory_bytes:,} bytes of memory, the board on {self.name} has "
                             f"{self.memory_bytes:,}")

    def _run(self, image, inputs, registers, progress):
        began = time.perf_counter()
        self._settle()
        self._load(image)
        for name, value in image.host_data(inputs).items():
            self.link.write(Space.MEMORY, image.buffer(name).offset, value.tobytes())
        host.set_up(self.write, image, MEMORY_BASE, registers)
        self.write("CONTROL", BY_NAME["CONTROL"].mask("start"))
        self._wait(image, progress)
        buffers = {b.name: np.frombuffer(self.link.read(Space.MEMORY, b.offset, b.bytes), np.uint8)
                   for b in image.buffers if b.kind in ("output", "state")}
        values = self._registers()
        stats = {**host.run_figures(values.__getitem__, image.config.data_bytes), "seconds": time.perf_counter() - began,
                 "cpu_seconds": None}
        return BoardResult({b.name: buffers[b.name] for b in image.buffers if b.kind == "output"}, buffers, stats)

    def _settle(self):
        """Ends what a host before us may have left running."""
        busy, given_up = BY_NAME["STATUS"].mask("busy"), self._port.now() + _SETTLE_SECONDS
        while self.read("STATUS") & busy:
            if self._port.now() > given_up:
                raise RunError(f"the accelerator of the board on {self.name} does not stop what it was doing")
            self.write("CONTROL", BY_NAME["CONTROL"].mask("abort"))

    def _load(self, image):
        """Copies the constants, unless they are those of the run before and the board was not reset in between, which
        clears its registers."""
        if self._loaded is image.constant and self.read("BASE_LO") == MEMORY_BASE & 0xFFFFFFFF:
            return
        self._loaded = None
        self.link.write(Space.MEMORY, 0, image.constant.tobytes())
        self._loaded = image.constant

    def _registers(self):
        """Every register by its name."""
        count = REGISTER_MAP[-1].offset // 4 + 1
        words = self.link.read_words(0, count)
        return {register.name: words[register.offset // 4] for register in REGISTER_MAP}

    def _wait(self, image, progress):
        """Until the run has ended."""
        status = BY_NAME["STATUS"]
        before, looked = None, self._port.now()
        while True:
            values = self._registers()
            if values["STATUS"] & status.mask("done"):
                return
            if values["STATUS"] & status.mask("error"):
                raise host.stopped(values.__getitem__, image)
            if not values["STATUS"] & status.mask("busy"):
                raise RunError(f"the board on {self.name} was reset during the run")
            if progress is not None:
                progress(values["CYCLES_LO"] | values["CYCLES_HI"] << 32)
            moved = [values[name] for name in host.PROGRESS]
            if moved != before:
                before, looked = moved, self._port.now()
            elif self._port.now() - looked > _HUNG_SECONDS:
                self.write("CONTROL", BY_NAME["CONTROL"].mask("abort"))
                raise host.at_rest(values.__getitem__, image)
