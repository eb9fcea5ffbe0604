"""From a float graph and calibration batches to the quantized graph."""

from contextlib import contextmanager

import numpy as np
import torch

from weft.hw.errors import CompileError
from weft.quantize.build import build
from weft.quantize.calibrate import calibrate
from weft.quantize.gates import split_gates
from weft.quantize.host import HostProgram
from weft.quantize.options import QuantOptions
from weft.quantize.padding import find_padding, token_axes
from weft.quantize.plan import Plan, layer_options

__all__ = ["host_program", "quantize"]


@contextmanager
def _threads(graph):
    """One torch thread where products are small: they lose more to starting threads than they gain."""
    before = torch.get_num_threads()
    small = max(t.rows * t.features for t in graph.tensors.values()) < 2**20
    try:
        torch.set_num_threads(1 if small else before)
        yield
    finally:
        torch.set_num_threads(before)


def _references(argument):
    if isinstance(argument, list):
        return [r for a in argument for r in _references(a)]
    if isinstance(argument, dict) and ("value" in argument or "array" in argument):
        return [argument]
    return []


def _keep_needed(program):
    """Drop steps and arrays that no accelerator input and no result needs; renumber the rest."""
    live, number = set(), {}
    stack = [b["value"] for b in program.bindings] + [o["value"] for o in program.outputs if "value" in o]
    stack += [leaf["value"] for leaf in program.leaves if "value" in leaf]
    while stack:
        i = stack.pop()
        if i not in live:
            live.add(i)
            step = program.steps[i]
            stack += [r["value"] for r in _references([*step["args"], *step["kwargs"].values()]) if "value" in r]
    kept, arrays = [], {name: a for name, a in program.arrays.items() if not name.startswith("array")}
    for i in sorted(live):
        number[i] = len(kept)
        step = program.steps[i]
        for reference in _references([*step["args"], *step["kwargs"].values()]):
            if "value" in reference:
                reference["value"] = number[reference["value"]]
            else:
                arrays[f"array{reference['array']}"] = program.arrays[f"array{reference['array']}"]
        kept.append(step)
    for item in (*program.bindings, *program.outputs, *program.leaves):
        if "value" in item:
            item["value"] = number[item["value"]]
    program.steps, program.arrays = kept, arrays


def _copy(item):
    if isinstance(item, list):
        return [_copy(i) for i in item]
    return {k: _copy(v) for k, v in item.items()} if isinstance(item, dict) else item


def host_program(graph):
    """The host's program up to what the accelerator needs; inputs are bound and results described later."""
    host = graph.host
    program = HostProgram(leaves=_copy(host.leaves), parameters=list(host.parameters), steps=_copy(host.steps),
                          arrays={f"array{i}": a for i, a in enumerate(host.arrays)})
    program.padding = find_padding(program, graph)
    return program


def _describe_outputs(program, graph, qgraph):
    length = program.padding["length"] if program.padding else 0
    quantized = iter(list(qgraph.outputs))
    qgraph.outputs = []
    for i, output in enumerate(graph.outputs):
        record = {"shape": [int(n) for n in output.shape], "token_axes": []}
        if output.value is not None:
            record["value"] = output.value
        elif output.constant is not None:
            record["array"] = f"output{i}"
            program.arrays[f"output{i}"] = output.constant.float().numpy()
        else:
            q = next(quantized)
            tensor = qgraph.tensors[q.tensor]
            record.update(tensor=q.tensor, zero=int(tensor.zero), scale=f"output{i}.scale", index=None,
                          token_axes=token_axes(output, tensor.features, length))
            program.arrays[f"output{i}.scale"] = tensor.scale
            if output.index is not None:
                record["index"] = f"output{i}.index"
                program.arrays[f"output{i}.index"] = output.index.numpy().astype(np.int64)
            qgraph.outputs.append(type(q)(q.tensor, q.shape, tuple(record["token_axes"])))
        program.outputs.append(record)


def quantize(float_graph, calibration, options=None, key_block=64, wide_block=0, tokens=None):
    """Quantize ``float_graph`` with scales from ``calibration``, an iterable of ``(args, kwargs)``.

    ``options``: `QuantOptions`, or what `QuantOptions.of` takes. ``key_block`` is the configuration's attention block width.
    ``wide_block``: the neurons of an activation function that get a table of their own come in multiples of this, the channels
    after which the accelerator can switch tables; 0 keeps one table. ``tokens``: see `weft.quantize.calibrate.calibrate`.
    Returns a `QGraph` whose ``host`` prepares inputs and finishes outputs. Raises `CompileError` where the model's values do
    not fit the integer arithmetic.
    """
    options = QuantOptions.of(options)
    layer_options(float_graph, options)     # a pattern that matches nothing is refused before the work
    if key_block < 1:
        raise CompileError(f"the attention block width must be positive, not {key_block}")
    added = split_gates(float_graph)
    program = host_program(float_graph)
    with _threads(float_graph):
        observed = calibrate(float_graph, program, calibration, options.samples, tokens)
        plan = Plan(float_graph, observed, options, wide_block)
        qgraph, program.bindings = build(float_graph, plan, key_block, added)
    _describe_outputs(program, float_graph, qgraph)
    _keep_needed(program)
    qgraph.host = program
    return qgraph
