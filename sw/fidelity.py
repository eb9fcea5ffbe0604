"""`weft.accuracy_report`: how far each tensor that a program computes is from the float model's, layer by layer."""

from dataclasses import asdict, dataclass, fields

import numpy as np

from weft.hw.errors import InputError

__all__ = ["AccuracyReport", "AccuracyRow", "accuracy_report"]

#: Runs whose tensors are held at once.
_BATCH = 4


@dataclass(frozen=True)
class AccuracyRow:
    """One tensor: ``layer`` (module path), ``tensor`` (its name in the exported graph),
    ``operation`` that computes it, ``dtype``, signal-to-noise ratio ``snr_db`` and ``max_error`` relative to the
    largest float value."""
    layer: str
    tensor: str
    operation: str
    dtype: str
    snr_db: float
    max_error: float


@dataclass(frozen=True)
class AccuracyReport:
    """``rows``: `AccuracyRow` of every tensor, worst first; ``samples``: how many ``(args, kwargs)`` or windows of tokens
    were compared. Prints as a table."""
    rows: list
    samples: int

    def as_dict(self):
        """Plain values, for JSON; a ratio without any noise is None."""
        rows = [asdict(row) for row in self.rows]
        for row in rows:
            row["snr_db"] = row["snr_db"] if np.isfinite(row["snr_db"]) else None
        return {"samples": self.samples, "rows": rows}

    def __str__(self):
        heads = {"snr_db": "SNR dB", "max_error": "max error"}
        table = [[heads.get(f.name, f.name) for f in fields(AccuracyRow)]]
        for row in self.rows:
            table.append([row.layer or "<top>", row.tensor, row.operation, row.dtype,
                          f"{row.snr_db:.1f}" if np.isfinite(row.snr_db) else "exact", f"{row.max_error:.4f}"])
        widths = [max(map(len, column)) for column in zip(*table)]
        lines = []
        for line in table:
            left = [cell.ljust(width) for cell, width in zip(line[:4], widths)]
            lines.append("  ".join(left + [cell.rjust(width) for cell, width in zip(line[4:], widths[4:])]))
        return "\n".join(lines)


class _Sums:
    """Energy of signal and noise of one tensor."""

    def __init__(self):
        self.signal = self.noise = self.peak = self.error = 0.0

    def add(self, wanted, got):
        wanted = np.asarray(wanted, np.float64)
        noise = np.abs(got - wanted)
        self.signal += float((wanted**2).sum())
        self.noise += float((noise**2).sum())
        self.peak = max(self.peak, float(np.abs(wanted).max(initial=0)))
        self.error = max(self.error, float(noise.max(initial=0)))

    def row(self, probe):
        ratio = np.inf if self.noise == 0 else 10 * np.log10(max(self.signal, 1e-300) / self.noise)
        return AccuracyRow(probe.module, probe.source, probe.operation, probe.dtype, float(ratio),
                           self.error / max(self.peak, 1e-300))


def _replaced(value, path, new):
    """``value`` with what lies at ``path`` replaced."""
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        return {**value, key: _replaced(value[key], rest, new)}
    items = list(value)
    items[key] = _replaced(items[key], rest, new)
    return type(value)(items)


def _at_compiled_length(host, args, kwargs):
    """Arguments as the model was exported with: torch tensors, padded where they are shorter."""
    import torch

    args, kwargs = list(args), dict(kwargs or {})
    bound, _ = host.padded(host.bind(args, kwargs))
    for leaf, array in zip(host.leaves, bound, strict=True):
        if array is None:
            continue
        root, *rest = leaf["path"]
        if root in host.parameters[:len(args)]:
            root = host.parameters.index(root)
        values = args if isinstance(root, int) else kwargs
        tensor = torch.from_numpy(np.array(array)).to(getattr(torch, leaf["dtype"]))
        values[root] = _replaced(values[root], rest, tensor)
    return tuple(args), kwargs


def _check_model(graph, probes, rows=True):
    """Raise InputError where a model's float graph lacks tensors that a program computes."""
    for probe in probes.tensors:
        found = graph.tensors.get(probe.source)
        if probe.source and (found is None or found.features != probe.features or (rows and found.rows != probe.rows)):
            raise InputError(f"the program was not compiled from this model: it computes {probe.source} of shape "
                             f"[{probe.rows}, {probe.features}] in {probe.module or '<top>'}, which the model does not")


