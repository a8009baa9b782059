// recv: connect, send a request, and print what one recv brings.
// Usage: recv [HOST [PORT]] [--host NAME]
// Twin: src/client/recv.rs. Next: resolve.c

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../args.h"
#include "../runtime.h"
#include "../stream.h"

int main(int argc, char **argv)
{
    int socket_desc;
    char message[512];
    char server_reply[2001];
    ssize_t n;
    struct sockaddr_in server;
    const char *host = "172.217.22.78";
    unsigned short port = 80;
    const char *name = NULL;

    start();
    client_args(argc, argv, (struct client_args){
        .synopsis = "recv [HOST [PORT]] [--host NAME]", .host = &host, .port = &port, .name = &name});

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

    // send the request: a conforming one names the host, and asks for the end
    if (name == NULL)
        snprintf(message, sizeof(message), "GET / HTTP/1.1\r\n\r\n");
    else
        snprintf(message, sizeof(message), "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", name);
    if (send(socket_desc, message, strlen(message), 0) < 0) {
        perror("Send failed");
        return 1;
    }

    // receive the reply: what one recv brings, or with --host all of it
    if (name == NULL) {
        n = recv(socket_desc, server_reply, 2000, 0);
        if (n < 0) {
            perror("recv failed");
            return 1;
        }
        server_reply[n] = '\0';
        puts("Reply received\n");
        puts(visible_text(server_reply));
    } else {
        puts("Reply received\n");
        if (print_to_end(socket_desc) < 0) {
            perror("recv failed");
            return 1;
        }
        puts("");
    }

    puts("Data Send\n");

    // close the socket
    close(socket_desc);

    return flush_stdout();
}
