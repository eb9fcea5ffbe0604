"""A program as a bare-metal host reads it: ``program.bin``, a few tables and the memory's constants (``hw/README.md``,
"Exported programs"), beside the driver in C (`weft.hw.driver`) that loads and runs it.

Everything is little endian. The tables hold what the program file's JSON says of memory, inputs and outputs; what the
host computes around the accelerator (positions and masks from inputs, which rows of a result are asked for) is not in it.
"""

import struct
import zlib
from pathlib import Path

import numpy as np

from weft.files import check_writable, whole_file
from weft.hw import isa
from weft.hw.driver import driver_files
from weft.lower.positions import POSITION

__all__ = ["FORMAT", "IMAGE_NAME", "export_bytes", "export_program", "exported_tensors"]

#: Version of the layout; the driver's WEFT_IMAGE_FORMAT.
FORMAT = 1
#: Name of the file.
IMAGE_NAME = "program.bin"

_MAGIC = b"WEFTPROG"
_HEADER = struct.Struct("<8s2I 4I2Q 7I4x")      # magic, format and checksum; the program; the tables
_CHECKED_FROM = 16                              # the checksum is over the bytes from here to the constants
_PROGRAM = struct.Struct("<Q3I4x16I")
_TENSOR = struct.Struct("<12I2Qi2I4x")
_STATE = struct.Struct("<2Q")
_CONSTANT_ALIGNMENT = 64
_TYPES = {"int8": 0, "uint8": 1, "int16": 2, "int32": 3, "bool": 4}
_KINDS = {"rows": 0, "ids": 1, "mask": 2}
_ROLES = ("input", "output")


def _type(tensor):
    return {"rows": tensor.dtype, "ids": "int32", "mask": "bool"}[tensor.kind]


def _parts(program):
    """``[(name, image, inputs, outputs)]`` of a program or decoder; inputs and outputs ``(tensor, scales, zero)``."""
    if hasattr(program, "steps"):
        return [(name, step.image, [(step.ids, (), 0)], [(step.logits, program.scale, program.zero)])
                for name, step in program.steps.items()]
    quantized = {b["tensor"]: (b["scale"], b["zero"]) for b in program.host.bindings if "scale" in b}
    results = {o["tensor"]: (program.host.arrays[o["scale"]], o["zero"]) for o in program.host.outputs if "tensor" in o}
    return [("model", program.image, [(t, *quantized.get(t.name, ((), 0))) for t in program.tensors],
             [(t, *results.get(t.name, ((), 0))) for t in program.results])]


def exported_tensors(program):
    """What a host writes and reads, in the order of the driver's tensor numbers: dicts of program, role, name, kind,
    type, rows, features."""
    return [{"program": name, "role": role, "name": tensor.name, "kind": tensor.kind, "type": _type(tensor),
             "rows": tensor.rows, "features": tensor.features}
            for name, _, *both in _parts(program) for role, tensors in zip(_ROLES, both) for tensor, *_ in tensors]


class _Tail:
    """Names and scales behind the tables."""

    def __init__(self, start):
        self.start, self.data = start, bytearray()

    def add(self, data):
        """Appends bytes at a multiple of 4; returns their offset in the file."""
        self.data += bytes(-len(self.data) % 4)
        place = self.start + len(self.data)
        self.data += data
        return place

    def name(self, text):
        return self.add(text.encode() + b"\0")

    def scales(self, values):
        """``(how many, offset)`` of float32 scales."""
        values = np.asarray(values, "<f4").reshape(-1)
        return values.size, self.add(values.tobytes())


def _tensor(tail, number, role, tensor, scales, zero):
    count, place = tail.scales(scales)
    return _TENSOR.pack(tail.name(tensor.name), number, role, _KINDS[tensor.kind], _TYPES[_type(tensor)], tensor.rows,
                        tensor.features, tensor.stored_rows, tensor.block, int(tensor.row_major), tensor.chunk,
                        tensor.chunk_bytes, tensor.offset, tensor.bytes, int(zero), count, place)


def export_bytes(program):
    """Bytes of ``program.bin`` of a `weft.Program` or `weft.DecoderProgram`."""
    parts, config = _parts(program), program.config
    decoder = hasattr(program, "steps")
    states = sorted({(b.offset, b.bytes) for _, image, *_ in parts for b in image.buffers if b.kind == "state"})
    count = sum(len(inputs) + len(outputs) for _, _, inputs, outputs in parts)
    tail = _Tail(_HEADER.size + len(parts) * _PROGRAM.size + count * _TENSOR.size + len(states) * _STATE.size)
    programs, tensors = [], []
    for number, (name, image, *both) in enumerate(parts):
        registers = [int(image.registers.get(n, 0)) & 0xFFFFFFFF for n in range(isa.REGISTERS)]
        programs.append(_PROGRAM.pack(image.code_offset, image.instructions, POSITION if decoder else 0, tail.name(name),
                                      *registers))
        for role, found in enumerate(both):
            tensors += [_tensor(tail, number, role, *one) for one in found]
    tables = b"".join([*programs, *tensors, *(_STATE.pack(*state) for state in states), tail.data])
    tables += bytes(-(_HEADER.size + len(tables)) % _CONSTANT_ALIGNMENT)
    constant = parts[0][1].constant.tobytes()
    memory_bytes = max(image.memory_bytes for _, image, *_ in parts)

    def header(checksum):
        return _HEADER.pack(_MAGIC, FORMAT, checksum, isa.VERSION, config.fingerprint, _HEADER.size + len(tables),
                            zlib.crc32(constant), len(constant), memory_bytes, len(parts), count, len(states),
                            config.panel, config.word_bytes, config.cols, config.mask_slot_bits)

    return header(zlib.crc32(header(0)[_CHECKED_FROM:] + tables)) + tables + constant


def export_program(program, folder):
    """Writes ``program.bin`` and the driver's sources into a folder, which is made if need be; returns their paths.

    Raises InputError where they cannot be written.
    """
    folder = Path(folder)
    contents = {IMAGE_NAME: export_bytes(program), **{n: t.encode() for n, t in driver_files().items()}}
    paths = [check_writable(folder / name) for name in contents]
    for path, data in zip(paths, contents.values(), strict=True):
        with whole_file(path) as part:
            part.write_bytes(data)
    return paths
