// reply: accept one client, learn its address, and greet it.
// Usage: reply [PORT [BACKLOG]]
// Twin: src/server/reply.rs. Next: loop.c

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    // Differs (c): the port and the backlog can be given
    int port = argc > 1 ? atoi(argv[1]) : 8888;
    int backlog = argc > 2 ? atoi(argv[2]) : 3;

    int socket_desc, new_socket;
    socklen_t c;
    // Differs (a): the client's address begins as zeros, for an accept that fails fills in nothing
    struct sockaddr_in server, client = {0};
    const char *client_ip;
    int client_port;
    const char *message;

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

    // find the client's address and port, which the tutorial does not print
    client_ip = inet_ntoa(client.sin_addr);
    client_port = ntohs(client.sin_port);
    (void)client_ip, (void)client_port;

    // greet the client
    message = "Salut client, je te sens bien en moi mais k thx bye!\n.";
    write(new_socket, message, strlen(message));

    return 0;
}
