"""`weft.Board` and the hardware at the other end of its line, which is simulated bit by bit."""

import os
import threading
import time

import numpy as np
import pytest
from spoiled_lines import Spoiled, unlucky

import weft
from weft.board.link import BoardLink
from weft.hw.boards import protocol
from weft.hw.boards.protocol import Space, Status
from weft.hw.config import Config
from weft.hw.control.register_map import BY_NAME
from weft.hw.errors import InputError, RunError
from weft.hw.isa import ErrorCause, encode_program

KIB = 1024
CONFIG = Config.named("tiny")


def exchange(port, body, frame=None):
    """The board's answer to a request, its frame as it is or another; None where none comes."""
    port.write(frame or protocol.encode(body))
    heard, end = b"", port.now() + 0.1
    while heard.count(b"\xc0") < 2 and port.now() < end:
        heard += port.read(4096, 0.02)
    return protocol.decode(heard.strip(b"\xc0")) if heard else None


def test_a_program_gives_the_golden_outputs(make_port, program):
    compiled, args, golden = program
    with weft.Board(make_port()) as board:
        assert (board.memory_bytes, board.clock_hz, board.fingerprint) == (256 * KIB, 400_000, CONFIG.fingerprint)
        for _ in range(2):          # the second time the constants are there
            before = board._port.cycles
            result = compiled.run(args, backend=board)
            for mine, wanted in zip(result.outputs, golden, strict=True):
                np.testing.assert_array_equal(mine, wanted)
            spent = board._port.cycles - before
        assert result.stats.cycles > 100 and result.stats.dram_read_bytes > compiled.image.instructions * 32
        assert spent < compiled.image.constant.size * 10 * 4        # loading takes this alone
        # A reset in between clears the registers, and what the memory holds counts for nothing.
        board.write("BASE_LO", 0)
        board.link.write(Space.MEMORY, compiled.image.code_offset, bytes(32))
        for mine, wanted in zip(compiled.run(args, backend=board).outputs, golden, strict=True):
            np.testing.assert_array_equal(mine, wanted)
        assert board.link.resent == 0


def test_memory_and_registers(make_port):
    link, rng = BoardLink(make_port()), np.random.default_rng(1)
    memory = {}
    for _ in range(12):
        start, count = int(rng.integers(0, 256 * KIB - 3000)), int(rng.integers(1, 3000))
        # Bytes that must be escaped come often.
        data = rng.choice(np.array([0xC0, 0xDB, 0xDC, 0xDD, 0, 7], np.uint8), count).tobytes()
        link.write(Space.MEMORY, start, data)
        memory |= dict(zip(range(start, start + count), data, strict=True))
    for start in sorted(memory)[::2500]:
        assert link.read(Space.MEMORY, start, 40) == bytes(memory.get(n, 0) for n in range(start, start + 40)) or any(
            n not in memory for n in range(start, start + 40))
    assert all(link.read(Space.MEMORY, n, 1)[0] == memory[n] for n in list(memory)[::3001])
    link.write(Space.REGISTERS, BY_NAME["R1"].offset, b"".join(n.to_bytes(4, "little") for n in (5, 1 << 31, 7)))
    assert link.read_words(BY_NAME["R1"].offset, 3) == (5, 1 << 31, 7)
    assert link.read(Space.MEMORY, 256 * KIB - 1, 1) is not None
    for space, address, count in ((Space.MEMORY, 256 * KIB - 1, 2), (Space.MEMORY, 1 << 32 - 1, 4), (Space.REGISTERS, 2, 4),
                                  (Space.REGISTERS, 0, 6), (Space.REGISTERS, 4096, 4), (Space.IDENTITY, 8, 12)):
        with pytest.raises(RunError, match="refuses"):
            link.read(space, address, count)
    with pytest.raises(RunError, match="refuses"):
        link.write(Space.IDENTITY, 0, bytes(4))


def test_a_damaged_request_changes_nothing_and_a_repeated_one_is_executed_once(make_port):
    port = make_port()
    BoardLink(port).write(Space.MEMORY, 0, bytes(8))

    def stored():
        return exchange(port, protocol.request(9, Space.MEMORY, 0, 4))[2:]

    body = protocol.request(7, Space.MEMORY, 0, 4, b"\x01\x02\x03\x04")
    frame = protocol.encode(body)
    for place in range(1, len(frame) - 1):
        for bit in range(8):
            spoilt = bytearray(frame)
            spoilt[place] ^= 1 << bit
            answer = exchange(port, None, bytes(spoilt))
            assert answer is None or answer[1] == Status.CORRUPTED
            port.read(4096, 0.01)
        assert place % 6 or stored() == bytes(4)
    assert exchange(port, None, frame[:8] + frame[9:])[1] == Status.CORRUPTED         # a byte is missing
    # Of the wrong length, but not damaged.
    assert exchange(port, body + b"\0")[1] == exchange(port, body[:-1])[1] == Status.REFUSED
    assert exchange(port, protocol.request(7, Space.MEMORY, 0, 1025))[1] == Status.REFUSED
    assert stored() == bytes(4)

    assert exchange(port, body) == bytes([7, Status.OK]) and stored() == b"\x01\x02\x03\x04"
    assert exchange(port, body) == bytes([7, Status.OK])                               # after a read: a new request
    again = protocol.request(7, Space.MEMORY, 0, 4, b"\x05\x06\x07\x08")
    assert exchange(port, again) == bytes([7, Status.OK]) and stored() == b"\x01\x02\x03\x04"
    assert exchange(port, again) == bytes([7, Status.OK]) and stored() == b"\x05\x06\x07\x08"


