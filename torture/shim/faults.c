/* A disk that fails, in the process that writes to it: preloaded into the victim.
 *
 * RPO_FI_DIR   the log's directory; nothing else is touched.
 * RPO_FI_MODE  cut       at step N the power goes: every write since its file's last sync is undone by a random choice
 *                        of 512-byte sectors, names since the directory's last sync from a random one on; then SIGKILL
 *              eio-once  sync N fails as on Linux: EIO once, what it should have saved can be read and is never saved
 *                        (undone at the end); later syncs succeed
 *              done-eio  sync N is done, and reported as failed
 *              half      write N is half done, up to a whole sector, then SIGKILL
 *              lie       from sync N on syncs do nothing and say they did; 8 steps later the power goes
 * RPO_FI_AT    N, from 1; with `cut` a step is any write, sync, creation, renaming or removal in the directory
 * RPO_FI_SEED  of the random choices
 * RPO_FI_COUNT a file that receives, at the end, the number of steps and of syncs seen
 *
 * Not modelled: removals and directories are durable at once. What bypasses libc is not seen; the rig checks the counts.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, UNDO_MAX = 1 << 16, PATH_MAX_BYTES = 512 };
enum mode { NONE, CUT, EIO_ONCE, DONE_EIO, HALF, LIE };

struct undo { int fd; ino_t ino; off_t at; size_t len; unsigned char *old; int doomed; };
struct name { char from[PATH_MAX_BYTES], to[PATH_MAX_BYTES]; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct undo undos[UNDO_MAX];
static struct name names[4096];
static size_t undo_count, name_count;
static enum mode mode;
static const char *dir, *count_path;
static size_t dir_len;
static long at, steps, syncs, writes, lied_at = -1;
static uint64_t rng;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_sync)(int), (*real_datasync)(int), (*real_rename)(const char *, const char *), (*real_unlink)(const char *);
static int (*real_open)(const char *, int, ...);

static uint64_t draw(void) {
    rng ^= rng << 13; rng ^= rng >> 7; rng ^= rng << 17;
    return rng;
}

__attribute__((constructor)) static void begin(void) {
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_sync = dlsym(RTLD_NEXT, "fsync");
    real_datasync = dlsym(RTLD_NEXT, "fdatasync");
    real_rename = dlsym(RTLD_NEXT, "rename");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_open = dlsym(RTLD_NEXT, "open64");
    dir = getenv("RPO_FI_DIR");
    dir_len = dir ? strlen(dir) : 0;
    count_path = getenv("RPO_FI_COUNT");
    const char *text = getenv("RPO_FI_MODE"), *n = getenv("RPO_FI_AT"), *seed = getenv("RPO_FI_SEED");
    static const char *const words[] = {"none", "cut", "eio-once", "done-eio", "half", "lie"};
    for (int i = 0; text && i < 6; i++) if (strcmp(text, words[i]) == 0) mode = (enum mode)i;
    at = n ? atol(n) : 0;
    rng = (seed ? strtoull(seed, NULL, 10) : 1) * 0x9E3779B97F4A7C15ull + 1;
}

static int ours(const char *path) { return dir && strncmp(path, dir, dir_len) == 0; }

static int ours_fd(int fd) {
    char link[64], path[PATH_MAX_BYTES];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = dir ? readlink(link, path, sizeof path - 1) : -1;
    if (n < 0) return 0;
    path[n] = 0;
    return ours(path);
}

static void put_back(const struct undo *u) {
    for (size_t i = 0; i < u->len; ) {
        size_t n = SECTOR - (size_t)((u->at + (off_t)i) % SECTOR);
        if (n > u->len - i) n = u->len - i;
        if (u->doomed || draw() % 3) real_pwrite(u->fd, u->old + i, n, u->at + (off_t)i);
        i += n;
    }
}

static void say_counts(void) {
    int fd = count_path ? real_open(count_path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
    if (fd >= 0) { dprintf(fd, "%ld %ld %ld\n", steps, syncs, writes); close(fd); }
}

static void power_goes(void) {
    for (size_t i = undo_count; i-- > 0;) put_back(&undos[i]);
    size_t keep = name_count ? (size_t)(draw() % (name_count + 1)) : 0;
    for (size_t i = name_count; i-- > keep;) {
        if (names[i].to[0]) real_rename(names[i].to, names[i].from);
        else real_unlink(names[i].from);
    }
    say_counts();
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

__attribute__((destructor)) static void end(void) {
    pthread_mutex_lock(&lock);
    if (mode == EIO_ONCE) for (size_t i = undo_count; i-- > 0;) if (undos[i].doomed) put_back(&undos[i]);
    say_counts();
    pthread_mutex_unlock(&lock);
}

/* With the lock held, before anything is done. */
static void step(void) {
    steps++;
    if (mode == CUT && steps == at) power_goes();
    if (mode == LIE && lied_at >= 0 && steps >= lied_at + 8) power_goes();
}

