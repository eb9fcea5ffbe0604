"""The driver in C, compiled as for a bare-metal host, runs exported programs on the Verilated accelerator."""

import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

from weft import export
from weft.hw import driver, isa
from weft.hw.control.register_map import REGISTER_MAP
from weft.lower.host import unpack_output

HERE = Path(__file__).parent
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-pedantic", "-O1"]
#: Codes by their names, as the header has them.
CODE = {name: int(value) for name, value in re.findall(r"WEFT_(\w+) = (-?\d+)", driver.driver_files()["weft.h"])}
CODE = {name: value for name, value in CODE.items() if value < 0 or name in ("OK", "BUSY")}


def compiler():
    found = shutil.which("gcc")
    if found is None:
        pytest.skip("gcc is not installed")
    return found


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A function that runs the host's commands: lists of words, one for each command, and the bus's complaints."""
    from weft.hw.config import Config
    from weft.sim.rtl import RtlMachine

    gcc, folder = compiler(), tmp_path_factory.mktemp("host")
    for name, text in driver.driver_files().items():
        (folder / name).write_text(text)
    subprocess.run([gcc, *FLAGS, "-ffreestanding", "-c", "weft.c"], cwd=folder, check=True)
    symbols = subprocess.run(["nm", "-u", "weft.o"], cwd=folder, check=True, capture_output=True, text=True).stdout
    assert set(symbols.split()) - {"U"} <= {"memcpy", "memset"}
    library = RtlMachine(Config.named("tiny")).library.path
    subprocess.run([gcc, "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{folder}", HERE / "host.c", "weft.o", library, "-o",
                    "host"], cwd=folder, check=True)

    def run(image, *commands, memory_bytes=None):
        image_path = folder / "program.bin"
        image_path.write_bytes(image)
        words = [str(word) for command in commands for word in (command if isinstance(command, tuple) else (command,))]
        memory_bytes = struct.unpack_from("<Q", image, 40)[0] if memory_bytes is None else memory_bytes
        done = subprocess.run([folder / "host", image_path, str(memory_bytes), *words], capture_output=True, text=True,
                              check=True)
        *lines, message = done.stdout.split("\n")[:-1]
        assert message == ""
        return [line.split() for line in lines]

    return run


@pytest.fixture(scope="module")
def bert(text_model_folder):
    """A text model with a mask, compiled, and arguments for it."""
    from weft.text import compile_folder, encode
    from weft.hw.config import Config

    program = compile_folder(text_model_folder("bert"), 9, Config.named("tiny"))
    return program, encode(program, "a boat crosses the bay")


def sealed(image, place, value):
    """The image with a 32-bit field of the header replaced and the tables' checksum made to fit."""
    data = bytearray(image)
    struct.pack_into("<I", data, place, value)
    (constants,) = struct.unpack_from("<I", data, 24)
    struct.pack_into("<I", data, 12, zlib.crc32(data[16:constants]))
    return bytes(data)


def statuses(lines):
    return [int(line[-1]) for line in lines]


def as_given(tensor, values):
    """The host's elements of an input as bytes."""
    return np.asarray(values).astype({"ids": "<i4", "mask": np.uint8}.get(tensor.kind, tensor.dtype)).tobytes()


def inputs_of(program, arguments, folder):
    """Commands that pack every input, and the golden model's bytes of the buffers."""
    values, _ = program.host.prepare(*arguments)
    commands = []
    for number, tensor in enumerate(program.tensors):
        (folder / f"in{number}").write_bytes(as_given(tensor, values[tensor.name]))
        commands.append(("pack", number, tensor.rows, folder / f"in{number}"))
    return commands, program._pack(*arguments)[0]


def test_a_model_runs_and_gives_the_golden_bytes(host, bert, tmp_path):
    program, arguments = bert
    image = export.export_bytes(program)
    packing, inputs = inputs_of(program, arguments, tmp_path)
    assert {t.kind for t in program.tensors} == {"ids", "mask"}
    golden = program._golden_machine().run(inputs)
    numbers = range(len(program.tensors), len(program.tensors) + len(program.results))
    reading = [word for place, (number, tensor) in enumerate(zip(numbers, program.results, strict=True))
               for word in (("find", 0, 1, place), ("unpack", number, tensor.rows, tmp_path / f"out{place}"))]
    for way in (("start", 0, 0), ("interrupt", 0, 0)):
        commands = ["open", "check", "load", *packing, way, ("wait", 1_000_000), "cycles", ("memory", tmp_path / "memory"),
                    *reading]
        lines = host(image, *commands)
        assert not any(statuses(lines))
        memory = np.fromfile(tmp_path / "memory", np.uint8)
        for buffer in program.image.buffers:
            if buffer.kind in ("input", "output"):
                wanted = (inputs if buffer.kind == "input" else golden.outputs)[buffer.name]
                np.testing.assert_array_equal(memory[buffer.offset:buffer.offset + buffer.bytes], wanted)
        assert np.array_equal(memory[:program.image.constant.size], program.image.constant)
        cycles, cleaned, invalidated, _ = map(int, lines[commands.index("cycles")])
        assert 1000 < cycles < 1_000_000 and invalidated == 0
        assert cleaned == program.image.constant.size + sum(t.bytes for t in program.tensors)
        if way[0] == "interrupt":
            assert lines[commands.index(way)][:2] == ["1", "0"]         # raised by the end, and taken back
        for place, (number, tensor) in enumerate(zip(numbers, program.results, strict=True)):
            values = np.fromfile(tmp_path / f"out{place}", tensor.dtype).reshape(tensor.rows, tensor.features)
            np.testing.assert_array_equal(values, unpack_output(program.config, tensor, golden.outputs[tensor.name]))
            found, name, rows, features, zero, scale, _ = lines[commands.index(reading[2 * place])]
            assert (int(found), name, int(rows), int(features)) == (number, tensor.name, tensor.rows, tensor.features)
            (output,) = (o for o in program.host.outputs if o["tensor"] == tensor.name)
            assert int(zero) == output["zero"]
            scales = np.asarray(program.host.arrays[output["scale"]], np.float32).reshape(-1)
            assert struct.unpack("<f", bytes.fromhex(scale)[::-1])[0] == scales[-1]


