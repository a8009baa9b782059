// fork: a server that forks one process per client.
// Usage: fork [PORT [BACKLOG [--no-reap]]]
// Twin: src/server/fork.rs. Next: ../client/message.c

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void childProcess(int sock);
static void reap_children(int signal);

int main(int argc, char **argv)
{
    // Differs (c): the port and the backlog can be given, and --no-reap
    int port = argc > 1 ? atoi(argv[1]) : 8888;
    int backlog = argc > 2 ? atoi(argv[2]) : 3;
    int no_reap = argc > 3 && strcmp(argv[3], "--no-reap") == 0;

    int socket_desc;
    int new_socket;
    socklen_t n;
    int pid;
    struct sockaddr_in server;
    struct sockaddr_in client;

    // create the socket
    socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if (socket_desc == -1) {
        perror("ERROR opening socket");
        exit(1);
    }

    // fill in the server's address: every interface, the port in network byte order
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = INADDR_ANY;
    server.sin_port = htons(port);

    // bind the socket to that address
    if (bind(socket_desc, (struct sockaddr *)&server, sizeof(server)) < 0) {
        perror("ERROR on binding");
        exit(1);
    }
    printf("\nbind done\n");

    // listen
    listen(socket_desc, backlog);
    printf("\nwaiting for incoming connections...\n");
    n = sizeof(struct sockaddr_in);

    // Differs (b): have SIGCHLD, which says that a child has ended, call reap_children
    if (!no_reap) {
        struct sigaction action = {.sa_handler = reap_children, .sa_flags = SA_RESTART};
        sigaction(SIGCHLD, &action, NULL);
    }

    while (1) {
        // accept a client
        new_socket = accept(socket_desc, (struct sockaddr *)&client, &n);
        if (new_socket < 0) {
            perror("ERROR on accept");
            exit(1);
        }

        // print the client's address
        printf("Connection from %s:%d accepted\n", inet_ntoa(client.sin_addr), ntohs(client.sin_port));

        // fork a child for the client
        pid = fork();
        if (pid < 0) {
            perror("ERROR on fork");
            exit(1);
        }
        if (pid == 0) {
            close(socket_desc); // the child's copy: the parent accepts
            childProcess(new_socket);
            exit(0);
        } else {
            close(new_socket); // the parent's copy: the child serves
        }
    }
    return 0;
}

static void childProcess(int sock)
{
    int n;
    char buffer[256];

    bzero(buffer, 256); // all zeros

    // read the client's message
    n = read(sock, buffer, 255);
    if (n < 0) {
        perror("ERROR reading from socket\n");
        exit(1);
    }

    // print the message
    printf("Message from client: %s\n", buffer);

    // Differs (a): answer with 18 bytes of its own, "ok" and 16 NULs; the tutorial's text has only 3 of its 18
    n = write(sock, "ok\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 18);
    if (n < 0) {
        perror("ERROR reading from socket");
        exit(1);
    }
}

// Differs (b): the handler of SIGCHLD. One signal may stand for many children that have ended.
static void reap_children(int signal)
{
    int saved_errno = errno;

    (void)signal;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    errno = saved_errno;
}