/* A descriptor of our own for the file, so that it can be put back after the program closed its own. */
static int own(int fd, ino_t ino) {
    static struct { ino_t ino; int fd; } known[4096];
    static size_t count;
    struct stat st;
    for (size_t i = 0; i < count; i++) {
        if (known[i].ino == ino && fstat(known[i].fd, &st) == 0 && st.st_nlink > 0) return known[i].fd;
    }
    if (count == 4096) return -1;
    known[count].ino = ino;
    return known[count++].fd = fcntl(fd, F_DUPFD_CLOEXEC, 200);
}

static void remember(int fd, size_t len, off_t where) {
    struct stat st;
    if (undo_count == UNDO_MAX || fstat(fd, &st) != 0) { dprintf(2, "shim: out of room\n"); _exit(99); }
    struct undo *u = &undos[undo_count];
    *u = (struct undo){-1, st.st_ino, where, len, calloc(1, len), 0};
    u->fd = own(fd, st.st_ino);
    if (pread(fd, u->old, len, where) < 0 || u->fd < 0) { dprintf(2, "shim: cannot undo\n"); _exit(99); }
    undo_count++;
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t where) {
    if (!ours_fd(fd)) return real_pwrite(fd, bytes, len, where);
    pthread_mutex_lock(&lock);
    step();
    writes++;
    if (mode == HALF && writes == at) {
        off_t end = (where + (off_t)(len / 2)) / SECTOR * SECTOR; /* a disk and the page cache tear between sectors */
        if (end > where) real_pwrite(fd, bytes, (size_t)(end - where), where);
        say_counts();
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    remember(fd, len, where);
    ssize_t done = real_pwrite(fd, bytes, len, where);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t where) { return pwrite64(fd, bytes, len, where); }

static int do_sync(int fd, int (*real)(int)) {
    if (!ours_fd(fd)) return real(fd);
    pthread_mutex_lock(&lock);
    step();
    syncs++;
    struct stat st;
    int result = fstat(fd, &st);
    if (mode == LIE && syncs >= at) {
        if (lied_at < 0) lied_at = steps;
    } else if (mode == EIO_ONCE && syncs == at) {
        for (size_t i = 0; i < undo_count; i++) if (undos[i].ino == st.st_ino) undos[i].doomed = 1;
        errno = EIO;
        result = -1;
    } else if ((result = real(fd)) == 0) {
        if (S_ISDIR(st.st_mode)) name_count = 0;
        size_t kept = 0;
        for (size_t i = 0; i < undo_count; i++) {
            if (undos[i].ino != st.st_ino || undos[i].doomed) undos[kept++] = undos[i];
            else free(undos[i].old);
        }
        undo_count = kept;
        if (mode == DONE_EIO && syncs == at) { errno = EIO; result = -1; }
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int fsync(int fd) { return do_sync(fd, real_sync); }
int fdatasync(int fd) { return do_sync(fd, real_datasync); }

static void name(const char *from, const char *to) {
    if (name_count == 4096) { dprintf(2, "shim: out of names\n"); _exit(99); }
    snprintf(names[name_count].from, PATH_MAX_BYTES, "%s", from);
    snprintf(names[name_count++].to, PATH_MAX_BYTES, "%s", to);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t bits = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (!ours(path) || !(flags & O_EXCL)) return real_open(path, flags, bits);
    pthread_mutex_lock(&lock);
    step();
    int fd = real_open(path, flags, bits);
    if (fd >= 0) name(path, "");
    pthread_mutex_unlock(&lock);
    return fd;
}

int rename(const char *from, const char *to) {
    if (!ours(from)) return real_rename(from, to);
    pthread_mutex_lock(&lock);
    step();
    int result = real_rename(from, to);
    if (result == 0) name(from, to);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) {
    if (!ours(path)) return real_unlink(path);
    pthread_mutex_lock(&lock);
    step();
    int result = real_unlink(path);
    pthread_mutex_unlock(&lock);
    return result;
}
