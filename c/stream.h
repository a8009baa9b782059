// stream.h: what robust does with a TCP stream.
// Twin: src/stream.rs.

#ifndef PRISE_STREAM_H
#define PRISE_STREAM_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "visible.h"

// How long a server waits for descriptors, memory or processes to come back.
#define BACK_OFF_MS 100
// How long a child waits for the next piece of a message: a piece that was lost
// once is sent again after at most a second (RFC 6298).
#define PIECE_MS 1500
// How long a server waits for a client that says nothing more to close; see drain.
#define LINGER_MS 2000

// Flush stdout. A failure is said once; it ends no server.
static inline int flush_stdout(void)
{
    static int said;

    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    if (!said)
        perror("stdout");
    said = 1;
    return 1;
}

// After a call that failed in a server: a client that vanished is no matter,
// anything else is said, and waited for.
static inline void back_off(const char *what)
{
    switch (errno) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
        return;
    default:
        perror(what);
        // EINTR: a child has ended, and may have left what was missing
        poll(NULL, 0, BACK_OFF_MS);
    }
}

// Port 0 lets the kernel choose: say what it chose.
static inline void print_chosen_port(int socket_desc)
{
    struct sockaddr_in server;
    socklen_t n = sizeof(server);

    if (getsockname(socket_desc, (struct sockaddr *)&server, &n) < 0)
        perror("getsockname");
    else
        printf("port %d\n", ntohs(server.sin_port));
}

// Whether sock has something to read, or its end, within ms milliseconds.
static inline int readable(int sock, int ms)
{
    struct pollfd fds = {.fd = sock, .events = POLLIN};
    int ready;

    do
        ready = poll(&fds, 1, ms);
    while (ready < 0 && errno == EINTR);
    return ready > 0;
}

// Write all n bytes, in as many pieces as it takes (Stevens' writen).
static inline int writen(int sock, const char *buffer, size_t n)
{
    ssize_t written;

    while (n > 0) {
        written = write(sock, buffer, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written == 0)
            errno = EIO;
        if (written <= 0)
            return -1;
        buffer += written;
        n -= (size_t)written;
    }
    return 0;
}

static inline long long milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

// Say that no more will come, then read until the client closes too: a close
// with unread input resets the connection, and the client loses its reply.
// Wait ms milliseconds for its first bytes, and as long for all that follow.
static inline void drain(int sock, int ms)
{
    char rest[1024];
    long long first = -1;
    long long left = ms;
    ssize_t n;

    shutdown(sock, SHUT_WR);
    while (left > 0 && readable(sock, (int)left)) {
        n = read(sock, rest, sizeof(rest));
        if (n == 0 || (n < 0 && errno != EINTR))
            return;
        if (first < 0)
            first = milliseconds();
        left = ms - (milliseconds() - first);
    }
}

#endif
