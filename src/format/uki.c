/* SPDX-License-Identifier: Apache-2.0 */
#include "format/uki.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "format/cmdline.h"
#include "format/filekind.h"
#include "format/kernel.h"
#include "format/pe.h"

/* Older ones of systemd-stub find nothing in their own image when it has more (MAX_SECTIONS in
 * src/boot/efi/pe.c). */
#define STUB_SECTIONS_MAX 96

/* Sections that the stub takes at most once per profile (UAPI.5). */
static const char *const unique_sections[] = { ".linux", ".osrel", ".cmdline", ".initrd", ".ucode",
	".splash", ".dtb", ".uname", ".sbat", ".pcrsig", ".pcrpkey", ".sdmagic" };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_section(const struct pe_section *section, const char *name)
{
	return strcmp(section->name, name) == 0;
}

/* The index in unique_sections; -1: may be there more than once. */
static int unique_index(const struct pe_section *section)
{
	for (size_t i = 0; i < COUNT(unique_sections); i++)
		if (is_section(section, unique_sections[i]))
			return (int)i;
	return -1;
}

/* The index of the first `.profile` at or after `from`, or the number of sections. */
static size_t next_profile(const struct pe *pe, size_t from)
{
	for (; from < pe->section_count; from++) {
		const struct pe_section section = pe_section(pe, from);

		if (is_section(&section, ".profile"))
			break;
	}
	return from;
}

static int check_duplicates(const struct pe *pe, struct error *error)
{
	size_t seen[COUNT(unique_sections)] = { 0 }; /* counted from 1 */

	for (size_t i = 0; i < pe->section_count; i++) {
		const struct pe_section section = pe_section(pe, i);
		int unique = unique_index(&section);

		if (is_section(&section, ".profile"))
			memset(seen, 0, sizeof(seen));
		if (unique < 0)
			continue;
		if (seen[unique] > 0)
			return error_failed(error, EBADMSG,
				"the UKI has two '%s' sections in one profile (sections %zu and "
				"%zu)",
				section.name, seen[unique], i + 1);
		seen[unique] = i + 1;
	}
	return 0;
}

static bool find_section(
	const struct pe *pe, size_t begin, size_t end, const char *name, struct pe_section *ret)
{
	for (size_t i = begin; i < end; i++) {
		*ret = pe_section(pe, i);
		if (is_section(ret, name))
			return true;
	}
	return false;
}

/* The bytes of a section as the default profile has it; data NULL when it has none. */
static struct span pick(const struct uki *uki, const char *name)
{
	size_t base_end = next_profile(&uki->pe, 0), end = uki->pe.section_count;
	struct pe_section section;

	if (base_end < end)
		end = next_profile(&uki->pe, base_end + 1);
	if (find_section(&uki->pe, base_end, end, name, &section)
		|| find_section(&uki->pe, 0, base_end, name, &section))
		return pe_section_bytes(uki->file, &section);
	return (struct span){ NULL, 0 };
}

static struct span up_to_nul(struct span bytes)
{
	if (bytes.size > 0)
		bytes.size = strnlen((const char *)bytes.data, bytes.size);
	return bytes;
}

/* ukify 257 sets VirtualSize to the kernel's SizeOfImage, so that the section seems to go on to the
 * end of its padding; the kernel hashes all it is given, and padding breaks its signature. */
static struct span exact_kernel(struct span section)
{
	uint64_t size = pe_extent(section);
	struct kernel kernel;

	if (size == 0 || size >= section.size)
		return section;
	if (kernel_parse(section, &kernel, NULL) == 0 && size < kernel.least_size)
		size = kernel.least_size;
	return (struct span){ section.data, (size_t)size };
}

static int check_machine(const struct pe *pe, struct error *error)
{
	if (pe->machine != PE_MACHINE_NATIVE)
		return error_failed(error, EBADMSG,
			"the UKI is for machine type 0x%04x, this machine is 0x%04x", pe->machine,
			PE_MACHINE_NATIVE);
	return 0;
}

static int check_kind(const struct pe *pe, struct error *error)
{
	if (pe->subsystem != PE_SUBSYSTEM_EFI_APPLICATION)
		return error_failed(error, EBADMSG,
			"no UKI: PE subsystem %u, an EFI application has %d", pe->subsystem,
			PE_SUBSYSTEM_EFI_APPLICATION);
	return check_duplicates(pe, error);
}

