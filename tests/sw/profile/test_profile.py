"""Figures of a profile against the accelerator's own counters and the program itself."""

import numpy as np
import pytest

from weft.hw.control.register_map import THREADS
from weft.hw.errors import RunError
from weft.hw.interfaces import ThreadState
from weft.hw.isa import Engine
from weft.profile.instructions import executed
from weft.profile.stalls import CAUSES
from weft.sim.rtl import recording

ENGINES = {"load": Engine.LOAD, "weights": Engine.TENSOR, "tensor": Engine.TENSOR, "vector": Engine.VECTOR,
           "store": Engine.STORE}
TOKEN = ThreadState.WAIT_TOKEN.value


def test_every_cycle_of_a_thread_has_a_state_and_all_equal_the_counters(profile):
    cycles = profile.stats.cycles
    for thread, counters in profile.stats.engines.items():
        runs = profile.states[thread]
        assert runs.starts[0] == 0 and runs.ends[-1] == cycles
        np.testing.assert_array_equal(runs.starts[1:], runs.ends[:-1])
        for state, cause in enumerate(CAUSES[1:], 1):
            assert runs.cycles(state) == counters[cause], (thread, cause)
    assert profile.states["tensor"].cycles(ThreadState.BUSY.value) > 0


def test_every_instruction_has_a_slice_in_its_engine(profile):
    pcs, arrivals = executed(profile.recording)
    np.testing.assert_array_equal(pcs, np.arange(profile.code.image.instructions))
    assert (np.diff(arrivals) > 0).all()
    for thread, engine in ENGINES.items():
        slices = profile.slices[thread]
        np.testing.assert_array_equal(slices.pcs, np.flatnonzero(profile.code.engines == engine))
        assert (slices.starts >= arrivals[slices.pcs]).all() and (slices.ends > slices.starts).all()
        assert (slices.starts[1:] >= slices.ends[:-1]).all() and slices.ends[-1] <= profile.stats.cycles


def test_busy_cycles_lie_in_slices(profile):
    for thread in THREADS:
        runs, slices = profile.states[thread], profile.slices[thread]
        middle = (runs.starts + runs.ends)[runs.states == ThreadState.BUSY.value] // 2
        inside = slices.starts[slices.at(middle)] <= middle
        # The weight loader takes an instruction a cycle before its state says so.
        assert inside.mean() > 0.9, thread


def test_rows_of_the_array_are_those_of_the_products(profile):
    busy = profile.stats.engines["tensor"]["busy"]
    rows = sum(layer.array_cycles for layer in profile.layers)
    # Busy are also the few cycles in which an instruction's first rows are read.
    assert rows <= busy < 1.1 * rows + 100
    tensor, passes, done = profile.slices["tensor"], profile.recording.tracks["passes"][0], 0
    for pc, start, end in zip(tensor.pcs.tolist(), tensor.starts, tensor.ends):
        _, fields = profile.code[pc]
        if "k_tiles" in fields:
            mine = passes[done:done + fields["k_tiles"] * fields["n_tiles"]]
            assert start <= mine[0] and end == mine[-1] + fields["rows"], pc
            done += len(mine)
    assert done == len(passes) > 0


def test_waits_are_ended_by_who_gives_that_token(profile):
    waits = 0
    for thread in THREADS:
        runs, released = profile.states[thread], profile.released[thread]
        assert (released.threads[runs.states != TOKEN] == -1).all()
        for n in np.flatnonzero(runs.states == TOKEN):
            assert released.threads[n] >= 0, (thread, n)
            giver = THREADS[released.threads[n]]
            pc = profile.slices[giver].pcs[released.slices[n]]
            assert runs.semaphores[n] in profile.code.semaphores(pc)
            assert runs.starts[n] - 2 <= released.cycles[n] <= runs.ends[n]
            waiting = profile.code[profile.slices[thread].pcs[profile.slices[thread].at(runs.ends[n] - 1)]][1]
            assert runs.semaphores[n] in [v for name, v in waiting.items() if name.endswith("wait")]
            waits += 1
    assert waits > 8


def test_layers_add_up_to_the_run(profile):
    stats, layers = profile.stats, profile.layers
    assert [layer.name for layer in layers[:2]] == ["q_proj", "k_proj"]
    assert sum(layer.cycles for layer in layers) == stats.cycles
    assert sum(layer.macs for layer in layers) == stats.macs
    assert sum(layer.instructions for layer in layers) == profile.code.image.instructions
    assert sum(layer.written_bytes for layer in layers) == stats.dram_write_bytes
    # What is left over is fetched: every instruction, and at most a burst and what the buffer holds beyond the last.
    assert 0 <= profile.fetched_bytes - 32 * profile.code.image.instructions <= 1024 + 128
    attention = next(layer for layer in layers if layer.name == "attention")
    assert attention.work["vector"] > 0 and attention.work["tensor"] > 0
    # What the array waited for weights is the weight loader's, or that of whom it waits for in turn.
    assert sum(layer.work["tensor"] for layer in layers) == stats.engines["tensor"]["busy"] + stats.engines["tensor"]["drain"]


def test_the_bus_is_counted(profile):
    beat, found = profile.config.data_bytes, profile.recording
    assert len(found.read_beats) == -(-profile.stats.cycles // found.interval)
    assert found.write_beats.sum() * beat == profile.stats.dram_write_bytes
    # The counter in the accelerator is a cycle behind.
    assert abs(found.read_beats.sum() * beat - profile.stats.dram_read_bytes) <= 2 * beat
    assert found.read_beats.max() <= found.interval


def test_signals_are_looked_for_where_they_are(rtl):
    from weft.sim.rtl.library import sources_of

    sources = sources_of(rtl.config)
    lines = recording.control_file(sources).splitlines()
    assert 'public_flat_rd -module "weft_thread_counters" -var "counted_state"' in lines and len(lines) < 60
    with pytest.raises(RunError, match="no signal busy in control.registers to record"):
        recording.control_file({"weft.v": sources["weft.v"].replace(" registers (", " renamed (")})
    with pytest.raises(RunError, match="no signal busy in control.registers"):
        recording.attach(lambda name, *arguments: 0)


def test_other_simulations_record_nothing():
    from weft.sim.rtl import library

    assert "ifdef WEFT_PROFILE" in library._LOOP.read_text()
    assert not any(name.startswith("weft_profile") for name in library._FUNCTIONS)
