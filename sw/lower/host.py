"""The host's side of a program: integer arrays to buffer bytes and back."""

import numpy as np

from .layout import Channels, pack_mask, pack_rows, unpack_rows

__all__ = ["pack_input", "unpack_output"]


def pack_input(config, tensor, values):
    """Bytes of the buffer of input ``tensor`` (`weft.lower.lowering.HostTensor`) for ``values[rows, features]``.

    Returns uint8[tensor.bytes]; words, rows and ids beyond the tensor's own are zero.
    """
    values = np.asarray(values).reshape(tensor.rows, tensor.features)
    if tensor.kind == "ids":
        data = np.zeros(tensor.bytes, np.uint8)
        flat = values.astype("<i4").reshape(-1)
        for number, start in enumerate(range(0, flat.size, tensor.chunk)):
            part = flat[start:start + tensor.chunk].view(np.uint8)
            data[number * tensor.chunk_bytes:number * tensor.chunk_bytes + part.size] = part
        return data
    if tensor.kind == "mask":
        return pack_mask(config, values, tensor.stored_rows)
    return pack_rows(config, values, Channels(tensor.features, tensor.block, config.panel), tensor.stored_rows,
                     tensor.dtype, tensor.row_major)


def unpack_output(config, tensor, data):
    """Integer array ``[..., rows, features]`` of output ``tensor`` from its buffer's bytes ``uint8[..., bytes]``."""
    data = np.asarray(data, np.uint8)
    channels = Channels(tensor.features, tensor.block, config.panel)
    if data.ndim == 1:
        return unpack_rows(config, data, channels, tensor.stored_rows, tensor.rows, tensor.dtype, tensor.row_major)
    return np.stack([unpack_output(config, tensor, part) for part in data])
