/* Preloaded into a receiver of the benchmark: TCP_NODELAY on each connection that it accepts and,
 * where LOBAR_BENCH_FSYNC is set, an fsync of each file that it wrote, before it is closed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int without_delay(int connection)
{
    int on = 1;
    if (connection >= 0)
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return connection;
}

int accept(int listening, struct sockaddr *address, socklen_t *length)
{
    static int (*next)(int, struct sockaddr *, socklen_t *);
    if (!next)
        next = dlsym(RTLD_NEXT, "accept");
    return without_delay(next(listening, address, length));
}

int accept4(int listening, struct sockaddr *address, socklen_t *length, int flags)
{
    static int (*next)(int, struct sockaddr *, socklen_t *, int);
    if (!next)
        next = dlsym(RTLD_NEXT, "accept4");
    return without_delay(next(listening, address, length, flags));
}

int fclose(FILE *file)
{
    static int (*next)(FILE *);
    struct stat state;
    int descriptor = fileno(file);
    if (!next)
        next = dlsym(RTLD_NEXT, "fclose");
    if (getenv("LOBAR_BENCH_FSYNC") && descriptor >= 0 && fstat(descriptor, &state) == 0 &&
        S_ISREG(state.st_mode) && (fcntl(descriptor, F_GETFL) & O_ACCMODE) != O_RDONLY) {
        if (fflush(file) != 0 || fsync(descriptor) != 0)
            abort();
    }
    return next(file);
}
