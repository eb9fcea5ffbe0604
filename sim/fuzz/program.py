"""Abstract programs: instructions with the words they touch, from which tokens, code and memory image are made.

A node waits for what came before it in program order, and for nothing else, so that the program can never come to rest.
For each class of completion and each consuming thread there is one semaphore; since every thread works in order, a
token sent at a later node covers all earlier ones.
"""

from dataclasses import dataclass, field

import numpy as np

from weft.hw import isa
from weft.hw.image import Buffer, Image

__all__ = ["Access", "Node", "Memory", "Address", "assemble"]

#: Classes of completion, and the thread each belongs to.
CLASSES = {"load": "load", "weights": "weights", "moving": "tensor", "results": "tensor", "source": "vector",
           "written": "vector", "store": "store"}
#: Fields that wait, by role of the access; and that signal, by class.
_WAITS = {"w": "w_wait", "a": "a_wait", "acc": "acc_wait", "src": "src_wait", "dst": "dst_wait", "dma": "wait"}
_SIGNALS = {"load": "signal", "weights": "w_signal", "moving": "a_signal", "results": "acc_signal",
            "source": "src_signal", "written": "dst_signal", "store": "signal"}
_SYNC = {"load": "LOAD_SYNC", "weights": "TENSOR_SYNC", "tensor": "TENSOR_SYNC", "vector": "VECTOR_SYNC",
         "store": "STORE_SYNC"}


@dataclass(frozen=True)
class Address:
    """A byte of a buffer, known once the memory is laid out."""
    buffer: str
    offset: int = 0


@dataclass(frozen=True, eq=False)
class Access:
    """Words of a ``space`` ("scratchpad", "accumulators", "state" or a buffer's name, in DMA granules) that a node
    reads or writes; ``kind``: class of its completion; ``role``: which token field guards it."""
    space: str
    words: np.ndarray
    write: bool
    kind: str
    role: str


@dataclass(eq=False)
class Node:
    """An instruction, or a stretch of control instructions (``control``) that needs no tokens.

    ``parts``: ``{signal or wait field: tokens it takes with _each}``; ``aligned``: ``{(earlier node, class, role)}`` whose
    n-th part is all that this node's n-th part needs; ``repeat``: executed so many times in a loop of scalar register
    ``repeat_register``.
    """
    mnemonic: str
    fields: dict
    accesses: list = field(default_factory=list)
    parts: dict = field(default_factory=dict)
    aligned: set = field(default_factory=set)
    control: list = None
    repeat: int = 0
    repeat_register: int = 0


@dataclass
class Memory:
    """Contents and kinds of the buffers: ``{name: (kind, uint8 data)}``; work and output buffers start as zeros."""
    buffers: dict = field(default_factory=dict)

    def add(self, name, kind, data):
        self.buffers[name] = kind, np.asarray(data, np.uint8)
        return name


class _History:
    """Last writer and last readers of the words of each space, as node positions."""

    def __init__(self, sizes):
        self._writer = {s: np.full(n, -1) for s, n in sizes.items()}
        self._writer_kind = {s: np.zeros(n, np.int8) for s, n in sizes.items()}
        self._reader = {s: np.full((len(CLASSES), n), -1) for s, n in sizes.items()}

    def needs(self, access):
        """``{class: position}`` that the access has to come after."""
        kinds = list(CLASSES)
        needs = {}
        writer, kind = self._writer[access.space][access.words], self._writer_kind[access.space][access.words]
        for number, name in enumerate(kinds):
            last = writer[kind == number].max(initial=-1)
            if access.write:
                last = max(last, self._reader[access.space][number][access.words].max(initial=-1))
            if last >= 0 and CLASSES[name] != CLASSES[access.kind]:
                needs[name] = int(last)
        return needs

    def mark(self, access, position):
        number = list(CLASSES).index(access.kind)
        if access.write:
            self._writer[access.space][access.words] = position
            self._writer_kind[access.space][access.words] = number
        else:
            self._reader[access.space][number][access.words] = position


def _requirements(nodes, sizes):
    """For each node the waits it needs: ``[(position, class, consumer thread, role)]``, without those implied."""
    history, known, required = _History(sizes), {}, []
    for position, node in enumerate(nodes):
        needs = {}
        for access in node.accesses:
            for kind, earlier in history.needs(access).items():
                key = kind, CLASSES[access.kind]
                if earlier > known.get(key, -1):
                    # One wait for each pair of threads: tokens come in order, whichever field takes them.
                    last, role = needs.get(key, (-1, access.role))
                    needs[key] = max(last, earlier), role if role == access.role else "sync"
        waits = []
        for (kind, thread), (earlier, role) in sorted(needs.items()):
            if thread == "weights" and any(w[2] == "weights" for w in waits):
                # One field only: the others go through a TENSOR_SYNC, which holds the loader too.
                waits.append((earlier if earlier > known.get((kind, "tensor"), -1) else None, kind, "tensor", "sync"))
                known[kind, "tensor"] = max(known.get((kind, "tensor"), -1), earlier)
            else:
                waits.append((earlier, kind, thread, role))
            known[kind, thread] = earlier
        for access in node.accesses:
            history.mark(access, position)
        if node.mnemonic == "BARRIER":
            for kind in CLASSES:
                for thread in set(CLASSES.values()):
                    known[kind, thread] = position
        required.append(waits)
    return required


