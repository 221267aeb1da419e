/* The stand-in Edge TPU: a shared library with the interface of libedgetpu.so.1, for tests only.
 *
 * It is loaded by the real load_delegate, claims "edgetpu-custom-op" in a real compiled model and fills that op's outputs from a
 * helper process that runs the CPU model's heads (SIMTPU_CONTROL names the control file, which names the helper's socket).
 * Without a helper every output is its zero point. Faults are told through the control file, while it runs.
 *
 * The structures below are TensorFlow Lite's public binary interface, as far as this library touches it, written down from
 * its documented layout for 64-bit machines.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- the control file: the same fields, in the same order, as CONTROL in simtpu.py ---- */

enum fault { FAULT_NONE, FAULT_ABORT, FAULT_HANG, FAULT_LATE, FAULT_ERROR, FAULT_SEGFAULT, FAULT_VANISH };

struct control {
    uint32_t magic;
    _Atomic uint32_t present;          /* devices that edgetpu_list_devices finds */
    _Atomic uint32_t fault;            /* enum fault, at the next invoke; taken once */
    _Atomic uint32_t delay_us;         /* every invoke takes at least so long */
    _Atomic uint32_t late_us;          /* FAULT_LATE answers after so long */
    _Atomic uint32_t open_failures;    /* so many openings fail from now on */
    _Atomic uint32_t open_hangs;       /* so many openings never come back */
    _Atomic uint32_t old_layout;       /* 1: hand over the 64-byte TfLiteRegistration of TensorFlow 2.5 */
    _Atomic uint32_t runtime_version;  /* models compiled for a newer one are refused */
    _Atomic uint32_t refuse_cut;       /* a graph that is nothing but the custom op: 1 refuses it, 2 aborts on it */
    _Atomic uint32_t device_type;      /* 0 PCI, 1 USB */
    _Atomic uint32_t opens;            /* counts successful openings */
    _Atomic uint64_t invokes;          /* counts invokes */
    _Atomic uint64_t faults;           /* counts faults taken */
    char socket_path[104];             /* the helper; empty: none */
    char options[256];                 /* options of the last opening, "name=value;" each */
};

#define CONTROL_MAGIC 0x53544155u
static struct control *control;

static struct control *get_control(void) {
    if (control != NULL) return control;
    const char *path = getenv("SIMTPU_CONTROL");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        fprintf(stderr, "simtpu: SIMTPU_CONTROL does not name a control file\n");
        abort();
    }
    void *memory = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED || ((struct control *)memory)->magic != CONTROL_MAGIC) {
        fprintf(stderr, "simtpu: %s is not a control file\n", path);
        abort();
    }
    return control = memory;
}

static bool take_one(_Atomic uint32_t *counter) {
    uint32_t left = atomic_load(counter);
    while (left > 0)
        if (atomic_compare_exchange_weak(counter, &left, left - 1)) return true;
    return false;
}

static void sleep_for_ever(void) {
    for (;;) pause();
}

/* ---- TensorFlow Lite's binary interface ---- */

typedef enum { STATUS_OK = 0, STATUS_ERROR = 1 } status;
enum { TYPE_INT8 = 9 };
typedef struct { int size; int data[]; } int_array;
typedef struct { float scale; int32_t zero_point; } quantization;
typedef struct {
    int type;
    void *data;
    int_array *dims;
    quantization params;
    int allocation_type;
    size_t bytes;
    const void *allocation;
    const char *name;
    void *delegate;
    int buffer_handle;
    bool data_is_stale, is_variable;
    struct { int type; void *params; } affine;
    void *sparsity;
    const int_array *dims_signature;
} tensor;
typedef struct {
    int_array *inputs, *outputs, *intermediates, *temporaries;
    void *user_data, *builtin_data;
    const void *custom_initial_data;
    int custom_initial_data_size;
} node;
struct context;
typedef struct {
    void *(*init)(struct context *, const char *, size_t);
    void (*free)(struct context *, void *);
    status (*prepare)(struct context *, node *);
    status (*invoke)(struct context *, node *);
    const char *(*profiling_string)(const struct context *, const node *);
    int32_t builtin_code;
    const char *custom_name;
    int version;
} registration_64; /* TensorFlow 2.5 */
typedef struct {
    registration_64 old;
    void *registration_external, *async_kernel;
    uint64_t inplace_operator;
} registration; /* since TensorFlow 2.15; 88 bytes */
struct delegate;
typedef struct context {
    size_t tensors_size;
    status (*get_execution_plan)(struct context *, int_array **);
    tensor *tensors;
    void *impl;
    status (*resize_tensor)(struct context *, tensor *, int_array *);
    void (*report_error)(struct context *, const char *, ...);
    status (*add_tensors)(struct context *, int, int *);
    status (*get_node)(struct context *, int, node **, registration **);
    status (*replace_nodes)(struct context *, registration, const int_array *, struct delegate *);
} context;
typedef struct { struct delegate *delegate; int_array *nodes, *inputs, *outputs; } delegate_params;
typedef struct delegate {
    void *data;
    status (*prepare)(struct context *, struct delegate *);
    void *copy_from, *copy_to, *free_handle;
    int64_t flags;
    void *opaque_builder;
} delegate;