@pytest.mark.parametrize("direction", ["sent", "received", "both"])
def test_spoilt_bytes_are_sent_again_and_never_taken_as_data(make_port, program, direction):
    compiled, args, golden = program
    ways = ["flip", "drop", "double", "end"]
    port = Spoiled(make_port())
    board = weft.Board(port)
    for attribute, seed, chance in (("spoil_sent", 1, 1 / 400), ("spoil_received", 2, 1 / 250)):
        if direction in attribute or direction == "both":
            setattr(port, attribute, unlucky(seed, chance, ways))
    for mine, wanted in zip(compiled.run(args, backend=board).outputs, golden, strict=True):
        np.testing.assert_array_equal(mine, wanted)
    assert board.link.resent > 0


def test_a_start_whose_answer_is_lost_starts_once(make_port, program):
    compiled, args, _ = program
    port = Spoiled(make_port())
    board = weft.Board(port)
    compiled.run(args, backend=board)
    ends = []       # of the frames sent, two each

    def count(byte):
        ends.extend(byte if byte == b"\xc0" else b"")
        return byte

    # The run is over long before the start is sent again; started twice, it would be busy.
    port.spoil_sent, port.spoil_received = count, lambda byte: byte if len(ends) > 2 else b""
    board.write("CONTROL", BY_NAME["CONTROL"].mask("start"))
    assert board.link.resent == 1 and len(ends) == 4
    status = board.read("STATUS")
    assert status & BY_NAME["STATUS"].mask("done") and not status & BY_NAME["STATUS"].mask("busy")


class Silent:
    """A port at whose far end somebody else sits: ``answer(data)`` gives what comes back."""

    name, baud = "somewhere", 1_000_000

    def __init__(self, answer=lambda data: b""):
        self.answer, self.waiting = answer, b""

    now = staticmethod(time.monotonic)

    def write(self, data):
        self.waiting += self.answer(data)

    def read(self, limit, seconds):
        found, self.waiting = self.waiting[:limit], self.waiting[limit:]
        if not found:
            time.sleep(seconds)
        return found

    def close(self):
        pass


def identity(magic=protocol.MAGIC, version=protocol.VERSION):
    data = protocol.IDENTITY.pack(magic, version, 4096, 1)
    return lambda frame: protocol.encode(bytes([protocol.decode(frame[1:-1])[0], Status.OK]) + data)


@pytest.mark.parametrize("answer, words", [
    (lambda data: b"", "does not answer"),
    (lambda data: data, "no answer of a Weft board"),                  # a cable that ends in itself
    (lambda data: b"login: ", "no answer of a Weft board"),
    (lambda data: os.urandom(500), "no answer of a Weft board"),
    (identity(magic=5), "no Weft board"), (identity(version=9), "version 9"), (identity(), "does not answer|no answer|refuses"),
], ids=["silent", "echo", "console", "noise", "other magic", "other version", "no accelerator"])
def test_somebody_else_is_told_apart_within_a_second(answer, words):
    began = time.monotonic()
    with pytest.raises(RunError, match=words):
        weft.Board(Silent(answer))
    assert time.monotonic() - began < 1


def test_a_board_that_goes_silent_or_is_unplugged_during_a_run(make_port, program):
    compiled, args, golden = program
    for end in ("silent", "unplugged"):
        port = Spoiled(make_port())
        board = weft.Board(port)

        def cut(byte, left=[900], end=end):
            left[0] -= 1
            if left[0] > 0:
                return byte
            if end == "unplugged":
                raise OSError(5, "Input/output error")
            return b""

        port.spoil_sent = cut
        began = port.now()
        with pytest.raises(RunError, match="does not answer" if end == "silent" else "was lost: .*Input/output error"):
            compiled.run(args, backend=board)
        assert port.now() - began < 1 + 2 * 900 * 10 / port.baud       # with what was sent before
        # It comes back, with what it held or not.
        port.spoil_sent = None
        for mine, wanted in zip(compiled.run(args, backend=board).outputs, golden, strict=True):
            np.testing.assert_array_equal(mine, wanted)


