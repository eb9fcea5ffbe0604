"""Rules that an instruction obeys whatever surrounds it."""

import numpy as np

from weft.hw.isa import INSTRUCTIONS, Element

from . import layout

__all__ = ["check"]


def check(config, operation):
    """Raises ProgramError for fields that have no meaning together, or in this configuration."""
    f, mnemonic = operation.f, operation.mnemonic
    if violation := INSTRUCTIONS[mnemonic].violation(vars(f), config):
        raise operation.error(violation)
    if mnemonic in ("LOAD", "STORE"):
        _check_dma(config, operation)
    elif mnemonic in ("INDEX", "GATHER"):
        _check_gather(config, operation)
    elif mnemonic.startswith("MATMUL"):
        if f.rescale and not f.accumulate:
            raise operation.error("rescale needs accumulate")
        if layout.sparse_panels(f):
            _multiple(operation, "w_base", f.w_base, 2)
    elif operation.engine == 3 and mnemonic not in ("VECTOR_SYNC", "TABLE"):
        _check_vector(config, operation)
    elif mnemonic == "TABLE":
        _multiple(operation, "src_base", f.src_base, 2)


def _multiple(operation, name, value, unit):
    if value % unit:
        raise operation.error(f"{name} must be a multiple of {unit}, not {value}")


def _check_dma(config, operation):
    f = operation.f
    _multiple(operation, "dram_addr", f.dram_addr, config.dma_bytes)
    _multiple(operation, "spm_addr", f.spm_addr, config.dma_words)
    _multiple(operation, "run_words", f.run_words, config.dma_words)
    if f.inner_count > 1:
        _multiple(operation, "inner_dram_stride", f.inner_dram_stride, config.dma_bytes)
        _multiple(operation, "inner_spm_stride", f.inner_spm_stride, config.dma_words)
    if f.outer_count > 1:
        _multiple(operation, "outer_dram_stride", f.outer_dram_stride, config.dma_bytes)
    if f.outer_count > 1 or f.ring_start:
        _multiple(operation, "outer_spm_stride", f.outer_spm_stride, config.dma_words)


def _check_gather(config, operation):
    f = operation.f
    _multiple(operation, "dram_addr", f.dram_addr, config.dma_bytes)
    first = getattr(f, "first", 0)
    if first + f.count > config.index_entries:
        raise operation.error(f"uses {first + f.count} entries of the index memory, it has {config.index_entries}")
    if operation.mnemonic == "GATHER":
        _multiple(operation, "dram_stride", f.dram_stride, config.dma_bytes)
        _multiple(operation, "spm_addr", f.spm_addr, config.dma_words)
        _multiple(operation, "run_words", f.run_words, config.dma_words)
        if f.count > 1:
            _multiple(operation, "spm_stride", f.spm_stride, config.dma_words)


def _check_operand(operation, prefix, kind):
    """An int16 operand lies on whole lines."""
    if kind == layout.INT16:
        f = operation.f
        for name in ("base", "row_stride", "panel_stride"):
            _multiple(operation, f"{prefix}_{name}", getattr(f, f"{prefix}_{name}"), 2)


def _check_vector(config, operation):
    f, mnemonic = operation.f, operation.mnemonic
    _multiple(operation, "tiles", f.tiles, config.tiles_per_panel)
    if mnemonic == "SOFTMAX":
        _multiple(operation, "key_start", f.key_start, config.panel)
        _multiple(operation, "param_base", f.param_base, 2)
        if f.tiles * config.cols > config.key_block:
            raise operation.error(f"a block of {f.tiles * config.cols} keys, key_block is {config.key_block}")
        if f.query_start + f.rows > 65536:
            raise operation.error(f"query rows up to {f.query_start + f.rows - 1}, the last position is 65535")
        return
    if mnemonic in ("STATS", "NORM"):
        _check_operand(operation, "src", layout.INT16)
        limit = min(16384, f.tiles * config.cols) if mnemonic == "STATS" else 16384
        if not 1 <= f.features <= limit:
            raise operation.error(f"features must be from 1 to {limit}, not {f.features}")
    if mnemonic in ("REQUANT", "NORM"):
        _multiple(operation, "param_base", f.param_base, 2)
        if f.dst_type == Element.ACC:
            raise operation.error("dst_type must be INT8, UINT8 or INT16")
        _check_operand(operation, "dst", f.dst_type)
    if mnemonic == "REQUANT":
        if f.src_type != Element.ACC:
            _check_operand(operation, "src", f.src_type)
        if f.residual or f.multiply:
            if f.res_type == Element.ACC:
                raise operation.error("res_type must be INT8, UINT8 or INT16")
            _check_operand(operation, "res", f.res_type)
        if f.table and f.dst_type == Element.INT16:
            raise operation.error("table needs an 8-bit destination")
        if f.multiply and f.src_type == Element.ACC:
            raise operation.error("multiply needs a source in the scratchpad")
    if mnemonic != "STATS":
        _check_overlap(config, operation)


def _words(config, f, prefix, kind):
    return layout.panel_words(config, kind, getattr(f, f"{prefix}_base"), getattr(f, f"{prefix}_row_stride"),
                              getattr(f, f"{prefix}_panel_stride"), f.rows, 0, f.tiles)


def _check_overlap(config, operation):
    """A destination may replace an operand element by element (the same place, not wider), nothing else."""
    f = operation.f
    destination = _words(config, f, "dst", f.dst_type)
    size = layout.element_bytes(f.dst_type)
    operands = []
    if operation.mnemonic == "NORM":
        operands.append(("src", layout.INT16))
    else:
        if f.src_type != Element.ACC:
            operands.append(("src", f.src_type))
        if f.residual or f.multiply:
            operands.append(("res", f.res_type))
    for prefix, kind in operands:
        same = size <= layout.element_bytes(kind) and all(
            getattr(f, f"{prefix}_{n}") == getattr(f, f"dst_{n}") for n in ("base", "row_stride", "panel_stride"))
        if not same and np.isin(_words(config, f, prefix, kind), destination).any():
            raise operation.error(f"the destination overlaps the operand {prefix} at another place")
    if np.unique(destination).size != destination.size:
        raise operation.error("rows or panels of the destination overlap")
    records = layout.param_words(config, f, 0, f.tiles)
    if np.isin(records, destination).any():
        raise operation.error("the destination overlaps the parameter records")
