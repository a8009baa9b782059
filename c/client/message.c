// message: ask for a message, and send it to a server by name.
// Usage: message HOST PORT [--reply]
// Twin: src/client/message.rs. Read before: ../server/fork.c, the server for it

#include <arpa/inet.h>
#include <netdb.h>
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
    const char *host = NULL;
    unsigned short portno = 0;
    int reply = 0;
    struct sockaddr_in server_addr;
    struct hostent *server;
    char buffer[256];

    start();
    client_args(argc, argv, (struct client_args){
        .synopsis = "message HOST PORT [--reply]", .least = 2, .host = &host, .port = &portno, .reply = &reply});

    // create the socket
    socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if (socket_desc < 0) {
        perror("ERROR opening socket");
        return 1;
    }

    // resolve the server's name
    server = gethostbyname(host);
    if (server == NULL) {
        herror("ERROR, no such host");
        return 1;
    }

    // fill in the server's address
    memset(&server_addr, 0, sizeof(server_addr));
    server_addr.sin_family = AF_INET;
    memcpy(&server_addr.sin_addr, server->h_addr_list[0], sizeof(server_addr.sin_addr));
    server_addr.sin_port = htons(portno);

    // connect to the server
    if (connect(socket_desc, (struct sockaddr *)&server_addr, sizeof(server_addr)) < 0) {
        perror("ERROR connecting");
        return 1;
    }

    // ask for the message
    printf("Please enter a message: ");
    flush_stdout();
    memset(buffer, 0, sizeof(buffer));
    if (fgets(buffer, 255, stdin) == NULL && ferror(stdin)) {
        perror("ERROR reading from stdin");
        return 1;
    }

    // send the message: 255 bytes, whatever its length
    if (writen(socket_desc, buffer, 255) < 0) {
        perror("ERROR writing to socket");
        return 1;
    }

    // print it
    puts(visible_line(buffer));

    // with --reply, say that no more will come, and print the reply to its end
    if (reply) {
        shutdown(socket_desc, SHUT_WR);
        if (print_to_end(socket_desc) < 0) {
            perror("ERROR reading from socket");
            return 1;
        }
        puts("");
    }

    return flush_stdout();
}
