/*
 * The clock of a server, which a test moves. The library is loaded before the server's programs. It
 * returns as time of day the number in a memory-mapped file, microseconds since 1970. The monotonic
 * clock, which measures waits, remains the machine's.
 *
 * PostgreSQL reads the time in signal handlers, too. So no function here may allocate, lock or read
 * a file.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *set;

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("WALLET_CLOCK_FILE");
    int file = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    void *page = mmap(NULL, sizeof *set, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED)
        set = page;
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
    if (set == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return (int)syscall(SYS_clock_gettime, clock, at);
    int64_t micros = *set;
    at->tv_sec = micros / 1000000;
    at->tv_nsec = micros % 1000000 * 1000;
    return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    if (at != NULL)
        *at = now.tv_sec;
    return now.tv_sec;
}
