"""Runs programs on the recording simulation and compares every byte that they write with the golden model."""

import numpy as np

from weft.hw.errors import InputError

from .collect import take_apart

__all__ = ["machine", "profile_decoder", "profile_program", "random_inputs", "random_prompt"]


def machine(config):
    """The recording RTL of a configuration; built when it is not in the cache."""
    from weft.sim.rtl import RtlMachine

    return RtlMachine(config, profile=True)


def profile_program(program, args, kwargs, rtl, title="run", progress=None):
    """`Profile` of a run of a `weft.Program`; ``rtl``: of `machine`. Raises Mismatch if a byte differs."""
    result = program.verify(args, kwargs, progress=progress, machine=rtl)
    return take_apart(title, program.image, result.recording, result.stats, program.layer_macs)


def profile_decoder(program, prompt_ids, rtl, progress=None):
    """Profiles of a run of the prefill program, which takes the prompt's last tokens, and of the decode program with the
    token that the model adds; only the second if the prompt is a single token.

    What comes before them in the prompt runs on the golden model. Raises Mismatch if a byte differs, and InputError for a
    prompt that leaves no room for the new token.
    """
    session = program.session("golden", machine=rtl, progress=progress)
    unit, chunk = program.steps["decode"].rows, program.steps["prefill"].rows
    ids = np.asarray(prompt_ids).reshape(-1)
    if not 1 <= ids.size < program.max_length:
        raise InputError(f"the prompt has {ids.size} tokens; to profile this program it must have 1 to "
                         f"{program.max_length - 1}")
    profiles = []

    def step(tokens):
        logits = session.step(tokens)
        run = session.last
        macs = {layer: run.count * row + (run.count * run.position + run.count * (run.count + 1) // 2) * key
                for layer, (row, key) in program.layer_macs.items()}
        title = f"{run.name}, {run.count} token{'s' * (run.count > 1)} at position {run.position}"
        profiles.append(take_apart(title, program.steps[run.name].image, run.recording, session.stats, macs))
        return logits

    start = max(0, ids.size - chunk) // unit * unit
    start += (max(0, ids.size - start - chunk) + unit - 1) // unit * unit
    if start:
        session.step(ids[:start])
    session.backend = "verify"
    logits = step(ids[start:])
    step(np.argmax(logits[-1:], axis=-1).astype(np.int32))
    return profiles


def random_prompt(program, seed=0):
    """Half as many random token ids as the program has positions, but no fewer than it takes at once."""
    count = min(max(program.max_length // 2, program.steps["prefill"].rows), program.max_length - 1)
    return np.random.default_rng(seed).integers(0, program.vocabulary, count).astype(np.int32)


def random_inputs(program, seed=0):
    """``(args, kwargs)`` for a `weft.Program`: random token ids, normally distributed values over the range that the
    program was calibrated for, and ones for other integers (masks)."""
    rng, host = np.random.default_rng(seed), program.host
    bound = {}
    for binding in host.bindings:
        step = host.steps[binding["value"]]
        if step["op"] == "input":
            bound.setdefault(step["args"][0], binding)
    args, kwargs = {}, {}
    for number, leaf in enumerate(host.leaves):
        if "fixed" in leaf:
            continue
        binding, shape, dtype = bound.get(number, {}), tuple(leaf["shape"]), leaf["dtype"].replace("bfloat16", "float32")
        if binding.get("kind") == "ids":
            value = rng.integers(0, binding["limit"], shape).astype(dtype)
        elif np.dtype(dtype).kind == "f":
            # Three standard deviations fill int8.
            spread = np.max(binding.get("scale", 1 / 42)) * 42
            value = (rng.standard_normal(shape) * spread).astype(dtype)
        else:
            value = np.ones(shape, dtype)
        _place(args, kwargs, leaf["path"], value)
    return tuple(args[n] for n in sorted(args)), kwargs


def _place(args, kwargs, path, value):
    """Puts a value where a leaf's path says; containers on the way become dicts, which are indexed alike."""
    root, *rest = path
    target, key = (args, root) if isinstance(root, int) else (kwargs, root)
    for step in rest:
        target, key = target.setdefault(key, {}), step
    target[key] = value
