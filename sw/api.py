"""`weft.compile`, `weft.compile_decoder` and `weft.load`."""

from weft.hw.config import Config
from weft.hw.errors import CompileError, ProgramError

__all__ = ["compile", "compile_decoder", "load"]


def compile(model, args=(), kwargs=None, *, config, calibration=None, quantization=None, progress=None):
    """Compiles a PyTorch model for an accelerator.

    Parameters
    ----------
    model: `torch.nn.Module`; exported in ``eval()`` mode without gradients, and left as it was.
    args, kwargs: what `torch.export.export` takes; their shapes are the program's.
    config: `weft.Config`, the name of one, or the path of a configuration file.
    calibration: iterable of ``(args, kwargs)`` from which every scale is chosen; by default the arguments themselves.
    quantization: choices for some layers, a mapping such as ``{"encoder.layer.*.intermediate": {"migration": 0.5}}`` from
        module path patterns to fields of `weft.quantize.LayerOptions`; the name of a weight format for all layers; or
        `weft.quantize.QuantOptions`, which has the choices for the whole model too.
    progress: called with a line of text before each stage.

    Returns a `weft.Program`. Raises CompileError for what is not supported, naming operator and module. Layers whose weights are
    stored as int8 though they were chosen to be, or come, compressed are listed in a `weft.WeftWarning`.
    """
    from weft.frontend import import_model
    from weft.lower import lower
    from weft.program import Program
    from weft.quantize import QuantOptions, quantize

    config, options = Config.load(config), QuantOptions.of(quantization)
    report = progress or (lambda text: None)
    report("exporting the model")
    graph = import_model(model, args, kwargs)
    batches = [(args, kwargs)] if calibration is None else list(calibration)
    if not batches:
        raise CompileError("calibration holds no batch; at least one (args, kwargs) is needed")
    report(f"calibrating on {len(batches)} batches")
    quantized = quantize(graph, batches, options, key_block=config.key_block, wide_block=config.panel)
    report("scheduling")
    return Program.from_lowered(lower(quantized, config), quantized.host)


def compile_decoder(model, *, config, max_length=256, calibration, quantization=None, progress=None):
    """Compiles a causal language model for generation: prefill and decode programs around one int8 cache.

    Parameters
    ----------
    model: `torch.nn.Module` that takes token ids ``[1, tokens]`` as its first argument and returns logits ``[1, tokens,
        vocabulary]`` (or several results of which they are the first); exported without a cache.
    config: `weft.Config`, the name of one, or the path of a configuration file.
    max_length: positions; prompt and generated text share them.
    calibration: iterable of token-id tensors, ``[tokens]`` or ``[sequences, tokens]``, from which every scale is
        chosen.
    quantization, progress: as in `weft.compile`.

    Returns a `weft.DecoderProgram`. Raises CompileError for what is not supported, naming operator and module, and for
    a model whose results depend on later tokens or on anything but token ids.
    """
    from weft.decoder.pipeline import compile_decoder as compile_causal
    from weft.quantize import QuantOptions

    return compile_causal(model, config=Config.load(config), max_length=max_length, calibration=calibration,
                          quantization=QuantOptions.of(quantization), progress=progress or (lambda text: None))


def load(path, config=None):
    """Reads a program file: a `weft.Program` or a `weft.DecoderProgram`.

    ``config``: the configuration it should be for, if given. Raises ProgramError for a file that is missing, truncated,
    altered, or made for another configuration.
    """
    from weft.container import read_program

    description, tensors, made_for = read_program(path, None if config is None else Config.load(config))
    if description.get("kind") == "decoder":
        from weft.decoder import DecoderProgram as Kind
    else:
        from weft.program import Program as Kind
    try:
        return Kind.from_container(description, tensors, made_for)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ProgramError(f"program file {path} does not hold what a program consists of: {error!r}") from error
