// connect: connect to a server whose address is known.
// Usage: connect [HOST [PORT]]
// Twin: src/client/connect.rs. Next: send.c

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    // Differs (c): the server's address and port can be given
    const char *host = argc > 1 ? argv[1] : "172.217.22.78";
    int port = argc > 2 ? atoi(argv[2]) : 80;

    int socket_desc;
    struct sockaddr_in server;

    // create the socket
    socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if (socket_desc == -1) {
        printf("Could not create socket");
    }

    // fill in the server's address
    server.sin_addr.s_addr = inet_addr(host);
    server.sin_family = AF_INET;
    server.sin_port = htons(port);

    // connect to the server
    if (connect(socket_desc, (struct sockaddr *)&server, sizeof(server)) < 0) {
        puts("connect error");
        return 1;
    }

    puts("Connected");
    return 0;
}