static void pick_sections(struct uki *uki)
{
	uki->kernel = exact_kernel(pick(uki, ".linux"));
	uki->initrd = pick(uki, ".initrd");
	uki->cmdline = up_to_nul(pick(uki, ".cmdline"));
	uki->osrel = pick(uki, ".osrel");
	uki->uname = pick(uki, ".uname");
	uki->ucode = pick(uki, ".ucode");
	uki->pcrsig = pick(uki, ".pcrsig");
	uki->pcrpkey = pick(uki, ".pcrpkey");
	uki->profile = pick(uki, ".profile");
	uki->sdmagic = pick(uki, ".sdmagic");
	uki->has_signature = uki->pe.certificate_size > 0;
	for (size_t i = 0; i < uki->pe.section_count; i++) {
		const struct pe_section section = pe_section(&uki->pe, i);

		uki->device_tree |= is_section(&section, ".dtb") || is_section(&section, ".dtbauto")
				    || is_section(&section, ".efifw");
	}
}

/* "#### LoaderInfo: systemd-stub 252.39-1~deb12u2 ####": true and what stands between the blanks.
 */
static bool stub_version(struct span magic, char *out, size_t size)
{
	static const char before[] = ": systemd-stub ";
	const char *found = magic.size ? memmem(magic.data, magic.size, before, strlen(before))
				       : NULL;
	size_t left, length = 0;

	if (!found)
		return false;
	found += strlen(before);
	left = magic.size - (size_t)(found - (const char *)magic.data);
	while (length < left && length + 1 < size && found[length] > ' ' && found[length] < 0x7f)
		length++;
	memcpy(out, found, length);
	out[length] = '\0';
	return length > 0;
}

enum stub_limit { STUB_ANY, STUB_UNKNOWN, STUB_LIMITED };

/*
 * Whether the stub takes more than STUB_SECTIONS_MAX sections. The limit was dropped in January
 * 2025 and in stable releases after that; those below were looked at: Debian 12's, its backport's
 * and Debian 13's. Before 252 (Debian 11's 247.3 was looked at) and in first releases it is there.
 */
static enum stub_limit stub_limit_of(const char *version)
{
	static const unsigned without[][2] = { { 252, 38 }, { 254, 26 }, { 257, 13 } };
	unsigned major = 0, minor = 0;

	if (sscanf(version, "%u.%u", &major, &minor) < 1 || major > 257)
		return STUB_ANY;
	if (major < 252 || minor == 0)
		return STUB_LIMITED;
	for (size_t i = 0; i < COUNT(without); i++)
		if (major == without[i][0] && minor >= without[i][1])
			return STUB_ANY;
	return STUB_UNKNOWN;
}

static bool exceeds_stub(
	const struct uki *uki, enum stub_limit limit, char *version, size_t version_size)
{
	return uki->pe.section_count > STUB_SECTIONS_MAX
	       && stub_version(uki->sdmagic, version, version_size)
	       && stub_limit_of(version) == limit;
}

static int check_stub(const struct uki *uki, struct error *error)
{
	char version[32];

	if (!exceeds_stub(uki, STUB_LIMITED, version, sizeof(version)))
		return 0;
	return error_failed(error, EBADMSG,
		"the UKI has %zu sections, and its stub (systemd-stub %s) takes at most %d: build "
		"it with a later stub (Debian 12's and 13's take more), or with fewer profiles or "
		"device trees",
		uki->pe.section_count, version, STUB_SECTIONS_MAX);
}

static int parse(struct span file, bool native, struct uki *ret, struct error *error)
{
	struct uki uki = { .file = file };
	int r;

	r = pe_read(file, &uki.pe, error);
	if (r == 0 && native)
		r = check_machine(&uki.pe, error);
	if (r == 0)
		r = check_kind(&uki.pe, error);
	if (r < 0)
		return r;
	pick_sections(&uki);
	if (!uki.kernel.data)
		return error_failed(error, EBADMSG, "the .linux section is missing");
	r = pe_check(file, &uki.pe, error);
	if (r == 0 && uki.kernel.size == 0)
		return error_failed(error, EBADMSG, "the .linux section is empty");
	if (r == 0)
		r = check_stub(&uki, error);
	if (r < 0)
		return r;
	*ret = uki;
	return 0;
}

/* What a file is says more than what it lacks. */
static int explain(struct span file, int r, struct error *error)
{
	enum filekind kind = FILEKIND_UKI;

	if (r == -EBADMSG)
		kind = filekind_of(file);
	if (kind == FILEKIND_UKI || kind == FILEKIND_UNKNOWN)
		return r;
	error_prefix(error, "this is %s, not a UKI", filekind_name(kind));
	if (filekind_advice(kind))
		error_advise(error, filekind_advice(kind));
	return r;
}

int uki_parse(struct span file, struct uki *ret, struct error *error)
{
	return explain(file, parse(file, true, ret, error), error);
}

int uki_parse_any(struct span file, struct uki *ret, struct error *error)
{
	return explain(file, parse(file, false, ret, error), error);
}

