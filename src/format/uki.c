/* SPDX-License-Identifier: Apache-2.0 */
#include "format/uki.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "format/cmdline.h"
#include "format/kernel.h"

/* Sections that the stub takes at most once per profile (UAPI.5). */
static const char *const unique_sections[] = { ".linux", ".osrel", ".cmdline", ".initrd", ".ucode",
	".splash", ".dtb", ".uname", ".sbat", ".pcrsig", ".pcrpkey", ".sdmagic" };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_section(const struct pe_section *section, const char *name)
{
	return strcmp(section->name, name) == 0;
}

static bool is_unique_section(const struct pe_section *section)
{
	for (size_t i = 0; i < COUNT(unique_sections); i++)
		if (is_section(section, unique_sections[i]))
			return true;
	return false;
}

/* The index of the first `.profile` at or after `from`, or the number of sections. */
static size_t next_profile(const struct pe *pe, size_t from)
{
	while (from < pe->section_count && !is_section(&pe->sections[from], ".profile"))
		from++;
	return from;
}

static int check_duplicates(const struct pe *pe, struct error *error)
{
	size_t begin = 0;

	for (size_t i = 0; i < pe->section_count; i++) {
		const struct pe_section *section = &pe->sections[i];

		if (is_section(section, ".profile"))
			begin = i;
		if (!is_unique_section(section))
			continue;
		for (size_t j = begin; j < i; j++)
			if (is_section(&pe->sections[j], section->name))
				return error_failed(error, EBADMSG,
					"the UKI has two '%s' sections in one profile (sections "
					"%zu and %zu)",
					section->name, j + 1, i + 1);
	}
	return 0;
}

static const struct pe_section *find_section(
	const struct pe *pe, size_t begin, size_t end, const char *name)
{
	for (size_t i = begin; i < end; i++)
		if (is_section(&pe->sections[i], name))
			return &pe->sections[i];
	return NULL;
}

/* The bytes of a section as the default profile has it; data NULL when it has none. */
static struct span pick(const struct uki *uki, const char *name)
{
	size_t base_end = next_profile(&uki->pe, 0);
	const struct pe_section *section = NULL;

	if (base_end < uki->pe.section_count)
		section = find_section(
			&uki->pe, base_end, next_profile(&uki->pe, base_end + 1), name);
	if (!section)
		section = find_section(&uki->pe, 0, base_end, name);
	return section ? pe_section_bytes(uki->file, section) : (struct span){ NULL, 0 };
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
			"not a UKI: PE subsystem %u, an EFI application has %d", pe->subsystem,
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
		const struct pe_section *section = &uki->pe.sections[i];

		uki->device_tree |= is_section(section, ".dtb") || is_section(section, ".dtbauto")
				    || is_section(section, ".efifw");
	}
}

static int parse(struct span file, bool native, struct uki *ret, struct error *error)
{
	struct uki uki = { .file = file };
	int r;

	r = pe_parse(file, &uki.pe, error);
	if (r == 0 && native)
		r = check_machine(&uki.pe, error);
	if (r == 0)
		r = check_kind(&uki.pe, error);
	if (r < 0)
		return r;
	pick_sections(&uki);
	if (uki.kernel.size == 0)
		return error_failed(error, EBADMSG, "not a UKI: its .linux section is %s",
			uki.kernel.data ? "empty" : "missing");
	*ret = uki;
	return 0;
}

int uki_parse(struct span file, struct uki *ret, struct error *error)
{
	return parse(file, true, ret, error);
}

int uki_parse_any(struct span file, struct uki *ret, struct error *error)
{
	return parse(file, false, ret, error);
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
		const struct pe_section *section = &uki->pe.sections[i];
		struct span text;
		size_t count;

		if (!is_section(section, ".cmdline"))
			continue;
		text = up_to_nul(pe_section_bytes(uki->file, section));
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
int uki_check_kernel(const struct uki *uki, struct error *error)
{
	AUTO_FREE char *cmdline = NULL;
	struct kernel kernel;
	int r;

	/* Other kernels say nothing of their size. */
	if (uki->pe.machine != PE_MACHINE_X86_64)
		return 0;
	r = kernel_parse(uki->kernel, &kernel, error);
	if (r == 0)
		r = uki_cmdline(uki, &cmdline, error);
	if (r == 0 && strlen(cmdline) > kernel.cmdline_size)
		return error_failed(error, EBADMSG,
			"the UKI's command line has %zu characters, but its kernel takes at most "
			"%u and would ignore the rest: shorten it",
			strlen(cmdline), kernel.cmdline_size);
	return r;
}
