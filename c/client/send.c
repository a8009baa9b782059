// send: connect, and send a request.
// Usage: send [HOST [PORT]]
// Twin: src/client/send.rs. Next: recv.c

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "../args.h"
#include "../runtime.h"
#include "../stream.h"

int main(int argc, char **argv)
{
    int socket_desc;
    const char *message;
    struct sockaddr_in server;
    const char *host = "172.217.22.78";
    unsigned short port = 80;

    start();
    client_args(argc, argv, (struct client_args){
        .synopsis = "send [HOST [PORT]]", .host = &host, .port = &port});

    // create the socket
    socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if (socket_desc == -1) {
        perror("Could not create socket");
        return 1;
    }

    // fill in the server's address
    memset(&server, 0, sizeof(server));
    server.sin_addr.s_addr = inet_addr(host);
    if (server.sin_addr.s_addr == INADDR_NONE)
        bad_address(host);
    server.sin_family = AF_INET;
    server.sin_port = htons(port);

    // connect to the server
    if (connect(socket_desc, (struct sockaddr *)&server, sizeof(server)) < 0) {
        perror("connect error");
        return 1;
    }

    puts("Connected\n");

    // send the request
    message = "GET / HTTP/1.1\r\n\r\n";
    if (send(socket_desc, message, strlen(message), 0) < 0) {
        perror("Send failed");
        return 1;
    }

    puts("Data Send\n");

    return flush_stdout();
}
