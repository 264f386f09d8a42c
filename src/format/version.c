/* SPDX-License-Identifier: Apache-2.0 */
#include "format/version.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* The specification is about ASCII: <ctype.h> would follow the locale. */
static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_separator(char c)
{
	return c && !is_digit(c) && !is_letter(c) && !strchr("-.~^", c);
}

/* Who starts with `c` is the older one; when both do, it is skipped in both. */
static int compare_mark(const char **a, const char **b, char c)
{
	bool in_a = **a == c, in_b = **b == c;

	*a += in_a && in_b;
	*b += in_a && in_b;
	return (int)in_b - (int)in_a;
}

/* Of any length: after the zeroes, the longer number is the larger one. */
static int compare_numbers(const char **a, const char **b)
{
	const char *start_a, *start_b;
	ptrdiff_t size_a, size_b;

	while (**a == '0')
		++*a;
	while (**b == '0')
		++*b;
	start_a = *a;
	start_b = *b;
	while (is_digit(**a))
		++*a;
	while (is_digit(**b))
		++*b;
	size_a = *a - start_a;
	size_b = *b - start_b;
	if (size_a != size_b)
		return size_a < size_b ? -1 : 1;
	return memcmp(start_a, start_b, (size_t)size_a);
}

static int compare_words(const char **a, const char **b)
{
	while (is_letter(**a) && **a == **b) {
		++*a;
		++*b;
	}
	if (is_letter(**a) && is_letter(**b))
		return **a < **b ? -1 : 1;
	return (int)is_letter(**a) - (int)is_letter(**b);
}

/* One round of the specification's loop, its steps 4 to 8: neither string has ended before. */
static int compare_component(const char **a, const char **b)
{
	static const char marks[] = "-^.";
	int r;

	for (size_t i = 0; marks[i]; i++) {
		r = compare_mark(a, b, marks[i]);
		if (r != 0)
			return r;
	}
	return is_digit(**a) || is_digit(**b) ? compare_numbers(a, b) : compare_words(a, b);
}

int version_compare(const char *a, const char *b)
{
	int r;

	for (;;) {
		while (is_separator(*a))
			a++;
		while (is_separator(*b))
			b++;
		r = compare_mark(&a, &b, '~');
		if (r != 0)
			return r;
		if (!*a || !*b)
			return (*a != 0) - (*b != 0);
		r = compare_component(&a, &b);
		if (r != 0)
			return r;
	}
}
