// Faults on demand in the calls by which a program reads and changes the files of one directory; loaded before libc.
// `shim_arm` says which call fails, counted from 0, and how. Calls about other files pass, and are not counted.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { KILL = -1, HALF = -2 };  // SIGKILL before the call; in the middle of a write. Above 0: the errno to fail with.

static char directory[4096];
static size_t directory_length;
static long fault_at = -1, count;
static int action, with_reads, unnamed_files;
static char names[1 << 16];
static size_t names_length;

// watched:     the directory whose files count; "" for none.
// at, what:    the call to fail, and how.
// count_reads: whether opening for reading and reading count too.
// unnamed:     whether the file system has files without a name.
void shim_arm(const char* watched, long at, int what, int count_reads, int unnamed) {
    directory_length = strlen(strncpy(directory, watched, sizeof directory - 1));
    fault_at = at;
    action = what;
    with_reads = count_reads;
    unnamed_files = unnamed;
    count = 0;
    names_length = 0;
    names[0] = 0;
}

// The names of the calls so far, a space after each.
const char* shim_names(void) { return names; }

static int watched_path(const char* path) {
    if (!directory_length || !path) return 0;
    return path[0] != '/' || !strncmp(path, directory, directory_length);
}

static int watched_file(int descriptor) {
    char link[64], path[4096];
    if (!directory_length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return path[0] == '/' && !strncmp(path, directory, directory_length);
}

// Counts a call; whether it is the one to fail.
static int is_hit(const char* name) {
    const size_t length = strlen(name);
    if (names_length + length + 2 < sizeof names) {
        memcpy(names + names_length, name, length);
        memcpy(names + names_length + length, " ", 2);
        names_length += length + 1;
    }
    return count++ == fault_at;
}

static int fails(int is_watched, const char* name) {
    if (!is_watched || !is_hit(name)) return 0;
    if (action < 0) kill(getpid(), SIGKILL);
    errno = action;
    return 1;
}

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define OPEN_AT(function, name) \
    int function(int at, const char* path, int flags, ...) { \
        REAL(int, name, int, const char*, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        const mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        if (watched_path(path) && (flags & O_TMPFILE) == O_TMPFILE && !unnamed_files) { \
            errno = EOPNOTSUPP; \
            return -1; \
        } \
        const int writes = (flags & (O_WRONLY | O_RDWR | O_CREAT)) || (flags & O_TMPFILE) == O_TMPFILE; \
        if (fails((writes || with_reads) && watched_path(path), writes ? "create" : "open")) return -1; \
        return real(at, path, flags, mode); \
    }

OPEN_AT(openat, "openat")
OPEN_AT(openat64, "openat64")

#define OPEN(function) \
    int function(const char* path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        const mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        return openat64(AT_FDCWD, path, flags, mode); \
    }

OPEN(open)
OPEN(open64)

ssize_t write(int descriptor, const void* data, size_t size) {
    REAL(ssize_t, "write", int, const void*, size_t);
    if (watched_file(descriptor) && is_hit("write")) {
        if (action == KILL) kill(getpid(), SIGKILL);
        if (size > 1) real(descriptor, data, size / 2);  // a full disk takes what still fits
        if (action < 0) kill(getpid(), SIGKILL);
        errno = action;
        return -1;
    }
    return real(descriptor, data, size);
}

ssize_t read(int descriptor, void* data, size_t size) {
    REAL(ssize_t, "read", int, void*, size_t);
    return fails(with_reads && watched_file(descriptor), "read") ? -1 : real(descriptor, data, size);
}

#define ON_FILE(function, name, parameters, arguments, ...) \
    int function parameters { \
        REAL(int, name, __VA_ARGS__); \
        return fails(watched_file(descriptor), name) ? -1 : real arguments; \
    }

ON_FILE(fsync, "fsync", (int descriptor), (descriptor), int)
ON_FILE(fdatasync, "fdatasync", (int descriptor), (descriptor), int)
ON_FILE(ftruncate, "ftruncate", (int descriptor, off_t size), (descriptor, size), int, off_t)
ON_FILE(ftruncate64, "ftruncate64", (int descriptor, off64_t size), (descriptor, size), int, off64_t)
ON_FILE(fchmod, "fchmod", (int descriptor, mode_t mode), (descriptor, mode), int, mode_t)
ON_FILE(fchown, "fchown", (int descriptor, uid_t user, gid_t group), (descriptor, user, group), int, uid_t, gid_t)
ON_FILE(flock, "flock", (int descriptor, int operation), (descriptor, operation), int, int)
ON_FILE(fsetxattr, "fsetxattr",
        (int descriptor, const char* name, const void* value, size_t size, int flags),
        (descriptor, name, value, size, flags), int, const char*, const void*, size_t, int)

#define ON_PATH(function, name, parameters, arguments, path, ...) \
    int function parameters { \
        REAL(int, name, __VA_ARGS__); \
        return fails(watched_path(path), name) ? -1 : real arguments; \
    }

ON_PATH(rename, "rename", (const char* from, const char* to), (from, to), to, const char*, const char*)
ON_PATH(link, "link", (const char* from, const char* to), (from, to), to, const char*, const char*)
ON_PATH(linkat, "linkat", (int a, const char* from, int b, const char* to, int flags), (a, from, b, to, flags), to,
        int, const char*, int, const char*, int)
ON_PATH(unlink, "unlink", (const char* path), (path), path, const char*)
