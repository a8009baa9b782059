// socket: create a TCP socket, and end without a word.
// Usage: socket
// Twin: src/client/socket.rs. Next: connect.c

#include <stdio.h>
#include <sys/socket.h>

#include "../args.h"
#include "../runtime.h"

int main(int argc, char **argv)
{
    int socket_desc;

    start();
    client_args(argc, argv, (struct client_args){.synopsis = "socket"});

    // create the socket
    socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if (socket_desc == -1) {
        perror("Could not create socket");
        return 1;
    }

    return 0;
}