int uki_bind(const struct uki *uki, uint8_t *file, const char *placeholder, const char *bound,
	size_t *ret_count, struct error *error)
{
	size_t total = 0;
	int r;

	/* Tells bad arguments, even where there is no section to bind. */
	r = cmdline_bind(file, 0, placeholder, bound, NULL, error);
	if (r < 0)
		return r;
	for (size_t i = 0; i < uki->pe.section_count; i++) {
		const struct pe_section section = pe_section(&uki->pe, i);
		struct span text;
		size_t count;

		if (!is_section(&section, ".cmdline"))
			continue;
		text = up_to_nul(pe_section_bytes(uki->file, &section));
		r = cmdline_bind(file + (text.data - uki->file.data), text.size, placeholder, bound,
			&count, error);
		if (r < 0)
			return r;
		total += count;
	}
	if (ret_count)
		*ret_count = total;
	return 0;
}

int uki_cmdline(const struct uki *uki, char **ret, struct error *error)
{
	size_t size = uki->cmdline.size, begin = 0;
	AUTO_FREE char *text = calloc(1, size + 1);

	if (!text)
		return error_memory(error);
	for (size_t i = 0; i < size; i++) {
		uint8_t c = uki->cmdline.data[i];

		text[i] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
	}
	while (size > 0 && text[size - 1] == ' ')
		text[--size] = '\0';
	begin = strspn(text, " ");
	memmove(text, text + begin, size - begin + 1);
	*ret = TAKE(text);
	return 0;
}

/* Removes shell quoting in place and ends the text at the first blank outside of quotes. */
static void unquote(char *text)
{
	char quote = '\0', *out = text;

	for (; *text && (quote || !strchr(" \t\r", *text)); text++) {
		if (quote ? *text == quote : (*text == '"' || *text == '\''))
			quote = quote ? '\0' : *text;
		else if (*text == '\\' && quote != '\'' && text[1])
			*out++ = *++text;
		else
			*out++ = *text;
	}
	*out = '\0';
}

static bool has_control_character(const char *text)
{
	for (; *text; text++)
		if ((uint8_t)*text < 0x20 || *text == 0x7f)
			return true;
	return false;
}

/* The value that `text` (changed) assigns to `key` last; NULL when it is none. Points into it. */
static char *os_release_value(char *text, const char *key)
{
	size_t length = strlen(key);
	char *line, *value = NULL;

	while ((line = strsep(&text, "\n"))) {
		line += strspn(line, " \t");
		if (strncmp(line, key, length) == 0 && line[length] == '=')
			value = line + length + 1;
	}
	if (!value)
		return NULL;
	unquote(value);
	return *value && !has_control_character(value) ? value : NULL;
}

int uki_version(const struct uki *uki, char **ret, struct error *error)
{
	static const char *const keys[] = { "IMAGE_VERSION", "VERSION_ID" };
	struct span osrel = up_to_nul(uki->osrel);

	for (size_t i = 0; i < COUNT(keys); i++) {
		AUTO_FREE char *text = calloc(1, osrel.size + 1);
		char *value;

		if (!text)
			return error_memory(error);
		if (osrel.size > 0)
			memcpy(text, osrel.data, osrel.size);
		value = os_release_value(text, keys[i]);
		if (value) {
			memmove(text, value, strlen(value) + 1);
			*ret = TAKE(text);
			return 0;
		}
	}
	*ret = NULL;
	return 0;
}

/* The kernel would silently cut a longer one off, and with it what names its root. */
static int check_cmdline(const struct uki *uki, const struct kernel *kernel, struct error *error)
{
	AUTO_FREE char *cmdline = NULL;
	int r = uki_cmdline(uki, &cmdline, error);

	if (r == 0 && strlen(cmdline) > kernel->cmdline_size)
		return error_failed(error, EBADMSG,
			"the UKI's command line has %zu characters, but its kernel takes at most "
			"%u and would ignore the rest: shorten it",
			strlen(cmdline), kernel->cmdline_size);
	return r;
}

int uki_check_kernel(const struct uki *uki, struct error *error)
{
	struct kernel kernel;
	int r = 0;

	/* Other kernels say nothing of their size. */
	if (uki->pe.machine == PE_MACHINE_X86_64) {
		r = kernel_parse(uki->kernel, &kernel, error);
		if (r == 0)
			r = check_cmdline(uki, &kernel, error);
	}
	return r < 0 ? r : kernel_check_stub(uki->kernel, uki->pe.machine, error);
}

int uki_warnings(const struct uki *uki, struct text_list *ret, struct error *error)
{
	char version[32];
	int r = pe_warn(&uki->pe, ret, error);

	if (r < 0 || !exceeds_stub(uki, STUB_UNKNOWN, version, sizeof(version)))
		return r;
	return text_list_add(ret, error,
		"the UKI has %zu sections, and its stub (systemd-stub %s) may be one that takes at "
		"most %d: try whether it starts, or build it with a later stub",
		uki->pe.section_count, version, STUB_SECTIONS_MAX);
}
