"""The vector engine against the numerics: every instruction, random shapes, stalls and tokens."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))

from bench import Bench                                                         # noqa: E402
from weft.hw.config import DIVISION_CYCLES, Config                              # noqa: E402
from weft.hw.isa import Element                                                 # noqa: E402
from weft.hw.vector.exponential import MANTISSAS                                # noqa: E402
from weft.hw.vector.reciprocal_root import ROOTS                                # noqa: E402
from weft.sim import numerics                                                   # noqa: E402
from weft.sim.cocotb.vector_program import DESTINATION_SIGNALS, SCRATCHPAD      # noqa: E402

SMALL = dict(scratchpad_kib=32, accumulator_kib=16, state_rows=64)
CONFIGS = [
    Config(rows=4, cols=4, **SMALL),
    Config(rows=8, cols=4, softmax_lanes=2, norm_lanes=4, division_units=4, **SMALL),      # two tiles in a panel
    Config(rows=8, cols=12, vector_lanes=3, softmax_lanes=1, norm_lanes=1, division_units=9, **SMALL),     # four groups in a tile
    pytest.param(Config(rows=5, cols=7, **SMALL), marks=pytest.mark.large),
    pytest.param(Config(rows=5, cols=8, softmax_lanes=8, norm_lanes=1, **SMALL), marks=pytest.mark.large),
]
GRANTS = [100, 60]
KINDS = ["requant", "table", "requant", "softmax", "requant", "norm", "sync", "requant"]


@pytest.fixture(params=CONFIGS, ids=lambda c: f"{c.rows}x{c.cols}-{c.vector_lanes}-{c.softmax_lanes}-{c.norm_lanes}")
def config(request):
    return request.param


@pytest.mark.parametrize("grant", GRANTS)
def test_requant(config, grant):
    """Every source, second operand, destination and option; sources appear with their tokens and vanish after them."""
    for seed in range(12):
        bench = Bench(config, 100 * grant + seed)
        bench.requant(Element(seed % 4))
        bench.run(grant)


def test_requant_extremes(config):
    """Largest and smallest accumulators, multipliers, all shifts, all destination types."""
    for seed, element in enumerate((Element.INT8, Element.UINT8, Element.INT16)):
        bench = Bench(config, 7 + seed)
        rows, tiles = 5, 4 * config.tiles_per_panel
        count = tiles * config.cols
        random = bench.random
        extremes = np.array([-1 << 31, (1 << 31) - 1, 0, 1, -1, 255, -256, (1 << 30) + 7])
        bench.accumulators[:rows * tiles] = random.choice(extremes, (rows * tiles, config.cols))
        shift = np.resize(random.permutation(np.arange(not config.constant_channels, 64)), count)
        mult = random.choice([-1 << 17, (1 << 17) - 1, 1, -1, 65536, 0], count)
        params = bench.put_records(tiles * config.groups_per_tile, np.zeros(count, np.int64), mult, shift,
                             random.choice([-128, 127, 255, 0], count))
        step = 2 if element == Element.INT16 else 1
        bench.add("REQUANT", rows=rows, tiles=tiles, src_type=Element.ACC, src_row_stride=1, src_panel_stride=rows,
                  dst_type=element, dst_base=bench.alloc(4 * rows * step), dst_row_stride=step, dst_panel_stride=rows * step,
                  param_base=params)
        bench.run()


@pytest.mark.parametrize("config", CONFIGS[1:2], indirect=True)
def test_constant_channels(config):
    """Records with shift 0 beside others: extreme biases and multipliers, every option, any accumulators; norms whose padding has
    records of zeros, in the same lanes."""
    extremes = np.array([-1 << 31, (1 << 31) - 1, (1 << 19) - 1, -1 << 19, 127, 128, -128, -129, 40, 1, 0, -1])
    for seed in range(8):
        bench = Bench(config, 11 + seed)
        random, rows, panels = bench.random, 5, 4
        tiles = panels * config.tiles_per_panel
        count = tiles * config.cols
        bench.table()
        for slot, option in enumerate(({}, dict(residual=1), dict(multiply=1, residual=1), dict(table=1))):
            element = Element(random.integers(0, 2 if option == dict(table=1) else 3))
            shift = random.choice([0, 0, 1, 9, 24], count)
            bias = np.where(shift == 0, random.choice(extremes, count), random.integers(-1 << 20, 1 << 20, count))
            params = bench.put_records(tiles * config.groups_per_tile, bias, random.choice([1, 1, 1, -1 << 17, 77], count), shift,
                                       random.choice([-128, 127, 255, 0], count))
            where, row_stride, panel_stride = bench.place(element, rows, panels)
            source = dict(src_type=Element.ACC, src_row_stride=1, src_panel_stride=rows)
            if "multiply" in option:
                source = dict(zip(("src_base", "src_row_stride", "src_panel_stride"), bench.place(Element.INT16, rows, panels)),
                              src_type=Element.INT16)
            second = dict(zip(("res_base", "res_row_stride", "res_panel_stride"), bench.place(Element.INT16, rows, panels)),
                          res_type=Element.INT16)
            if "table" in option:
                option = option | dict(slot=bench.instructions[0][1]["slot"])
            bench.add("REQUANT", **source, **second, **option, rows=rows, tiles=tiles, dst_type=element, dst_base=where,
                      dst_row_stride=row_stride, dst_panel_stride=panel_stride, param_base=params)
            if slot == 1:
                bench.norm()
                first = bench.instructions[-1][1]["param_base"]
                records = bench.scratchpad[first:first + config.param_group_words].reshape(-1, 8)
                records[:config.vector_lanes][random.random(config.vector_lanes) < 0.5] = 0
        bench.run(100 if seed % 2 else 60)


def test_in_place(config):
    """A residual that is updated where it lies, twice."""
    bench = Bench(config, 3)
    rows, panels = 6, 2
    tiles = panels * config.tiles_per_panel
    base = bench.alloc(2 * rows * panels)
    for n in range(2):
        bench.add("REQUANT", rows=rows, tiles=tiles, src_type=Element.ACC, src_base=n * rows * tiles, src_row_stride=1,
                  src_panel_stride=rows, residual=1, res_type=Element.INT16, res_base=base, res_row_stride=2 * panels,
                  res_panel_stride=2, dst_type=Element.INT16, dst_base=base, dst_row_stride=2 * panels,
                  dst_panel_stride=2, param_base=bench.random_records(tiles * config.groups_per_tile, 20, 14))
    bench.run(60)


@pytest.mark.parametrize("grant", GRANTS)
def test_table(config, grant):
    bench = Bench(config, grant)
    rows, panels = 9, 2
    tiles = panels * config.tiles_per_panel
    for slot in (1, 0):
        bench.add("TABLE", src_base=bench.alloc(max(2, 256 // config.word_bytes)), slot=slot, src_wait=5, src_signal=6)
        bench.reveals.append((5, SCRATCHPAD, bench.instructions[-1][1]["src_base"], max(1, 256 // config.word_bytes)))
    for slot, kind in ((0, Element.INT8), (1, Element.UINT8)):
        bench.add("REQUANT", rows=rows, tiles=tiles, src_type=Element.ACC, src_row_stride=1, src_panel_stride=rows,
                  table=1, slot=slot, dst_type=kind, dst_base=bench.alloc(rows * panels), dst_row_stride=1,
                  dst_panel_stride=rows, param_base=bench.random_records(tiles * config.groups_per_tile, 20, 8))
    bench.run(grant)


def test_sync(config):
    bench = Bench(config, 1)
    bench.reveals += [(9, SCRATCHPAD, 0, 0)] * 7
    bench.add("VECTOR_SYNC", wait=9, wait_count=7, signal=8, signal_count=255)
    bench.add("VECTOR_SYNC", wait=0, wait_count=4, signal=0, signal_count=9)
    bench.add("VECTOR_SYNC", wait=8, wait_count=250, signal=9, signal_count=1)
    assert bench.tokens()[8:10].tolist() == [5, 1]
    bench.run()


@pytest.mark.parametrize("grant", GRANTS)
def test_softmax(config, grant):
    """Blocks of keys, then a result divided by the rows' sums; tokens of the destination come with its last write."""
    for seed in range(14):
        bench = Bench(config, 1000 * grant + seed)
        bench.softmax({0: "none", 3: "masked", 4: "extreme"}.get(seed, "usual"))
        blocks = len(bench.instructions)
        bench.requant(Element.ACC)
        _, log = bench.run(grant)
        _, f = bench.instructions[0]
        groups = f["rows"] * f["tiles"] * config.groups_per_tile
        written = [writes for token, writes in log if token in DESTINATION_SIGNALS]
        ends = [groups * (block + 1) for block, (_, f) in enumerate(bench.instructions[:blocks]) if f.get("dst_signal")
                for _ in range(f["tiles"] // config.tiles_per_panel if f["dst_signal_each"] else 1)]
        assert written[:len(ends)] == ends


@pytest.mark.parametrize("grant", GRANTS)
def test_norm(config, grant):
    """LayerNorm and RMSNorm of ordinary, constant, zero, single-feature and extreme rows."""
    for seed in range(8):
        bench = Bench(config, 77 * grant + seed)
        bench.norm(features=None if seed else 1)
        bench.run(grant)


@pytest.mark.parametrize("grant", GRANTS)
def test_sequences(config, grant):
    """Instructions of every kind in turn."""
    for seed in range(4):
        bench = Bench(config, 500 * grant + seed)
        for kind in bench.random.permutation(KINDS):
            assert bench.add_random(kind) or len(bench.instructions) > 5
        bench.run(grant)


def test_large_norm(config):
    """Extreme rows of many features: the widest sums, products and shifts."""
    bench = Bench(config, 5)
    panels = min(255, 600 // config.panel)
    rows, features = 2, panels * config.panel
    base = bench.alloc(2 * rows * panels)
    values = np.stack([np.where(np.arange(features) % 2, 32767, -32768), np.full(features, -32768)])
    for row in range(rows):
        for panel in range(panels):
            bench.put(base + 2 * (row * panels + panel),
                values[row, panel * config.panel:(panel + 1) * config.panel].astype("<i2").view(np.uint8))
    strides = dict(src_base=base, src_row_stride=2 * panels, src_panel_stride=2, rows=rows,
                   tiles=panels * config.tiles_per_panel, features=features)
    for rms in (0, 1):
        bench.add("STATS", **strides, rms=rms, eps=0)
        bench.add("NORM", **strides, dst_type=Element.INT16, dst_base=bench.alloc(2 * rows * panels),
                  dst_row_stride=2 * panels, dst_panel_stride=2,
                  param_base=bench.random_records(panels * config.panel // config.vector_lanes, 13, 14))
    bench.run()


@pytest.mark.parametrize(("softmax_lanes", "norm_lanes", "division_units"), [(1, 2, 1), (4, 4, DIVISION_CYCLES)])
def test_speed(softmax_lanes, norm_lanes, division_units):
    """One group a cycle, exponentials and squares part by part, divisions as dividers allow, and short gaps: bounds on the
    cycles of long instructions with every read granted."""
    config = Config(rows=4, cols=4, vector_lanes=4, softmax_lanes=softmax_lanes, norm_lanes=norm_lanes,
                    division_units=division_units, **SMALL)
    rows, tiles = 32, 8
    bench = Bench(config, 1)
    params = bench.random_records(tiles, 20, 8)
    destination = bench.alloc(2 * rows * tiles)
    bench.add("REQUANT", rows=rows, tiles=tiles, src_type=Element.ACC, src_row_stride=1, src_panel_stride=rows,
              dst_type=Element.INT8, dst_base=destination, dst_row_stride=1, dst_panel_stride=rows, param_base=params)
    assert bench.run()[0] < rows * tiles + 45
    bench.instructions.clear()
    bench.add("SOFTMAX", acc_stride=rows, rows=rows, tiles=8, key_limit=1000, dst_base=destination,
              dst_panel_stride=rows, param_base=params, first=1)
    assert bench.run()[0] < 4 // softmax_lanes * rows * tiles + 70
    bench.instructions.clear()
    bench.add("SOFTMAX", acc_stride=rows, rows=rows, tiles=1, key_limit=1000, dst_base=destination,
              dst_panel_stride=rows, param_base=params, first=1, last=1)
    assert bench.run()[0] < max(4 // softmax_lanes, DIVISION_CYCLES // division_units) * rows + 90
    bench.instructions.clear()
    bench.add("STATS", src_base=destination, src_row_stride=2 * tiles, src_panel_stride=2, rows=8, tiles=tiles * 4,
              features=128)
    assert bench.run()[0] < 4 // norm_lanes * 8 * tiles * 4 + 70
    bench.instructions.clear()
    source, out = destination, bench.alloc(2 * rows * tiles)
    bench.add("NORM", src_base=source, src_row_stride=2 * tiles, src_panel_stride=2, rows=rows, tiles=tiles, features=32,
              dst_type=Element.INT8, dst_base=out, dst_row_stride=1, dst_panel_stride=rows, param_base=params)
    assert bench.run()[0] < 2 * rows * tiles + 60


def test_constants():
    """Every entry of the tables in the hardware, most of which random rows rarely meet."""
    assert np.array_equal(MANTISSAS, numerics.exp2_table)
    assert np.array_equal(ROOTS, numerics._rsqrt_table)


def test_comparison_bites(config):
    """A model that sees other accumulators than the engine is noticed."""
    bench = Bench(config, 1)
    bench.add("REQUANT", rows=2, tiles=config.tiles_per_panel, src_type=Element.ACC, src_row_stride=1, src_panel_stride=2,
              dst_type=Element.INT8, dst_base=bench.alloc(2), dst_row_stride=1,
              param_base=bench.random_records(config.panel // config.vector_lanes, 20, 8))
    bench.run()
    bench.model_accumulators = bench.accumulators ^ 0x7FFFFFF
    with pytest.raises(AssertionError, match="differ"):
        bench.run()
