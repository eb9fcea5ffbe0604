"""`weft.distill`: train a compressed model to compute what the model it was made from computes.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
"""

from collections.abc import Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase

import torch
from torch.utils import _pytree as pytree

from weft.hw.errors import CompileError

__all__ = ["distill"]


def _call(model, batch):
    """Run a model on what a data loader gives: ``(args, kwargs)``, a mapping of keyword arguments, arguments, or one."""
    if isinstance(batch, Mapping):
        return model(**batch)
    if isinstance(batch, (tuple, list)):
        if len(batch) == 2 and isinstance(batch[0], (tuple, list)) and isinstance(batch[1], Mapping):
            return model(*batch[0], **batch[1])
        return model(*batch)
    return model(batch)


def _tensors(output):
    """The floating-point tensors of a model's output, in order."""
    return [t for t in pytree.tree_leaves(output) if isinstance(t, torch.Tensor) and t.is_floating_point()]


def relative_error(student, teacher):
    """Squared error as a share of the teacher's mean square."""
    return (student - teacher).pow(2).mean() / teacher.pow(2).mean().clamp_min(1e-12)


def divergence(temperature):
    """Kullback-Leibler divergence of the distributions that logits along the last axis stand for."""
    def loss(student, teacher):
        p = torch.log_softmax(teacher / temperature, -1)
        q = torch.log_softmax(student / temperature, -1)
        total = torch.nn.functional.kl_div(q, p, log_target=True, reduction="sum")
        return total / (p.numel() / p.shape[-1]) * temperature**2
    return loss


@contextmanager
def _recorded(model, paths):
    """While active, the first tensor that each module at ``paths`` returned last, ``{path: tensor}``."""
    seen, handles = {}, []

    def watch(path):
        def hook(module, args, output):
            tensors = _tensors(output)
            if tensors:
                seen[path] = tensors[0]
        return hook

    try:
        for path in paths:
            handles.append(model.get_submodule(path).register_forward_hook(watch(path)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _paths(student, teacher, hidden):
    """Module paths that match and that both models have."""
    patterns = [hidden] if isinstance(hidden, str) else list(hidden or [])
    common = dict(student.named_modules()).keys() & dict(teacher.named_modules()).keys() - {""}
    chosen = set()
    for pattern in patterns:
        found = {path for path in common if fnmatchcase(path, pattern)}
        if not found:
            raise CompileError(f"the pattern {pattern!r} matches no module that student and teacher both have")
        chosen |= found
    return sorted(chosen)


def _output_loss(loss, temperature):
    if callable(loss):
        return loss
    losses = {"mse": relative_error, "kl": divergence(temperature)}
    if loss not in losses:
        raise CompileError(f"the loss must be 'mse', 'kl' or a function of two tensors, not {loss!r}")
    return losses[loss]


def _compare(student, teacher, measure, weight, states):
    """The loss of one batch: the mean over the results that both models give, plus that over the hidden states."""
    pairs = list(zip(student, teacher))
    if not pairs or any(a.shape != b.shape for a, b in pairs):
        raise CompileError(f"student and teacher must give results of equal shapes, not {[tuple(t.shape) for t in student]} "
                           f"and {[tuple(t.shape) for t in teacher]}")
    total = sum(measure(a, b) for a, b in pairs) / len(pairs)
    if states[0]:
        missing = states[0].keys() ^ states[1].keys()
        if missing:
            raise CompileError(f"module {min(missing)} gives a tensor in only one of student and teacher")
        total = total + weight * sum(relative_error(t, states[1][path]) for path, t in states[0].items()) / len(states[0])
    return total


def distill(student, teacher, data, *, epochs=1, loss="mse", temperature=1.0, hidden=None, hidden_weight=1.0, optimizer=None,
            learning_rate=1e-4, clip=1.0, progress=True):
    """Trains ``student`` in place to give the results of ``teacher`` on ``data``.

    Parameters
    ----------
    student, teacher: modules that take the same arguments; the teacher runs in eval mode and is left as it was, the
        student trains in eval mode too, so that dropout does not make the two differ.
    data: iterable (gone through ``epochs`` times) of batches: ``(args, kwargs)``, a mapping of keyword arguments, a
        tuple or list of arguments, or one tensor.
    loss: of each pair of floating-point results: "mse" (squared error as a share of the teacher's mean square), "kl"
        (divergence of softmax(logits / temperature)), or a function of student's and teacher's tensor.
    hidden: pattern of module paths (`fnmatch`), or several: their outputs should agree too, by "mse", with
        ``hidden_weight``.
    optimizer: a `torch.optim.Optimizer` of the student's parameters; by default AdamW with ``learning_rate``, which falls
        linearly to 0 where ``data`` has a length. ``clip``: largest norm of the gradient, None for any.
    progress: show a bar.

    Returns the mean loss of each epoch. Raises CompileError for data without a batch, for results of different shapes, and
    for patterns that match nothing.
    """
    from tqdm import tqdm

    measure, paths = _output_loss(loss, temperature), _paths(student, teacher, hidden)
    parameters = [p for p in student.parameters() if p.requires_grad]
    steps = epochs * len(data) if optimizer is None and hasattr(data, "__len__") else None
    schedule = None
    if optimizer is None:
        optimizer = torch.optim.AdamW(parameters, lr=learning_rate)
        if steps:
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(1 - step / steps, 0.0))
    means = []
    modes = {module: module.training for model in (student, teacher) for module in model.modules()}
    try:
        student.eval(), teacher.eval()
        with _recorded(student, paths) as ours, _recorded(teacher, paths) as theirs, \
                tqdm(total=steps, desc="distilling", unit="step", mininterval=1, disable=not progress) as bar:
            for _ in range(epochs):
                total = count = 0
                for batch in data:
                    with torch.no_grad():
                        wanted = _tensors(_call(teacher, batch))
                    got = _tensors(_call(student, batch))
                    error = _compare(got, wanted, measure, hidden_weight, (ours, theirs))
                    optimizer.zero_grad(set_to_none=True)
                    error.backward()
                    if clip is not None:
                        torch.nn.utils.clip_grad_norm_(parameters, clip)
                    optimizer.step()
                    if schedule is not None:
                        schedule.step()
                    total, count = total + error.item(), count + 1
                    bar.set_postfix(loss=f"{error.item():.4f}", refresh=False)
                    bar.update()
                if not count:
                    raise CompileError("distill needs at least one batch of data in each epoch; an iterator ends after one")
                means.append(total / count)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return means
