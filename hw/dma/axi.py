"""AXI4 as the accelerator's memory master speaks it, and the requests its two halves take."""

from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Out, Signature

__all__ = ["MAX_BURST_BEATS", "PAGE_BYTES", "RELATIVE_BITS", "Response", "AXI4Read", "AXI4Write", "AXI4",
           "BurstRequest", "BeatStream", "burst_layout", "drive_address_channel"]

#: Longest burst requested: long enough that 16 in flight hide any latency, short enough that fetch never waits long.
MAX_BURST_BEATS = 16
#: No burst crosses a multiple of this.
PAGE_BYTES = 4096
#: Width of addresses relative to the base register.
RELATIVE_BITS = 40


class Response(enum.Enum, shape=2):
    """RRESP and BRESP."""
    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def _address_channel(prefix, config):
    return {
        prefix + "id": Out(1), prefix + "addr": Out(config.address_bits), prefix + "len": Out(8),
        prefix + "size": Out(3), prefix + "burst": Out(2), prefix + "lock": Out(1), prefix + "cache": Out(4),
        prefix + "prot": Out(3), prefix + "qos": Out(4), prefix + "valid": Out(1), prefix + "ready": In(1),
    }


def _read_members(config):
    return _address_channel("ar", config) | {
        "rid": In(1), "rdata": In(8 * config.data_bytes), "rresp": In(Response), "rlast": In(1), "rvalid": In(1),
        "rready": Out(1),
    }


def _write_members(config):
    return _address_channel("aw", config) | {
        "wdata": Out(8 * config.data_bytes), "wstrb": Out(config.data_bytes), "wlast": Out(1), "wvalid": Out(1),
        "wready": In(1),
        "bid": In(1), "bresp": In(Response), "bvalid": In(1), "bready": Out(1),
    }


class AXI4Read(Signature):
    """AR and R channels, master side."""

    def __init__(self, config):
        super().__init__(_read_members(config))


class AXI4Write(Signature):
    """AW, W and B channels, master side."""

    def __init__(self, config):
        super().__init__(_write_members(config))


class AXI4(Signature):
    """All five channels, master side, as they leave the accelerator."""

    def __init__(self, config):
        super().__init__(_read_members(config) | _write_members(config))


def burst_layout(address_bits):
    """A burst, as an address channel tells of it: byte address, beats - 1."""
    return data.StructLayout({"address": address_bits, "length": range(256)})


def BurstRequest():
    """Stream of bursts (source side), of addresses relative to the base register."""
    return stream.Signature(burst_layout(RELATIVE_BITS))


def BeatStream(config):
    """Stream of data beats read (source side), with the error response and the last beat of a burst marked."""
    return stream.Signature(data.StructLayout({"data": 8 * config.data_bytes, "error": 1, "last": 1}))


def drive_address_channel(axi, prefix, config):
    """Statements that drive what never changes on an address channel: one ID, full beats, incrementing bursts."""
    return [
        getattr(axi, prefix + "id").eq(0),
        getattr(axi, prefix + "size").eq((config.data_bytes - 1).bit_length()),
        getattr(axi, prefix + "burst").eq(1),        # INCR
        getattr(axi, prefix + "lock").eq(0),
        getattr(axi, prefix + "cache").eq(0b0011),   # normal memory, bufferable
        getattr(axi, prefix + "prot").eq(0),
        getattr(axi, prefix + "qos").eq(0),
    ]