def _model_samples(model, program, data):
    """``(float graph, probes, samples)`` of a `weft.Program`; see `_compared`."""
    from weft.frontend import import_model
    from weft.quantize.calibrate import float_inputs, valid_rows
    from weft.quantize.pipeline import host_program

    data = [(tuple(args), dict(kwargs or {})) for args, kwargs in data]
    if not data:
        raise InputError("the accuracy report needs at least one (args, kwargs)")
    graph = import_model(model, *_at_compiled_length(program.host, *data[0]))
    _check_model(graph, program.probes)
    host = host_program(graph)

    def samples():
        for start in range(0, len(data), _BATCH):
            part = data[start:start + _BATCH]
            golden = program.intermediates(part)
            for number, (args, kwargs) in enumerate(part):
                feeds = float_inputs(graph, host, args, kwargs)
                valid = valid_rows(graph, feeds)
                yield feeds, {name: values[number] for name, values in golden.items()}, \
                    lambda rows, valid=valid: valid[rows].numpy() if rows in valid else slice(None)

    return graph, program.probes, samples()


def _decoder_samples(model, program, data):
    """The same of a `weft.DecoderProgram`: ``data`` are token ids, cut into windows of its positions."""
    from weft.decoder.pipeline import causal_graph, windows
    from weft.quantize.calibrate import float_inputs
    from weft.quantize.pipeline import host_program

    graph, kwargs = causal_graph(model, program.max_length)
    probes = program.steps["prefill"].probes
    if probes is None:
        raise InputError("the decoder program says nothing about what it computes; it was not made by weft.compile_decoder")
    _check_model(graph, probes, rows=False)
    padded, counts = windows(data, program.max_length)
    if not padded:
        raise InputError("the accuracy report needs at least one tensor of token ids")
    host = host_program(graph)

    def samples():
        for ids, count in zip(padded, counts, strict=True):
            yield float_inputs(graph, host, (ids,), kwargs), program.intermediates(ids[0, :count].numpy()), \
                lambda rows, count=count: slice(count)

    return graph, probes, samples()


def _compared(graph, probes, samples):
    """`AccuracyReport` over ``samples`` of ``(inputs of the float graph, golden tensors by name, which rows of a tensor of
    so many count)``."""
    by_source, count = {}, 0
    for probe in probes.tensors:
        if probe.source:
            by_source.setdefault(probe.source, []).append(probe)
    sums = {probe.name: _Sums() for same in by_source.values() for probe in same}
    for feeds, golden, kept in samples:
        count += 1

        def compare(op, value, golden=golden, kept=kept):
            for probe in by_source.get(op.out, ()):
                chosen = kept(len(value))
                wanted = value.numpy() if probe.order is None else value.numpy()[:, probe.order]
                got = (golden[probe.name] - probe.zero) * probe.scale
                sums[probe.name].add(wanted[chosen], got[chosen])

        graph.run(feeds, compare)
    rows = [sums[probe.name].row(probe) for same in by_source.values() for probe in same]
    return AccuracyReport(sorted(rows, key=lambda row: row.snr_db), count)


def accuracy_report(model, program, data):
    """Signal-to-noise ratio between a float model and a program compiled from it, for every tensor.

    Parameters
    ----------
    model: the `torch.nn.Module` that was compiled.
    program: `weft.Program` or `weft.DecoderProgram`; it runs on the golden model, whose bytes are the RTL's. Of a decoder, it
        is the prefill program; decoding computes the same bits.
    data: as for calibration, an iterable of ``(args, kwargs)``, for a decoder of token-id tensors. Rows of tokens that no
        query may attend to do not count.

    Each tensor is compared with the float model's for the same inputs, so that its noise includes what it got from the
    tensors before it. The ratio in dB is ``10 log10(sum(float^2) / sum((golden - float)^2))`` over all samples.

    Returns an `AccuracyReport`. Raises InputError for data that do not fit and for a program of another model.
    """
    from weft.decoder import DecoderProgram
    from weft.program import Program

    if isinstance(program, DecoderProgram):
        return _compared(*_decoder_samples(model, program, data))
    if not isinstance(program, Program):
        raise InputError(f"the accuracy report takes a weft.Program or weft.DecoderProgram, not a {type(program).__name__}")
    return _compared(*_model_samples(model, program, data))