class _Emission:
    """Instructions of one node: before, itself, after."""

    def __init__(self, node):
        self.fields = dict(node.fields)
        self.before, self.after = [], []


def _tokens(nodes, sizes, rng):
    """`_Emission` of each node, with semaphores chosen and token fields filled."""
    required = _requirements(nodes, sizes)
    emissions = [_Emission(node) for node in nodes]
    # Semaphores 1, 2 and the last one are the generator's own.
    numbers = [int(n) for n in rng.permutation(np.arange(3, isa.SEMAPHORES - 1))]
    semaphores = {}
    for position, (node, waits) in enumerate(zip(nodes, required)):
        own = emissions[position]
        for earlier, kind, thread, role in waits:
            if earlier is None:
                own.before.append(("TENSOR_SYNC", {}))
                continue
            if (kind, thread) not in semaphores:
                semaphores[kind, thread] = numbers.pop()
            number = semaphores[kind, thread]
            producer, other = nodes[earlier], emissions[earlier]
            signal, wait = _SIGNALS[kind], _WAITS.get(role)
            can_signal, can_wait = _free(producer, other, signal), role != "sync" and _free(node, own, wait)
            # The weight loader has no other way to wait, results have no other way to signal.
            must_wait, must_signal = thread == "weights", kind == "results"
            assert (can_wait or not must_wait) and (can_signal or not must_signal)
            choices = list(_pairs(
                _choices(producer, signal) if can_signal else {}, _choices(node, wait) if can_wait else {},
                not must_signal, not must_wait, (producer, kind, role) in node.aligned))
            signal_by_field, wait_by_field, count = choices[int(rng.integers(len(choices)))]
            if signal_by_field:
                other.fields.update({signal: number, **_choices(producer, signal)[count]})
            else:
                other.after.append((_SYNC[CLASSES[kind]], dict(signal=number, signal_count=count)))
            if wait_by_field:
                own.fields.update({wait: number, **_choices(node, wait)[count]})
            else:
                own.before.append((_SYNC[thread], dict(wait=number, wait_count=count)))
    return emissions


def _choices(node, name):
    """``{tokens: more fields}`` that a token field can take or send."""
    parts = node.parts.get(name, 1)
    if name + "_each" not in isa.INSTRUCTIONS[node.mnemonic].fields:
        return {parts: {}}
    return {parts: {name + "_each": 1}, 1: {}}


def _pairs(signals, waits, may_sync_signal, may_sync_wait, aligned):
    """Ways to pass tokens: ``(signal in the field, wait in the field, tokens)``; the likelier ones more than once."""
    for count in signals:
        if may_sync_wait:
            yield True, False, count
        # Several tokens, one for each part: parts must match.
        if count in waits and (count == 1 or aligned):
            yield from [(True, True, count)] * (12 if count > 1 else 6)
    if may_sync_signal:
        for count in {1, 2, *waits}:
            if may_sync_wait:
                yield False, False, count
            if count in waits:
                yield False, True, count


def _free(node, emission, name):
    """Whether a node has the token field and it is not in use."""
    return (node.control is None and not node.repeat and name in isa.INSTRUCTIONS[node.mnemonic].fields
            and not emission.fields.get(name))


def assemble(config, nodes, memory, sizes, rng, registers):
    """``(Image, inputs)`` of nodes; ``sizes``: words of each space; ``registers``: initial scalar registers."""
    rng = np.random.default_rng(int(rng.integers(1 << 62)))
    code = []
    for node, emission in zip(nodes, _tokens(nodes, sizes, rng)):
        code += emission.before
        if node.control is not None:
            code += node.control
        elif node.repeat:
            r = node.repeat_register
            code += [("CALC", dict(rd=r, imm=-node.repeat)), (node.mnemonic, emission.fields),
                     ("CALC", dict(rd=r, ra=r, imm=1)), ("BRANCH", dict(cond=2, ra=r, rb=0, offset=-3))]
        else:
            code.append((node.mnemonic, emission.fields))
        code += emission.after
    code.append(("END", {}))
    place, offset, pieces = {}, 0, []
    for name, (kind, data) in memory.buffers.items():
        if kind == "constant":
            place[name] = offset
            pieces.append(np.pad(data, (0, -data.size % 128)))
            offset += pieces[-1].size
    code_offset = offset
    constant_bytes = offset + isa.INSTRUCTION_BYTES * len(code)
    offset = -(-(constant_bytes + 64) // 4096) * 4096
    buffers = []
    for name, (kind, data) in memory.buffers.items():
        if kind != "constant":
            place[name] = offset
            buffers.append(Buffer(name, offset, data.size, kind))
            offset += -(-(data.size + 64) // 128) * 128 + 128 * int(rng.integers(3))
    words = []
    for mnemonic, fields in code:
        values = {n: place[v.buffer] + v.offset if isinstance(v, Address) else int(v) for n, v in fields.items()}
        words.append((mnemonic, values))
    pieces.append(isa.encode_program(words))
    # Instruction fetch reads on behind END.
    memory_bytes = max(offset, -(-(constant_bytes + config.fetch_ahead_bytes) // 4096) * 4096)
    image = Image(config, np.concatenate(pieces), memory_bytes, code_offset, len(code), buffers, registers=dict(registers))
    inputs = {name: data for name, (kind, data) in memory.buffers.items() if kind == "input"}
    return image, inputs
