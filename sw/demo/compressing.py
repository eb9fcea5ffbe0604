"""`scripts/demo compress`: one model with dense, sparse, circulant and 4-bit weights: size, cycles, accuracy."""

from dataclasses import dataclass, replace
from pathlib import Path

import click

from weft.cli.options import config_option, load_config
from weft.files import check_writable, whole_file
from weft.progress import step

__all__ = ["OPTIONS", "WAYS", "Figures", "compress", "table"]

#: Training images that scales are chosen from, and pruning.
_CALIBRATION = 64

#: Values of the configuration's options that store compressed weights, by its rows and columns.
OPTIONS = {"sparsity": lambda rows, cols: "2:4", "circulant": lambda rows, cols: (4 if rows % 8 or cols % 8 else 8,),
           "four_bit": lambda rows, cols: True}


@dataclass(frozen=True)
class _Way:
    """A way to store weights: ``make(dense, training, config)``, the model with such weights; ``quantization`` as in
    `weft.compile`."""
    name: str
    make: object
    quantization: object = None


@dataclass(frozen=True)
class Figures:
    """What one way gave. ``weight_bytes``: stored weights; ``memory_bytes``: constants in the accelerator's memory, instructions
    left out; ``cycles``, ``read_bytes``: of one image on the RTL; ``accuracy``, ``float_accuracy``: share of right labels by the
    accelerator and by the float model with such weights."""
    way: str
    weight_bytes: int
    memory_bytes: int
    cycles: int
    read_bytes: int
    accuracy: float
    float_accuracy: float


@dataclass(frozen=True)
class _Training:
    """Images and labels to train on, and how long."""
    images: object
    labels: object
    epochs: int

    def __call__(self, model, share=1.0):
        from weft.train.digits import train

        train(model, self.images, self.labels, max(1, round(share * self.epochs)), seed=0)

    def batches(self):
        """Calibration as `weft.compile` takes it."""
        from weft.models import pixels

        return [((), {"pixel_values": pixels(image[None])}) for image in self.images[:_CALIBRATION]]


def _layers(model):
    """Paths of the linear layers but the last one, in which nearly all weights of the model are."""
    import torch

    return [path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear) and path != "classifier"]


def _sparse(dense, training, config):
    import weft

    # What is left of a trained model is nearly trained.
    return weft.sparsify(dense, "2:4", calibration=training.batches(), modules=_layers(dense),
                         finetune=lambda model: training(model, 1 / 4))


def _circulant(dense, training, config):
    import weft

    model = weft.circulant(dense, max(config.circulant), modules=_layers(dense))
    training(model)
    return model


WAYS = (
    _Way("dense int8", lambda dense, *others: dense),
    _Way("2:4 sparse", _sparse),
    _Way("block-circulant", _circulant),
    _Way("4-bit, groups of 32", lambda dense, *others: dense, {"*": "w4g32"}),
)


@click.command()
@config_option
@click.option("--epochs", default=30, show_default=True, type=click.IntRange(min=1),
              help="Passes over the training images for circulant weights; a quarter of it for sparse ones.")
@click.option("--images", "count", default=4, show_default=True, type=click.IntRange(min=1),
              help="Test images that also run on the RTL, every byte compared.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first test images.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("build/compress"), show_default=True,
              help="Folder for the plot.")
def compress(config_name, epochs, count, limit, out):
    """The digits ViT with dense, sparse, circulant and 4-bit weights, on one accelerator that takes them all: a table and a plot
    of size, cycles and accuracy on scikit-learn's test images."""
    from weft.demo.bars import bars
    from weft.models import digits
    from weft.train.digits import load_images

    plot = check_writable(out / "compress.svg")
    config = load_config(config_name)
    config = replace(config, **{name: value(config.rows, config.cols) for name, value in OPTIONS.items()})
    train_images, images, train_labels, labels = load_images()
    training = _Training(train_images, train_labels, epochs)
    found = []
    for number, way in enumerate(WAYS, 1):
        found.append(_measure(way, f"{number}/{len(WAYS)} {way.name}", digits(), training, config, images[:limit],
                              labels[:limit], count))
    click.echo(f"\nThe digits ViT on the {config.rows}x{config.cols} accelerator ({config.name}), {len(images[:limit])} test "
               f"images; {min(count, len(images[:limit]))} of them on the RTL, every byte written equal to the golden model's\n")
    click.echo("\n".join(table(found)))
    with whole_file(plot) as part:
        part.write_text(bars([one.way for one in found], {
            "weights, bytes": [one.weight_bytes for one in found], "cycles of an image": [one.cycles for one in found],
            "right labels, %": [100 * one.accuracy for one in found]}), encoding="utf-8")
    click.echo(f"\n{plot}")


def _measure(way, what, dense, training, config, images, labels, count):
    """`Figures` of one way."""
    import numpy as np

    import weft
    from weft.models import pixels
    from weft.train.digits import accuracy

    with step(f"{what}: weights"):
        model = way.make(dense, training, config)
    inputs = [((), {"pixel_values": pixels(image[None])}) for image in images]
    with step(f"{what}: compiling") as tell:
        program = weft.compile(model, *inputs[0], config=config, calibration=training.batches(),
                               quantization=way.quantization, progress=tell)
    with step(f"{what}: {len(images)} images on the golden model"):
        logits = np.concatenate([result.outputs[0] for result in program.run_many(inputs)])
    with step(f"{what}: building the simulation (kept in a cache)"):
        program.prepare()
    with step(f"{what}: on the RTL"):
        stats = [program.verify(args, kwargs).stats for args, kwargs in inputs[:count]][0]
    constants = next(buffer.bytes for buffer in program.image.buffers if buffer.name == "constants")
    return Figures(way.name, program.weight_bytes, constants, stats.cycles, stats.dram_read_bytes,
                   float(np.mean(logits.argmax(-1) == labels)), accuracy(model, images, labels))


def table(found):
    """Lines of a table of `Figures`, shares of the first one's in brackets."""
    first = found[0]
    lines = [f"{'weights':<22} {'stored':>18} {'memory':>18} {'cycles':>18} {'read':>18} {'accuracy':>9} {'float':>7}"]
    for one in found:
        numbers = (f"{value:,} ({100 * value / base:.0f} %)" for value, base in zip(
            (one.weight_bytes, one.memory_bytes, one.cycles, one.read_bytes),
            (first.weight_bytes, first.memory_bytes, first.cycles, first.read_bytes)))
        lines.append(f"{one.way:<22} " + " ".join(f"{number:>18}" for number in numbers)
                     + f" {100 * one.accuracy:>7.1f} % {100 * one.float_accuracy:>5.1f} %")
    return lines
