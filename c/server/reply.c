// reply: accept one client, say who it is, and greet it.
// Usage: reply [--port 8888] [--backlog 3]
// Twin: src/server/reply.rs. Next: loop.c

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
    int socket_desc, new_socket;
    int on = 1;
    socklen_t c;
    struct sockaddr_in server, client = {0};
    const char *message;
    const char *client_ip;
    int client_port;
    unsigned short port = 8888;
    int backlog = 3;

    start();
    server_args(argc, argv, (struct server_args){
        .synopsis = "reply [--port PORT] [--backlog N]", .port = &port, .backlog = &backlog});

    // create the socket
    socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if (socket_desc == -1) {
        perror("Could not create socket");
        return 1;
    }

    // Differs: let a restart bind at once, while old connections wait in TIME_WAIT
    setsockopt(socket_desc, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));

    // fill in the address: every interface, the port in network byte order
    memset(&server, 0, sizeof(server));
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = htonl(INADDR_ANY);
    server.sin_port = htons(port);

    // bind the socket to the port
    if (bind(socket_desc, (struct sockaddr *)&server, sizeof(server)) < 0) {
        perror("bind failed");
        return 1;
    }
    puts("\nbind done\n");
    if (port == 0)
        print_chosen_port(socket_desc);

    // listen
    if (listen(socket_desc, backlog) < 0) {
        perror("listen failed");
        return 1;
    }
    puts("Waiting for incoming connections...\n");
    flush_stdout();

    // accept a client; Differs: a failed accept ends nothing
    do {
        c = sizeof(client);
        new_socket = accept(socket_desc, (struct sockaddr *)&client, &c);
        if (new_socket < 0)
            back_off("accept failed");
    } while (new_socket < 0);
    puts("Connection accepted\n");

    // print the client's address
    client_ip = inet_ntoa(client.sin_addr);
    client_port = ntohs(client.sin_port);
    printf("Client %s:%d\n", client_ip, client_port);

    // greet the client
    message = "Salut client, je te sens bien en moi mais k thx bye!\n.";
    if (writen(new_socket, message, strlen(message)) < 0) {
        perror("write failed");
        return 1;
    }

    // Differs: close the client's socket once the client has read
    drain(new_socket, LINGER_MS);
    close(new_socket);

    return flush_stdout();
}
