"""Running random programs on golden model and RTL until time is up; what fails is shrunk and saved."""

import argparse
import base64
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from weft.hw.config import DIVISION_CYCLES, Config
from weft.hw.errors import InputError, Mismatch, ProgramError, RunError, WeftError
from weft.hw.image import Buffer, Image
from weft.hw.isa import disassemble

from .coverage import count_fields, table
from .generator import random_program

__all__ = ["failure", "shrink", "save", "replay", "with_random_lanes", "main"]

#: Cycles after which a random program is taken to hang.
LIMIT_CYCLES = 3_000_000


def failure(image, inputs, rtl, seed, memory):
    """Why golden model and RTL differ on a program, or None. Raises ProgramError if the program is not legal."""
    from weft.sim.compare import compare
    from weft.sim.golden import GoldenMachine

    expected = GoldenMachine(image).run(inputs)
    try:
        compare(image, expected, rtl.run(image, inputs, memory=memory, seed=seed, limit_cycles=LIMIT_CYCLES))
    except (Mismatch, RunError) as error:
        return str(error)
    return None


def shrink(program, fails, seconds=120):
    """Positions of the nodes of a smaller program that still fails.

    ``fails(image, inputs)``: whether it does. Drops stretches of nodes, longest first; programs that are no longer legal
    do not count as failing.
    """
    keep = list(range(len(program.nodes)))
    end = time.monotonic() + seconds
    size = max(1, len(keep) // 2)
    while time.monotonic() < end:
        dropped = False
        start = 0
        while start < len(keep) and time.monotonic() < end:
            smaller = keep[:start] + keep[start + size:]
            try:
                bad = bool(smaller) and fails(*program.image(smaller))
            except (ProgramError, AssertionError):
                bad = False
            if bad:
                keep, dropped = smaller, True
            else:
                start += size
        if not dropped and size == 1:
            break
        if not dropped:
            size = max(1, size // 2)
    return keep


def save(path, config, seed, memory, image, inputs, reason):
    """Writes a failing program with all it needs to run again."""
    def text(data):
        return base64.b64encode(np.ascontiguousarray(data).tobytes()).decode()

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "reason": reason, "config": config.to_dict(), "seed": seed, "memory": memory,
        "program": list(disassemble(image.code)), "constant": text(image.constant), "memory_bytes": image.memory_bytes,
        "code_offset": image.code_offset, "instructions": image.instructions,
        "registers": {str(n): v for n, v in image.registers.items()},
        "buffers": [vars(b) for b in image.buffers], "inputs": {n: text(d) for n, d in inputs.items()},
    }, indent=1), encoding="utf-8")


