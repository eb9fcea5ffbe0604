"""Decoders compiled from PyTorch: logits, generated tokens, files, errors."""

import numpy as np
import pytest
import torch

import weft
from weft.hw.errors import CompileError, InputError

LENGTH, VOCABULARY = 29, 31
IDS = np.random.default_rng(1).integers(0, VOCABULARY, LENGTH)


def float_logits(model, ids):
    with torch.no_grad():
        result = model(torch.as_tensor(ids)[None])
    return (result if isinstance(result, torch.Tensor) else result.logits)[0].numpy()


def close(found, wanted):
    return np.linalg.norm(found - wanted) < 0.05 * np.linalg.norm(wanted)


def test_prefill_then_decode_equals_decode_alone_and_is_close_to_float(decoder, program):
    first, second = program.session("golden"), program.session("golden")
    together = np.concatenate([first.step(IDS[:11]), *(first.step(IDS[n:n + 1]) for n in range(11, 14)),
                               first.step(IDS[14:])])
    alone = np.concatenate([second.step([token]) for token in IDS[:16]])
    np.testing.assert_array_equal(together[:16], alone)
    assert together.shape == (LENGTH, VOCABULARY) and together.dtype == np.float32
    assert close(together, float_logits(decoder, IDS))
    assert first.position == LENGTH and first.step([]).shape == (0, VOCABULARY)


def test_the_likeliest_tokens_are_generated(program):
    tokens = list(program.session("golden").generate(torch.as_tensor(IDS[:5])[None], 6))
    session, wanted, logits = program.session("golden"), [], None
    logits = session.step(IDS[:5])
    for _ in range(6):
        wanted.append(int(logits[-1].argmax()))
        logits = session.step(wanted[-1:])
    assert tokens == wanted
    again = program.session("golden")
    again.step(IDS[:9])
    assert list(again.generate(IDS[:5], 6)) == tokens, "generate starts over"
    assert list(again.generate(IDS[:5], 6, stop=tokens[:1])) == tokens[:1]


def test_a_prompt_of_every_length_up_to_the_longest(program):
    assert len(list(program.session("golden").generate(IDS, 1))) == 1
    session = program.session("golden")
    assert len(list(session.generate(IDS[:1], LENGTH))) == LENGTH and session.position == LENGTH


def test_a_prompt_of_any_length_gives_the_bits_of_its_tokens_one_by_one(program):
    session = program.session("golden")
    alone = np.stack([session.step([token])[0] for token in IDS])
    for length in range(1, LENGTH + 1):
        session.reset()
        np.testing.assert_array_equal(session.step(IDS[:length]), alone[:length])


def test_a_saved_decoder_computes_the_same(program, tmp_path):
    program.save(tmp_path / "decoder.weft")
    loaded = weft.load(tmp_path / "decoder.weft", config="tiny")
    assert isinstance(loaded, weft.DecoderProgram)
    np.testing.assert_array_equal(loaded.session("golden").step(IDS[:9]), program.session("golden").step(IDS[:9]))
    assert list(loaded.disassemble()) == list(program.disassemble())
    with pytest.raises(weft.ProgramError, match="compiled for configuration"):
        weft.load(tmp_path / "decoder.weft", config="base")


def test_rtl_equals_golden_in_every_byte(program):
    session = program.session("verify")
    logits = np.concatenate([session.step(IDS[:9]), session.step(IDS[9:10])])
    assert session.stats.cycles > session.stats.roofline_cycles > 0
    np.testing.assert_array_equal(logits, program.session("golden").step(IDS[:10]))


def test_work_grows_with_the_position(program):
    session = program.session("golden")
    session.step(IDS[:1])
    first = session.stats
    session.step(IDS[1:2])
    # Keys and values: two layers of two tensors of 16 features; scores and context: two heads of 8 features each.
    assert session.stats.macs - first.macs == 2 * 2 * 16
    assert first.macs == 2 * (16 * 48 + 16 * 16 + 2 * 16 * 48) + 16 * VOCABULARY + 2 * 2 * 16


def test_the_roofline_counts_what_a_run_must_move(program):
    session = program.session("golden")
    weights = 2 * (16 * 48 + 16 * 16 + 2 * 16 * 48) + 16 * VOCABULARY
    # Token id; its embedding, its position's and logits in 16 bits; keys and values of two layers.
    row, cache = 4 + 2 * (16 + 16 + VOCABULARY), 2 * 2 * 16
    for count, position in ((1, 0), (1, 1), (5, 2)):
        session.step(IDS[position:position + count])
        moved = weights + count * row + (position + count) * cache
        assert session.stats.roofline_cycles == max(-(-moved // 4), -(-session.stats.macs // 16))


def test_rows_computed_again_do_not_count_twice(decoder, program):
    # Where the memory port takes several words, a token is computed with those before it.
    wide = weft.compile_decoder(decoder, config=weft.Config(rows=4, cols=4, data_bytes=8),
                                max_length=LENGTH, calibration=[IDS])
    assert wide.steps["decode"].rows > 1 == program.steps["decode"].rows
    sessions = program.session("golden"), wide.session("golden")
    for session in sessions:
        session.step(IDS[:5])
        session.step(IDS[5:6])
    assert sessions[0].stats.macs == sessions[1].stats.macs


@pytest.mark.parametrize("call, words", [
    (lambda s: s.generate([], 1), "0 tokens, the program takes 1 to 29"),
    (lambda s: s.generate([1] * 30, 1), "30 tokens, the program takes 1 to 29"),
    (lambda s: s.generate([1] * 29, 2), "2 new tokens after a prompt of 29 are too many: .* at most 1"),
    (lambda s: s.generate([1], 0), "at least 1 new token"),
    (lambda s: s.step([1] * 30), "30 tokens at position 0 are too many"),
    (lambda s: s.step([31]), "token id 31 is out of range: the model has 31 entries"),
    (lambda s: s.step([-1]), "token id -1 is out of range"),
    (lambda s: s.step([0.5]), "must be integers"),
    (lambda s: s.step([[1], [2]]), r"not int64\[2, 1\]"),
    (lambda s: s.program.session("fpga"), "'fpga'"),
])
def test_wrong_inputs_are_refused_in_one_sentence(program, call, words):
    with pytest.raises(InputError, match=words):
        call(program.session("golden"))


class Mean(torch.nn.Module):
    """No row for each token."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, ids):
        return self.decoder(ids)[:, -1]


def test_models_that_are_no_decoders_are_refused(decoder):
    def compiled(model, **options):
        return weft.compile_decoder(model, **{"config": "tiny", "max_length": LENGTH, "calibration": [IDS], **options})

    with pytest.raises(CompileError, match="not causal"):
        compiled(type(decoder)(causal=False))
    with pytest.raises(CompileError, match="one row for each"):
        compiled(Mean(decoder))
    with pytest.raises(CompileError, match="at least 2, .*not 1"):
        compiled(decoder, max_length=1)
    with pytest.raises(CompileError, match="no sequence"):
        compiled(decoder, calibration=[])
    with pytest.raises(CompileError, match="float32"):
        compiled(decoder, calibration=[torch.rand(3)])
    with pytest.raises(CompileError, match="token id 31"):
        compiled(decoder, calibration=[torch.tensor([31])])
