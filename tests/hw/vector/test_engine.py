"""The vector engine against the numerics: every instruction, random shapes, stalls and tokens."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))

from bench import ACCUMULATORS, SCRATCHPAD, Bench                               # noqa: E402
from reference import records_bytes                                             # noqa: E402
from weft.hw.config import Config                                               # noqa: E402
from weft.hw.isa import Element                                                 # noqa: E402
from weft.hw.vector.exponential import MANTISSAS                                # noqa: E402
from weft.hw.vector.row_unit import ROOTS                                       # noqa: E402
from weft.sim import numerics                                                   # noqa: E402

SMALL = dict(scratchpad_kib=32, accumulator_kib=16, state_rows=64)
CONFIGS = [
    Config(rows=4, cols=4, **SMALL),
    Config(rows=8, cols=4, **SMALL),                       # two tiles in a panel
    Config(rows=8, cols=12, vector_lanes=3, **SMALL),      # four groups in a tile
    pytest.param(Config(rows=5, cols=7, **SMALL), marks=pytest.mark.large),
]
GRANTS = [100, 60]


@pytest.fixture(params=CONFIGS, ids=lambda c: f"{c.rows}x{c.cols}-{c.vector_lanes}")
def config(request):
    return request.param


def put(bench, base, data):
    """Bytes into the scratchpad from a word on."""
    flat = bench.scratchpad.reshape(-1)
    flat[base * bench.config.word_bytes:][:data.size] = data.reshape(-1)


def put_records(bench, groups, bias, mult, shift, zero):
    """Places records of whole groups; arrays of ``groups * vector_lanes``. Returns the first word."""
    config = bench.config
    lanes, size = config.vector_lanes, config.param_group_words
    base = bench.alloc(groups * size)
    raw = records_bytes(bias, mult, shift, zero).reshape(groups, 8 * lanes)
    for group in range(groups):
        put(bench, base + group * size, raw[group])
    return base


def random_records(bench, groups, bits, target_bits):
    """Records that bring values of ``bits`` bits to about ``target_bits``."""
    random, count = bench.random, groups * bench.config.vector_lanes
    mult = random.integers(1 << 15, 1 << 17, count) * random.choice([1, 1, 1, -1], count)
    shift = np.clip(bits + 16 - target_bits + random.integers(-2, 3, count), 1, 63)
    bias = random.integers(-1 << min(bits, 28), 1 << min(bits, 28), count)
    return put_records(bench, groups, bias, mult, shift, random.integers(-128, 256, count))


def place(bench, element, rows, panels):
    """Random elements of a scratchpad tensor; returns base, row stride and panel stride."""
    step = 2 if element == Element.INT16 else 1
    if bench.random.random() < 0.5:         # row by row, or panel by panel
        row_stride, panel_stride = step * panels, step
    else:
        row_stride, panel_stride = step, step * rows + 2 * bench.random.integers(0, 2)
    return bench.alloc(rows * panels * step + 2 * panels), int(row_stride), int(panel_stride)


def tokens_for(bench, fields, tiles, panels, reveal_source, hide_source):
    """Tokens of REQUANT and NORM: source per tile or at once, destination per panel or at once."""
    random = bench.random
    if random.random() < 0.7:
        each = int(random.integers(0, 2))
        fields |= dict(src_wait=1, src_wait_each=each, src_signal=2, src_signal_each=each)
        for tile in range(tiles if each else 1):
            bench.reveals.append(reveal_source(1, tile if each else None))
            hidden = hide_source(2, tile if each else None)
            if hidden:
                bench.hides.append(hidden)
    if random.random() < 0.7:
        each = int(random.integers(0, 2))
        fields |= dict(dst_wait=3, dst_wait_each=each, dst_signal=4, dst_signal_each=each)
        for _ in range(panels if each else 1):
            bench.reveals.append((3, SCRATCHPAD, 0, 0))
    bench.random.shuffle(bench.reveals)


def expected_tokens(programs, tiles_per_panel):
    """What is left in the counters: every wait was served, every signal counted."""
    left = np.zeros(32, np.int32)
    for mnemonic, f in programs:
        tiles = f.get("tiles", 1)
        each = tiles if f.get("src_signal_each") else 1
        left[f.get("src_signal", 0)] += each
        left[f.get("dst_signal", 0)] += tiles // tiles_per_panel if f.get("dst_signal_each") else 1
    left[0] = 0
    return left


@pytest.mark.parametrize("grant", GRANTS)
def test_requant(config, grant):
    """Every source, second operand, destination and option; sources appear with their tokens and vanish after them."""
    for seed in range(12):
        bench = Bench(config, 100 * grant + seed)
        random = bench.random
        rows, panels = int(random.integers(1, 14)), int(random.integers(1, 4))
        tiles = panels * config.tiles_per_panel
        source = Element(seed % 4)
        fields = dict(rows=rows, tiles=tiles, src_type=source, dst_type=Element(random.integers(0, 3)),
                      param_hold=int(random.integers(0, 2)))
        option = random.integers(0, 4) if source != Element.ACC else random.integers(0, 2)
        bits = {Element.INT8: 7, Element.UINT8: 8, Element.INT16: 15, Element.ACC: 20}[source]
        if source == Element.ACC:
            base, stride = int(random.integers(0, 20)), rows + int(random.integers(0, 3))
            fields |= dict(src_base=base, src_row_stride=1, src_panel_stride=stride)
        else:
            base, row_stride, panel_stride = place(bench, source, rows, panels)
            fields |= dict(src_base=base, src_row_stride=row_stride, src_panel_stride=panel_stride)
        size = bench.free
        if option:
            kind = Element(random.integers(0, 3))
            where, row_stride, panel_stride = place(bench, kind, rows, panels)
            fields |= dict(res_type=kind, res_base=where, res_row_stride=row_stride, res_panel_stride=panel_stride,
                           residual=int(option in (1, 3)), multiply=int(option in (2, 3)))
            if option >= 2:
                bits += 15
        where, row_stride, panel_stride = place(bench, fields["dst_type"], rows, panels)
        fields |= dict(dst_base=where, dst_row_stride=row_stride, dst_panel_stride=panel_stride)
        groups = config.groups_per_tile * (1 if fields["param_hold"] else tiles)
        fields["param_base"] = random_records(bench, groups, min(bits, 30), 15 if fields["dst_type"] == 2 else 7)

        def reveal(token, tile):
            if source == Element.ACC:
                return ((token, ACCUMULATORS, base, stride * (tiles - 1) + rows) if tile is None
                        else (token, ACCUMULATORS, base + tile * stride, rows))
            return (token, SCRATCHPAD, 0, size if tile is None else 0)

        def hide(token, tile):
            return reveal(token, tile) if source == Element.ACC else None

        tokens_for(bench, fields, tiles, panels, reveal, hide)
        # Tiles appear in order.
        bench.reveals.sort(key=lambda r: (r[0] == 1, r[2]) if r[0] == 1 else (False, 0))
        bench.add("REQUANT", **fields)
        bench.run(grant, expected_tokens(bench.program, config.tiles_per_panel))


def test_requant_extremes(config):
    """Largest and smallest accumulators, multipliers, shifts 1 to 63, all destination types."""
    for seed, element in enumerate((Element.INT8, Element.UINT8, Element.INT16)):
        bench = Bench(config, 7 + seed)
        rows, tiles = 5, 4 * config.tiles_per_panel
        count = tiles * config.cols
        random = bench.random
        extremes = np.array([-1 << 31, (1 << 31) - 1, 0, 1, -1, 255, -256, (1 << 30) + 7])
        bench.accumulators[:rows * tiles] = random.choice(extremes, (rows * tiles, config.cols))
        shift = np.resize(random.permutation(np.arange(1, 64)), count)
        mult = random.choice([-1 << 17, (1 << 17) - 1, 1, -1, 65536, 0], count)
        params = put_records(bench, tiles * config.groups_per_tile, np.zeros(count, np.int64), mult, shift,
                             random.choice([-128, 127, 255, 0], count))
        step = 2 if element == Element.INT16 else 1
        bench.add("REQUANT", rows=rows, tiles=tiles, src_type=Element.ACC, src_row_stride=1, src_panel_stride=rows,
                  dst_type=element, dst_base=bench.alloc(4 * rows * step), dst_row_stride=step, dst_panel_stride=rows * step,
                  param_base=params)
        bench.run()


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
                  dst_panel_stride=2, param_base=random_records(bench, tiles * config.groups_per_tile, 20, 14))
    bench.run(60)


@pytest.mark.parametrize("grant", GRANTS)
def test_table(config, grant):
    bench = Bench(config, grant)
    rows, panels = 9, 2
    tiles = panels * config.tiles_per_panel
    for slot in (1, 0):
        bench.add("TABLE", src_base=bench.alloc(max(2, 256 // config.word_bytes)), slot=slot, src_wait=5, src_signal=6)
        bench.reveals.append((5, SCRATCHPAD, bench.program[-1][1]["src_base"], max(1, 256 // config.word_bytes)))
    for slot, kind in ((0, Element.INT8), (1, Element.UINT8)):
        bench.add("REQUANT", rows=rows, tiles=tiles, src_type=Element.ACC, src_row_stride=1, src_panel_stride=rows,
                  table=1, slot=slot, dst_type=kind, dst_base=bench.alloc(rows * panels), dst_row_stride=1,
                  dst_panel_stride=rows, param_base=random_records(bench, tiles * config.groups_per_tile, 20, 8))
    bench.run(grant, expected_tokens(bench.program, config.tiles_per_panel))


def test_sync(config):
    bench = Bench(config, 1)
    bench.tokens[9] = 3
    bench.reveals += [(9, SCRATCHPAD, 0, 0)] * 4
    bench.add("VECTOR_SYNC", wait=9, wait_count=7, signal=8, signal_count=255)
    bench.add("VECTOR_SYNC", wait=0, wait_count=4, signal=0, signal_count=9)
    bench.add("VECTOR_SYNC", wait=8, wait_count=250, signal=9, signal_count=1)
    left = np.zeros(32, np.int32)
    left[8], left[9] = 5, 1
    bench.run(100, left)


@pytest.mark.parametrize("grant", GRANTS)
def test_softmax(config, grant):
    """Blocks in turn with causal, length and bit masks, peaky and flat rows, ties; then the division."""
    for seed in range(14):
        bench = Bench(config, 1000 * grant + seed)
        random = bench.random
        rows = int(random.integers(1, 12))
        block_tiles = int(random.integers(1, config.key_block // config.panel + 1)) * config.tiles_per_panel
        if seed % 2:
            block_tiles = config.tiles_per_panel
        keys = block_tiles * config.cols
        blocks = int(random.integers(1, 4))
        lanes = config.vector_lanes
        spread = int(random.choice([0, 40, 200, 600, 40000]))
        mult, shift = 1 << 15, 15
        score = np.full(lanes, mult), np.full(lanes, shift), random.integers(-30, 30, lanes)
        raw = [put_records(bench, config.groups_per_tile, *(np.tile(v, config.groups_per_tile) for v in (
            score[2], score[0], score[1], np.full(lanes, 77)))) for _ in range(1)]
        out_mult, out_shift = int(random.integers(1, 1 << 17)), int(random.integers(1, 32))
        precise = seed % 2      # few keys and int16 results: the last bit of a row's sum shows
        if precise:
            out_mult, out_shift = int(random.integers(1 << 16, 1 << 17)), 9
        put_records(bench, 1, *(np.full(lanes, v) for v in (0, out_mult, out_shift, 0)))
        causal, mask = int(random.integers(0, 2)), int(random.integers(0, 2))
        state = int(random.integers(0, config.state_rows - rows + 1))
        mask_words = -(-(blocks * block_tiles) // config.mask_tiles_per_word)
        mask_base = bench.alloc(rows * mask_words)
        if seed == 3:           # rows without any key in this block
            put(bench, mask_base, np.zeros(rows * mask_words * config.word_bytes // 2, np.uint8))
        limit = int(random.integers(0, blocks * keys + 3)) if seed else 0
        bench.accumulators[:] = random.integers(-spread, spread + 1, bench.accumulators.shape)
        if seed == 4:           # every score beyond int16
            bench.accumulators[:] = random.choice([-1 << 30, 1 << 30, 32767, -32768], bench.accumulators.shape)
        for block in range(blocks):
            each = int(random.integers(0, 2))
            acc_base = block * rows * block_tiles
            bench.add("SOFTMAX", acc_base=acc_base, acc_stride=rows, rows=rows, tiles=block_tiles,
                      key_start=block * keys, key_limit=limit, causal=causal, query_start=int(random.integers(0, keys)),
                      mask=mask, mask_base=mask_base + block * block_tiles // config.mask_tiles_per_word,
                      mask_row_stride=mask_words, dst_base=bench.alloc(rows * block_tiles // config.tiles_per_panel),
                      dst_panel_stride=rows, param_base=raw[0], first=int(block == 0), last=int(block == blocks - 1),
                      state_base=state, src_wait=1, src_wait_each=each, src_signal=2, src_signal_each=each, dst_wait=3,
                      dst_signal=4, dst_signal_each=each)
            for tile in range(block_tiles if each else 1):
                start, count = acc_base + tile * rows, rows if each else rows * block_tiles
                bench.reveals.append((1, ACCUMULATORS, start, count))
                # All tokens of a block come after its last read.
                bench.hides.append((2, ACCUMULATORS, start, count))
            bench.reveals.append((3, SCRATCHPAD, 0, 0))
        panels = int(random.integers(1, 3))
        tiles = panels * config.tiles_per_panel
        context = blocks * rows * block_tiles
        bench.accumulators[context:context + rows * tiles] = random.integers(-1 << 24, 1 << 24, (rows * tiles, config.cols))
        bench.add("REQUANT", rows=rows, tiles=tiles, src_type=Element.ACC, src_base=context, src_row_stride=1,
                  src_panel_stride=rows, dst_type=Element.INT16 if precise else Element.INT8,
                  dst_base=bench.alloc(2 * rows * panels), dst_row_stride=2, dst_panel_stride=2 * rows, row_scale=1,
                  state_base=state, param_base=random_records(bench, tiles * config.groups_per_tile, 20, 8))
        _, log = bench.run(grant, expected_tokens(bench.program, config.tiles_per_panel))
        groups = rows * block_tiles * config.groups_per_tile
        written = [writes for token, writes in log if token == 4]
        ends = [groups * (block + 1) for block, (_, f) in enumerate(bench.program[:-1])
                for _ in range(block_tiles // config.tiles_per_panel if f["dst_signal_each"] else 1)]
        assert written == ends


@pytest.mark.parametrize("grant", GRANTS)
def test_norm(config, grant):
    """LayerNorm and RMSNorm of ordinary, constant, zero, single-feature and extreme rows."""
    for seed in range(8):
        bench = Bench(config, 77 * grant + seed)
        random = bench.random
        rows, panels = int(random.integers(1, 10)), int(random.integers(1, 6))
        tiles = panels * config.tiles_per_panel
        features = int(random.integers((panels - 1) * config.panel + 1, panels * config.panel + 1)) if seed else 1
        base, row_stride, panel_stride = place(bench, Element.INT16, rows, panels)
        amplitude = int(random.choice([1, 30, 3000, 32767]))
        values = random.integers(-amplitude, amplitude + 1, (rows, panels * config.panel))
        values[0] = 0
        if rows > 2:
            values[1] = 1234
            values[2] = random.choice([-32768, 32767], values.shape[1])
        values[:, features:] = 0
        for row in range(rows):
            for panel in range(panels):
                part = values[row, panel * config.panel:(panel + 1) * config.panel].astype("<i2").view(np.uint8)
                put(bench, base + row * row_stride + panel * panel_stride, part)
        rms, state = int(random.integers(0, 2)), int(random.integers(0, config.state_rows - rows + 1))
        bench.add("STATS", src_base=base, src_row_stride=row_stride, src_panel_stride=panel_stride, rows=rows, tiles=tiles,
                  features=features, rms=rms, eps=int(random.choice([0, 0, 1, 1 << 20, (1 << 59) - 1])), state_base=state,
                  src_wait=1, src_signal=2)
        bench.reveals.append((1, SCRATCHPAD, base, bench.free - base))
        for kind in (Element.INT16, Element(random.integers(0, 2))):
            where, out_row, out_panel = place(bench, kind, rows, panels)
            bench.add("NORM", src_base=base, src_row_stride=row_stride, src_panel_stride=panel_stride, rows=rows,
                      tiles=tiles, features=features, state_base=state, dst_type=kind, dst_base=where,
                      dst_row_stride=out_row, dst_panel_stride=out_panel,
                      param_base=random_records(bench, tiles * config.groups_per_tile, 13, 14 if kind == 2 else 7),
                      dst_signal=4, dst_signal_each=seed % 2)
        bench.run(grant, expected_tokens(bench.program, config.tiles_per_panel))


def test_large_norm(config):
    """Extreme rows of many features: the widest sums, products and shifts."""
    bench = Bench(config, 5)
    panels = min(255, 600 // config.panel)
    rows, features = 2, panels * config.panel
    base = bench.alloc(2 * rows * panels)
    values = np.stack([np.where(np.arange(features) % 2, 32767, -32768), np.full(features, -32768)])
    for row in range(rows):
        for panel in range(panels):
            put(bench, base + 2 * (row * panels + panel),
                values[row, panel * config.panel:(panel + 1) * config.panel].astype("<i2").view(np.uint8))
    strides = dict(src_base=base, src_row_stride=2 * panels, src_panel_stride=2, rows=rows,
                   tiles=panels * config.tiles_per_panel, features=features)
    for rms in (0, 1):
        bench.add("STATS", **strides, rms=rms, eps=0)
        bench.add("NORM", **strides, dst_type=Element.INT16, dst_base=bench.alloc(2 * rows * panels),
                  dst_row_stride=2 * panels, dst_panel_stride=2,
                  param_base=random_records(bench, panels * config.panel // config.vector_lanes, 13, 14))
    bench.run()


def test_speed():
    """One group a cycle, and short gaps: bounds on the cycles of long instructions with every read granted."""
    config = CONFIGS[0]
    rows, tiles = 32, 8
    bench = Bench(config, 1)
    params = random_records(bench, tiles, 20, 8)
    destination = bench.alloc(2 * rows * tiles)
    bench.add("REQUANT", rows=rows, tiles=tiles, src_type=Element.ACC, src_row_stride=1, src_panel_stride=rows,
              dst_type=Element.INT8, dst_base=destination, dst_row_stride=1, dst_panel_stride=rows, param_base=params)
    assert bench.run()[0] < rows * tiles + 45
    bench.program.clear()
    bench.add("SOFTMAX", acc_stride=rows, rows=rows, tiles=8, key_limit=1000, dst_base=destination,
              dst_panel_stride=rows, param_base=params, first=1)
    assert bench.run()[0] < rows * tiles + 70
    bench.program.clear()
    bench.add("STATS", src_base=destination, src_row_stride=2 * tiles, src_panel_stride=2, rows=8, tiles=tiles * 4,
              features=128)
    assert bench.run()[0] < 8 * tiles * 4 + 70
    bench.program.clear()
    source, out = destination, bench.alloc(2 * rows * tiles)
    bench.add("NORM", src_base=source, src_row_stride=2 * tiles, src_panel_stride=2, rows=rows, tiles=tiles, features=32,
              dst_type=Element.INT8, dst_base=out, dst_row_stride=1, dst_panel_stride=rows, param_base=params)
    assert bench.run()[0] < 2 * rows * tiles + 60


def test_constants():
    """Every entry of the tables in the hardware, most of which random rows rarely meet."""
    assert np.array_equal(MANTISSAS, numerics.exp2_table)
    assert np.array_equal(ROOTS, numerics._rsqrt_table)


def test_comparison_bites(config):
    """A reference that sees other accumulators than the engine is noticed."""
    bench = Bench(config, 1)
    bench.add("REQUANT", rows=2, tiles=config.tiles_per_panel, src_type=Element.ACC, src_row_stride=1, src_panel_stride=2,
              dst_type=Element.INT8, dst_base=bench.alloc(2), dst_row_stride=1,
              param_base=random_records(bench, config.panel // config.vector_lanes, 20, 8))
    bench.run()
    bench.reference_accumulators = bench.accumulators ^ 0x7FFFFFF
    with pytest.raises(AssertionError, match="differ"):
        bench.run()
