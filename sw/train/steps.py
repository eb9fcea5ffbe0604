"""What all trainings do with each batch."""

__all__ = ["descend"]


def descend(error, model, optimizer, schedule):
    """One step against the gradient of ``error``, its norm at most 1, then the schedule's next learning rate."""
    import torch

    error.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    schedule.step()
