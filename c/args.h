// args.h: parses the command line of robust; in Rust, src/server/options.rs does it.

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

// Parse a whole decimal number from 0 to max. (With atoi, "80x" gives 80, and port 65616 is cut to 80.)
static inline int number(const char *text, const char *what, long max)
{
    const char *digits = text[0] == '+' ? text + 1 : text;
    char *end;
    long value;

    errno = 0;
    value = strtol(digits, &end, 10);
    if (!isdigit((unsigned char)digits[0]) || *end != '\0' || errno != 0 || value > max)
        bad_value(text, what);
    return (int)value;
}

static inline unsigned short port_number(const char *text)
{
    return (unsigned short)number(text, "PORT", 65535);
}

// Reject abbreviated options: getopt_long accepts "--por" for "--port", but a mistyped option must be an error.
static inline void no_abbreviations(char **argv, const struct option *options, const char *synopsis)
{
    const struct option *option;
    size_t length;

    while (*++argv != NULL && strcmp(*argv, "--") != 0) {
        if (strncmp(*argv, "--", 2) != 0)
            continue;
        length = strcspn(*argv + 2, "=");
        for (option = options; option->name != NULL; option++)
            if (strlen(option->name) == length && strncmp(option->name, *argv + 2, length) == 0)
                break;
        if (option->name == NULL)
            usage(synopsis);
    }
}

// The options of a server.
struct server_args {
    const char *synopsis;
    unsigned short *port; // [--port PORT]
    int *backlog;         // [--backlog N]
};

static inline void server_args(int argc, char **argv, struct server_args args)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},
        {"backlog", required_argument, NULL, 'b'},
        {NULL, 0, NULL, 0},
    };
    int option;

    opterr = 0;
    no_abbreviations(argv, options, args.synopsis);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'p')
            *args.port = port_number(optarg);
        else if (option == 'b')
            *args.backlog = number(optarg, "--backlog <N>", INT_MAX);
        else
            usage(args.synopsis);
    }
    if (optind != argc)
        usage(args.synopsis);
}

#endif