/* ---- the kernel that takes the custom op's place ---- */

typedef struct {
    node *original;
    int helper;
} kernel;

static int connect_helper(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (get_control()->socket_path[0] == '\0') return -1;
    memcpy(address.sun_path, get_control()->socket_path, sizeof get_control()->socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    perror("simtpu: the helper process does not answer");
    abort();
}

static void *kernel_init(context *c, const char *buffer, size_t size) {
    (void)size;
    const delegate_params *params = (const delegate_params *)buffer;
    registration *unused;
    kernel *k = calloc(1, sizeof *k);
    c->get_node(c, params->nodes->data[0], &k->original, &unused);
    k->helper = connect_helper();
    return k;
}

static void kernel_free(context *c, void *data) {
    (void)c;
    kernel *k = data;
    if (k->helper >= 0) close(k->helper);
    free(k);
}

/* The runtime version a compiled model asks for: first field of the root table of the package marked "DWN1". */
static int wanted_runtime(const node *n) {
    const unsigned char *begin = n->custom_initial_data, *mark = memmem(begin, (size_t)n->custom_initial_data_size, "DWN1", 4);
    if (mark == NULL) return -1;
    uint32_t root;
    int32_t to_vtable, version;
    uint16_t field;
    memcpy(&root, mark - 4, 4);
    const unsigned char *table = mark - 4 + root;
    memcpy(&to_vtable, table, 4);
    memcpy(&field, table - to_vtable + 4, 2);
    memcpy(&version, table + field, 4);
    return version;
}

static status kernel_prepare(context *c, node *n) {
    kernel *k = n->user_data;
    int wanted = wanted_runtime(k->original), have = (int)get_control()->runtime_version;
    if (wanted <= have) return STATUS_OK;
    c->report_error(c, "Package requires runtime version (%d), which is newer than this runtime version (%d)", wanted, have);
    return STATUS_ERROR;
}

static bool transfer(int fd, char *data, size_t bytes, bool sending) {
    while (bytes > 0) {
        ssize_t done = sending ? send(fd, data, bytes, MSG_NOSIGNAL) : recv(fd, data, bytes, 0);
        if (done <= 0) return false;
        data += done;
        bytes -= (size_t)done;
    }
    return true;
}

static status misbehave(context *c) {
    struct control *ctl = get_control();
    uint32_t fault = atomic_exchange(&ctl->fault, FAULT_NONE);
    if (fault == FAULT_NONE) return STATUS_OK;
    if (fault == FAULT_VANISH) atomic_store(&ctl->present, 0); /* and dies, as with an unplugged stick */
    atomic_fetch_add(&ctl->faults, 1); /* last: whoever waits for it may plug the device in again at once */
    switch (fault) {
    case FAULT_VANISH:
    case FAULT_ABORT:
        fprintf(stderr, "F driver/usb/usb_driver.cc:857] transfer on tag 2 failed. Abort. Deadline exceeded: USB transfer error 5 [LibUsbDataOutCallback]\n");
        abort();
    case FAULT_HANG: sleep_for_ever(); break;
    case FAULT_LATE: usleep(atomic_load(&ctl->late_us)); break;
    case FAULT_SEGFAULT: raise(SIGSEGV); break;
    case FAULT_ERROR: c->report_error(c, "Failed to execute request. Could not map pages : -1 (No such device)"); return STATUS_ERROR;
    }
    return STATUS_OK;
}

static status kernel_invoke(context *c, node *n) {
    kernel *k = n->user_data;
    struct control *ctl = get_control();
    atomic_fetch_add(&ctl->invokes, 1);
    if (misbehave(c) != STATUS_OK) return STATUS_ERROR;
    if (ctl->delay_us > 0) usleep(ctl->delay_us);
    tensor *input = &c->tensors[k->original->inputs->data[0]];
    if (k->helper >= 0 && !transfer(k->helper, input->data, input->bytes, true)) {
        fprintf(stderr, "simtpu: the helper process went away\n");
        abort();
    }
    if (input->type == TYPE_INT8) /* the real one, too, turns the sign bits of a signed input where it lies, and leaves it so */
        for (size_t i = 0; i < input->bytes; i++) ((unsigned char *)input->data)[i] ^= 0x80;
    for (int i = 0; i < k->original->outputs->size; i++) {
        tensor *output = &c->tensors[k->original->outputs->data[i]];
        if (output->data == NULL) {
            c->report_error(c, "output %d (%s) of the custom op has no memory", i, output->name);
            return STATUS_ERROR;
        }
        if (k->helper < 0)
            memset(output->data, output->params.zero_point, output->bytes);
        else if (!transfer(k->helper, output->data, output->bytes, false))
            abort();
    }
    return STATUS_OK;
}

/* ---- the delegate ---- */

static bool is_ours(context *c, int index) {
    node *n;
    registration *r;
    return c->get_node(c, index, &n, &r) == STATUS_OK && r->old.custom_name != NULL && strcmp(r->old.custom_name, "edgetpu-custom-op") == 0;
}

static status delegate_prepare(context *c, delegate *d) {
    int_array *plan;
    if (c->get_execution_plan(c, &plan) != STATUS_OK) return STATUS_ERROR;
    if (get_control()->refuse_cut && plan->size == 1) {
        if (get_control()->refuse_cut == 2) abort();
        c->report_error(c, "simtpu: told to refuse a graph of one op");
        return STATUS_ERROR;
    }
    int_array *ours = malloc(sizeof *ours + (size_t)plan->size * sizeof(int));
    ours->size = 0;
    for (int i = 0; i < plan->size; i++)
        if (is_ours(c, plan->data[i])) ours->data[ours->size++] = plan->data[i];
    registration r = {.old = {.init = kernel_init, .free = kernel_free, .prepare = kernel_prepare, .invoke = kernel_invoke, .custom_name = "SimTpu", .version = 1}};
    status result = STATUS_OK;
    if (ours->size > 0 && get_control()->old_layout) {
        /* By value, and 24 bytes shorter than the interpreter reads: what the official 16.0 build does. What it finds behind them is
         * whatever lies on the stack, here always something that is no pointer. */
        r.registration_external = r.async_kernel = (void *)0x10;
        result = c->replace_nodes(c, r, ours, d);
    } else if (ours->size > 0) {
        result = c->replace_nodes(c, r, ours, d);
    }
    free(ours);
    return result;
}

static delegate *open_device(void) {
    struct control *ctl = get_control();
    if (take_one(&ctl->open_hangs)) sleep_for_ever();
    if (take_one(&ctl->open_failures) || ctl->present == 0) return NULL;
    atomic_fetch_add(&ctl->opens, 1);
    delegate *d = calloc(1, sizeof *d);
    d->prepare = delegate_prepare;
    d->flags = 1; /* allows dynamic tensors: without it the interpreter prepares the custom op before anybody claims it */
    return d;
}

/* ---- what libedgetpu exports ---- */

struct edgetpu_device { int type; const char *path; };
struct edgetpu_option { const char *name, *value; };

struct edgetpu_device *edgetpu_list_devices(size_t *count) {
    *count = get_control()->present;
    if (*count == 0) return NULL;
    struct edgetpu_device *devices = calloc(*count, sizeof *devices);
    for (size_t i = 0; i < *count; i++) {
        devices[i].type = (int)get_control()->device_type;
        devices[i].path = devices[i].type == 1 ? "/sys/bus/usb/devices/2-1" : "/dev/apex_0";
    }
    return devices;
}

void edgetpu_free_devices(struct edgetpu_device *devices) { free(devices); }

static void note_option(const char *name, const char *value) {
    char *options = get_control()->options;
    size_t used = strlen(options);
    snprintf(options + used, sizeof get_control()->options - used, "%s=%s;", name, value);
}

delegate *edgetpu_create_delegate(int type, const char *path, struct edgetpu_option *options, size_t count) {
    (void)type, (void)path;
    get_control()->options[0] = '\0';
    for (size_t i = 0; i < count; i++) note_option(options[i].name, options[i].value);
    return open_device();
}

void edgetpu_free_delegate(delegate *d) { free(d); }
void edgetpu_verbosity(int level) { (void)level; }

const char *edgetpu_version(void) {
    static char text[80];
    snprintf(text, sizeof text, "BuildLabel(simtpu stand-in), RuntimeVersion(%u)", get_control()->runtime_version);
    return text;
}

delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report_error)(const char *)) {
    (void)report_error; /* the real one reports nothing either */
    get_control()->options[0] = '\0';
    for (size_t i = 0; i < count; i++) note_option(keys[i], values[i]);
    return open_device();
}

void tflite_plugin_destroy_delegate(delegate *d) { free(d); }
