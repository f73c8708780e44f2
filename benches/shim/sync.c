/* Counts the syncs of the program it is preloaded into, and can replace them by a fixed time.
 *
 * RPO_BENCH_SYNCS: a file of at least 8 bytes; its first 8 become the count, native order.
 * RPO_BENCH_SYNC:  "real" (default): sync as asked; "skip": return at once; a number: sleep so many nanoseconds instead.
 *
 * Everything measured goes through libc: Rust's standard library, and the nix crate. What would bypass it (O_DSYNC,
 * io_uring, a raw system call) is not counted, and the comparison then stops, since it finds more acknowledgements than
 * the syncs can have carried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic uint64_t nowhere;
static _Atomic uint64_t *count = &nowhere;
static long sleep_ns = -1; /* below zero: sync really */

__attribute__((constructor)) static void begin(void) {
    const char *mode = getenv("RPO_BENCH_SYNC");
    if (mode && strcmp(mode, "real") != 0) sleep_ns = strcmp(mode, "skip") == 0 ? 0 : atol(mode);
    const char *path = getenv("RPO_BENCH_SYNCS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *page = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page != MAP_FAILED) count = page;
}

static int pretend(void) {
    struct timespec left = {sleep_ns / 1000000000, sleep_ns % 1000000000};
    while (sleep_ns > 0 && clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {}
    return 0;
}

int fsync(int fd) {
    int result = sleep_ns < 0 ? (int)syscall(SYS_fsync, fd) : pretend();
    if (result == 0) atomic_fetch_add(count, 1);
    return result;
}

int fdatasync(int fd) {
    int result = sleep_ns < 0 ? (int)syscall(SYS_fdatasync, fd) : pretend();
    if (result == 0) atomic_fetch_add(count, 1);
    return result;
}

/* Makes nothing durable by itself, so it does not count; it takes its time all the same. */
int sync_file_range(int fd, off64_t from, off64_t bytes, unsigned int flags) {
    return sleep_ns < 0 ? (int)syscall(SYS_sync_file_range, fd, from, bytes, flags) : pretend();
}
