"""Program files, runs and statistics."""

import numpy as np
import pytest
import safetensors.numpy

import weft
from weft import workloads
from weft.container import read_container, write_container
from weft.files import check_writable, whole_file
from weft.hw import isa

CONFIG = weft.Config.named("tiny")


@pytest.fixture(scope="module")
def gemm():
    return workloads.gemm(9, 20, 12, CONFIG)


def expected(program, a):
    """The bench's product, computed from nothing but the numerics' formula."""
    from weft.sim.numerics import clamp, requantize

    rng = np.random.default_rng(0)
    k, n = 20, 12
    mult = np.minimum(np.round(2.0 ** 24 * 40 / (74 * 74 * np.sqrt(k)) * rng.uniform(0.7, 1.3, n)).astype(np.int32), 131071)
    bias = rng.integers(-1000, 1000, n)
    weight = rng.integers(-127, 128, (n, k))
    return clamp(requantize(a.astype(np.int64) @ weight.T, mult, 24, bias), "int8")


def test_gemm(gemm):
    program, args, kwargs = gemm
    result = program.run(args, kwargs)
    np.testing.assert_array_equal(result.outputs[0], expected(program, args[0]))
    assert result.stats.macs == 9 * 20 * 12
    assert result.stats.cycles is None
    assert result.stats.roofline_cycles == max(9 * 20 * 12 // 16, -(-(9 * 20 + 20 * 12 + 9 * 12) // 4))


def test_attention():
    program, args, kwargs = workloads.attention(2, 20, 8, CONFIG)
    result = program.run(args, kwargs).outputs[0]
    assert result.shape == (20, 16) and result.std() > 5


def test_many_runs_equal_single_ones(gemm):
    program, args, kwargs = gemm
    batches = [((args[0] + i - 5,), {}) for i in range(20)]
    many = program.run_many(batches)
    for i in (0, 7, 19):
        np.testing.assert_array_equal(many[i].outputs[0], program.run(*batches[i]).outputs[0])


def test_save_and_load(gemm, tmp_path):
    program, args, kwargs = gemm
    program.assets["note"] = b"kept"
    program.save(tmp_path / "gemm.weft")
    program.assets.clear()
    loaded = weft.load(tmp_path / "gemm.weft", config="tiny")
    assert loaded.config == CONFIG and loaded.assets == {"note": b"kept"}
    assert list(loaded.disassemble()) == list(program.disassemble())
    assert [i.shape for i in loaded.inputs] == [(9, 20)]
    np.testing.assert_array_equal(loaded.run(args, kwargs).outputs[0], program.run(args, kwargs).outputs[0])
    assert [p.name for p in tmp_path.iterdir()] == ["gemm.weft"]


def test_files_that_are_no_programs(gemm, tmp_path):
    program, _, _ = gemm
    path = tmp_path / "p.weft"
    with pytest.raises(weft.ProgramError, match="does not exist"):
        weft.load(path)
    program.save(path)
    data = path.read_bytes()
    path.write_bytes(data[:-7])
    with pytest.raises(weft.ProgramError, match="truncated"):
        weft.load(path)
    altered = bytearray(data)
    altered[-100] ^= 4
    path.write_bytes(altered)
    with pytest.raises(weft.ProgramError, match="altered"):
        weft.load(path)
    path.write_bytes(b"something else")
    with pytest.raises(weft.ProgramError, match="no program"):
        weft.load(path)
    path.write_bytes(data)
    with pytest.raises(weft.ProgramError, match="configuration tiny, not base"):
        weft.load(path, config="base")
    description, tensors = read_container(path)
    write_container(path, {**description, "isa": isa.VERSION + 1}, tensors)
    with pytest.raises(weft.ProgramError, match=f"instruction set {isa.VERSION + 1}"):
        weft.load(path)
    write_container(path, {**description, "format": 99}, tensors)
    with pytest.raises(weft.ProgramError, match="format version 99"):
        weft.load(path)
    for name, words in (("isa", "instruction set None"), ("config", "must be a table of parameters, not NoneType"),
                        ("host", "does not hold .*'host'")):
        write_container(path, {key: value for key, value in description.items() if key != name}, tensors)
        with pytest.raises((weft.ProgramError, weft.ConfigError), match=words):
            weft.load(path)
    write_container(path, description, {name: array for name, array in tensors.items() if name != "constant"})
    with pytest.raises(weft.ProgramError, match="does not hold .*'constant'"):
        weft.load(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(weft.ProgramError, match="p.weft is a folder"):
        weft.load(path)


def test_metadata_that_are_no_description(tmp_path):
    safetensors.numpy.save_file({"a": np.zeros(1)}, tmp_path / "p.weft", metadata={"weft": "[]"})
    with pytest.raises(weft.ProgramError, match="no Weft program"):
        weft.load(tmp_path / "p.weft")


def test_a_file_is_written_into_folders_that_are_made_then(tmp_path):
    path = check_writable(tmp_path / "a" / "b" / "file")
    assert not list(tmp_path.iterdir())
    with whole_file(path) as part:
        part.write_text("whole")
    assert path.read_text() == "whole" and [p.name for p in path.parent.iterdir()] == ["file"]
    with pytest.raises(weft.InputError, match="Not a directory"):
        check_writable(path / "c" / "d")


def test_bad_arguments(gemm):
    program, args, kwargs = gemm
    with pytest.raises(weft.InputError, match="shape"):
        program.run((args[0][:5],), {})
    with pytest.raises(weft.InputError, match="missing"):
        program.run((), {})
    with pytest.raises(weft.InputError, match="NaN"):
        program.run((args[0] * np.nan,), {})
    with pytest.raises(weft.InputError, match="'silicon'"):
        program.run(args, kwargs, backend="silicon")


def test_disassembly_names_layers(gemm):
    lines = list(gemm[0].disassemble())
    assert len(lines) == gemm[0].image.instructions
    assert any("MATMUL" in line and line.endswith("; gemm") for line in lines)


@pytest.mark.parametrize("m, k, n", [(1, 64, 64), (40, 700, 30), (300, 16, 16)])
def test_gemms_of_every_proportion(m, k, n):
    program, args, kwargs = workloads.gemm(m, k, n, CONFIG)
    assert program.run(args, kwargs).outputs[0].std() > 10
