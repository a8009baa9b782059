// socket: create a TCP socket, and end without a word.
// Usage: socket
// Twin: src/client/socket.rs. Next: connect.c

#include <stdio.h>
#include <sys/socket.h>

int main(void)
{
    int socket_desc;

    // create the socket
    socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if (socket_desc == -1) {
        printf("Could not create socket");
    }

    return 0;
}
