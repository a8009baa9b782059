// stream.h: how robust reads, writes and closes a TCP stream.
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

// How long a server waits before it retries when descriptors, memory or processes ran out.
#define BACK_OFF_MS 100
// How long a child waits for the next piece of a message. TCP retransmits a piece
// that was lost once after at most a second (RFC 6298).
#define PIECE_MS 1500
// How long a server waits for a client to close after the reply; see drain.
#define LINGER_MS 2000

// Flush stdout. A failure is reported once; it ends no server.
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

// Handle a failed call of a server. If a signal interrupted it or the client vanished,
// return at once; otherwise print the error and wait a moment.
static inline void back_off(const char *what)
{
    switch (errno) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
        return;
    default:
        perror(what);
        // EINTR ends the wait early: a child has ended, which may have freed what was missing
        poll(NULL, 0, BACK_OFF_MS);
    }
}

// Print the port that the kernel chose for port 0.
static inline void print_chosen_port(int socket_desc)
{
    struct sockaddr_in server;
    socklen_t n = sizeof(server);

    if (getsockname(socket_desc, (struct sockaddr *)&server, &n) < 0)
        perror("getsockname");
    else
        printf("port %d\n", ntohs(server.sin_port));
}

// Whether data or end of file arrives on sock within ms milliseconds.
static inline int readable(int sock, int ms)
{
    struct pollfd fds = {.fd = sock, .events = POLLIN};
    int ready;

    do
        ready = poll(&fds, 1, ms);
    while (ready < 0 && errno == EINTR);
    return ready > 0;
}

// Write all n bytes: one write may take only a part (Stevens' writen).
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

// Half-close, then read until the client closes too: a close with unread input
// resets the connection, and the client may lose the reply. Wait up to ms
// milliseconds for the first bytes, then up to ms milliseconds for all the rest.
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
