// visible.h: text from the network, made safe to print.
// Twin: src/visible.rs.
//
// Control characters, the characters that reorder or break lines, and bytes that
// are not UTF-8 become \n, \r, \t or \xNN, so that a peer can neither drive the
// terminal nor forge a line of the log. All else stands as it is, a backslash too.

#ifndef PRISE_VISIBLE_H
#define PRISE_VISIBLE_H

#include <stddef.h>
#include <stdio.h>
#include <string.h>

// The most that one call takes, less the final NUL: recv's reply.
#define VISIBLE_MAX 2000

// The length of the UTF-8 character that s begins with, 0 if it begins with none (RFC 3629).
static inline size_t utf8_character(const unsigned char *s)
{
    size_t length, i;

    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xC2 || s[0] > 0xF4)
        return 0;
    length = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    for (i = 1; i < length; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    // overlong forms, surrogates, beyond U+10FFFF
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
        (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return length;
}

// C0, DEL and C1 controls; U+061C, U+200E-200F, U+2028-202E and U+2066-2069.
static inline int drives_terminal(const unsigned char *s, size_t length)
{
    if (length == 1)
        return s[0] < 0x20 || s[0] == 0x7F;
    if (length == 2)
        return (s[0] == 0xC2 && s[1] < 0xA0) || (s[0] == 0xD8 && s[1] == 0x9C);
    if (length == 3 && s[0] == 0xE2 && s[1] == 0x80)
        return s[2] == 0x8E || s[2] == 0x8F || (s[2] >= 0xA8 && s[2] <= 0xAE);
    return length == 3 && s[0] == 0xE2 && s[1] == 0x81 && s[2] >= 0xA6 && s[2] <= 0xA9;
}

// Newline, tab and CR LF are part of a text; of a line, only the newline that ends it.
static inline int is_layout(const unsigned char *s, int in_text)
{
    if (s[0] == '\r')
        return s[1] == '\n' && (in_text || s[2] == '\0');
    if (s[0] == '\n')
        return in_text || s[1] == '\0';
    return s[0] == '\t' && in_text;
}

// The result is static, as inet_ntoa's is: the next call writes over it.
static inline const char *visible(const char *string, int in_text)
{
    static char result[4 * VISIBLE_MAX + sizeof("\\xe2\\x80\\xae")];
    const unsigned char *s = (const unsigned char *)string;
    char *out = result;
    size_t length, i;

    for (; *s != '\0' && out <= result + 4 * VISIBLE_MAX; s += length) {
        length = utf8_character(s);
        if (is_layout(s, in_text) || (length > 0 && !drives_terminal(s, length))) {
            memcpy(out, s, length);
            out += length;
        } else if (*s == '\n' || *s == '\r' || *s == '\t') {
            *out++ = '\\';
            *out++ = *s == '\n' ? 'n' : *s == '\r' ? 'r' : 't';
        } else {
            length = length > 0 ? length : 1;
            for (i = 0; i < length; i++)
                out += snprintf(out, 5, "\\x%02x", s[i]);
        }
    }
    *out = '\0';
    return result;
}

// A message: one line of the log.
static inline const char *visible_line(const char *string)
{
    return visible(string, 0);
}

// A reply: lines and tabs are its own.
static inline const char *visible_text(const char *string)
{
    return visible(string, 1);
}

// How many bytes at the end of n are the beginning of something that the next
// piece may complete: a UTF-8 character, or CR LF.
static inline size_t unfinished(const char *string, size_t n)
{
    const unsigned char *s = (const unsigned char *)string;
    size_t back;

    if (n > 0 && s[n - 1] == '\r')
        return 1;
    for (back = 1; back <= 3 && back <= n; back++)
        if (s[n - back] >= 0xC0)
            return back < (s[n - back] < 0xE0 ? 2U : s[n - back] < 0xF0 ? 3U : 4U) ? back : 0;
    return 0;
}

#endif
