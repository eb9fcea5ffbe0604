"""Parts of the vector engine alone, with random gaps wherever their contracts allow one, against the numerics."""

from collections import deque

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from weft.hw.config import DIVISION_CYCLES
from weft.hw.vector.job import Kind, Step
from weft.hw.vector.reduce import tree_latency
from weft.hw.vector.softmax import ROWS
from weft.hw.vector.state import DivisionState, NormState
from weft.sim import numerics
from weft.sim.cocotb.packing import pack, unpack
from weft.sim.cocotb.requantizer_bench import RequantizerBench
from weft.sim.cocotb.vector_part import CONFIG, GROUPS, JOB, LANES, Part, bits

SUM_LATENCY = tree_latency(LANES)
RATES = [1.0, 0.5, 0.1]


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(rate=RATES[:2])
async def exponential_lane(dut, rate):
    """Every distance below the maximum up to where nothing is left, and the largest."""
    part = Part(dut, "exponential")
    await part.start("enter")
    distances = [*((distance, 1) for distance in range(18 * 32)),
                 *((distance, part.random.getrandbits(1))
                   for distance in part.numbers.integers(0, 1 << 16, 150).tolist())]
    part.random.shuffle(distances)
    elements = []
    for distance, visible in distances:
        lowest = max(-1023, -((32768 - distance) // 32))
        maximum = part.random.randint(min(lowest, 1024), 1024)
        if -32768 <= 32 * maximum - distance <= 32767:
            elements.append((maximum, 32 * maximum - distance, visible))
    assert len(elements) > 600
    state = numerics.SoftmaxState(len(elements))
    state.m[:] = [maximum for maximum, *_ in elements]
    probabilities, _ = numerics.softmax_block(np.array([[score] for _, score, _ in elements]),
                                              np.array([[visible == 1] for *_, visible in elements]), state)
    expected = list(zip(state.l.tolist(), probabilities[:, 0].tolist()))
    # Number of the element in each stage.
    stages = [None] * 5
    waiting = deque(range(len(elements)))
    compared = 0
    while waiting or any(stage is not None for stage in stages):
        stages = [waiting.popleft() if waiting and part.chance(rate) else None] + stages[:4]
        entering = [None] + stages[:4]
        part.set(enter=sum(1 << k for k, element in enumerate(entering) if element is not None))
        maximum, score, visible = elements[stages[0]] if stages[0] is not None else (part.random.getrandbits(12), 0, 1)
        part.set(maximum=maximum & 0xFFF, score=score & 0xFFFF, visible=visible)
        await FallingEdge(dut.clk)
        if stages[3] is not None:
            assert part.get("exponential") == expected[stages[3]][0], elements[stages[3]]
        if stages[4] is not None:
            assert part.get("probability") == expected[stages[4]][1], elements[stages[4]]
            compared += 1
        await RisingEdge(dut.clk)
    assert compared == len(elements)


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(rate=RATES)
async def requantizer(dut, rate):
    """REQUANT with every option, NORM in two passes, scores of SOFTMAX with their visibility, squares of STATS."""
    bench = RequantizerBench(dut, "requantizer")
    await bench.start("launch", "arrives", "load_source", "load_second", "multiplying", "table_write")
    await bench.write_tables()
    for kind in [Kind.REQUANT] * 16 + [Kind.NORM, Kind.SOFTMAX, Kind.STATS] * 5:
        bench.job(kind)
        await bench.run(rate)


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(rate=RATES)
async def softmax(dut, rate):
    """Blocks of scores in turn: probabilities, running maxima, rescale distances and sums of every row."""
    part = Part(dut, "softmax")
    random, numbers = part.random, part.numbers
    await part.start("start", "score_valid")
    for _ in range(8):
        rows = random.randint(1, 12)
        base = random.randrange(CONFIG.state_rows - rows + 1)
        state = numerics.SoftmaxState(rows)
        memory = {"maximum": numbers.integers(-2048, 1024, rows), "sum": numbers.integers(0, 1 << 32, rows)}
        for block in range(3):
            tiles = CONFIG.tiles_per_panel * random.randint(1, min(3, CONFIG.key_block // CONFIG.panel))
            groups = tiles * CONFIG.groups_per_tile
            spread = random.choice([1, 40, 600, 32768])
            centres = numbers.integers(-1 << 14, 1 << 14, (rows, 1))
            scores = numerics.clamp(centres + numbers.integers(-spread, spread, (rows, groups * LANES)), "int16")
            visible = numbers.random(scores.shape) < random.choice([0, 0.3, 1])
            probabilities, distance = numerics.softmax_block(scores, visible, state)
            job = bits(JOB, kind=Kind.SOFTMAX, rows=rows, tiles=tiles, state_base=base, first=int(block == 0))
            part.set(job=job, start=1)
            await RisingEdge(dut.clk)
            part.set(start=0)
            to_issue = deque((row, group) for row in range(rows) for group in range(groups))
            to_score, to_come = deque(), deque(to_issue)
            totals = deque([None] * SUM_LATENCY)
            items_left, rows_left = CONFIG.softmax_ring, ROWS
            done = False        # there are probabilities in this cycle
            reads = {}
            written = {"maximum": [], "rescale": [], "sum": []}
            cycles = 0
            while part.get("rows_done") != rows or to_come or cycles < 2:
                # Issue as room allows, scores in the same order some cycles later.
                score = to_score.popleft() if to_score and part.chance(rate) else None
                if score is None:
                    part.set(score_valid=0, scores=part.noise("scores"), visible=part.noise("visible"))
                else:
                    row, group = score
                    lanes = slice(group * LANES, group * LANES + LANES)
                    part.set(score_valid=1, first=group == 0, last=group == groups - 1,
                             scores=pack(scores[row, lanes], 16), visible=pack(visible[row, lanes], 1))
                total = totals.popleft()
                part.set(total=part.noise("total") if total is None else total)
                for name, value in reads.items():
                    part.set(**{f"{name}_read_value": value})
                await FallingEdge(dut.clk)
                items_left += part.get("item_freed")
                rows_left += part.get("row_freed")
                if part.get("exponential_valid"):
                    totals.append(int(unpack(part.get("exponentials"), 16, CONFIG.softmax_lanes, signed=False).sum()))
                else:
                    totals.append(None)
                for name in "maximum", "sum":
                    if part.get(f"{name}_read_enable"):
                        width = len(part._handle(f"{name}_read_value"))
                        reads[name] = int(memory[name][part.get(f"{name}_read_row") - base]) & (1 << width) - 1
                for name, values in written.items():
                    if part.get(f"{name}_write_enable"):
                        value = part.get(f"{name}_write_value")
                        if name == "maximum":
                            value -= value >> 11 << 12
                        assert part.get(f"{name}_write_row") == base + len(values), f"{name} of another row"
                        if name in memory:
                            memory[name][len(values)] = value
                        values.append(value)
                if done:
                    row, group = to_come.popleft()
                    found = unpack(part.get("probabilities"), 8, LANES, signed=False)
                    wanted = probabilities[row, group * LANES:group * LANES + LANES]
                    where = f"block {block}, row {row}, group {group}"
                    assert np.array_equal(found, wanted), f"{where}: {found}, not {wanted}"
                    panel_end = group % GROUPS == GROUPS - 1
                    step = Step.OUTER if group == groups - 1 else Step.INNER if panel_end else Step.STAY
                    assert Step(part.get("step")) == step
                    assert GROUPS == 1 or part.get("group") == group % GROUPS       # of one group the port has no bits
                done = part.get("done_next")
                if to_issue and items_left and (to_issue[0][1] or rows_left) and part.chance(rate):
                    items_left -= 1
                    rows_left -= to_issue[0][1] == 0
                    to_score.append(to_issue.popleft())
                await RisingEdge(dut.clk)
                cycles += 1
                assert cycles < 50_000, f"{len(to_come)} groups did not come out"
            assert written["maximum"] == state.m.tolist(), "running maxima differ"
            assert written["rescale"] == distance.tolist(), "rescale distances differ"
            assert written["sum"] == state.l.tolist(), "sums differ"


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(rate=RATES)
async def row_sums(dut, rate):
    """Sums and sums of squares of rows of any number of groups, back to back or with gaps."""
    part = Part(dut, "row_sums")
    numbers = part.numbers
    await part.start("valid")
    groups = deque()        # (elements, first, last)
    expected = deque()
    for _ in range(60):
        values = numbers.integers(-1 << 15, 1 << 15, (part.random.choice((1, 2, 3, 40)), LANES))
        if part.chance(0.2):
            values[:] = -1 << 15
        expected.append((int(values.sum()), int((values * values).sum())))
        groups += [(v, n == 0, n == len(values) - 1) for n, v in enumerate(values)]
    # The tree of sums gets a group one cycle before its squares come.
    totals, late = deque([None] * SUM_LATENCY), None
    cycles = 0
    while expected:
        group = groups.popleft() if groups and part.chance(rate) else None
        totals.append(None if group is None else int(group[0].sum()))
        total = totals.popleft()
        part.set(total=part.noise("total") if total is None else total & (1 << len(part._handle("total"))) - 1)
        if late is None:
            part.set(valid=0, squares=part.noise("squares"))
        else:
            values, first, last = late
            part.set(valid=1, first=first, last=last, squares=pack(values * values, 32))
        late = group
        await FallingEdge(dut.clk)
        if part.get("finished"):
            found = int(unpack(part.get("row_sum"), 30, 1)[0]), part.get("row_squares")
            assert found == expected[0], f"{found}, not {expected[0]}"
            expected.popleft()
        await RisingEdge(dut.clk)
        cycles += 1
        assert cycles < 50_000, f"{len(expected)} rows did not come out"


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def row_unit_divides_one_row_after_the_other(dut):
    """Divisions started as soon as they may be, some later: results in order, `division_units` of them every nine cycles where
    nothing waits."""
    part = Part(dut, "row_unit")
    random = part.random
    await part.start("load", "root", "divide")
    count, mult, shift = 60, random.getrandbits(17), random.randint(1, 32)
    part.set(load=1, first_row=3)
    await RisingEdge(dut.clk)
    part.set(load=0, mult=mult, shift=shift)
    totals, found, times, cycle, total = [], [], [], 0, None
    while len(found) < count:
        part.set(row_total=part.noise("row_total") if total is None else total)
        total = None
        await FallingEdge(dut.clk)
        if part.get("division_write_enable"):
            found.append((part.get("division_write_row"), part.get("division_write_value")))
            times.append(cycle)
        starts = part.get("ready") and len(totals) < count and (len(totals) < 30 or part.chance(0.1))
        part.set(divide=int(bool(starts)))
        if starts:
            total = random.choice((0, 1, (1 << 32) - 1, 1 << random.randrange(32), random.getrandbits(32)))
            totals.append(total)
        assert not (part.get("idle") and len(found) < len(totals) - bool(starts))
        await RisingEdge(dut.clk)
        cycle += 1
    for number, (row, value) in enumerate(found):
        divided = numerics.softmax_division(totals[number], mult, shift)
        assert row == 3 + number
        assert value == bits(DivisionState, mult=int(divided[0]), shift=int(divided[1]) - 1), number
    units = CONFIG.division_units
    assert {later - before for before, later in zip(times[:20], times[units:20 + units])} == {DIVISION_CYCLES}


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def row_unit(dut):
    """Reciprocal square roots of rows' statistics and reciprocals of softmax sums, in random order."""
    part = Part(dut, "row_unit")
    random, numbers = part.random, part.numbers
    await part.start("load", "root", "divide")
    row = None
    for _ in range(250):
        if row is None or row == CONFIG.state_rows - 1 or part.chance(0.05):
            row = random.randrange(CONFIG.state_rows)
            part.set(load=1, first_row=row)
            await RisingEdge(dut.clk)
            part.set(load=0, first_row=part.noise("first_row"))
        else:
            row += 1
        for _ in range(random.choice((0, 0, 1, 7))):
            await RisingEdge(dut.clk)
        if part.chance(0.5):
            name, layout = "norm", NormState
            features = random.choice((1, 2, 384, 768, 16384, random.randint(1, 16384)))
            amplitude = 1 << random.randrange(16)
            x = numbers.integers(-amplitude, amplitude, (1, features))
            x[:] = random.choice((x, 0, x[0, 0], np.where(x > 0, 32767, -32768)))
            rms, eps = random.getrandbits(1), random.choice((0, 0, 1, random.getrandbits(59)))
            row_sum, root, shift = (int(v[0]) for v in numerics.norm_stats(x, features, eps, bool(rms)))
            wanted = bits(layout, row_sum=row_sum, root=root, shift=shift - 1)
            part.set(row_sum=int(x.sum()) & (1 << 30) - 1, row_squares=int((x * x).sum()), features=features, rms=rms,
                     eps=eps, root=1)
        else:
            name, layout = "division", DivisionState
            anything = random.getrandbits(random.randint(1, 32))
            total = random.choice((0, 1, (1 << 32) - 1, 1 << random.randrange(32), anything))
            mult, shift = random.getrandbits(17), random.randint(1, 32)
            divided = numerics.softmax_division(total, mult, shift)
            wanted = bits(layout, mult=int(divided[0]), shift=int(divided[1]) - 1)
            part.set(divide=1)
            await RisingEdge(dut.clk)
            part.set(row_total=total, mult=mult, shift=shift)
        if name == "norm":
            await RisingEdge(dut.clk)
        part.set(root=0, divide=0)
        for _ in range(40):
            await FallingEdge(dut.clk)
            if part.get(f"{name}_write_enable"):
                break
            await RisingEdge(dut.clk)
        found = layout.from_bits(part.get(f"{name}_write_value"))
        assert part.get(f"{name}_write_enable"), f"no {name} of the row"
        assert found.as_bits() == wanted, f"{found}, not {layout.from_bits(wanted)}"
        assert part.get(f"{name}_write_row") == row
        await RisingEdge(dut.clk)
        await FallingEdge(dut.clk)
        assert part.get("idle")
        await RisingEdge(dut.clk)
