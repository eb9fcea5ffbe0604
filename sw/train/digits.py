"""Train the digits classifier that ships with the package: a small ViT on scikit-learn's 1,797 images of 8 x 8.

`scripts/train_digits`. A fifth of the images, the same whatever the seed, is the test set.
"""

import math

import click
import numpy as np

from weft.entry import run
from weft.hw.errors import InputError
from weft.train.command import out_option, output_folder, parameters, save, seed_option
from weft.train.steps import descend

__all__ = ["accuracy", "configuration", "load_images", "main", "train"]

BATCH = 64
LEARNING_RATE = 2e-3
LABEL_SMOOTHING = 0.1

# Radians and pixels.
MAX_TURN = 0.15
MAX_SHIFT = 0.6


def configuration():
    """Sizes of the classifier: 16 patches of 2 x 2 and a class token, 4 layers of 64, 4 heads of 16."""
    from transformers import ViTConfig

    return ViTConfig(image_size=8, patch_size=2, num_channels=1, hidden_size=64, num_hidden_layers=4,
                     num_attention_heads=4, intermediate_size=128, hidden_dropout_prob=0.0,
                     attention_probs_dropout_prob=0.0, num_labels=10)


def load_images():
    """Images and labels, split: `(train_images, test_images, train_labels, test_labels)`.

    Images are float64[images, 8, 8] from 0 to 16, labels int64[images]. 1,437 images to train on and 360 to test on,
    each digit in proportion.

    Raises:
        InputError: scikit-learn, which holds the images, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError:
        raise InputError("scikit-learn, which holds the digit images, is not installed; "
                         "install it with: pip install scikit-learn") from None
    data = load_digits()
    return train_test_split(data.images, data.target, test_size=0.2, stratify=data.target, random_state=0)


def accuracy(model, images, labels):
    """Share of images [images, 8, 8] that the model gives the right label."""
    import torch

    from weft.models import pixels

    with torch.no_grad():
        logits = model(pixel_values=pixels(images)).logits
    return float(np.mean(logits.argmax(-1).numpy() == labels))


def train(model, images, labels, epochs, seed):
    """Train on images turned and moved a little: AdamW, one cycle of the learning rate, smoothed labels."""
    import torch
    from tqdm import tqdm

    from weft.models import pixels

    generator = torch.Generator().manual_seed(seed)
    images, labels = pixels(images), torch.as_tensor(labels)
    batches = math.ceil(len(labels) / BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, pct_start=0.1,
                                                   total_steps=epochs * batches)
    model.train()
    with tqdm(range(epochs), desc="training", unit="epoch", mininterval=1) as bar:
        for _ in bar:
            for chosen in torch.randperm(len(labels), generator=generator).split(BATCH):
                logits = model(pixel_values=_moved(images[chosen], generator)).logits
                error = torch.nn.functional.cross_entropy(logits, labels[chosen], label_smoothing=LABEL_SMOOTHING)
                descend(error, model, optimizer, schedule)
            bar.set_postfix(loss=f"{error.item():.3f}", refresh=False)
    model.eval()


def _moved(images, generator):
    """Images [images, 1, 8, 8], each turned by up to MAX_TURN and moved by up to MAX_SHIFT both ways."""
    import torch

    def uniform(limit):
        return limit * (2 * torch.rand(len(images), generator=generator) - 1)

    # Coordinates go from -1 to 1 over eight pixels.
    angle, right, down = uniform(MAX_TURN), uniform(MAX_SHIFT / 4), uniform(MAX_SHIFT / 4)
    matrices = torch.stack([angle.cos(), -angle.sin(), right, angle.sin(), angle.cos(), down], 1).view(-1, 2, 3)
    grid = torch.nn.functional.affine_grid(matrices, images.shape, align_corners=False)
    # Outside of an image it is black, which is -1; grid_sample fills in 0.
    return torch.nn.functional.grid_sample(images + 1, grid, align_corners=False) - 1


@click.command()
@click.option("--epochs", default=80, show_default=True, type=click.IntRange(min=1), help="Passes over the images.")
@seed_option
@out_option("build/digits")
def main(epochs, seed, out):
    """Train a small ViT on the digit images of scikit-learn; prints its accuracy on the test images."""
    train_images, test_images, train_labels, test_labels = load_images()
    output_folder(out)
    import torch
    from transformers import ViTForImageClassification

    torch.manual_seed(seed)
    model = ViTForImageClassification(configuration())
    click.echo(f"{len(train_labels):,} images to train on, {len(test_labels)} to test on; "
               f"{parameters(model):,} parameters")
    train(model, train_images, train_labels, epochs, seed)
    save(model, out, torch.float16)
    # What is measured is what was written: weights rounded to float16.
    model.float()
    click.echo(f"accuracy: test {accuracy(model, test_images, test_labels):.4f}, "
               f"train {accuracy(model, train_images, train_labels):.4f}")


if __name__ == "__main__":
    run(main, "scripts/train_digits")
