// runtime.h: what has happened in Rust before the first step of robust, said in C.
// robust.c calls start() first; in Rust the runtime and src/runtime.rs have done it.

#ifndef PRISE_RUNTIME_H
#define PRISE_RUNTIME_H

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static inline void start(void)
{
    int fd;

    // a closed stdin, stdout or stderr must not come back as the socket
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);

    // a write beyond the limit on a file's size is an error to report, not a signal to die of
    signal(SIGXFSZ, SIG_IGN);
}

#endif
