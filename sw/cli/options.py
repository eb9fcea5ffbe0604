"""Options and small helpers that several commands share."""

import click

__all__ = ["Share", "as_json", "config_option", "load_config", "new_tokens_option", "prompt_option", "quantize_option",
           "text_option"]

class Share(click.FloatRange):
    """A number from 0 to 1."""

    def __init__(self):
        super().__init__(0, 1)

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if number != number:        # what is not a number is in every range
            self.fail(f"{value!r} is not a number from 0 to 1.", param, ctx)
        return number


config_option = click.option(
    "--config", "config_name", default="base", show_default=True, metavar="NAME|FILE",
    help="tiny, small, base, large, or a JSON or TOML file with the parameters.")

text_option = click.option("--text", "texts", multiple=True,
                           help="Text to encode with the program's tokenizer; may be given several times.")

prompt_option = click.option("--prompt", help="Text that a decoder continues.")

new_tokens_option = click.option("--max-new-tokens", default=32, show_default=True, type=click.IntRange(min=1),
                                 help="Tokens that a decoder adds to the prompt, at most.")

quantize_option = click.option(
    "--quantize", "quantization", multiple=True, metavar="PATTERN=CHOICES|FILE", callback=lambda *given: _choices(given[2]),
    help="Choices for the layers in modules that match a pattern: a weight format (w8, w4g16 to w4g128, 2:4, 1:4, circulant:4, "
         "circulant:8, circulant:16), or NAME:VALUE,NAME:VALUE, such as 'encoder.*.dense=calibration:percentile,migration:0'; or a "
         "TOML file. May be given several times.")


def _choices(texts):
    from weft.quantize.options import read_options

    return read_options(texts)


def load_config(name_or_path):
    """The configuration that `--config` names."""
    from weft.hw.config import Config

    return Config.load(name_or_path)


def as_json(value):
    """`json.dumps` for what statistics hold: NumPy numbers become plain ones."""
    import json

    def plain(item):
        if hasattr(item, "tolist"):
            return item.tolist()
        raise TypeError(f"{type(item).__name__} has no JSON form")

    return json.dumps(value, default=plain, indent=2)
