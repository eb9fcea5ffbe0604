"""torchao's PT2E flow as a front: a quantizer that observes what the accelerator computes with 8 bits.

Needs the package torchao (extra "pt2e"); importing this module imports it.
"""

from dataclasses import replace

import torch

from weft.hw.errors import InputError

try:
    from torchao.quantization.pt2e import (
        FusedMovingAvgObsFakeQuantize,
        HistogramObserver,
        MovingAverageMinMaxObserver,
        MovingAveragePerChannelMinMaxObserver,
        PerChannelMinMaxObserver,
    )
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, QuantizationSpec, Quantizer
except ModuleNotFoundError as error:
    raise InputError("torchao is not installed; install it with: pip install 'weft[pt2e]'") from error

__all__ = ["AcceleratorQuantizer"]

_aten = torch.ops.aten
_LAYERS = (_aten.linear.default, _aten.conv1d.default, _aten.conv2d.default)

_ATTENTION = (_aten.scaled_dot_product_attention.default, _aten.matmul.default, _aten.bmm.default)
_VIEWS = (_aten.view.default, _aten.reshape.default, _aten.transpose.int, _aten.permute.default, _aten.flatten.using_ints,
          _aten.contiguous.default, _aten.clone.default, _aten.dropout.default)


def _behind_views(node):
    while node.op == "call_function" and node.target in _VIEWS:
        node = node.args[0]
    return node


class AcceleratorQuantizer(Quantizer):
    """For ``prepare_pt2e`` and ``prepare_qat_pt2e``: int8 inputs, one scale and zero point a tensor, and symmetric int8
    weights, one scale an output channel, of linear layers and convolutions.

    What ``convert_pt2e`` returns goes to `weft.compile` like any model: weights keep their integers and inputs their
    scales; everything else is quantized from the calibration that `weft.compile` gets.

    ``qat``: observers for quantization-aware training.
    """

    def __init__(self, qat=False):
        super().__init__()
        if qat:
            inputs = FusedMovingAvgObsFakeQuantize.with_args(observer=MovingAverageMinMaxObserver)
            weights = FusedMovingAvgObsFakeQuantize.with_args(observer=MovingAveragePerChannelMinMaxObserver)
        else:
            inputs, weights = HistogramObserver, PerChannelMinMaxObserver
        self._input = QuantizationSpec(dtype=torch.int8, quant_min=-128, quant_max=127, qscheme=torch.per_tensor_affine,
                                       observer_or_fake_quant_ctr=inputs)
        # An attention's result has no zero point; with one it would be rounded twice.
        self._centered = replace(self._input, qscheme=torch.per_tensor_symmetric)
        self._weight = QuantizationSpec(dtype=torch.int8, quant_min=-127, quant_max=127, ch_axis=0,
                                        qscheme=torch.per_channel_symmetric, observer_or_fake_quant_ctr=weights)

    def annotate(self, model):
        """Says in the nodes of an exported graph what is to be quantized; returns the graph's module."""
        for node in model.graph.nodes:
            if node.op == "call_function" and node.target in _LAYERS:
                x, weight = node.args[:2]
                inputs = self._centered if _behind_views(x).target in _ATTENTION else self._input
                node.meta["quantization_annotation"] = QuantizationAnnotation(
                    input_qspec_map={x: inputs, weight: self._weight}, _annotated=True)
        return model

    def validate(self, model):
        """Nothing is left to check: the annotations are all of one kind."""
