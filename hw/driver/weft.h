/* Driver of the Weft accelerator for hosts without an operating system. C99, no allocation, and of the C library
 * only memcpy (gcc may call memset for the loops that clear memory).
 *
 * A program is the file program.bin that `weft export` writes, in memory that the processor can read. The accelerator
 * reads and writes one range of memory, which the processor sees as well. A run:
 *
 *     struct weft_program program;
 *     struct weft_device device = {weft_mmio_read, weft_mmio_write, (void *)0x43c00000, memory, 0x40000000, size};
 *
 *     weft_open(&program, program_bin, program_bin_bytes);
 *     weft_load(&device, &program);                         once: checks the device, copies constants, clears states
 *     weft_pack(&device, &program, ids, tokens, count);     inputs
 *     weft_start(&device, &program, 0, 0, 0);
 *     weft_wait(&device, 10000000);
 *     weft_unpack(&device, &program, result, values, rows); outputs
 *
 * Every function that returns int returns WEFT_OK or a code below.
 */
#ifndef WEFT_H
#define WEFT_H

#include <stddef.h>
#include <stdint.h>

#include "weft_registers.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_IMAGE_FORMAT 1u    /* version of program.bin that this driver reads */

enum {
    WEFT_OK = 0,
    WEFT_BUSY = 1,              /* still running */
    WEFT_NOT_A_PROGRAM = -1,    /* the file is none, or its tables are damaged */
    WEFT_OTHER_FORMAT = -2,     /* of another version than WEFT_IMAGE_FORMAT */
    WEFT_TRUNCATED = -3,        /* fewer bytes than the file says */
    WEFT_DAMAGED = -4,          /* the constants' checksum differs */
    WEFT_NO_DEVICE = -5,        /* ID is not that of a Weft accelerator */
    WEFT_OTHER_VERSION = -6,    /* the device has another instruction set than the program */
    WEFT_OTHER_DEVICE = -7,     /* the device has another configuration (fingerprint) than the program */
    WEFT_BAD_MEMORY = -8,       /* memory too small, or not at a multiple of WEFT_BASE_ALIGNMENT */
    WEFT_BAD_ARGUMENT = -9,     /* no such program or tensor, or more rows than it has */
    WEFT_STOPPED = -10,         /* stopped without reaching the end: weft_fault says why */
    WEFT_TIMEOUT = -11          /* not finished in that many polls */
};

/* Options of weft_start. */
#define WEFT_IRQ 1u             /* raise the interrupt at the end */

/* Element types and kinds of tensors. */
enum { WEFT_INT8 = 0, WEFT_UINT8 = 1, WEFT_INT16 = 2, WEFT_INT32 = 3, WEFT_BOOL = 4 };
enum { WEFT_ROWS = 0, WEFT_IDS = 1, WEFT_MASK = 2 };
enum { WEFT_INPUT = 0, WEFT_OUTPUT = 1 };

/* How to reach the device. `read` and `write` access a register at a byte offset; on a processor that reorders accesses
 * `write` begins, and `read` ends, with the barrier that memory needs. `clean` and `invalidate` keep a cache that the
 * accelerator does not see coherent: written back before it reads, dropped before the processor reads; both may be NULL. */
struct weft_device {
    uint32_t (*read)(void *context, uint32_t offset);
    void (*write)(void *context, uint32_t offset, uint32_t value);
    void *context;              /* handed to the functions */
    uint8_t *memory;            /* the program's memory as the processor sees it */
    uint64_t base;              /* the same as the accelerator sees it */
    uint64_t memory_bytes;
    void (*clean)(void *context, const void *start, size_t bytes);
    void (*invalidate)(void *context, void *start, size_t bytes);
};

/* A program file that weft_open has checked; points into it, so the file stays where it is. */
struct weft_program {
    const uint8_t *file;
    uint32_t version;           /* of the instruction set */
    uint32_t fingerprint;
    uint32_t constant_offset;   /* of the constants in the file */
    uint32_t constant_crc;
    uint64_t constant_bytes;
    uint64_t memory_bytes;      /* to reserve */
    uint32_t programs;          /* a decoder has two: 0 prefill, 1 decode */
    uint32_t tensors;
    uint32_t states;            /* buffers kept between runs */
    uint32_t panel, word_bytes, cols, mask_slot_bits;
};

