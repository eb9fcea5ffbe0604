"""Compares an imported float graph with the model it came from."""

import torch

from weft.frontend import import_model
from weft.quantize.calibrate import float_inputs
from weft.quantize.pipeline import host_program

__all__ = ["check", "run_float"]


def run_float(graph, args, kwargs):
    """Results of the float graph for a user's arguments."""
    env = graph.run(float_inputs(graph, host_program(graph), args, kwargs))
    results = []
    for output in graph.outputs:
        flat = env[output.tensor].reshape(-1)
        results.append((flat if output.index is None else flat[output.index.reshape(-1)]).reshape(output.shape))
    return results


def check(model, args=(), kwargs=None, rows=None, tolerance=2e-5):
    """Import, run, compare with the model (rows: bool mask of the tokens to compare); returns the graph."""
    kwargs = kwargs or {}
    model.eval()
    graph = import_model(model, args, kwargs)
    with torch.no_grad():
        wanted = model(*args, **kwargs)
    wanted = list(wanted.to_tuple()) if hasattr(wanted, "to_tuple") else [wanted]
    for got, want in zip(run_float(graph, args, kwargs), wanted, strict=True):
        assert got.shape == want.shape
        if rows is not None and got.shape[:2] == rows.shape:
            got, want = got[rows], want[rows]
        assert float((got - want).abs().max()) <= tolerance * float(want.abs().max())
    return graph
