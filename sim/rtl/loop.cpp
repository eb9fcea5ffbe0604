// Main loop of the RTL simulation: the functions through which Python drives a `Simulation`.
//
// One call of `weft_run` simulates many cycles; between calls registers can be read and written.

#include "simulation.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

double sc_time_stamp() { return 0; }

EXPORT void* weft_new() { return new Simulation; }
EXPORT void weft_delete(void* s) { delete static_cast<Simulation*>(s); }
EXPORT unsigned weft_beat_bytes() { return kBeat; }

EXPORT void weft_memory(void* s, uint8_t* memory, uint64_t size, uint64_t base) {
    auto* sim = static_cast<Simulation*>(s);
    sim->memory = memory;
    sim->size = size;
    sim->base = base;
}

EXPORT void weft_writable(void* s, uint64_t start, uint64_t end) {
    static_cast<Simulation*>(s)->writable.push_back({start, end});
}

EXPORT void weft_errors(void* s, uint64_t start, uint64_t end) {
    static_cast<Simulation*>(s)->error_start = start;
    static_cast<Simulation*>(s)->error_end = end;
}

EXPORT void weft_configure(void* s, int stress, uint64_t seed, unsigned latency, unsigned in_flight) {
    static_cast<Simulation*>(s)->configure(stress, seed, latency, in_flight);
}

EXPORT void weft_reset(void* s) { static_cast<Simulation*>(s)->reset(); }
EXPORT void weft_write(void* s, unsigned offset, uint32_t value) {
    static_cast<Simulation*>(s)->write_register(offset, value);
}
EXPORT uint32_t weft_read(void* s, unsigned offset) { return static_cast<Simulation*>(s)->read_register(offset); }
EXPORT int weft_run(void* s, uint64_t cycles, uint64_t idle_limit) {
    return static_cast<Simulation*>(s)->run(cycles, idle_limit);
}

EXPORT uint64_t weft_cycle(void* s) { return static_cast<Simulation*>(s)->cycle; }
EXPORT uint64_t weft_idle(void* s) {
    auto* sim = static_cast<Simulation*>(s);
    return sim->cycle - sim->last_beat;
}
EXPORT const char* weft_message(void* s) { return static_cast<Simulation*>(s)->message.c_str(); }
EXPORT uint64_t weft_log_size(void* s) { return static_cast<Simulation*>(s)->log_address.size(); }
EXPORT const uint64_t* weft_log_addresses(void* s) { return static_cast<Simulation*>(s)->log_address.data(); }
EXPORT const uint8_t* weft_log_data(void* s) { return static_cast<Simulation*>(s)->log_data.data(); }
EXPORT const uint64_t* weft_log_strobes(void* s) { return static_cast<Simulation*>(s)->log_strobe.data(); }

#ifdef WEFT_PROFILE
EXPORT int weft_profile_field(void* s, unsigned track, const char* scope, const char* name, unsigned shift, int delayed) {
    auto* sim = static_cast<Simulation*>(s);
    Recorder::Field field{{}, shift, delayed != 0, 0};
    if (!Recorder::find(sim->signals(), scope, name, field.signal)) return 0;
    sim->recorder.track(track).fields.push_back(field);
    return 1;
}
EXPORT int weft_profile_gate(void* s, unsigned track, const char* scope, const char* name) {
    auto* sim = static_cast<Simulation*>(s);
    return Recorder::find(sim->signals(), scope, name, sim->recorder.track(track).gate);
}
EXPORT int weft_profile_running(void* s, const char* scope, const char* name) {
    auto* sim = static_cast<Simulation*>(s);
    return Recorder::find(sim->signals(), scope, name, sim->recorder.running);
}
EXPORT uint64_t weft_profile_size(void* s, unsigned track) {
    return static_cast<Simulation*>(s)->recorder.track(track).starts.size();
}
EXPORT const uint64_t* weft_profile_starts(void* s, unsigned track) {
    return static_cast<Simulation*>(s)->recorder.track(track).starts.data();
}
EXPORT const uint64_t* weft_profile_values(void* s, unsigned track) {
    return static_cast<Simulation*>(s)->recorder.track(track).values.data();
}
EXPORT uint64_t weft_profile_interval() { return Recorder::kInterval; }
EXPORT uint64_t weft_profile_intervals(void* s) { return static_cast<Simulation*>(s)->recorder.read_beats.size(); }
EXPORT const uint64_t* weft_profile_read_beats(void* s) {
    return static_cast<Simulation*>(s)->recorder.read_beats.data();
}
EXPORT const uint64_t* weft_profile_write_beats(void* s) {
    return static_cast<Simulation*>(s)->recorder.write_beats.data();
}
#endif
