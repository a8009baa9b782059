// accept: accept one client, and end.
// Usage: accept [PORT [BACKLOG]]
// Twin: src/server/accept.rs. Next: reply.c

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    // Differs (c): the port and the backlog can be given
    int port = argc > 1 ? atoi(argv[1]) : 8888;
    int backlog = argc > 2 ? atoi(argv[2]) : 3;

    int socket_desc, new_socket;
    socklen_t c;
    struct sockaddr_in server, client;

    // create the socket
    socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if (socket_desc == -1) {
        printf("\nCould not create socket\n");
    }

    // fill in the server's address: every interface, the port in network byte order
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = INADDR_ANY;
    server.sin_port = htons(port);

    // bind the socket to that address
    if (bind(socket_desc, (struct sockaddr *)&server, sizeof(server)) < 0) {
        puts("\nbind failded\n");
    }
    puts("\nbind done\n");

    // listen
    listen(socket_desc, backlog);

    // accept a client
    puts("Waiting for incoming connections...\n");
    c = sizeof(struct sockaddr_in);
    new_socket = accept(socket_desc, (struct sockaddr *)&client, &c);
    if (new_socket < 0) {
        perror("accept failed\n");
    }

    puts("Connection accepted\n");

    return 0;
}
