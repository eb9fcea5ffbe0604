/* See weft.h. Nothing here depends on the byte order or the alignment of the host. */

#include "weft.h"

void *memcpy(void *to, const void *from, size_t bytes);

/* Places in program.bin (hw/README.md, "Exported programs"). */
enum { HEADER_BYTES = 80, PROGRAM_BYTES = 88, TENSOR_BYTES = 80, STATE_BYTES = 16 };
static const uint8_t magic[8] = {'W', 'E', 'F', 'T', 'P', 'R', 'O', 'G'};

static uint32_t get32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t get64(const uint8_t *at) { return get32(at) | (uint64_t)get32(at + 4) << 32; }

/* CRC-32 of Ethernet and zip, four bits at a time. */
static uint32_t crc32(const uint8_t *data, uint64_t bytes) {
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = 0xffffffffu;
    while (bytes--) {
        crc ^= *data++;
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static uint32_t read_register(const struct weft_device *device, uint32_t offset) {
    return device->read(device->context, offset);
}

static void write_register(const struct weft_device *device, uint32_t offset, uint32_t value) {
    device->write(device->context, offset, value);
}

uint32_t weft_mmio_read(void *context, uint32_t offset) {
    return *(volatile uint32_t *)(void *)((uint8_t *)context + offset);
}

void weft_mmio_write(void *context, uint32_t offset, uint32_t value) {
    *(volatile uint32_t *)(void *)((uint8_t *)context + offset) = value;
}

/* The file. */

static const uint8_t *program_entry(const struct weft_program *program, uint32_t number) {
    return program->file + HEADER_BYTES + (size_t)number * PROGRAM_BYTES;
}

static const uint8_t *tensor_entry(const struct weft_program *program, uint32_t number) {
    return program_entry(program, program->programs) + (size_t)number * TENSOR_BYTES;
}

static const uint8_t *state_entry(const struct weft_program *program, uint32_t number) {
    return tensor_entry(program, program->tensors) + (size_t)number * STATE_BYTES;
}

static int inside(uint64_t offset, uint64_t bytes, uint64_t limit) { return offset <= limit && bytes <= limit - offset; }

int weft_open(struct weft_program *program, const void *file, size_t bytes) {
    const uint8_t *at = file;
    uint64_t tables;
    uint32_t n;

    for (n = 0; n < sizeof magic && n < bytes; n++)
        if (at[n] != magic[n]) return WEFT_NOT_A_PROGRAM;
    if (bytes < HEADER_BYTES) return WEFT_TRUNCATED;
    if (get32(at + 8) != WEFT_IMAGE_FORMAT) return WEFT_OTHER_FORMAT;
    program->file = at;
    program->version = get32(at + 16);
    program->fingerprint = get32(at + 20);
    program->constant_offset = get32(at + 24);
    program->constant_crc = get32(at + 28);
    program->constant_bytes = get64(at + 32);
    program->memory_bytes = get64(at + 40);
    program->programs = get32(at + 48);
    program->tensors = get32(at + 52);
    program->states = get32(at + 56);
    program->panel = get32(at + 60);
    program->word_bytes = get32(at + 64);
    program->cols = get32(at + 68);
    program->mask_slot_bits = get32(at + 72);
    if (program->constant_offset > bytes) return WEFT_TRUNCATED;
    tables = HEADER_BYTES + (uint64_t)program->programs * PROGRAM_BYTES + (uint64_t)program->tensors * TENSOR_BYTES +
             (uint64_t)program->states * STATE_BYTES;
    if (tables > program->constant_offset) return WEFT_NOT_A_PROGRAM;
    if (crc32(at + 16, program->constant_offset - 16) != get32(at + 12)) return WEFT_NOT_A_PROGRAM;
    if (!inside(program->constant_offset, program->constant_bytes, bytes)) return WEFT_TRUNCATED;
    if (program->constant_bytes > program->memory_bytes) return WEFT_NOT_A_PROGRAM;
    return WEFT_OK;
}

int weft_check(const struct weft_program *program) {
    const uint8_t *constants = program->file + program->constant_offset;
    return crc32(constants, program->constant_bytes) == program->constant_crc ? WEFT_OK : WEFT_DAMAGED;
}

int weft_tensor(const struct weft_program *program, uint32_t number, struct weft_tensor *tensor) {
    const uint8_t *at;

    if (number >= program->tensors) return WEFT_BAD_ARGUMENT;
    at = tensor_entry(program, number);
    tensor->name = (const char *)program->file + get32(at);
    tensor->program = get32(at + 4);
    tensor->role = get32(at + 8);
    tensor->kind = get32(at + 12);
    tensor->type = get32(at + 16);
    tensor->rows = get32(at + 20);
    tensor->features = get32(at + 24);
    tensor->stored_rows = get32(at + 28);
    tensor->block = get32(at + 32);
    tensor->row_major = get32(at + 36);
    tensor->chunk = get32(at + 40);
    tensor->chunk_bytes = get32(at + 44);
    tensor->offset = get64(at + 48);
    tensor->bytes = get64(at + 56);
    tensor->zero = (int32_t)get32(at + 64);
    tensor->scales = get32(at + 68);
    tensor->scale_offset = get32(at + 72);
    return inside(tensor->offset, tensor->bytes, program->memory_bytes) ? WEFT_OK : WEFT_NOT_A_PROGRAM;
}

int weft_find(const struct weft_program *program, uint32_t which, uint32_t role, uint32_t nth, uint32_t *number) {
    struct weft_tensor tensor;
    uint32_t n;

    for (n = 0; weft_tensor(program, n, &tensor) == WEFT_OK; n++)
        if (tensor.program == which && tensor.role == role && !nth--) {
            *number = n;
            return WEFT_OK;
        }
    return WEFT_BAD_ARGUMENT;
}

uint32_t weft_element_bytes(const struct weft_tensor *tensor) {
    return tensor->type == WEFT_INT32 ? 4 : tensor->type == WEFT_INT16 ? 2 : 1;
}

uint32_t weft_scale(const struct weft_program *program, const struct weft_tensor *tensor, uint32_t feature) {
    if (!tensor->scales) return 0x3f800000u;    /* 1.0 */
    return get32(program->file + tensor->scale_offset + 4 * (size_t)(tensor->scales == 1 ? 0 : feature));
}

/* Memory. */

static void clear(const struct weft_device *device, uint64_t offset, uint64_t bytes) {
    uint8_t *at = device->memory + offset;
    uint64_t n;

    for (n = 0; n < bytes; n++) at[n] = 0;
}

static void clean(const struct weft_device *device, uint64_t offset, uint64_t bytes) {
    if (device->clean) device->clean(device->context, device->memory + offset, (size_t)bytes);
}

int weft_probe(const struct weft_device *device, const struct weft_program *program) {
    if (read_register(device, WEFT_ID) != WEFT_MAGIC) return WEFT_NO_DEVICE;
    if (read_register(device, WEFT_VERSION) != program->version) return WEFT_OTHER_VERSION;
    if (read_register(device, WEFT_FINGERPRINT) != program->fingerprint) return WEFT_OTHER_DEVICE;
    return WEFT_OK;
}

static int check_memory(const struct weft_device *device, const struct weft_program *program) {
    return device->base % WEFT_BASE_ALIGNMENT || device->memory_bytes < program->memory_bytes ? WEFT_BAD_MEMORY : WEFT_OK;
}

int weft_load(const struct weft_device *device, const struct weft_program *program) {
    int status = weft_probe(device, program);

    if (status == WEFT_OK) status = check_memory(device, program);
    if (status != WEFT_OK) return status;
    memcpy(device->memory, program->file + program->constant_offset, (size_t)program->constant_bytes);
    clean(device, 0, program->constant_bytes);
    return weft_clear(device, program);
}

int weft_clear(const struct weft_device *device, const struct weft_program *program) {
    uint32_t n;

    if (check_memory(device, program) != WEFT_OK) return WEFT_BAD_MEMORY;
    for (n = 0; n < program->states; n++) {
        const uint8_t *at = state_entry(program, n);
        if (!inside(get64(at), get64(at + 8), program->memory_bytes)) return WEFT_NOT_A_PROGRAM;
        clear(device, get64(at), get64(at + 8));
        clean(device, get64(at), get64(at + 8));
    }
    return WEFT_OK;
}

/* Byte of an element within the tensor's buffer. */
static uint64_t place(const struct weft_program *program, const struct weft_tensor *tensor, uint32_t row,
                      uint32_t feature) {
    const uint32_t size = weft_element_bytes(tensor), word = size * program->word_bytes;
    const uint32_t per_block = (tensor->block + program->panel - 1) / program->panel;
    const uint32_t inner = feature % tensor->block;
    const uint32_t panel = feature / tensor->block * per_block + inner / program->panel;
    const uint32_t panels = (tensor->features + tensor->block - 1) / tensor->block * per_block;
    const int by_rows = size == 2 && tensor->row_major;
    const uint64_t number = by_rows ? (uint64_t)row * panels + panel : (uint64_t)panel * tensor->stored_rows + row;

    return number * word + inner % program->panel * size;
}

static void pack_rows(const struct weft_program *program, const struct weft_tensor *tensor, uint8_t *to,
                      const uint8_t *values, uint32_t rows) {
    const uint32_t size = weft_element_bytes(tensor);
    uint32_t row, feature;

    for (row = 0; row < rows; row++)
        for (feature = 0; feature < tensor->features; feature++) {
            uint8_t *at = to + place(program, tensor, row, feature);
            if (size == 2) {
                int16_t value;
                memcpy(&value, values, 2);
                at[0] = (uint8_t)((uint16_t)value & 255);
                at[1] = (uint8_t)((uint16_t)value >> 8);
            } else {
                at[0] = values[0];
            }
            values += size;
        }
}

static void pack_ids(const struct weft_tensor *tensor, uint8_t *to, const uint8_t *values, uint32_t count) {
    uint32_t n;

    for (n = 0; n < count; n++) {
        uint8_t *at = to + (uint64_t)(n / tensor->chunk) * tensor->chunk_bytes + 4 * (n % tensor->chunk);
        uint32_t value;
        memcpy(&value, values + 4 * (size_t)n, 4);
        at[0] = (uint8_t)value;
        at[1] = (uint8_t)(value >> 8);
        at[2] = (uint8_t)(value >> 16);
        at[3] = (uint8_t)(value >> 24);
    }
}

static void pack_mask(const struct weft_program *program, const struct weft_tensor *tensor, uint8_t *to,
                      const uint8_t *values, uint32_t rows) {
    const uint32_t row_bytes = (uint32_t)tensor->bytes / tensor->stored_rows;
    uint32_t row, key;

    for (row = 0; row < rows; row++)
        for (key = 0; key < tensor->features; key++) {
            const uint32_t bit = key / program->cols * program->mask_slot_bits + key % program->cols;
            if (*values++) to[(size_t)row * row_bytes + bit / 8] |= (uint8_t)(1u << bit % 8);
        }
}

int weft_pack(const struct weft_device *device, const struct weft_program *program, uint32_t number, const void *values,
              uint32_t rows) {
    struct weft_tensor tensor;
    uint8_t *to;

    if (check_memory(device, program) != WEFT_OK) return WEFT_BAD_MEMORY;
    if (weft_tensor(program, number, &tensor) != WEFT_OK || tensor.role != WEFT_INPUT || rows > tensor.rows)
        return WEFT_BAD_ARGUMENT;
    to = device->memory + tensor.offset;
    clear(device, tensor.offset, tensor.bytes);
    if (tensor.kind == WEFT_ROWS) pack_rows(program, &tensor, to, values, rows);
    if (tensor.kind == WEFT_IDS) pack_ids(&tensor, to, values, rows * tensor.features);
    if (tensor.kind == WEFT_MASK) pack_mask(program, &tensor, to, values, rows);
    clean(device, tensor.offset, tensor.bytes);
    return WEFT_OK;
}

int weft_unpack(const struct weft_device *device, const struct weft_program *program, uint32_t number, void *values,
                uint32_t rows) {
    struct weft_tensor tensor;
    uint8_t *from, *to = values;
    uint32_t row, feature;

    if (check_memory(device, program) != WEFT_OK) return WEFT_BAD_MEMORY;
    if (weft_tensor(program, number, &tensor) != WEFT_OK || tensor.kind != WEFT_ROWS || rows > tensor.rows)
        return WEFT_BAD_ARGUMENT;
    from = device->memory + tensor.offset;
    if (device->invalidate) device->invalidate(device->context, from, (size_t)tensor.bytes);
    for (row = 0; row < rows; row++)
        for (feature = 0; feature < tensor.features; feature++) {
            const uint8_t *at = from + place(program, &tensor, row, feature);
            if (tensor.type == WEFT_INT16) {
                const uint16_t value = (uint16_t)(at[0] | at[1] << 8);
                memcpy(to, &value, 2);
                to += 2;
            } else {
                *to++ = at[0];
            }
        }
    return WEFT_OK;
}

/* Runs. */

int weft_start(const struct weft_device *device, const struct weft_program *program, uint32_t which, uint32_t position,
               uint32_t options) {
    const uint8_t *at;
    uint32_t n, position_register;

    if (which >= program->programs) return WEFT_BAD_ARGUMENT;
    if (check_memory(device, program) != WEFT_OK) return WEFT_BAD_MEMORY;
    if (read_register(device, WEFT_STATUS) & WEFT_STATUS_BUSY) return WEFT_BUSY;
    at = program_entry(program, which);
    write_register(device, WEFT_BASE_LO, (uint32_t)device->base);
    write_register(device, WEFT_BASE_HI, (uint32_t)(device->base >> 32));
    write_register(device, WEFT_PROGRAM_LO, get32(at));
    write_register(device, WEFT_PROGRAM_HI, get32(at + 4));
    position_register = get32(at + 12);
    for (n = 1; n < WEFT_SCALARS; n++) write_register(device, WEFT_R0 + 4 * n, get32(at + 24 + 4 * n));
    if (position_register) write_register(device, WEFT_R0 + 4 * position_register, position);
    write_register(device, WEFT_CONTROL, WEFT_CONTROL_START | (options & WEFT_IRQ ? WEFT_CONTROL_IRQ_ENABLE : 0));
    return WEFT_OK;
}

int weft_poll(const struct weft_device *device) {
    const uint32_t status = read_register(device, WEFT_STATUS);

    if (status & WEFT_STATUS_DONE) return WEFT_OK;
    return status & WEFT_STATUS_ERROR ? WEFT_STOPPED : WEFT_BUSY;
}

int weft_wait(const struct weft_device *device, uint32_t polls) {
    while (polls--) {
        const int status = weft_poll(device);
        if (status != WEFT_BUSY) return status;
    }
    return WEFT_TIMEOUT;
}

int weft_interrupt(const struct weft_device *device) {
    write_register(device, WEFT_STATUS, WEFT_STATUS_IRQ);
    return weft_poll(device);
}

int weft_abort(const struct weft_device *device, uint32_t polls) {
    int status;

    write_register(device, WEFT_CONTROL, WEFT_CONTROL_ABORT);
    status = weft_wait(device, polls);
    return status == WEFT_TIMEOUT ? status : WEFT_OK;
}

void weft_fault(const struct weft_device *device, struct weft_fault *fault) {
    uint64_t program = read_register(device, WEFT_PROGRAM_LO);

    program |= (uint64_t)read_register(device, WEFT_PROGRAM_HI) << 32;
    fault->cause = read_register(device, WEFT_CAUSE);
    fault->instruction = read_register(device, WEFT_ERROR_PC);
    fault->address = device->base + program + (uint64_t)WEFT_INSTRUCTION_BYTES * fault->instruction;
}

uint64_t weft_cycles(const struct weft_device *device) {
    const uint32_t low = read_register(device, WEFT_CYCLES_LO);     /* holds the upper half */
    return low | (uint64_t)read_register(device, WEFT_CYCLES_HI) << 32;
}
