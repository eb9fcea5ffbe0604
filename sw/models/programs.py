"""The shipped character model compiled for an accelerator."""

import numpy as np

__all__ = ["own_texts", "shakespeare_program"]

#: Texts that the model writes for its own calibration.
_TEXTS = 64


def shakespeare_program(config, max_length=256, progress=None):
    """A `weft.DecoderProgram` of the shipped Shakespeare model, with its tokenizer among its assets.

    It is calibrated on texts that the float model itself writes, so no data are needed. Arguments as in
    `weft.compile_decoder`.
    """
    import weft
    from weft.models import shakespeare
    from weft.text import TOKENIZER

    if progress is not None:
        progress("letting the float model write texts to calibrate on")
    model, tokenizer = shakespeare()
    texts = own_texts(model, tokenizer.encode("\n").ids[0], min(max_length, model.config.max_position_embeddings))
    program = weft.compile_decoder(model, config=config, max_length=max_length, calibration=texts, progress=progress)
    program.assets[TOKENIZER] = tokenizer.to_str().encode()
    return program


def own_texts(model, first, length, texts=_TEXTS, seed=0):
    """Texts drawn from a causal language model of Hugging Face, one token after the other from its probabilities.

    Each begins with the token id ``first``. Returns int64[texts, length]; the caller's random numbers stay as they are.
    """
    import torch

    if length == 1:
        return np.full((texts, 1), first, np.int64)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        start = torch.full((texts, 1), first)
        return model.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=length - 1,
                              min_new_tokens=length - 1, do_sample=True, top_k=0, use_cache=True).numpy()
