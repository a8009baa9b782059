// robust: the fork server, with each of its mistakes mended.
// Usage: robust [--port 8888] [--backlog 3]
// Twin: src/server/robust.rs. Read before: fork.c, which makes the mistakes

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../args.h"
#include "../runtime.h"
#include "../stream.h"

static _Noreturn void child_process(int sock);
static void reap_children(int signal);

int main(int argc, char **argv)
{
    int socket_desc, new_socket;
    int on = 1;
    pid_t pid;
    socklen_t n;
    struct sockaddr_in server;
    struct sockaddr_in client = {0};
    struct sigaction action;
    sigset_t set;
    unsigned short port = 8888;
    int backlog = 3;

    start();
    server_args(argc, argv, (struct server_args){
        .synopsis = "robust [--port PORT] [--backlog N]", .port = &port, .backlog = &backlog});

    // ignore SIGPIPE. Mends: a write to a client that is gone kills (lab sigpipe)
    signal(SIGPIPE, SIG_IGN);

    // reap children on SIGCHLD, be it blocked or ignored before. Mends: nobody waits for them (labs no-reap, one-wait)
    action.sa_handler = reap_children;
    action.sa_flags = SA_RESTART | SA_NOCLDSTOP;
    sigemptyset(&action.sa_mask);
    sigaction(SIGCHLD, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_UNBLOCK, &set, NULL);

    // create the socket
    socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if (socket_desc == -1) {
        perror("ERROR opening socket");
        return 1;
    }

    // let a restart bind at once. Mends: TIME_WAIT keeps the port (lab no-reuseaddr)
    setsockopt(socket_desc, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));

    // fill in the address: every interface, the port in network byte order
    memset(&server, 0, sizeof(server));
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = htonl(INADDR_ANY);
    server.sin_port = htons(port);

    // bind the socket to the port, or end (lab bind-ignored)
    if (bind(socket_desc, (struct sockaddr *)&server, sizeof(server)) < 0) {
        perror("ERROR on binding");
        return 1;
    }
    printf("\nbind done\n");
    if (port == 0)
        print_chosen_port(socket_desc);

    // listen, or end. Mends: a listen that fails goes unnoticed
    if (listen(socket_desc, backlog) < 0) {
        perror("ERROR on listen");
        return 1;
    }
    printf("\nwaiting for incoming connections...\n");
    flush_stdout();

    for (;;) {
        // accept a client. Mends: a failed accept ends the server (labs vanished-fatal, accept-fatal, accept-spins)
        do {
            n = sizeof(client);
            new_socket = accept(socket_desc, (struct sockaddr *)&client, &n);
            if (new_socket < 0)
                back_off("ERROR on accept");
        } while (new_socket < 0);

        // print the client's address
        printf("Connection from %s:%d accepted\n", inet_ntoa(client.sin_addr), ntohs(client.sin_port));
        // flush stdout. Mends: fork copies what stdio keeps, and the child prints it again (lab no-flush)
        flush_stdout();

        // fork a child for the client. Mends: a failed fork ends the server (lab fork-fatal)
        pid = fork();
        switch (pid) {
        case -1:
            back_off("ERROR on fork");
            close(new_socket); // the client's: nobody will serve it
            break;
        case 0:
            close(socket_desc); // the child's copy: the parent accepts
            child_process(new_socket); // never returns
        default:
            close(new_socket); // the parent's copy: the child serves
        }
    }
}

static _Noreturn void child_process(int sock)
{
    char buffer[256] = {0};
    const char reply[18] = "ok";
    size_t len = 0;
    ssize_t n;

    // read a line, 255 bytes, or all that comes. Mends: one read is taken for it (labs one-read, interrupted-read)
    while (len < 255 && memchr(buffer, '\0', len) == NULL && memchr(buffer, '\n', len) == NULL) {
        if (len > 0 && !readable(sock, PIECE_MS))
            break;
        n = read(sock, buffer + len, 255 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            perror("ERROR reading from socket");
            _exit(1);
        }
        if (n == 0)
            break;
        len += (size_t)n;
    }

    // print the message, made visible. Mends: it drives the terminal, and forges lines of the log
    printf("Message from client: %s\n", visible_line(buffer));
    flush_stdout();

    // answer 18 bytes, "ok" and 16 NULs. Mends: the reply is longer than its text (lab wrong-length)
    if (writen(sock, reply, sizeof(reply)) < 0) {
        perror("ERROR writing to socket");
        _exit(1);
    }

    // close once the client has read. Mends: a close with unread input resets the connection (lab no-drain)
    drain(sock, LINGER_MS);
    close(sock);
    _exit(0);
}

// The SIGCHLD handler. Signals coalesce, so one may stand for many children.
static void reap_children(int signal)
{
    int saved_errno = errno;

    (void)signal;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    errno = saved_errno;
}
