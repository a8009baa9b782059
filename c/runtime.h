// runtime.h: what robust does before its first step.
// robust.c calls start() first; in Rust, the language's runtime and src/runtime.rs do the same.

#ifndef PRISE_RUNTIME_H
#define PRISE_RUNTIME_H

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static inline void start(void)
{
    int fd;

    // if stdin, stdout or stderr is closed, open it on /dev/null: otherwise the socket gets its number
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);

    // a write beyond the file size limit must fail with EFBIG, not kill the process
    signal(SIGXFSZ, SIG_IGN);
}

#endif
