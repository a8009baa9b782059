// resolve: find the address of a name.
// Usage: resolve [NAME]
// Twin: src/client/resolve.rs. Next: ../server/accept.c

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    // Differs (c): the name can be given
    const char *hostname = argc > 1 ? argv[1] : "www.google.com";

    char ip[16];
    struct hostent *he;
    struct in_addr **addr_list;

    // resolve the name
    if ((he = gethostbyname(hostname)) == NULL) {
        herror("gethostbyname");
        return 1;
    }

    // print its first address
    addr_list = (struct in_addr **)he->h_addr_list;
    strcpy(ip, inet_ntoa(*addr_list[0]));
    printf("%s resolved to : %s\n", hostname, ip);

    return 0;
}