def replay(path):
    """``(Image, inputs, seed, memory)`` of a saved program; InputError where the file is none."""
    def data(text):
        return np.frombuffer(base64.b64decode(text), np.uint8)

    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        image = Image(Config.from_dict(values["config"]), data(values["constant"]), values["memory_bytes"],
                      values["code_offset"], values["instructions"], [Buffer(**b) for b in values["buffers"]],
                      registers={int(n): v for n, v in values["registers"].items()})
        return image, {n: data(t) for n, t in values["inputs"].items()}, values["seed"], values["memory"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no saved program: {error!r}") from None


def with_random_lanes(config, seed):
    """The configuration with a number of lanes, and of dividers, drawn for each part of its vector engine."""
    random = np.random.default_rng(seed)

    def divisor(n):
        return int(random.choice([d for d in range(1, n + 1) if n % d == 0]))

    vector_lanes = divisor(config.cols)
    return replace(config, vector_lanes=vector_lanes, softmax_lanes=divisor(vector_lanes), norm_lanes=divisor(vector_lanes),
                   division_units=int(random.integers(1, DIVISION_CYCLES + 1)))


def _try(rtl, config, seed, out):
    """One program on both memories; returns how many failed."""
    failed = 0
    program = random_program(config, seed)
    image, inputs = program.image()
    for memory in ("reference", "stress"):
        try:
            reason = failure(image, inputs, rtl, seed, memory)
        except ProgramError as error:
            # Either the generator or the golden model's check is wrong; without a legal program nothing can be shrunk.
            path = out / f"{config.name}-{seed}-refused.json"
            save(path, config, seed, memory, image, inputs, str(error))
            print(f"{config.name} seed {seed}, refused by the golden model: {error}\n  saved in {path}", flush=True)
            return failed + 1
        if reason is None:
            continue
        failed += 1
        keep = shrink(program, lambda i, d: failure(i, d, rtl, seed, memory) is not None)
        small, small_inputs = program.image(keep)
        reason = failure(small, small_inputs, rtl, seed, memory) or reason
        path = out / f"{config.name}-{seed}-{memory}.json"
        save(path, config, seed, memory, small, small_inputs, reason)
        print(f"{config.name} seed {seed}, {memory} memory: {reason}\n  {small.instructions} instructions saved in {path}",
              flush=True)
    return failed


def _positive(kind, least=1e-3):
    """Type of an argument: a number of at least ``least``."""
    def parse(text):
        number = kind(text)
        if not least <= number < float("inf"):
            raise argparse.ArgumentTypeError(f"it must be {'positive' if least else '0 or more'}, not {text}")
        return number

    parse.__name__ = kind.__name__      # what argparse calls a text that is no number
    return parse


def main(arguments=None):
    """The command ``scripts/fuzz``; exit status 1 if a program failed."""
    parser = argparse.ArgumentParser(prog="fuzz", description="Random programs on golden model and RTL, compared byte by byte.")
    parser.add_argument("--minutes", type=_positive(float), default=5, help="how long to go on (default 5)")
    parser.add_argument("--config", action="append", help="name or file of a configuration; several are taken in turns "
                                                          "(default tiny and small)")
    parser.add_argument("--lanes", action="store_true",
                        help="draws the lanes of each configuration's vector engine from the first seed")
    parser.add_argument("--seed", type=_positive(int, 0), default=0, help="first seed (default 0)")
    parser.add_argument("--verilog", help="folder with the Verilog, instead of generating it")
    parser.add_argument("--out", type=Path, default=Path("fuzz-failures"), help="where failing programs go")
    parser.add_argument("--count", type=_positive(int), help="runs nothing, counts how often N programs use each field",
                        metavar="N")
    parser.add_argument("--replay", type=Path, help="runs one saved program instead")
    options = parser.parse_args(arguments)
    try:
        return _main(options)
    except WeftError as error:
        print(error, file=sys.stderr)
        return 2


def _main(options):
    from weft.sim.rtl import RtlMachine

    if options.replay:
        image, inputs, seed, memory = replay(options.replay)
        reason = failure(image, inputs, RtlMachine(image.config, options.verilog, "build", noise=True), seed, memory)
        print(reason or "equal")
        return int(reason is not None)
    configs = [Config.load(c) for c in options.config or ("tiny", "small")]
    if options.lanes:
        configs = [with_random_lanes(config, options.seed) for config in configs]
        for c in configs:
            print(f"{c.name}: vector_lanes={c.vector_lanes}, softmax_lanes={c.softmax_lanes}, norm_lanes={c.norm_lanes}, "
                  f"division_units={c.division_units}")
    if options.count is not None:
        for config in configs:
            counts = count_fields(config, range(options.seed, options.seed + options.count))
            print(config.name, *table(counts), sep="\n")
        return 0
    print("building " + ", ".join(c.name for c in configs), flush=True)
    machines = [RtlMachine(c, options.verilog, "build", noise=True) for c in configs]
    end, seed, programs, failed, told = time.monotonic() + 60 * options.minutes, options.seed, 0, 0, time.monotonic()
    while time.monotonic() < end:
        for config, rtl in zip(configs, machines):
            failed += _try(rtl, config, seed, options.out)
            programs += 1
        seed += 1
        if time.monotonic() > told + 10:
            told = time.monotonic()
            print(f"{programs} programs, {failed} failures", flush=True)
    print(f"{programs} programs on both memories, {failed} failures")
    return int(failed > 0)
