// Records how chosen signals of the Verilated accelerator change while a program runs. Part of profile builds only.
//
// Python names the signals (recording.py); here they are tracks. A track's value is made of fields, each a signal at a bit
// position. A plain track keeps its value's runs (first cycle, value); one with a gate keeps an event (cycle, value) for
// each cycle in which the gate is not zero. Cycles count from 0 while the signal `running` is 1. A field that is `delayed`
// shows what it was a cycle earlier, so that it fits to a register that follows the state it belongs to.
#pragma once

#include "verilated.h"
#include "verilated_syms.h"

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

class Recorder {
public:
    struct Signal {
        const void* data = nullptr;
        unsigned bytes = 0;
        uint64_t read() const {
            uint64_t value = 0;
            std::memcpy(&value, data, bytes);
            return value;
        }
    };

    struct Field {
        Signal signal;
        unsigned shift;
        bool delayed;
        uint64_t before;
    };

    struct Track {
        std::vector<Field> fields;
        Signal gate;
        std::vector<uint64_t> starts, values;
    };

    std::vector<Track> tracks;
    Signal running;
    std::vector<uint64_t> read_beats, write_beats;      // in each interval

    // Finds a public signal; false if there is none.
    static bool find(VerilatedContext* context, const char* scope, const char* name, Signal& signal) {
        const VerilatedScope* place = context->scopeFind(scope);
        const VerilatedVar* found = place ? place->varFind(name) : nullptr;
        if (!found) return false;
        const VerilatedVarType type = found->vltype();
        signal.data = found->datap();
        signal.bytes = type == VLVT_UINT8 ? 1 : type == VLVT_UINT16 ? 2 : type == VLVT_UINT32 ? 4 : 8;
        return true;
    }

    Track& track(unsigned number) {
        if (tracks.size() <= number) tracks.resize(number + 1);
        return tracks[number];
    }

    // Once a cycle, before the clock's edge.
    void sample(bool read_beat, bool write_beat) {
        const bool counts = running.data && running.read();
        for (Track& track : tracks) {
            const bool wanted = counts && (!track.gate.data || track.gate.read());
            uint64_t value = 0;
            for (Field& field : track.fields) {
                const uint64_t now = field.signal.read();
                value |= (field.delayed ? field.before : now) << field.shift;
                field.before = now;
            }
            if (!wanted || (!track.gate.data && !track.values.empty() && track.values.back() == value)) continue;
            track.starts.push_back(cycle);
            track.values.push_back(value);
        }
        if (!counts) return;
        if (cycle % kInterval == 0) {
            read_beats.push_back(0);
            write_beats.push_back(0);
        }
        read_beats.back() += read_beat;
        write_beats.back() += write_beat;
        cycle++;
    }

    static constexpr uint64_t kInterval = 64;

private:
    uint64_t cycle = 0;
};
