"""Scratchpad lines that are read and written in one cycle: programs that make it happen, on memories that then return
noise wherever they may."""

import numpy as np
import pytest

from weft.hw.config import Config
from weft.hw.image import Buffer, Image
from weft.hw.isa import Element, encode_program
from weft.sim.compare import run_both

CONFIG = Config.named("tiny")
WORD = CONFIG.word_bytes
INPUT, OUTPUT = 1 << 16, 1 << 17
RECORDS, WEIGHTS = 2048, 2100


@pytest.fixture
def machine(rtl_machine):
    return rtl_machine(CONFIG)


def run(machine, code, output_words):
    """Runs instructions after a preamble that loads records and weights."""
    record = np.array([77, 300 | 9 << 18 | 3 << 24], "<u4")
    constant = np.concatenate([np.tile(record, 4).view(np.uint8), np.arange(1, 97, dtype=np.uint8)])
    preamble = [("LOAD", copy(0, RECORDS, 8)), ("LOAD", copy(32, WEIGHTS, 16)), ("BARRIER", {})]
    code = encode_program([*preamble, *code, ("END", {})])
    image = Image(CONFIG, np.concatenate([constant, code]), 1 << 18, constant.size, code.size // 32,
                  [Buffer("x", INPUT, 1024, "input"), Buffer("y", OUTPUT, output_words * WORD, "output")])
    for memory in ("reference", "stress"):
        run_both(image, {"x": np.random.default_rng(1).integers(0, 256, 1024, np.uint8)}, machine, memory=memory)


def copy(address, word, words, **more):
    return dict(dram_addr=address, spm_addr=word, run_words=words, inner_count=1, outer_count=1, **more)


def requant(base, rows, tiles, row_stride, panel_stride, **destination):
    return "REQUANT", dict(src_base=base, src_row_stride=row_stride, src_panel_stride=panel_stride, rows=rows,
                           tiles=tiles, param_base=RECORDS, param_hold=1, src_type=Element.INT8, dst_type=Element.INT8,
                           **destination)


def test_results_in_place(machine):
    """The vector engine reads ahead of its writes, whatever the distance: panels of a row share lines."""
    code, stored = [], 0
    for rows in range(1, 25):
        code += [("LOAD", copy(INPUT, 0, rows * 4)), ("BARRIER", {}),
                 requant(0, rows, 4, 4, 1, dst_base=0, dst_row_stride=4, dst_panel_stride=1), ("BARRIER", {}),
                 ("STORE", copy(OUTPUT + stored * WORD, 0, rows * 4)), ("BARRIER", {})]
        stored += rows * 4
    run(machine, code, stored)


@pytest.mark.parametrize("writer", ["load", "vector"])
def test_threads_that_share_lines(machine, writer):
    """One thread writes the even words of a few lines over and over, the others read the odd ones."""
    times, lines = 60, 4
    code = [("LOAD", copy(INPUT, 0, 2 * lines)), ("LOAD", copy(INPUT, 1000, times * lines)), ("BARRIER", {})]
    if writer == "load":
        loops = dict(run_words=1, inner_count=lines, inner_spm_stride=2, inner_dram_stride=WORD, outer_count=times)
        code += [("LOAD", dict(dram_addr=INPUT, spm_addr=0, outer_dram_stride=WORD, **loops)),
                 requant(1, lines, times, 2, 0, dst_base=1000, dst_row_stride=1, dst_panel_stride=lines)]
    else:
        even = dict(dst_base=0, dst_row_stride=2, dst_panel_stride=0)
        code += [requant(1000 + 4 * n, lines, 1, 1, 0, **even) for n in range(times)]
    code += [
        ("STORE", dict(dram_addr=OUTPUT, spm_addr=1, run_words=1, inner_count=lines, inner_spm_stride=2,
                       inner_dram_stride=WORD, outer_count=times, outer_dram_stride=lines * WORD)),
        # One row in panels of one word: products of the odd words, again and again.
        *[("MATMUL", dict(a_base=1, a_panel_stride=2, rows=1, k_tiles=lines, n_tiles=1, w_base=WEIGHTS, chunk_tiles=1,
                          acc_base=n))
          for n in range(times)],
        ("BARRIER", {}),
        ("REQUANT", dict(src_base=0, src_row_stride=1, src_type=Element.ACC, dst_type=Element.INT8, dst_base=1900,
                         dst_row_stride=1, rows=times, tiles=1, param_base=RECORDS)),
        ("BARRIER", {}), ("STORE", copy(OUTPUT + times * lines * WORD, 1900, times)),
        ("STORE", copy(OUTPUT + times * (lines + 1) * WORD, 0, 2 * lines)),
    ]
    stored = times * (lines + 1) + 2 * lines
    if writer == "load":
        code.append(("STORE", copy(OUTPUT + stored * WORD, 1000, times * lines)))
        stored += times * lines
    run(machine, code, stored)
