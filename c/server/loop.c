// loop: accept clients one after the other, and greet each.
// Usage: loop [PORT [BACKLOG]]
// Twin: src/server/loop.rs. Next: fork.c

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

    // accept one client after the other; -1 is not 0, so a failed accept does not end the loop
    puts("Waiting for incoming connections...\n");
    c = sizeof(struct sockaddr_in);
    while ((new_socket = accept(socket_desc, (struct sockaddr *)&client, &c))) {
        // print the client's address
        printf("Connection from %s:%d accepted\n", inet_ntoa(client.sin_addr), ntohs(client.sin_port));

        // greet the client, whose socket stays open
        message = "Salut client, je te sens bien en moi mais k thx bye!\n.";
        write(new_socket, message, strlen(message));
    }

    if (new_socket < 0) {
        perror("accept failed\n");
    }

    return 0;
}
