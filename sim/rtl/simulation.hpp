// The Verilated accelerator with an AXI4 memory, whose checks watch the protocol, and an AXI4-Lite master.
//
// Built for one configuration; widths follow from the types of the ports.
#pragma once

#include "Vweft.h"
#include "verilated.h"
#ifdef WEFT_PROFILE
#include "profile.hpp"
#endif

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace {

// Ports up to 64 bits are integers, wider ones arrays of 32-bit words; both lie in memory lowest byte first.
template <class T>
uint64_t low64(const T& port) {
    uint64_t value = 0;
    std::memcpy(&value, &port, sizeof(T) < 8 ? sizeof(T) : 8);
    return value;
}

constexpr size_t kBeat = sizeof(std::remove_reference_t<decltype(Vweft::m_axi_rdata)>);

struct Strobe {
    uint64_t bits[2];
    bool test(size_t n) const { return bits[n / 64] >> (n % 64) & 1; }
    bool operator==(const Strobe& o) const { return bits[0] == o.bits[0] && bits[1] == o.bits[1]; }
};

struct Burst {
    uint64_t address;   // as on the bus
    unsigned beats;
    uint64_t when;      // earliest cycle of its first beat (reads) or its response (writes)
    bool error = false;
    unsigned done = 0;
};

struct Beat {
    uint8_t data[kBeat];
    Strobe strobe;
    bool last;
};

struct Pending {        // a written beat that takes effect with its response
    uint64_t address;
    Beat beat;
};

// What an address or data channel showed while it waited for ready.
struct Held {
    bool valid = false;
    uint64_t address = 0;
    unsigned length = 0;
    Beat beat{};
};

struct Region {
    uint64_t start, end;
};

class Simulation {
public:
    Simulation() : context(new VerilatedContext), top(new Vweft(context.get())) {
        context->randReset(2);
        top->clk = 0;
    }
    ~Simulation() { top->final(); }

    uint8_t* memory = nullptr;
    uint64_t size = 0, base = 0;
    std::vector<Region> writable;
    uint64_t error_start = 0, error_end = 0;
    bool stress = false;
    unsigned latency = 64, in_flight = 16;
    std::string message;
    uint64_t cycle = 0, last_beat = 0, read_beats = 0, write_beats = 0;
    std::vector<uint64_t> log_address;
    std::vector<uint8_t> log_data;
    std::vector<uint64_t> log_strobe;   // two words a beat
#ifdef WEFT_PROFILE
    Recorder recorder;
    VerilatedContext* signals() const { return context.get(); }
#endif

    void configure(bool stress_, uint64_t seed, unsigned latency_, unsigned in_flight_) {
        stress = stress_;
        latency = latency_;
        in_flight = in_flight_;
        random.seed(seed);
        // Each run is a mixture of its own: channels that hardly ever stop, and others that hardly ever move.
        const unsigned chances[] = {256, 240, 160, 96, 32};
        for (unsigned& c : chance) c = stress ? chances[random() % 5] : 256;
        longest = stress ? (random() % 3 ? 40 : 300) : 0;
    }

    void reset() {
        top->rst = 1;
        top->s_axi_awvalid = top->s_axi_wvalid = top->s_axi_bready = top->s_axi_arvalid = top->s_axi_rready = 0;
        for (int n = 0; n < 8; n++) tick();
        top->rst = 0;
        reads.clear(); writes.clear(); responses.clear(); beats.clear(); pending.clear();
        held_read = held_write = held_beat = Held();
        tick();
    }

    void write_register(unsigned offset, uint32_t value) {
        top->s_axi_awaddr = offset;
        top->s_axi_wdata = value;
        top->s_axi_wstrb = 15;
        top->s_axi_awvalid = top->s_axi_wvalid = top->s_axi_bready = 1;
        for (unsigned n = 0; n < 1000; n++) {
            settle();
            const bool address = top->s_axi_awvalid && top->s_axi_awready, data = top->s_axi_wvalid && top->s_axi_wready;
            const bool done = top->s_axi_bvalid;
            edge();
            if (address) top->s_axi_awvalid = 0;
            if (data) top->s_axi_wvalid = 0;
            if (done) {
                top->s_axi_bready = 0;
                return;
            }
        }
        fail("the AXI4-Lite port does not answer a write");
    }

    uint32_t read_register(unsigned offset) {
        top->s_axi_araddr = offset;
        top->s_axi_arvalid = top->s_axi_rready = 1;
        for (unsigned n = 0; n < 1000; n++) {
            settle();
            const bool address = top->s_axi_arvalid && top->s_axi_arready, done = top->s_axi_rvalid;
            const uint32_t value = top->s_axi_rdata;
            edge();
            if (address) top->s_axi_arvalid = 0;
            if (done) {
                top->s_axi_rready = 0;
                return value;
            }
        }
        fail("the AXI4-Lite port does not answer a read");
        return 0;
    }

    // Simulates until the interrupt, a violation or so many cycles: 1, 2 or 0.
    int run(uint64_t cycles, uint64_t idle_limit) {
        for (uint64_t n = 0; n < cycles; n++) {
            tick();
            if (!message.empty()) return 2;
            if (top->irq) return 1;
            if (cycle - last_beat > idle_limit) return 0;
        }
        return 0;
    }

private:
    std::unique_ptr<VerilatedContext> context;
    std::unique_ptr<Vweft> top;
    std::mt19937_64 random;
    unsigned chance[5] = {256, 256, 256, 256, 256};
    unsigned longest = 0;
    std::deque<Burst> reads, writes, responses;
    std::deque<Beat> beats;
    std::deque<Pending> pending;
    Held held_read, held_write, held_beat;

    void fail(const std::string& text) {
        if (message.empty()) message = text + ", in cycle " + std::to_string(cycle);
    }

    static std::string hex(uint64_t value) {
        char text[24];
        std::snprintf(text, sizeof text, "0x%llx", (unsigned long long)value);
        return text;
    }

    bool lucky(unsigned channel) { return chance[channel] == 256 || random() % 256 < chance[channel]; }
    uint64_t delay() { return stress ? 1 + random() % longest : latency; }

    bool faulty(uint64_t address, uint64_t bytes) const {
        const uint64_t offset = address - base;
        return offset < error_end && offset + bytes > error_start;
    }

    void tick() {
        settle();
        edge();
    }

    // Drives this cycle's inputs and lets the logic settle.
    void settle() {
        // A valid once given stays until it is taken.
        if (!top->m_axi_rvalid && !reads.empty() && reads.front().when <= cycle && lucky(0)) present_read();
        if (!top->m_axi_bvalid && !responses.empty() && responses.front().when <= cycle && lucky(1)) present_response();
        top->m_axi_arready = reads.size() < in_flight && lucky(2);
        top->m_axi_awready = writes.size() + responses.size() < in_flight && lucky(3);
        top->m_axi_wready = beats.size() < 64 && lucky(4);
        top->clk = 0;
        top->eval();
    }

    void present_read() {
        const Burst& burst = reads.front();
        const uint64_t offset = burst.address - base + burst.done * kBeat;
        uint8_t* port = reinterpret_cast<uint8_t*>(&top->m_axi_rdata);
        if (offset + kBeat <= size)
            std::memcpy(port, memory + offset, kBeat);
        else
            std::memset(port, 0xA5, kBeat);
        top->m_axi_rresp = faulty(burst.address + burst.done * kBeat, kBeat) ? 2 : 0;
        top->m_axi_rlast = burst.done + 1 == burst.beats;
        top->m_axi_rid = 0;
        top->m_axi_rvalid = 1;
    }

    void present_response() {
        Burst& burst = responses.front();
        for (; burst.done < burst.beats; burst.done++) {
            if (!burst.error) store(pending.front());
            pending.pop_front();
        }
        top->m_axi_bresp = burst.error ? 2 : 0;
        top->m_axi_bid = 0;
        top->m_axi_bvalid = 1;
    }

    void store(const Pending& p) {
        const uint64_t offset = p.address - base;
        for (size_t n = 0; n < kBeat; n++)
            if (p.beat.strobe.test(n) && offset + n < size) memory[offset + n] = p.beat.data[n];
    }

    // The clock edge: handshakes of this cycle take place.
    void edge() {
        const bool r = top->m_axi_rvalid && top->m_axi_rready, b = top->m_axi_bvalid && top->m_axi_bready;
        bool moved = r || b;
        if (!top->rst) {
            moved |= read_address();
            moved |= write_address();
            moved |= write_beat();
        }
        if (moved) last_beat = cycle;
#ifdef WEFT_PROFILE
        recorder.sample(r, top->m_axi_wvalid && top->m_axi_wready);
#endif
        top->clk = 1;
        top->eval();
        if (r) {
            top->m_axi_rvalid = 0;
            read_beats++;
            if (++reads.front().done == reads.front().beats) reads.pop_front();
        }
        if (b) {
            top->m_axi_bvalid = 0;
            responses.pop_front();
        }
        cycle++;
    }

    void check_address(const char* what, uint64_t address, unsigned beats_, unsigned size_, unsigned burst) {
        if (burst != 1) fail(std::string(what) + " burst at " + hex(address) + " is not of type INCR");
        if ((1u << size_) != kBeat) fail(std::string(what) + " burst at " + hex(address) + " has beats of another size");
        if (address % kBeat) fail(std::string(what) + " burst at " + hex(address) + " is not aligned to a beat");
        if (address / 4096 != (address + beats_ * kBeat - 1) / 4096)
            fail(std::string(what) + " burst at " + hex(address) + " crosses a 4 KiB boundary");
    }

    // Whether a waiting channel changed what it shows.
    void check_held(const char* what, Held& held, bool valid, bool ready, uint64_t address, unsigned length) {
        if (held.valid && (!valid || address != held.address || length != held.length))
            fail(std::string(what) + " channel changed while it waited for ready");
        held.valid = valid && !ready;
        held.address = address;
        held.length = length;
    }

    bool read_address() {
        const bool valid = top->m_axi_arvalid, ready = top->m_axi_arready;
        const uint64_t address = low64(top->m_axi_araddr);
        check_held("read address", held_read, valid, ready, address, top->m_axi_arlen);
        if (!valid || !ready) return false;
        const unsigned count = top->m_axi_arlen + 1;
        check_address("read", address, count, top->m_axi_arsize, top->m_axi_arburst);
        if (address < base || address + count * kBeat > base + size)
            fail("read burst at " + hex(address) + " lies outside the program's memory");
        // In order: a burst's first beat comes after its latency, and after the bursts before it.
        reads.push_back({address, count, cycle + delay()});
        return true;
    }

    bool write_address() {
        const bool valid = top->m_axi_awvalid, ready = top->m_axi_awready;
        const uint64_t address = low64(top->m_axi_awaddr);
        check_held("write address", held_write, valid, ready, address, top->m_axi_awlen);
        if (valid && ready) {
            const unsigned count = top->m_axi_awlen + 1;
            check_address("write", address, count, top->m_axi_awsize, top->m_axi_awburst);
            writes.push_back({address, count, 0});
        }
        return valid && ready;
    }

    bool write_beat() {
        const bool valid = top->m_axi_wvalid, ready = top->m_axi_wready;
        Beat beat;
        if (valid) {
            std::memcpy(beat.data, &top->m_axi_wdata, kBeat);
            beat.strobe = {{0, 0}};
            std::memcpy(beat.strobe.bits, &top->m_axi_wstrb, sizeof top->m_axi_wstrb);
            beat.last = top->m_axi_wlast;
        }
        if (held_beat.valid && (!valid || std::memcmp(beat.data, held_beat.beat.data, kBeat) ||
                                !(beat.strobe == held_beat.beat.strobe) || beat.last != held_beat.beat.last))
            fail("write data channel changed while it waited for ready");
        held_beat.valid = valid && !ready;
        if (held_beat.valid) held_beat.beat = beat;
        if (valid && ready) beats.push_back(beat);
        // Data may come before its address.
        while (!beats.empty() && !writes.empty()) accept_beat();
        return valid && ready;
    }

    void accept_beat() {
        Burst& burst = writes.front();
        const Beat& beat = beats.front();
        const uint64_t address = burst.address + burst.done * kBeat;
        check_writable(address, beat);
        log_address.push_back(address - base);
        log_data.insert(log_data.end(), beat.data, beat.data + kBeat);
        log_strobe.insert(log_strobe.end(), beat.strobe.bits, beat.strobe.bits + 2);
        write_beats++;
        burst.error |= faulty(address, kBeat);
        pending.push_back({address, beat});
        burst.done++;
        if (beat.last != (burst.done == burst.beats))
            fail("write burst at " + hex(burst.address) + " of " + std::to_string(burst.beats) +
                 " beats has wlast at beat " + std::to_string(burst.done));
        if (burst.done == burst.beats) {
            burst.when = cycle + delay();
            burst.done = 0;
            responses.push_back(burst);
            writes.pop_front();
        }
        beats.pop_front();
    }

    void check_writable(uint64_t address, const Beat& beat) {
        const uint64_t offset = address - base;
        for (size_t n = 0; n < kBeat; n++) {
            if (!beat.strobe.test(n)) continue;
            // Regions are few; the last one hit is nearly always hit again.
            const uint64_t at = offset + n;
            if (hit < writable.size() && at >= writable[hit].start && at < writable[hit].end) continue;
            for (hit = 0; hit < writable.size(); hit++)
                if (at >= writable[hit].start && at < writable[hit].end) break;
            if (hit == writable.size()) {
                fail("byte at offset " + hex(at) + " is written, which lies in no output or work buffer");
                return;
            }
        }
    }

    size_t hit = 0;
};

}  // namespace
