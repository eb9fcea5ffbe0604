// Runs vector instructions on the engine alone: memories that grant at random, tokens and data that appear at random.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <vector>

#include "Vvector_engine.h"
#include "verilated.h"

namespace {

uint64_t state;
uint32_t random32() {
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return static_cast<uint32_t>(state >> 16);
}
bool chance(int percent) { return static_cast<int>(random32() % 100) < percent; }

template <typename Port> void put(Port& port, const uint8_t* bytes, size_t count) {
    std::memset(&port, 0, sizeof(port));
    std::memcpy(&port, bytes, count < sizeof(port) ? count : sizeof(port));
}
template <typename Port> void scramble(Port& port, size_t bits) {
    auto* bytes = reinterpret_cast<uint8_t*>(&port);
    std::memset(&port, 0, sizeof(port));
    for (size_t i = 0; i < bits / 8; i++) bytes[i] = random32();
}

struct Pending { bool valid = false; std::vector<uint8_t> data; };

// A read port whose data comes `latency` cycles after the request.
struct ReadPort {
    std::deque<Pending> coming;
    explicit ReadPort(int latency) : coming(latency) {}
    void clock(bool accepted, const uint8_t* data, size_t bytes) {
        coming.pop_front();
        coming.emplace_back();
        coming.back().valid = accepted;
        if (accepted) coming.back().data.assign(data, data + bytes);
    }
    template <typename Port> void drive(Port& port, size_t bits) {
        if (coming.front().valid) put(port, coming.front().data.data(), coming.front().data.size());
        else scramble(port, bits);
    }
};

}  // namespace

struct Range { int32_t token, memory, start, count; };    // memory 0: scratchpad, 1: accumulators; in words

