// args.h: the command line of the twins; its Rust counterpart is src/cli.rs.

#ifndef PRISE_ARGS_H
#define PRISE_ARGS_H

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_USAGE 2

static inline _Noreturn void usage(const char *synopsis)
{
    fprintf(stderr, "Usage: %s\n", synopsis);
    exit(EXIT_USAGE);
}

static inline _Noreturn void bad_value(const char *value, const char *what)
{
    fprintf(stderr, "error: invalid value '%s' for '%s'\n", value, what);
    exit(EXIT_USAGE);
}

// A whole decimal number from 0 to max: atoi would take "80x" and cut 65616 to 80.
static inline int number(const char *text, const char *what, long max)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    if (!isdigit((unsigned char)text[text[0] == '+']) || *end != '\0' || errno != 0 || value > max)
        bad_value(text, what);
    return (int)value;
}

static inline unsigned short port_number(const char *text)
{
    return (unsigned short)number(text, "PORT", 65535);
}

// A name that can stand in a Host header: one word of printable ASCII, no longer than DNS allows.
static inline const char *host_name(const char *text)
{
    const char *p = text;

    while (isgraph((unsigned char)*p))
        p++;
    if (p == text || *p != '\0' || p - text > 253)
        bad_value(text, "--host <NAME>");
    return text;
}

// A dotted quad that inet_addr does not take.
static inline _Noreturn void bad_address(const char *host)
{
    fprintf(stderr, "inet_addr: bad address '%s'\n", host);
    exit(EXIT_USAGE);
}

// What a client takes: where a pointer is NULL, it does not take that.
struct client_args {
    const char *synopsis;
    int least;           // arguments that must be there
    const char **host;   // [HOST
    unsigned short *port; // [PORT]]
    const char **name;   // [--host NAME]
    int *reply;          // [--reply]
};

static inline void client_args(int argc, char **argv, struct client_args args)
{
    static const struct option options[] = {
        {"host", required_argument, NULL, 'h'},
        {"reply", no_argument, NULL, 'r'},
        {NULL, 0, NULL, 0},
    };
    int most = (args.host != NULL) + (args.port != NULL);
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h' && args.name != NULL)
            *args.name = host_name(optarg);
        else if (option == 'r' && args.reply != NULL)
            *args.reply = 1;
        else
            usage(args.synopsis);
    }
    if (argc - optind < args.least || argc - optind > most)
        usage(args.synopsis);
    if (optind < argc)
        *args.host = argv[optind++];
    if (optind < argc)
        *args.port = port_number(argv[optind]);
}

// What a server takes: no_reap is NULL where there is none to take.
static inline void server_args(int argc, char **argv, unsigned short *port, int *backlog, int *no_reap)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},
        {"backlog", required_argument, NULL, 'b'},
        {"no-reap", no_argument, NULL, 'n'},
        {NULL, 0, NULL, 0},
    };
    const char *synopsis = no_reap != NULL ? "fork [--port PORT] [--backlog N] [--no-reap]"
                                           : "accept|reply|loop [--port PORT] [--backlog N]";
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'p')
            *port = port_number(optarg);
        else if (option == 'b')
            *backlog = number(optarg, "--backlog <N>", INT_MAX);
        else if (option == 'n' && no_reap != NULL)
            *no_reap = 1;
        else
            usage(synopsis);
    }
    if (optind != argc)
        usage(synopsis);
}

#endif
