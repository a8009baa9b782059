// resolve: find the address of a name.
// Usage: resolve [NAME]
// Twin: src/client/resolve.rs. Next: ../server/accept.c

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "../args.h"
#include "../runtime.h"
#include "../stream.h"

int main(int argc, char **argv)
{
    const char *hostname = "www.google.com";
    char ip[16];
    struct hostent *he;
    char **addr_list;
    struct in_addr addr;

    start();
    client_args(argc, argv, (struct client_args){.synopsis = "resolve [NAME]", .host = &hostname});

    // resolve the name
    he = gethostbyname(hostname);
    if (he == NULL) {
        herror("gethostbyname");
        return 1;
    }

    // print its first address
    addr_list = he->h_addr_list;
    memcpy(&addr, addr_list[0], sizeof(addr));
    snprintf(ip, sizeof(ip), "%s", inet_ntoa(addr));
    printf("%s resolved to : %s\n", hostname, ip);

    return flush_stdout();
}
