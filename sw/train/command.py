"""What the training commands share: options, and folders of trained models."""

from pathlib import Path

import click

from weft.hw.errors import InputError

__all__ = ["out_option", "output_folder", "parameters", "save", "seed_option"]

seed_option = click.option("--seed", default=0, show_default=True, help="Start of the random numbers.")


def out_option(default):
    """`--out DIR`, the folder of the trained model."""
    return click.option("--out", type=Path, default=Path(default), show_default=True, metavar="DIR",
                        help="Folder to write: config.json, model.safetensors and what belongs to them.")


def output_folder(path):
    """Make the folder before the training rather than after it; InputError when it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def parameters(model):
    """Number of trained numbers in a model; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def save(model, path, dtype):
    """Write config.json and model.safetensors, the weights as `dtype`; the model is converted in place."""
    from weft.text import quiet_transformers

    with quiet_transformers():
        model.to(dtype).save_pretrained(path)
    click.echo(f"{path / 'model.safetensors'}: {parameters(model):,} parameters, "
               f"{(path / 'model.safetensors').stat().st_size:,} bytes")
