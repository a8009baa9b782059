// visible.h: make text from the network safe to print.
// Twin: src/visible.rs.
//
// Control characters, characters that reorder text or break lines, and bytes that
// are not UTF-8 are printed as \n, \r, \t or \xNN, so that a peer can neither
// control the terminal nor forge a line of the log. Everything else is unchanged,
// even a backslash.

#ifndef PRISE_VISIBLE_H
#define PRISE_VISIBLE_H

#include <stddef.h>
#include <stdio.h>
#include <string.h>

// The longest message, in bytes.
#define VISIBLE_MAX 255

// The length in bytes of the UTF-8 character at the start of s; 0 if there is none (RFC 3629).
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
    // reject overlong forms, surrogates, and anything beyond U+10FFFF
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
        (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return length;
}

// Whether s is a C0, DEL or C1 control, or a character that reorders text or breaks a line:
// U+061C, U+200E-200F, U+2028-202E and U+2066-2069.
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

// Whether the rest of the message is LF or CR LF: they end the line and stay as they are.
static inline int ends_line(const unsigned char *s)
{
    if (s[0] == '\r')
        return s[1] == '\n' && s[2] == '\0';
    return s[0] == '\n' && s[1] == '\0';
}

// A message, printed as one line of the log. The result is static, as inet_ntoa's is: the next call overwrites it.
static inline const char *visible_line(const char *string)
{
    static char result[4 * VISIBLE_MAX + sizeof("\\xe2\\x80\\xae")];
    const unsigned char *s = (const unsigned char *)string;
    char *out = result;
    size_t length, i;

    for (; *s != '\0' && out <= result + 4 * VISIBLE_MAX; s += length) {
        length = utf8_character(s);
        if (ends_line(s) || (length > 0 && !drives_terminal(s, length))) {
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

#endif
