// handler: a minimal program for one client of a superserver: it reads a line, and replies with 18 bytes.
// Usage: tcpserver 127.0.0.1 8888 target/performance/handler
//
// All servers of the benchmark run it, so that only the servers differ.

#include <string.h>
#include <unistd.h>

int main(void)
{
    char buffer[255];
    const char reply[18] = "ok";
    size_t len = 0;
    ssize_t n = 1;

    while (n > 0 && len < sizeof(buffer) && memchr(buffer, '\n', len) == NULL) {
        n = read(0, buffer + len, sizeof(buffer) - len);
        len += n > 0 ? (size_t)n : 0;
    }
    _exit(n < 0 || write(1, reply, sizeof(reply)) != sizeof(reply));
}
