/* A host of the driver: registers and memory are those of the Verilated accelerator (sim/rtl/loop.cpp).
 * host program.bin MEMORY_BYTES COMMAND...; each command prints one line. */

#include "weft.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *weft_new(void);
void weft_delete(void *);
void weft_memory(void *, uint8_t *, uint64_t, uint64_t);
void weft_writable(void *, uint64_t, uint64_t);
void weft_configure(void *, int, uint64_t, unsigned, unsigned);
void weft_reset(void *);
void weft_write(void *, unsigned, uint32_t);
uint32_t weft_read(void *, unsigned);
int weft_run(void *, uint64_t, uint64_t);
const char *weft_message(void *);

#define BASE 0x123456000u

static uint32_t read_register(void *context, uint32_t offset) { return weft_read(context, offset); }
static void write_register(void *context, uint32_t offset, uint32_t value) { weft_write(context, offset, value); }

static uint64_t cleaned, invalidated;
static void clean(void *context, const void *start, size_t bytes) { (void)context, (void)start, cleaned += bytes; }
static void invalidate(void *context, void *start, size_t bytes) { (void)context, (void)start, invalidated += bytes; }

static uint8_t *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    uint8_t *data;
    if (!file) exit(3);
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    data = malloc(*bytes + 2);
    data++;                             /* the driver asks for no alignment */
    if (fread(data, 1, *bytes, file) != *bytes) exit(3);
    fclose(file);
    return data;
}

static void write_file(const char *path, const void *data, size_t bytes) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, bytes, file) != bytes) exit(3);
    fclose(file);
}

int main(int count, char **words) {
    struct weft_device device = {read_register, write_register, NULL, NULL, BASE, 0, clean, invalidate};
    struct weft_program program;
    struct weft_tensor tensor;
    struct weft_fault fault;
    size_t bytes;
    uint8_t *file = read_file(words[1], &bytes);
    int n;

    device.memory_bytes = strtoull(words[2], NULL, 0);
    device.memory = aligned_alloc(4096, (device.memory_bytes + 8191) / 4096 * 4096);
    memset(device.memory, 0xA5, device.memory_bytes);
    device.context = weft_new();
    weft_memory(device.context, device.memory, device.memory_bytes, BASE);
    weft_configure(device.context, 0, 0, 64, 16);
    weft_reset(device.context);

#define NEXT words[++n]
#define NUMBER ((uint32_t)strtoul(words[++n], NULL, 0))
    for (n = 3; n < count; n++) {
        const char *command = words[n];
        int status = 0;
        if (!strcmp(command, "open")) {
            status = weft_open(&program, file, bytes);
        } else if (!strcmp(command, "check")) {
            status = weft_check(&program);
        } else if (!strcmp(command, "load")) {
            status = weft_load(&device, &program);
            weft_writable(device.context, program.constant_bytes, program.memory_bytes);
        } else if (!strcmp(command, "clear")) {
            status = weft_clear(&device, &program);
        } else if (!strcmp(command, "shift")) {
            device.base += 64;
        } else if (!strcmp(command, "find")) {
            uint32_t which = NUMBER, role = NUMBER, nth = NUMBER, found = 0;
            status = weft_find(&program, which, role, nth, &found);
            if (status == WEFT_OK) weft_tensor(&program, found, &tensor);
            if (status == WEFT_OK)
                printf("%" PRIu32 " %s %" PRIu32 " %" PRIu32 " %" PRId32 " %08" PRIx32 " ", found, tensor.name, tensor.rows,
                       tensor.features, tensor.zero, weft_scale(&program, &tensor, tensor.features - 1));
        } else if (!strcmp(command, "pack")) {
            uint32_t number = NUMBER, rows = NUMBER;
            size_t size;
            uint8_t *values = read_file(NEXT, &size);
            status = weft_pack(&device, &program, number, values, rows);
        } else if (!strcmp(command, "start")) {
            uint32_t which = NUMBER, position = NUMBER;
            status = weft_start(&device, &program, which, position, 0);
        } else if (!strcmp(command, "interrupt")) {
            uint32_t which = NUMBER, position = NUMBER;
            int raised;
            status = weft_start(&device, &program, which, position, WEFT_IRQ);
            raised = weft_run(device.context, 10000000, UINT64_MAX);
            if (status == WEFT_OK) status = weft_interrupt(&device);
            printf("%d %d ", raised, weft_run(device.context, 1, UINT64_MAX));
        } else if (!strcmp(command, "wait")) {
            status = weft_wait(&device, NUMBER);
        } else if (!strcmp(command, "abort")) {
            status = weft_abort(&device, NUMBER);
        } else if (!strcmp(command, "unpack")) {
            uint32_t number = NUMBER, rows = NUMBER;
            void *values;
            weft_tensor(&program, number, &tensor);
            bytes = (size_t)tensor.rows * tensor.features * weft_element_bytes(&tensor);
            values = calloc(1, bytes + 1);
            status = weft_unpack(&device, &program, number, values, rows);
            write_file(NEXT, values, bytes / tensor.rows * rows);
        } else if (!strcmp(command, "memory")) {
            write_file(NEXT, device.memory, device.memory_bytes);
        } else if (!strcmp(command, "poke")) {
            uint32_t offset = NUMBER;
            device.memory[offset] = (uint8_t)NUMBER;
        } else if (!strcmp(command, "fault")) {
            weft_fault(&device, &fault);
            printf("%" PRIu32 " %" PRIu32 " %" PRIu64 " ", fault.cause, fault.instruction, fault.address - BASE);
        } else if (!strcmp(command, "cycles")) {
            printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " ", weft_cycles(&device), cleaned, invalidated);
        } else {
            return 3;
        }
        printf("%d\n", status);
    }
    printf("%s\n", weft_message(device.context));
    weft_delete(device.context);
    return 0;
}
