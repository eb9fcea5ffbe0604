"""`scripts/accuracy digits` and `sst2`: classifiers of images and of sentences."""

from pathlib import Path

import click
import numpy as np

from weft.accuracy.common import calibrate_option, counted, decibels, limit_option, run_golden, seq_option, show
from weft.cli.options import config_option, load_config
from weft.hw.errors import InputError
from weft.progress import step

__all__ = ["class_figures", "digits", "sst2"]

#: Training images that scales are chosen from.
_CALIBRATION = 64


def class_figures(golden, floats, labels):
    """Figures of logits [items, classes] of golden and float model, and the right labels [items]."""
    golden, floats = np.asarray(golden), np.asarray(floats)
    found, wanted = golden.argmax(-1), floats.argmax(-1)
    accuracy, reference = float((found == labels).mean()), float((wanted == labels).mean())
    return {"accuracy": accuracy, "accuracy_float": reference, "drop_points": 100 * (reference - accuracy),
            "same_label_as_float": float((found == wanted).mean()), "logits_snr_db": decibels(golden, floats)}


@click.command()
@config_option
@click.option("--rtl", "on_rtl", default=20, show_default=True, type=click.IntRange(min=0),
              help="Images that also run on the RTL, every byte compared.")
@limit_option("test images")
def digits(config_name, on_rtl, limit):
    """The digits ViT that ships on scikit-learn's test images.

    Scales are chosen from 64 training images. Exit status 2 where a byte on the RTL differs.
    """
    import torch

    import weft
    from weft.models import digits as load
    from weft.models import pixels
    from weft.train.digits import load_images

    train_images, images, _, labels = load_images()
    images, labels = images[:limit], labels[:limit]
    config, model = load_config(config_name), load()
    inputs = [((), {"pixel_values": pixels(image[None])}) for image in images]
    calibration = [((), {"pixel_values": pixels(image[None])}) for image in train_images[:_CALIBRATION]]
    with step("compiling") as tell:
        program = weft.compile(model, *inputs[0], config=config, calibration=calibration, progress=tell)
    golden = [logits[0] for logits in run_golden(program, inputs, "image")]
    with torch.no_grad():
        floats = model(pixel_values=pixels(images)).logits.numpy()
    figures = {"images": len(images), "config": config.name, **class_figures(golden, floats, labels)}
    if on_rtl:
        with step("building the simulation (kept in a cache)"):
            program.prepare()
        with counted("RTL", len(inputs[:on_rtl]), "image") as done:
            for number, (args, kwargs) in enumerate(inputs[:on_rtl]):
                np.testing.assert_array_equal(program.verify(args, kwargs).outputs[0][0], golden[number])
                done(1)
        figures |= {"rtl_images": len(inputs[:on_rtl]), "exact": True}
    show(figures)


@click.command()
@click.option("--data", required=True, type=Path, metavar="DIR", help="Folder with dev.tsv: sentence, tab, 0 or 1.")
@click.option("--model", "model_dir", required=True, type=Path, metavar="DIR",
              help="Local Hugging Face folder of a classifier, such as scripts/train_sst2 writes.")
@seq_option(64)
@config_option
@calibrate_option
@limit_option("sentences")
def sst2(data, model_dir, seq, config_name, calibrate_file, limit):
    """A sentence classifier on labelled sentences.

    Texts longer than the program are cut for the accelerator; the float model is measured with the same cut and
    without it.
    """
    import torch

    from weft.text import compile_folder, encode, load_folder
    from weft.train.sst2 import read_sentences

    sentences, labels = (column[:limit] for column in read_sentences(data / "dev.tsv"))
    config = load_config(config_name)
    with step(f"compiling for {seq} tokens") as tell:
        program = compile_folder(model_dir, seq, config, calibrate_file, progress=tell)
    shape = program.host.outputs[0]["shape"]
    if len(shape) != 2 or shape[1] < 2:
        raise InputError(f"the model in {model_dir} gives a result of shape {shape} where a classifier's is "
                         "[1, classes]")
    golden = run_golden(program, [encode(program, text, truncate=True) for text in sentences], "sentence")
    model = load_folder(model_dir)
    cut, whole = [], []
    with counted("float model", len(sentences), "sentence") as done, torch.no_grad():
        for text in sentences:
            inputs = model.inputs(text)
            whole.append(model.module(**inputs)[0][0].numpy())
            longer = inputs["input_ids"].shape[1] > seq
            cut.append(model.module(**model.inputs(text, seq))[0][0].numpy() if longer else whole[-1])
            done(1)
    figures = class_figures([logits[0] for logits in golden], cut, labels)
    show({"sentences": len(sentences), "seq": seq, "config": config.name, **figures,
          "accuracy_float_uncut": float((np.argmax(whole, -1) == labels).mean())})