/* A tensor that the host writes or reads. `features` elements in each of `rows` rows. */
struct weft_tensor {
    const char *name;
    uint32_t program;           /* the program it belongs to */
    uint32_t role;              /* WEFT_INPUT, WEFT_OUTPUT */
    uint32_t kind;              /* WEFT_ROWS, WEFT_IDS, WEFT_MASK */
    uint32_t type;              /* of the host's elements: WEFT_INT8 ... */
    uint32_t rows, features;
    uint32_t stored_rows, block, row_major, chunk, chunk_bytes;     /* how it lies in memory */
    uint64_t offset, bytes;     /* where */
    int32_t zero;               /* real = (integer - zero) * scale */
    uint32_t scales;            /* 0: none, 1: one for all, else one for each feature */
    uint32_t scale_offset;      /* of the first scale in the file */
};

struct weft_fault {
    uint32_t cause;             /* WEFT_CAUSE_... */
    uint32_t instruction;       /* number of the instruction */
    uint64_t address;           /* where it lies, as the accelerator sees it */
};

/* Registers at context + offset. */
uint32_t weft_mmio_read(void *context, uint32_t offset);
void weft_mmio_write(void *context, uint32_t offset, uint32_t value);

/* Checks a file's header and tables, and that it is whole. */
int weft_open(struct weft_program *program, const void *file, size_t bytes);
/* Checks the constants against their checksum; reads all of them. */
int weft_check(const struct weft_program *program);

/* Whether the device is one for the program. */
int weft_probe(const struct weft_device *device, const struct weft_program *program);
/* Probes the device, copies the constants to its memory and clears the states. */
int weft_load(const struct weft_device *device, const struct weft_program *program);
/* Clears what is kept between runs: a decoder's keys and values. */
int weft_clear(const struct weft_device *device, const struct weft_program *program);

/* Tensor by number, below program->tensors. */
int weft_tensor(const struct weft_program *program, uint32_t number, struct weft_tensor *tensor);
/* The nth (from 0) tensor of a role in a program; its number goes to *number. */
int weft_find(const struct weft_program *program, uint32_t which, uint32_t role, uint32_t nth, uint32_t *number);
/* Bytes of one of the host's elements: 1, 2 or 4. */
uint32_t weft_element_bytes(const struct weft_tensor *tensor);
/* Scale of a feature, the bits of an IEEE single, so that a host without floating point can hand it on. */
uint32_t weft_scale(const struct weft_program *program, const struct weft_tensor *tensor, uint32_t feature);

/* Writes the first `rows` rows of an input from `values`, [rows][features] of int8_t, uint8_t, int16_t or int32_t as its
 * type says (a mask: uint8_t, 0 or 1); further rows become zero. */
int weft_pack(const struct weft_device *device, const struct weft_program *program, uint32_t tensor, const void *values,
              uint32_t rows);
/* Reads the first `rows` rows of an output (of kind WEFT_ROWS) to `values`, [rows][features]. */
int weft_unpack(const struct weft_device *device, const struct weft_program *program, uint32_t tensor, void *values,
                uint32_t rows);

/* Starts a program. `position`: of a decoder, the position of the first token, else 0. `options`: WEFT_IRQ or 0.
 * WEFT_BUSY if the device runs already. */
int weft_start(const struct weft_device *device, const struct weft_program *program, uint32_t which, uint32_t position,
               uint32_t options);
/* WEFT_OK: finished. WEFT_BUSY: not yet, or never started. WEFT_STOPPED: with an error. */
int weft_poll(const struct weft_device *device);
/* Polls until the end, so many times at most: then WEFT_TIMEOUT, and the device runs on. */
int weft_wait(const struct weft_device *device, uint32_t polls);
/* For the interrupt's handler: takes the interrupt back and says what weft_poll does. */
int weft_interrupt(const struct weft_device *device);
/* Stops a run and waits until the device is idle, so many polls at most. */
int weft_abort(const struct weft_device *device, uint32_t polls);
/* Why the last run stopped; cause WEFT_CAUSE_NONE if it did not. */
void weft_fault(const struct weft_device *device, struct weft_fault *fault);
/* Cycles of the last run. */
uint64_t weft_cycles(const struct weft_device *device);

#ifdef __cplusplus
}
#endif

#endif
