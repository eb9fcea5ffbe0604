"""A linear layer of circulant blocks: the operator that export keeps as one node, and the module.

Ding et al., "CirCNN: Accelerating and Compressing Deep Neural Networks Using Block-Circulant Weight Matrices", 2017.
"""

import math

import torch
from torch import nn

from weft.hw.errors import CompileError

__all__ = ["BlockCirculantLinear", "block_circulant_linear", "expand", "project"]


def expand(generators):
    """The matrix ``[N, K]`` of circulant blocks: ``W[n*b + i, k*b + j] = generators[n, k, (i - j) % b]``.

    ``generators`` is ``[N / b, K / b, b]``.
    """
    rows, columns, b = generators.shape
    place = torch.arange(b, device=generators.device)
    turned = generators[:, :, (place[:, None] - place) % b]
    return turned.permute(0, 2, 1, 3).reshape(rows * b, columns * b)


def project(weight, block):
    """Generators ``[N / b, K / b, b]`` of the block-circulant matrix next to ``weight`` [N, K] in least squares.

    That is the mean along each wrapped diagonal of each block.
    """
    n, k = weight.shape
    place = torch.arange(block, device=weight.device)
    tiles = weight.reshape(n // block, block, k // block, block).permute(0, 2, 1, 3)
    # tiles[.., (j + d) % b, j] for each diagonal d, averaged over the columns j.
    return tiles[:, :, (place[:, None] + place) % block, place].mean(-1)


def _spectral(x, generators):
    """Whether transforms beat the expanded matrix, as measured on one core: few rows, or a large matrix in large blocks."""
    b = generators.shape[-1]
    return x.numel() // x.shape[-1] <= 16 or (b >= 8 and generators.numel() * b >= 2**20)


def _transform(t):
    # Half precision has no transform on the CPU.
    return torch.fft.rfft(t.float() if t.dtype in (torch.half, torch.bfloat16) else t)


def _blocks(x, b):
    """``[rows, features]`` as spectra ``[frequencies, rows, features / b]``."""
    return _transform(x.reshape(-1, x.shape[-1] // b, b)).permute(2, 0, 1)


def _features(spectra, like, b):
    """Back from ``[frequencies, rows, blocks]`` to ``[rows, blocks * b]``, of the type of ``like``."""
    return torch.fft.irfft(spectra.permute(1, 2, 0), n=b).reshape(spectra.shape[1], -1).to(like.dtype)


def _product(x, generators):
    """``x @ W.T`` of rows x [R, K]: block by block a circular convolution, so a product of spectra."""
    if not _spectral(x, generators):
        return x @ expand(generators).t()
    b = generators.shape[-1]
    return _features(_blocks(x, b) @ _transform(generators).permute(2, 1, 0), x, b)


def _input_gradient(grad, generators):
    """``grad @ W``."""
    if not _spectral(grad, generators):
        return grad @ expand(generators)
    b = generators.shape[-1]
    return _features(_blocks(grad, b) @ _transform(generators).permute(2, 0, 1).conj(), grad, b)


def _generator_gradient(grad, x, generators):
    """The sum along each wrapped diagonal of ``grad.T @ x``."""
    b = generators.shape[-1]
    if not _spectral(grad, generators):
        return project(grad.t() @ x, b) * b
    spectra = _blocks(grad, b).transpose(1, 2) @ _blocks(x, b).conj()
    return torch.fft.irfft(spectra.permute(1, 2, 0), n=b).to(generators.dtype)


@torch.library.custom_op("weft::block_circulant_linear", mutates_args=())
def block_circulant_linear(x: torch.Tensor, generators: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """``x @ W.T + bias`` of x ``[..., K]`` with the block-circulant W ``[N, K]`` that `expand` makes of ``generators``."""
    y = _product(x.reshape(-1, x.shape[-1]), generators).reshape(*x.shape[:-1], -1)
    return y if bias is None else y + bias


@block_circulant_linear.register_fake
def _(x, generators, bias):
    return x.new_empty(*x.shape[:-1], generators.shape[0] * generators.shape[2])


def _save(ctx, inputs, output):
    x, generators, bias = inputs
    ctx.save_for_backward(x, generators)
    ctx.has_bias = bias is not None


def _backward(ctx, grad):
    x, generators = ctx.saved_tensors
    rows = grad.reshape(-1, grad.shape[-1])
    need_x, need_generators, need_bias = ctx.needs_input_grad
    return (_input_gradient(rows, generators).reshape(x.shape) if need_x else None,
            _generator_gradient(rows, x.reshape(-1, x.shape[-1]), generators) if need_generators else None,
            rows.sum(0) if ctx.has_bias and need_bias else None)


block_circulant_linear.register_autograd(_backward, setup_context=_save)


class BlockCirculantLinear(nn.Module):
    """``y = x @ W.T + bias`` with W of ``block`` x ``block`` circulant blocks; trained and used like ``nn.Linear``.

    Parameters: ``generators`` [out_features / block, in_features / block, block], the first columns of the blocks,
    ``W[n*b + i, k*b + j] = generators[n, k, (i - j) % b]``: each row of a block is the row above rotated right by one.
    ``bias`` [out_features] or None. A layer holds ``1 / block`` of a dense layer's weights, and its products are taken by
    fast Fourier transform where that is faster.

    Raises CompileError where ``block`` does not divide both sizes.
    """

    def __init__(self, in_features, out_features, block, bias=True, device=None, dtype=None):
        super().__init__()
        _check(in_features, out_features, block)
        self.in_features, self.out_features, self.block = in_features, out_features, block
        self.generators = nn.Parameter(torch.empty(out_features // block, in_features // block, block, device=device,
                                                   dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_features, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self):
        """Random values as of ``nn.Linear``: every weight has the variance it has there."""
        bound = 1 / math.sqrt(self.in_features)
        nn.init.uniform_(self.generators, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x):
        """``[..., in_features]`` to ``[..., out_features]``."""
        return block_circulant_linear(x, self.generators, self.bias)

    def dense_weight(self):
        """W [out_features, in_features], differentiable in the generators."""
        return expand(self.generators)

    @classmethod
    def from_linear(cls, layer, block):
        """The layer whose W is next to that of ``layer`` (``nn.Linear`` or transformers' Conv1D) in least squares."""
        from weft.nn.layers import matrix

        weight = matrix(layer)
        _check(weight.shape[1], weight.shape[0], block)
        new = cls(weight.shape[1], weight.shape[0], block, bias=layer.bias is not None, device=weight.device,
                  dtype=weight.dtype)
        with torch.no_grad():
            new.generators.copy_(project(weight, block))
            if layer.bias is not None:
                new.bias.copy_(layer.bias)
        return new.train(layer.training)

    def extra_repr(self):
        """What ``print`` shows of the layer."""
        return (f"in_features={self.in_features}, out_features={self.out_features}, block={self.block}, "
                f"bias={self.bias is not None}")


def _check(in_features, out_features, block, where="a block-circulant layer"):
    if not isinstance(block, int) or block < 2:
        raise CompileError(f"the block of {where} must be an integer of at least 2, not {block!r}")
    if in_features % block or out_features % block:
        raise CompileError(f"{where} with {in_features} inputs and {out_features} outputs cannot be cut into blocks of "
                           f"{block}; both sizes must be multiples of it")