def test_every_kind_of_tensor_is_packed_as_by_the_compiler(host, bert, tmp_path):
    """Layouts that this model has none of, in tables of their own: what is packed is what `pack_input` makes of it, and
    reads back as it was."""
    from dataclasses import replace

    from weft.lower.host import pack_input
    from weft.lower.lowering import HostTensor

    program, _ = bert
    config, rng = program.config, np.random.default_rng(0)
    shapes = [("rows", "int8", 5, 22, 7, 22, False), ("rows", "uint8", 3, 18, 3, 6, False), ("rows", "int16", 5, 22, 6, 11, True),
              ("rows", "int16", 4, 9, 8, 9, False), ("ids", "int32", 11, 1, 12, 1, False), ("mask", "bool", 3, 21, 4, 21, False)]
    tensors, offset = [], program.image.constant.size + -program.image.constant.size % 64
    values = []
    for number, (kind, dtype, rows, features, stored, block, row_major) in enumerate(shapes):
        tensor = HostTensor(f"t{number}", kind, dtype, rows, features, stored, block, row_major, offset, 0, "input",
                            4 if kind == "ids" else 0, 32 if kind == "ids" else 0)
        low, high = {"int8": (-128, 127), "uint8": (0, 255), "bool": (0, 1)}.get(dtype, (-32768, 32767))
        values.append(rng.integers(low, high + 1, (rows, features)))
        tensor = replace(tensor, bytes=96) if kind == "ids" else replace(
            tensor, bytes=len(pack_input(config, tensor, values[-1])))
        tensors.append(tensor)
        offset += tensor.bytes + 64
    image = export.export_bytes(replace(program, tensors=tensors, results=[], image=replace(
        program.image, memory_bytes=offset)))
    commands = []
    for number, (tensor, value) in enumerate(zip(tensors, values, strict=True)):
        (tmp_path / f"in{number}").write_bytes(as_given(tensor, value))
        commands.append(("pack", number, tensor.rows, tmp_path / f"in{number}"))
        if tensor.kind == "rows":
            commands.append(("unpack", number, tensor.rows - 1, tmp_path / f"out{number}"))
    assert not any(statuses(host(image, "open", "load", *commands, ("memory", tmp_path / "memory"))))
    memory = np.fromfile(tmp_path / "memory", np.uint8)
    for number, (tensor, value) in enumerate(zip(tensors, values, strict=True)):
        np.testing.assert_array_equal(memory[tensor.offset:tensor.offset + tensor.bytes], pack_input(config, tensor, value))
        assert (memory[tensor.offset + tensor.bytes:][:64] == 0xA5).all()
        if tensor.kind == "rows":
            assert (tmp_path / f"out{number}").read_bytes() == as_given(tensor, value[:-1])


def test_a_decoder_continues(host, text_model_folder, tmp_path):
    from weft.hw.config import Config
    from weft.text import compile_decoder_folder

    program = compile_decoder_folder(text_model_folder("gpt2"), 24, Config.named("tiny"))
    prefill, decode = program.steps["prefill"], program.steps["decode"]
    assert [t["program"] for t in export.exported_tensors(program)] == ["prefill", "prefill", "decode", "decode"]
    texts = [[2, 4, 5, 6, 7], [2, 8, 5]]
    commands, wanted = ["open", "load"], []
    for turn, ids in enumerate(texts):
        (tmp_path / f"prompt{turn}").write_bytes(np.array(ids[:-1], "<i4").tobytes())
        (tmp_path / f"last{turn}").write_bytes(np.array(ids[-1:], "<i4").tobytes())
        commands += ["clear", ("pack", 0, len(ids) - 1, tmp_path / f"prompt{turn}"), ("start", 0, 0), ("wait", 1_000_000),
                     ("unpack", 1, len(ids) - 1, tmp_path / f"first{turn}"), ("pack", 2, 1, tmp_path / f"last{turn}"),
                     ("start", 1, len(ids) - 1), ("wait", 1_000_000), ("unpack", 3, 1, tmp_path / f"second{turn}")]
        session = program.session("golden")
        wanted.append((session.step(ids[:-1]), session.step(ids[-1:])))
    commands += [("memory", tmp_path / "used"), "clear", ("memory", tmp_path / "cleared")]
    assert not any(statuses(host(export.export_bytes(program), *commands)))
    assert decode.rows == 1
    used, cleared = (np.fromfile(tmp_path / name, np.uint8) for name in ("used", "cleared"))
    states = [slice(b.offset, b.offset + b.bytes) for b in decode.image.buffers if b.kind == "state"]
    assert states and all(used[s].any() and not cleared[s].any() for s in states)
    for turn, (first, second) in enumerate(wanted):
        for name, floats, tensor in ((f"first{turn}", first, prefill.logits), (f"second{turn}", second, decode.logits)):
            integers = np.fromfile(tmp_path / name, tensor.dtype).reshape(-1, tensor.features).astype(np.int64)
            np.testing.assert_array_equal(((integers - program.zero) * program.scale).astype(np.float32), floats)