// Returns the cycles it took, -1 after max_cycles, -2 where the engine broke a rule.
// reveals: in this order, at random times, words appear from the images and a token with them.
// hides: the n-th signal of a token turns the words of its n-th range into noise.
// log: (token, writes so far) of every signal. distances: rescale of every state row, read at the end.
extern "C" __attribute__((visibility("default")))
int run(const uint8_t* program, int instructions, uint8_t* scratchpad, uint8_t* accumulators,
        const uint8_t* scratchpad_image, const uint8_t* accumulator_image, int word_bytes, int cols,
        const Range* reveals, int reveal_count, const Range* hides, int hide_count, int32_t* tokens, int32_t* log,
        int32_t* log_count, uint8_t* distances, int state_rows, int read_latency, int grant_percent, uint64_t seed,
        int max_cycles) {
    state = seed * 2654435761u + 88172645463325252ull;
    VerilatedContext context;
    Vvector_engine top{&context};
    const size_t line_bytes = 2 * word_bytes, acc_bytes = 4 * cols;
    ReadPort read_a(read_latency), read_b(read_latency), acc(read_latency);
    std::vector<uint8_t> hidden(hide_count, 0);
    int next_instruction = 0, next_reveal = 0, status = -1, cycle = 0, writes = 0;
    *log_count = 0;
    std::vector<uint8_t> payload(64, 0);

    auto image = [&](const Range& r, bool noise) {
        const size_t unit = r.memory ? acc_bytes : word_bytes;
        uint8_t* to = (r.memory ? accumulators : scratchpad) + r.start * unit;
        const uint8_t* from = (r.memory ? accumulator_image : scratchpad_image) + r.start * unit;
        for (size_t i = 0; i < r.count * unit; i++) to[i] = noise ? random32() : from[i];
    };
    auto signal = [&](int id) {
        if (id == 0) return;
        tokens[id]++;
        log[2 * *log_count] = id;
        log[2 * (*log_count)++ + 1] = writes;
        for (int i = 0; i < hide_count; i++)
            if (hides[i].token == id && !hidden[i]) { hidden[i] = 1; image(hides[i], true); break; }
    };

    top.rst = 1; top.clk = 0;
    top.instructions_valid = 0; top.write_ready = 1;
    for (int i = 0; i < 4; i++) { top.eval(); top.clk = 1; top.eval(); top.clk = 0; }
    top.rst = 0;
    bool offered = false, a_waits = false, b_waits = false, acc_waits = false;
    uint64_t a_line = 0, b_line = 0, acc_line = 0;
    for (; cycle < max_cycles; cycle++) {
        if (next_reveal < reveal_count && chance(10)) {
            image(reveals[next_reveal], false);
            tokens[reveals[next_reveal++].token]++;
        }
        offered = next_instruction < instructions && (offered || chance(50));
        top.instructions_valid = offered;
        if (offered) {
            std::memcpy(payload.data(), program + 32 * next_instruction, 32);
            payload[32] = next_instruction; payload[33] = payload[34] = 0;
            put(top.instructions_payload, payload.data(), 35);
        }
        top.read_a_ready = chance(grant_percent);
        top.read_b_ready = chance(grant_percent);
        top.accumulators_ready = chance(grant_percent);
        read_a.drive(top.read_a_data, 8 * line_bytes);
        read_b.drive(top.read_b_data, 8 * line_bytes);
        acc.drive(top.accumulators_data, 8 * acc_bytes);
        top.eval();

        // Requests stay until accepted.
        if ((a_waits && (!top.read_a_valid || top.read_a_line != a_line))
            || (b_waits && (!top.read_b_valid || top.read_b_line != b_line))
            || (acc_waits && (!top.accumulators_valid || top.accumulators_address != acc_line))) { status = -2; break; }
        a_waits = top.read_a_valid && !top.read_a_ready; a_line = top.read_a_line;
        b_waits = top.read_b_valid && !top.read_b_ready; b_line = top.read_b_line;
        acc_waits = top.accumulators_valid && !top.accumulators_ready; acc_line = top.accumulators_address;
        if ((top.src_wait_consume && !top.src_wait_available) || (top.dst_wait_consume && !top.dst_wait_available)) {
            status = -2; break;
        }

        // What the next cycle sees.
        bool consume_src = top.src_wait_consume && top.src_wait_id, consume_dst = top.dst_wait_consume && top.dst_wait_id;
        int src_id = top.src_wait_id, dst_id = top.dst_wait_id;
        auto available = [&](int id) {
            return (id == 0 || tokens[id] > 0) && !(top.src_wait_consume && src_id == id) && !(top.dst_wait_consume && dst_id == id);
        };
        bool src_available = available(src_id), dst_available = available(dst_id);
        int src_signal = top.src_signal_valid ? top.src_signal_id : 0;
        int dst_signal = top.dst_signal_valid ? top.dst_signal_id : 0;
        bool taken = top.instructions_valid && top.instructions_ready;
        bool finished = next_instruction == instructions && top.status_idle;
        bool write = top.write_valid;
        uint64_t write_line = top.write_line;
        std::vector<uint8_t> write_data(line_bytes), write_mask(16, 0);
        std::memcpy(write_data.data(), &top.write_data, line_bytes);
        std::memcpy(write_mask.data(), &top.write_mask, sizeof(top.write_mask) < 16 ? sizeof(top.write_mask) : 16);
        bool a = top.read_a_valid && top.read_a_ready, b = top.read_b_valid && top.read_b_ready;
        bool c = top.accumulators_valid && top.accumulators_ready;
        read_a.clock(a, scratchpad + a_line * line_bytes, line_bytes);
        read_b.clock(b, scratchpad + b_line * line_bytes, line_bytes);
        acc.clock(c, accumulators + acc_line * acc_bytes, acc_bytes);
        top.clk = 1; top.eval(); top.clk = 0;

        if (write) {
            writes++;
            for (size_t i = 0; i < line_bytes; i++)
                if (write_mask[i / 8] >> (i % 8) & 1) scratchpad[write_line * line_bytes + i] = write_data[i];
        }
        top.src_wait_available = src_available;
        top.dst_wait_available = dst_available;
        if (consume_src) tokens[src_id]--;
        if (consume_dst) tokens[dst_id]--;
        signal(src_signal);
        signal(dst_signal);
        if (taken) { next_instruction++; offered = false; }
        if (finished) { status = cycle; break; }
    }
    for (int row = 0; status >= 0 && row < state_rows; row++) {
        top.rescale_row = row;
        top.eval(); top.clk = 1; top.eval(); top.clk = 0; top.eval();
        distances[row] = top.rescale_distance;
    }
    top.final();
    return status;
}
