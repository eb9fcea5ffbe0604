"""compile, run, verify and disassemble on a small text model with random weights, all through the command line."""

import hashlib
import json
import struct

import numpy as np
import pytest

import weft
from weft.cli import main
from weft.text import load_folder


def weft_command(*arguments, capsys):
    """(exit status, stdout, stderr) of the command line, run in this process."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


@pytest.fixture(scope="module")
def program_file(tmp_path_factory, text_model_folder):
    folder = tmp_path_factory.mktemp("program")
    (folder / "sentences.txt").write_text("a boat crosses the bay\nthe boat\n\na bay\n")
    with pytest.raises(SystemExit) as stop:
        main(["compile", "--model", str(text_model_folder()), "--seq", "7", "--config", "tiny",
              "--calibrate", str(folder / "sentences.txt"), "--out", str(folder / "small.weft")])
    assert stop.value.code == 0
    return folder / "small.weft"


def test_golden_outputs_are_close_to_the_float_model(program_file, text_model_folder, tmp_path, capsys):
    status, out, _ = weft_command("run", program_file, "--text", "the boat crosses a bay", "--backend", "golden",
                                  "--out", tmp_path / "outputs.npz", capsys=capsys)
    assert status == 0 and "output 0  float32[1, 7, 16]" in out
    model = load_folder(text_model_folder())
    wanted = model.module(**model.inputs("the boat crosses a bay"))[0].detach().numpy()
    with np.load(tmp_path / "outputs.npz") as kept:
        got = kept["text0_output0"]
    assert np.corrcoef(got.ravel(), wanted.ravel())[0, 1] > 0.99


def test_json_carries_outputs_and_a_short_text_is_cut_back(program_file, capsys):
    status, out, _ = weft_command("run", program_file, "--text", "a boat", "--backend", "golden", "--json",
                                  capsys=capsys)
    assert status == 0
    values = json.loads(out)
    assert np.shape(values["outputs"][0]) == (1, 4, 16) and values["stats"]["cycles"] is None


def test_rtl_writes_every_byte_that_the_golden_model_writes(program_file, capsys):
    status, out, _ = weft_command("verify", program_file, "--text", "a boat crosses", capsys=capsys)
    assert status == 0 and "every byte written is equal" in out and "utilization" in out
    assert "vector" in out.split("where the cycles went")[1]


def test_disassembly_has_a_line_for_each_instruction(program_file, capsys):
    status, out, _ = weft_command("disassemble", program_file, capsys=capsys)
    assert status == 0
    assert len(out.splitlines()) == weft.load(program_file).image.instructions
    assert "MATMUL" in out.upper() and "END" in out.upper()


@pytest.fixture(scope="module")
def decoder_file(tmp_path_factory, text_model_folder):
    file = tmp_path_factory.mktemp("decoder") / "small.weft"
    with pytest.raises(SystemExit) as stop:
        main(["compile", "--model", str(text_model_folder("gpt2")), "--decoder", "--max-length", "16", "--config",
              "tiny", "--out", str(file)])
    assert stop.value.code == 0
    return file


def test_a_decoder_continues_a_prompt(decoder_file, capsys):
    status, out, _ = weft_command("run", decoder_file, "--prompt", "the boat", "--max-new-tokens", "3", "--backend",
                                  "golden", "--json", capsys=capsys)
    values = json.loads(out)
    program = weft.load(decoder_file)
    assert program.stop == (1,)
    # [CLS] the boat [SEP]
    tokens = list(program.session("golden").generate([2, 7, 5, 3], 3))
    assert status == 0 and values["tokens"] == tokens
    status, out, _ = weft_command("run", decoder_file, "--prompt", "the boat", "--max-new-tokens", "3", "--backend",
                                  "golden", capsys=capsys)
    assert status == 0 and out.splitlines()[0] == "the boat" + values["text"]


@pytest.mark.parametrize("arguments, words", [
    (["--text", "a boat"], "is a decoder, which takes a --prompt"),
    (["--prompt", "a boat", "--max-new-tokens", "20"], "at most 13"),
    (["--prompt", "a boat " * 8], "the prompt has 18 tokens, the program takes 1 to 16"),
])
def test_what_a_decoder_does_not_take(decoder_file, capsys, arguments, words):
    # On the RTL, but before its simulation is built, which would be said on stderr.
    status, _, err = weft_command("run", decoder_file, *arguments, capsys=capsys)
    assert status == 2 and words in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments, words", [
    (["--prompt", "a boat"], "is no decoder"), ([], "--text")])
def test_what_a_text_model_does_not_take(program_file, capsys, arguments, words):
    status, _, err = weft_command("run", program_file, "--backend", "golden", *arguments, capsys=capsys)
    assert status == 2 and words in err


@pytest.mark.parametrize("arguments, words", [
    (["--decoder", "--seq", "8"], "--seq"), (["--max-length", "8", "--seq", "8"], "--max-length"), ([], "--seq"),
    (["--decoder", "--max-length", "25"], "the model takes 1 to 24")])
def test_lengths_of_compile(text_model_folder, tmp_path, capsys, arguments, words):
    status, _, err = weft_command("compile", "--model", text_model_folder("gpt2"), "--out", tmp_path / "x.weft", *arguments,
                                  capsys=capsys)
    assert status == 2 and words in err


def test_compile_takes_quantization_choices(program_file, text_model_folder, tmp_path, capsys):
    arguments = ["compile", "--model", text_model_folder(), "--seq", "7", "--config", "tiny", "--calibrate",
                 program_file.parent / "sentences.txt", "--out", tmp_path / "x.weft"]
    status, _, err = weft_command(*arguments, "--quantize", "decoder.*=w8", capsys=capsys)
    assert status == 2 and "pattern 'decoder.*' matches no module" in err
    status, _, _ = weft_command(*arguments, "--quantize", "encoder.layer.*=migration:0,calibration:minmax", capsys=capsys)
    assert status == 0
    scales = {probe.name: probe.scale for probe in weft.load(tmp_path / "x.weft").probes.tensors}
    before = {probe.name: probe.scale for probe in weft.load(program_file).probes.tensors}
    assert any(len(set(before[name])) > 1 and len(set(scale)) == 1 for name, scale in scales.items())


def test_too_long_a_text_names_both_lengths(program_file, capsys):
    status, _, err = weft_command("run", program_file, "--text", "a boat crosses the bay a boat", "--backend", "golden",
                                  capsys=capsys)
    assert status == 2 and "9 tokens" in err and "at most 7" in err


def test_the_file_is_as_the_hardware_page_describes_it(program_file):
    """A reader written from that page alone, without our packages."""
    raw = program_file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])
    metadata = header.pop("__metadata__")
    data = {name: raw[8 + size:][slice(*entry["data_offsets"])] for name, entry in header.items()}
    seal = hashlib.sha256(metadata["weft"].encode())
    kinds = {"U8": "|u1", "I32": "<i4", "F64": "<f8"}
    for name, entry in sorted(header.items()):
        seal.update(f"{name}:{kinds[entry['dtype']]}:{tuple(entry['shape'])}:".encode() + data[name])
    assert seal.hexdigest() == metadata["checksum"]
    described = json.loads(metadata["weft"])
    assert described["format"] == 5 and described["kind"] == "model"
    config = json.dumps(described["config"], sort_keys=True).encode()
    program = weft.load(program_file)
    assert int.from_bytes(hashlib.sha256(config).digest()[:4], "little") == program.config.fingerprint

    memory = bytearray(described["memory_bytes"])
    memory[:len(data["constant"])] = data["constant"]
    ids, mask = [2, 4, 5, 3, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0]
    steps = [ids, mask, [0] * 7]
    for tensor, binding in zip(described["inputs"], described["host"]["bindings"], strict=True):
        assert tensor["name"] == binding["tensor"]
        if tensor["kind"] == "ids":
            assert tensor["chunk"] == 7
            content = struct.pack("<7i", *steps[binding["value"]])
        else:       # two tiles of 4 keys: a slot of 4 bits each, in words of 4 bytes
            assert tensor["kind"] == "mask" and tensor["stored_rows"] * 4 == tensor["bytes"]
            content = struct.pack("<i", sum(bit << key for key, bit in enumerate(mask)))
        memory[tensor["offset"]:tensor["offset"] + len(content)] = content
    inputs = {b["name"]: np.frombuffer(bytes(memory[b["offset"]:b["offset"] + b["bytes"]]), np.uint8)
              for b in described["buffers"] if b["kind"] == "input"}
    wanted = program.run(kwargs={"input_ids": [ids[:4]], "attention_mask": [mask[:4]], "token_type_ids": [[0] * 4]})
    found = program._golden_machine().run(inputs)
    hidden, pooled = described["outputs"]
    assert (hidden["dtype"], hidden["row_major"], pooled["dtype"]) == ("int16", True, "int8")
    integers = np.frombuffer(found.outputs[hidden["name"]].tobytes(), "<i2").reshape(7, 16)
    for result, tensor, values in ((0, hidden, integers[:4]),
                                   (1, pooled, found.outputs[pooled["name"]].view(np.int8))):
        output = described["host"]["outputs"][result]
        assert output["tensor"] == tensor["name"]
        scale = np.frombuffer(data["host." + output["scale"]], "<f8")
        np.testing.assert_array_equal(((values - float(output["zero"])) * scale).astype(np.float32),
                                      wanted.outputs[result][0])


def test_outputs_that_cannot_be_written(program_file, tmp_path, capsys, monkeypatch):
    arguments = ["run", program_file, "--text", "a", "--backend", "golden", "--out"]
    status, out, err = weft_command(*arguments, "/proc/x.npz", capsys=capsys)
    assert status == 2 and out == "" and err.startswith("weft: cannot write /proc/x.npz")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.savez", full)
    status, _, err = weft_command(*arguments, tmp_path / "x.npz", capsys=capsys)
    assert status == 2 and err.splitlines()[-1] == f"weft: cannot write {tmp_path / 'x.npz'}: No space left on device"
    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(weft.InputError, match="x.weft: No space left on device"):
        weft.load(program_file).save(tmp_path / "x.weft")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["cut", "altered", "empty"])
def test_a_damaged_program_is_refused_in_one_sentence(program_file, tmp_path, capsys, damage):
    raw = bytearray(program_file.read_bytes())
    if damage == "altered":
        raw[-100] ^= 1
    (tmp_path / "bad.weft").write_bytes({"cut": raw[:-50], "altered": raw, "empty": b""}[damage])
    status, _, err = weft_command("run", tmp_path / "bad.weft", "--text", "a", "--backend", "golden", capsys=capsys)
    assert status == 2 and "bad.weft" in err and len(err.strip().splitlines()) == 1


def test_accuracy_prints_a_table_and_json(program_file, text_model_folder, capsys):
    arguments = ["accuracy", program_file, "--model", text_model_folder(), "--data", program_file.parent / "sentences.txt"]
    status, out, _ = weft_command(*arguments, capsys=capsys)
    assert status == 0 and out.split()[:4] == ["layer", "tensor", "operation", "dtype"]
    assert "encoder.layer.0.output.LayerNorm" in out
    status, out, _ = weft_command(*arguments, "--limit", "2", "--json", capsys=capsys)
    report = json.loads(out)
    assert status == 0 and report["samples"] == 2 and report["rows"][0]["snr_db"] > 15
    status, _, err = weft_command("accuracy", program_file, "--model", text_model_folder("distilbert"), capsys=capsys)
    assert status == 2 and len(err.strip().splitlines()[-1]) < 300 and "Traceback" not in err


def test_accuracy_of_a_decoder(decoder_file, text_model_folder, capsys):
    status, out, _ = weft_command("accuracy", decoder_file, "--model", text_model_folder("gpt2"), "--limit", "2", capsys=capsys)
    assert status == 0 and out.splitlines()[0].startswith("layer") and "CachedAttention" in out
    ratios = [float(line.split()[-2]) for line in out.splitlines()[1:] if "exact" not in line]
    assert ratios == sorted(ratios)


def test_export_writes_the_program_and_the_driver(program_file, tmp_path, capsys):
    status, out, _ = weft_command("export", program_file, "--out", tmp_path / "firmware", capsys=capsys)
    assert status == 0
    assert {p.name for p in (tmp_path / "firmware").iterdir()} == {"program.bin", "weft.h", "weft.c", "weft_registers.h"}
    program = weft.load(program_file)
    data = (tmp_path / "firmware" / "program.bin").read_bytes()
    assert data.startswith(b"WEFTPROG") and data.endswith(program.image.constant.tobytes())
    tensors = [line for line in out.splitlines() if line.startswith("model ")]
    assert len(tensors) == len(program.tensors) + len(program.results) and "ids int32 [7, 1]" in tensors[0]
    (tmp_path / "file").write_text("in the way")
    status, _, err = weft_command("export", program_file, "--out", tmp_path / "file", capsys=capsys)
    assert status == 2 and len(err.strip().splitlines()) == 1 and "cannot write" in err
