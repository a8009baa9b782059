// recv: connect, send a request, and print what one recv brings.
// Usage: recv [HOST [PORT [NAME]]]
// Twin: src/client/recv.rs. Next: resolve.c

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int converse(int socket_desc, const char *name);

int main(int argc, char **argv)
{
    // Differs (c): the server's address and port can be given
    const char *host = argc > 1 ? argv[1] : "172.217.22.78";
    int port = argc > 2 ? atoi(argv[2]) : 80;

    int socket_desc;
    const char *message;
    // Differs (a): one byte more than recv fills, and all of them zero: what is printed ends where the reply does
    char server_reply[2001] = {0};
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

    // Differs (e): with a NAME, ask as HTTP/1.1 wants it and print the whole reply, instead of what follows
    if (argc > 3) {
        return converse(socket_desc, argv[3]);
    }

    // send the request
    message = "GET / HTTP/1.1\r\n\r\n";
    if (send(socket_desc, message, strlen(message), 0) < 0) {
        puts("Send failed\n");
        return 1;
    }

    // receive a reply
    if (recv(socket_desc, server_reply, 2000, 0) < 0) {
        puts("recv failed");
    }

    puts("Reply received\n");
    puts(server_reply);

    puts("Data Send\n");

    // Differs (a): the semicolon that the tutorial's line lacks
    close(socket_desc);
    return 0;
}

static int converse(int socket_desc, const char *name)
{
    char message[512];
    char server_reply[2000];
    ssize_t n;

    // send a request that names its host, and asks the server to close after the reply
    snprintf(message, sizeof(message), "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", name);
    if (send(socket_desc, message, strlen(message), 0) < 0) {
        puts("Send failed\n");
        return 1;
    }

    // print the reply as it comes, to its end
    puts("Reply received\n");
    while ((n = recv(socket_desc, server_reply, 2000, 0)) > 0) {
        fwrite(server_reply, 1, n, stdout);
    }
    puts("");
    if (n < 0) {
        puts("recv failed");
        return 1;
    }

    puts("Data Send\n");

    close(socket_desc);
    return 0;
}
