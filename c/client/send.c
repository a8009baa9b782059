// send: connect, and send a request.
// Usage: send [HOST [PORT]]
// Twin: src/client/send.rs. Next: recv.c

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    // Differs (c): the server's address and port can be given
    const char *host = argc > 1 ? argv[1] : "172.217.22.78";
    int port = argc > 2 ? atoi(argv[2]) : 80;

    int socket_desc;
    const char *message;
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
        puts("connect error\n");
        return 1;
    }

    puts("Connected\n");

    // send the request
    message = "GET / HTTP/1.1\r\n\r\n";
    if (send(socket_desc, message, strlen(message), 0) < 0) {
        puts("Send failed\n");
        return 1;
    }

    puts("Data Send\n");
    return 0;
}
