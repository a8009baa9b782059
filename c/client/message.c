// message: ask for a message, and send it to a server by name.
// Usage: message HOST PORT [--reply]
// Twin: src/client/message.rs. Next: ../server/robust.c

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int socket_desc;
    int portno;
    int n;
    struct sockaddr_in server_addr;
    struct hostent *server;
    char buffer[256];

    // take the server's name and port
    if (argc < 3) {
        fprintf(stderr, "usage %s hostname port\n", argv[0]);
        exit(0);
    }
    portno = atoi(argv[2]);

    // create the socket
    socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if (socket_desc < 0) {
        perror("ERROR opening socket");
        exit(1);
    }

    // resolve the server's name
    server = gethostbyname(argv[1]);
    if (server == NULL) {
        fprintf(stderr, "ERROR, no such host\n");
        exit(0);
    }

    // fill in the server's address
    bzero(&server_addr, sizeof(server_addr)); // all zeros
    server_addr.sin_family = AF_INET;
    bcopy(server->h_addr, &server_addr.sin_addr.s_addr, server->h_length); // the first address
    server_addr.sin_port = htons(portno);

    // connect to the server
    if (connect(socket_desc, (struct sockaddr *)&server_addr, sizeof(server_addr)) < 0) {
        perror("ERROR connecting");
        exit(1);
    }

    // ask for the message
    printf("Please enter a message: ");
    bzero(buffer, 256); // all zeros
    fgets(buffer, 255, stdin);

    // send the message: 255 bytes, whatever its length
    n = write(socket_desc, buffer, 255);
    if (n < 0) {
        perror("ERROR reading from socket");
        exit(1);
    }

    // print it
    printf("%s\n", buffer);

    // Differs (e): with --reply, say that no more will come, and print what the server answers
    if (argc > 3 && strcmp(argv[3], "--reply") == 0) {
        shutdown(socket_desc, SHUT_WR);
        while ((n = read(socket_desc, buffer, 255)) > 0) {
            buffer[n] = '\0';
            printf("%s", buffer);
        }
        printf("\n");
        if (n < 0) {
            perror("ERROR reading from socket");
            exit(1);
        }
    }

    return 0;
}
