"""The whole path on a real sentence model: Verilog, program, RTL run, every byte compared, meaning compared.

`python -m weft.demo` (or `scripts/demo`). Exit status 0 only if every byte was equal.
"""

import argparse
import sys
from pathlib import Path

from weft.hw.errors import WeftError
from weft.progress import step

__all__ = ["main"]

SENTENCES = (
    "A small boat crosses the bay before the storm.",
    "A little ship sails over the water as bad weather comes near.",
    "The central bank raised interest rates by a quarter of a point.",
    "Borrowing money becomes more expensive after the latest decision of the bank.",
    "How do I keep my tomato plants alive in a hot summer?",
    "What should I do so that vegetables survive the heat?",
)


def main(arguments=None):
    """Run the demo; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _demo(options)
    except WeftError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.splitlines()[0])
    parser.add_argument("--model", metavar="DIR", help="local Hugging Face folder (default: all-MiniLM-L6-v2)")
    parser.add_argument("--seq", type=int, default=32, help="tokens of the compiled program (default: 32)")
    parser.add_argument("--config", default="base", help="configuration name or file (default: base)")
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="folder for what is made")
    parser.add_argument("--text", action="append", help="sentence to run; repeat for several (at least two)")
    return parser


def _demo(options):
    from weft.hw.config import Config
    from weft.hw.errors import InputError
    from weft.hw.verilog import generate

    texts = options.text or list(SENTENCES)
    if len(texts) < 2:
        raise InputError("one sentence has nothing to be close to; give --text at least twice")
    config = Config.load(options.config)
    options.out.mkdir(parents=True, exist_ok=True)
    with step(f"1/4 generating the {config.rows}x{config.cols} accelerator"):
        generate(config, options.out)
    print(f"    {options.out / 'weft.v'}, {(options.out / 'weft.v').stat().st_size:,} bytes")

    from weft.text import compile_folder, encode, load_folder, minilm_folder

    folder = Path(options.model) if options.model else minilm_folder()
    with step(f"2/4 compiling {options.model or 'all-MiniLM-L6-v2'} for {options.seq} tokens") as tell:
        program = compile_folder(folder, options.seq, config, progress=tell, head=False)
        program.save(options.out / "model.weft")
    print(f"    {options.out / 'model.weft'}, {(options.out / 'model.weft').stat().st_size:,} bytes")

    with step("3/4 building the simulation (kept in a cache)"):
        program.prepare()
    results = _run(program, [encode(program, text) for text in texts])
    print(f"    {len(results)} sentences on the RTL, every byte written equal to the golden model\n")

    _print_meaning(texts, results, load_folder(folder, head=False), options.seq)
    print(f"\nFirst sentence on the {config.rows}x{config.cols} accelerator, reference memory:")
    from weft.report import stats_lines

    print("\n".join(stats_lines(results[0].stats)))


def _run(program, inputs):
    """Verify every input; returns the results of the RTL."""
    from tqdm import tqdm

    bar = tqdm(inputs, desc="4/4 running on the RTL and checking every byte", unit="sentence", mininterval=1,
               bar_format="{desc}: {n_fmt}/{total_fmt} [{elapsed}]")
    return [program.verify(args, kwargs) for args, kwargs in bar]


def _print_meaning(texts, results, model, length):
    """For each sentence the closest other one, with the cosines of the accelerator and of the float model."""
    import numpy as np

    from weft.text import pool

    ours = np.stack([pool(result.outputs[0]) for result in results])
    floats = np.stack([model.embed(text, length) for text in texts])
    cosine, reference = ours @ ours.T, floats @ floats.T
    print("closest in meaning                                                accelerator    float")
    for row, text in enumerate(texts):
        others = [column for column in range(len(texts)) if column != row]
        nearest = max(others, key=lambda column: cosine[row, column])
        wanted = max(others, key=lambda column: reference[row, column])
        note = "" if nearest == wanted else f"   (float: {texts[wanted]})"
        print(f"  {text}")
        print(f"    -> {texts[nearest]:<62.62} {cosine[row, nearest]:7.4f}  {reference[row, nearest]:7.4f}{note}")
    print(f"largest difference of a cosine: {np.abs(cosine - reference).max():.4f}")


if __name__ == "__main__":
    sys.exit(main())
