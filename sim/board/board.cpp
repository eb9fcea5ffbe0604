// The Verilated board core with a serial line on its pins, bit by bit.
//
// Python drives it through the functions at the end: bytes to be sent wait in a queue, bytes received are kept until taken.

#include "Vweft_board.h"
#include "verilated.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>

#define EXPORT extern "C" __attribute__((visibility("default")))

double sc_time_stamp() { return 0; }

namespace {

class Simulation {
public:
    explicit Simulation(unsigned divisor_) : divisor(divisor_), context(new VerilatedContext), top(new Vweft_board(context.get())) {
        top->clk = 0;
        top->rx = 1;
        top->rst = 1;
        for (int n = 0; n < 8; n++) tick();
        top->rst = 0;
    }
    ~Simulation() { top->final(); }

    const unsigned divisor;
    std::deque<uint8_t> to_send, received;
    uint64_t cycle = 0;

    // Until a byte has come, or so many cycles.
    void run(uint64_t cycles) {
        const size_t before = received.size();
        for (uint64_t n = 0; n < cycles && received.size() == before; n++) {
            drive();
            tick();
            listen();
        }
    }

private:
    std::unique_ptr<VerilatedContext> context;
    std::unique_ptr<Vweft_board> top;
    // A byte on its way to the board: the bits that are left, lowest first, and the cycles that are left of the first.
    unsigned out_bits = 0, out_left = 0, out_timer = 0;
    // A byte on its way to us.
    unsigned in_bits = 0, in_left = 0, in_timer = 0;

    void tick() {
        top->clk = 0;
        top->eval();
        top->clk = 1;
        top->eval();
        cycle++;
    }

    void drive() {
        if (out_timer) {
            out_timer--;
            return;
        }
        if (!out_left) {
            if (to_send.empty()) return;
            out_bits = to_send.front() << 1 | 0x200;    // start bit, eight bits, stop bit
            out_left = 10;
            to_send.pop_front();
        }
        top->rx = out_bits & 1;
        out_bits >>= 1;
        out_left--;
        out_timer = divisor - 1;
    }

    void listen() {
        if (!in_left) {
            if (top->tx) return;
            in_left = 10;
            in_bits = 0;
            in_timer = divisor / 2;
        } else if (in_timer) {
            in_timer--;
            return;
        } else {
            in_timer = divisor - 1;
            in_bits = in_bits >> 1 | (top->tx ? 0x200u : 0);
            // A byte without its stop bit is none.
            if (!--in_left && in_bits & 0x200) received.push_back(in_bits >> 1 & 0xFF);
        }
    }
};

}  // namespace

EXPORT void* board_new(unsigned divisor) { return new Simulation(divisor); }
EXPORT void board_delete(void* s) { delete static_cast<Simulation*>(s); }
EXPORT uint64_t board_cycle(void* s) { return static_cast<Simulation*>(s)->cycle; }
EXPORT void board_run(void* s, uint64_t cycles) { static_cast<Simulation*>(s)->run(cycles); }

EXPORT void board_send(void* s, const uint8_t* data, uint64_t count) {
    auto& queue = static_cast<Simulation*>(s)->to_send;
    queue.insert(queue.end(), data, data + count);
}

EXPORT uint64_t board_take(void* s, uint8_t* data, uint64_t capacity) {
    auto& queue = static_cast<Simulation*>(s)->received;
    const uint64_t count = std::min<uint64_t>(capacity, queue.size());
    std::copy_n(queue.begin(), count, data);
    queue.erase(queue.begin(), queue.begin() + count);
    return count;
}