def test_files_that_are_refused(host, bert):
    image = export.export_bytes(bert[0])
    (constants,) = struct.unpack_from("<I", image, 24)

    whole = bert[0].image.memory_bytes

    def opened(data, *commands, memory_bytes=whole):
        return statuses(host(data, "open", *commands, memory_bytes=memory_bytes))

    assert opened(b"WEFT") == opened(image[:79]) == opened(image[:-1]) == opened(image[:constants - 1]) == [CODE["TRUNCATED"]]
    assert opened(b"something else that is longer than a header, which has eighty bytes in its first version.....") == [
        CODE["NOT_A_PROGRAM"]]
    damaged = bytearray(image)
    damaged[120] ^= 1
    assert opened(bytes(damaged)) == [CODE["NOT_A_PROGRAM"]]
    assert opened(sealed(image, 8, 2)) == [CODE["OTHER_FORMAT"]]
    assert opened(sealed(image, 48, 1 << 30)) == [CODE["NOT_A_PROGRAM"]]
    damaged = bytearray(image)
    damaged[-1] ^= 1
    assert opened(bytes(damaged), "check") == [0, CODE["DAMAGED"]]
    assert opened(sealed(image, 16, isa.VERSION + 1), "load") == [0, CODE["OTHER_VERSION"]]
    assert opened(sealed(image, 20, 1), "load") == [0, CODE["OTHER_DEVICE"]]
    assert opened(image, "load", memory_bytes=whole - 1) == [0, CODE["BAD_MEMORY"]]
    assert opened(image, "shift", "load") == [0, 0, CODE["BAD_MEMORY"]]


def test_runs_that_fail(host, bert, tmp_path):
    program, arguments = bert
    image, code = export.export_bytes(program), program.image.code_offset
    packing, _ = inputs_of(program, arguments, tmp_path)
    victim = program.image.instructions // 2
    lines = host(image, "open", "load", *packing, ("start", 0, 0), ("wait", 3), ("start", 0, 0), ("abort", 1000), "fault",
                 ("start", 0, 0), ("wait", 1_000_000), "fault", ("poke", code + 32 * victim, 0xFF), ("start", 0, 0),
                 ("wait", 1_000_000), "fault", ("start", 1, 0), ("pack", 0, program.tensors[0].rows + 1, tmp_path / "in0"),
                 ("pack", len(program.tensors), 1, tmp_path / "in0"), ("unpack", 0, 1, tmp_path / "out"),
                 ("find", 0, 1, len(program.results)))
    lines = lines[2 + len(packing):]
    bad = CODE["BAD_ARGUMENT"]
    assert statuses(lines) == [0, CODE["TIMEOUT"], CODE["BUSY"], 0, 0, 0, 0, 0, 0, 0, CODE["STOPPED"], 0, bad, bad, bad, bad,
                               bad]
    cause, number, address, _ = map(int, lines[4])
    assert cause == isa.ErrorCause.ABORTED and address == code + 32 * number
    assert int(lines[7][0]) == isa.ErrorCause.NONE
    assert list(map(int, lines[11])) == [isa.ErrorCause.ILLEGAL_INSTRUCTION, victim, code + 32 * victim, 0]


def test_registers_header_has_every_register_and_field(tmp_path):
    text = driver.registers_header()
    defined = dict(re.findall(r"^#define WEFT_(\w+) +(\w+)", text, re.M))
    assert len(defined) == text.count("#define") - 1        # none twice; the guard has no value
    for register in REGISTER_MAP:
        assert int(defined[register.name].rstrip("u"), 16) == register.offset
        for bits in register.bits:
            assert int(defined[f"{register.name}_{bits.name.upper()}"].rstrip("u"), 16) == register.mask(bits.name)
    for cause in isa.ErrorCause:
        assert defined[f"CAUSE_{cause.name}"] == f"{cause.value}u"


def test_versions_of_the_layout_agree():
    assert f"#define WEFT_IMAGE_FORMAT {export.FORMAT}u" in driver.driver_files()["weft.h"]
