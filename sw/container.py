"""The program file: a safetensors container whose metadata describe the program and seal it with a checksum.

Tensors: ``constant`` (the memory's bytes from offset 0), ``sources`` (layer of each instruction; in a decoder one for
each of its programs), ``host.*`` (arrays of the host program), ``probe.*`` (which instruction computes what),
``asset.*`` (tokenizer and the like, as bytes).
Metadata: one JSON object under ``weft``, and its checksum.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from weft.files import whole_file
from weft.hw import isa
from weft.hw.config import Config
from weft.hw.errors import ProgramError
from weft.hw.image import Buffer, Image

__all__ = ["FORMAT_VERSION", "write_container", "read_container", "named", "read_program", "image_description",
           "image_from"]

#: Version of the file's layout; a reader takes its own version only.
FORMAT_VERSION = 5


def _checksum(description, tensors):
    digest = hashlib.sha256(description.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape}:".encode())
        digest.update(memoryview(array.reshape(-1)).cast("B") if array.size else b"")
    return digest.hexdigest()


def write_container(path, description, tensors):
    """Writes ``description`` (JSON values) and ``tensors`` (NumPy arrays by name) to ``path``, all or nothing.

    Raises InputError where the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = Path(path)
    text = json.dumps({"format": FORMAT_VERSION, **description}, sort_keys=True)
    # safetensors has no zero-dimensional or empty views of other arrays: own, contiguous copies.
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    metadata = {"weft": text, "checksum": _checksum(text, tensors)}
    with whole_file(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except SafetensorError as error:        # what it makes of an error while writing
            raise OSError(None, str(error)) from error


def read_container(path):
    """``(description, tensors)`` of a program file.

    Raises ProgramError for a file that is missing, no program, truncated, altered or of another version.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise ProgramError(f"program file {path} {'is a folder' if path.is_dir() else 'does not exist'}")
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            if "weft" not in metadata:
                raise ProgramError(f"{path} is no Weft program")
            description = json.loads(metadata["weft"])
            if not isinstance(description, dict):
                raise ProgramError(f"{path} is no Weft program")
            version = description.get("format")
            if version != FORMAT_VERSION:
                raise ProgramError(f"program file {path} has format version {version}, this Weft reads {FORMAT_VERSION}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, ValueError, OSError) as error:
        raise ProgramError(f"program file {path} is truncated or no program: {error}") from None
    if _checksum(metadata["weft"], tensors) != metadata.get("checksum"):
        raise ProgramError(f"program file {path} was altered: its checksum does not match")
    return description, tensors


def read_program(path, config=None):
    """As `read_container`, and the `weft.Config` the program is for.

    Raises ProgramError also for another instruction set, or a configuration other than ``config`` where that is given.
    """
    description, tensors = read_container(path)
    if description.get("isa") != isa.VERSION:
        raise ProgramError(f"program file {path} is for instruction set {description.get('isa')}, this Weft has "
                           f"{isa.VERSION}")
    made_for = Config.from_dict(description.get("config"), source=f"program file {path}")
    if config is not None and config != made_for:
        raise ProgramError(f"program file {path} was compiled for configuration {made_for.name}, not {config.name}")
    return description, tensors, made_for


def named(tensors, prefix):
    """The tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def image_description(image):
    """``(JSON values, layer numbers of the instructions)``: everything of an image but constants and configuration."""
    names = list(dict.fromkeys(image.sources))
    numbers = {name: number for number, name in enumerate(names)}
    description = {"memory_bytes": image.memory_bytes, "code_offset": image.code_offset,
                   "instructions": image.instructions, "registers": image.registers,
                   "buffers": [asdict(b) for b in image.buffers], "sources": names}
    return description, np.array([numbers[s] for s in image.sources], np.int32)


def image_from(config, constant, description, sources):
    """The image that `image_description` was taken from."""
    d = description
    return Image(config, constant, d["memory_bytes"], d["code_offset"], d["instructions"],
                 [Buffer(**b) for b in d["buffers"]], [d["sources"][n] for n in sources],
                 {int(n): v for n, v in d["registers"].items()})
