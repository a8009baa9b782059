// handler: the smallest program that talks to one client as a superserver's child: a line, and a reply of 18 bytes.
// Usage: tcpserver 127.0.0.1 8888 target/handler
//
// All servers of the bench run it, so that it is they who are measured.

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