def test_programs_that_do_not_end_or_fail(make_port, program):
    from dataclasses import replace

    compiled, args, golden = program
    inputs, _ = compiled._pack(args, {})
    board = weft.Board(make_port())
    image = compiled.image

    def with_instruction(number, data):
        constant = image.constant.copy()
        constant[image.code_offset + 32 * number:image.code_offset + 32 * number + 32] = np.frombuffer(data, np.uint8)
        return replace(image, constant=constant)

    with pytest.raises(RunError, match="ILLEGAL_INSTRUCTION at instruction 3"):
        board.run(with_instruction(3, b"\xff" * 32), inputs)
    waits = encode_program([("VECTOR_SYNC", {"wait": 31, "wait_count": 1})]).tobytes()
    with pytest.raises(RunError, match="came to rest: .*vector waits for semaphore 31"):
        board.run(with_instruction(3, waits), inputs)
    for mine, wanted in zip(compiled.run(args, backend=board).outputs, golden, strict=True):
        np.testing.assert_array_equal(mine, wanted)


def test_addresses_outside_of_the_memory_are_errors(make_port, program):
    compiled, args, _ = program
    board = weft.Board(make_port())
    compiled.run(args, backend=board)
    for base in (0, protocol.MEMORY_BASE + 256 * KIB, protocol.MEMORY_BASE << 1):
        board.write("BASE_LO", base)
        board.write("CONTROL", BY_NAME["CONTROL"].mask("start"))
        status = BY_NAME["STATUS"]
        assert board.read("STATUS") & (status.mask("busy") | status.mask("error")) == status.mask("error")
        assert ErrorCause(board.read("CAUSE")) == ErrorCause.READ_ERROR


def test_a_decoder_continues(make_port, text_model_folder):
    from weft.text import compile_decoder_folder

    compiled = compile_decoder_folder(text_model_folder("gpt2"), 16, CONFIG)
    texts = []
    for backend in ("golden", weft.Board(make_port())):
        session = compiled.session(backend)
        texts.append((session.step([2, 4, 5]), session.step([6]), session.stats.cycles))
    for golden, mine in zip(texts[0][:2], texts[1][:2], strict=True):
        np.testing.assert_array_equal(mine, golden)
    assert texts[1][2] > 100


def test_programs_and_boards_that_do_not_fit(make_port, program):
    from dataclasses import replace

    compiled, args, _ = program
    board = weft.Board(make_port())
    inputs, _ = compiled._pack(args, {})
    with pytest.raises(InputError, match="takes 262,145 bytes.*has 262,144"):
        board.run(replace(compiled.image, memory_bytes=256 * KIB + 1), inputs)
    with pytest.raises(InputError, match="configuration small"):
        board.run(replace(compiled.image, config=Config.named("small")), inputs)
    with pytest.raises(InputError, match="inputs are"):
        board.run(compiled.image, {})
    with pytest.raises(InputError, match="or a board, not 'bord'"):
        compiled.run(args, backend="bord")


def test_a_serial_port_of_the_system(make_port, program, tmp_path, monkeypatch, capsys):
    """A pseudo-terminal between `weft.Board` and the simulated board, until it is closed."""
    pytest.importorskip("serial")
    compiled, args, golden = program
    master, slave = os.openpty()
    port, stop = make_port(), threading.Event()

    def serve():
        os.set_blocking(master, False)
        while not stop.is_set():
            try:
                port.write(os.read(master, 4096))
            except BlockingIOError:
                pass
            found = port.read(4096, 0.002)
            if found:
                os.write(master, found)

    server = threading.Thread(target=serve)
    server.start()
    try:
        board = weft.Board(os.ttyname(slave))
        for mine, wanted in zip(compiled.run(args, backend=board).outputs, golden, strict=True):
            np.testing.assert_array_equal(mine, wanted)
    finally:
        stop.set()
        server.join()
    os.close(slave)
    os.close(master)
    began = time.monotonic()
    with pytest.raises(RunError, match="board on /dev/pts/.*|connection"):
        compiled.run(args, backend=board)
    assert time.monotonic() - began < 1
    compiled.save(tmp_path / "p.weft")
    with pytest.raises(InputError, match="cannot open serial port /dev/none"):
        weft.Board("/dev/none")
    board.close()


@pytest.mark.large
def test_the_digits_classifier(make_port):
    """The whole ViT: 200 KB of constants over the line, and every byte of the results."""
    from sklearn.datasets import load_digits

    from weft.models import digits, pixels

    images = pixels(load_digits().images[:40])
    batches = [((), {"pixel_values": images[n:n + 1]}) for n in range(40)]
    compiled = weft.compile(digits(), **{"kwargs": batches[0][1]}, config=CONFIG, calibration=batches[:32])
    with weft.Board(make_port()) as board:
        for _, kwargs in batches[-2:]:
            inputs, _ = compiled._pack((), kwargs)
            golden = compiled._golden_machine().run(inputs)
            mine = board.run(compiled.image, inputs)
            assert mine.outputs.keys() == golden.outputs.keys()
            for name, values in golden.outputs.items():
                np.testing.assert_array_equal(mine.outputs[name], values)
