/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/config.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "format/ini.h"
#include "source/source.h"

#define TIMEOUT_MAX (7 * 24 * 3600u)
#define KEYS_MAX    32

/* The values as they stand in the files, before %s and %l are expanded. */
struct draft {
	const char *path; /* what is being read */
	size_t line;
	bool seen[KEYS_MAX];   /* in this file */
	char *where[KEYS_MAX]; /* "file:line" of the value that holds */
	struct config config;
	char *bound, *boot_file, *description, *system_device;
	char *partition_number, *start, *size, *partuuid;
	char *backend;
};

static int set_text(void *place, const char *value)
{
	char *copy;

	if (!*value)
		return -EINVAL;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*(char **)place);
	*(char **)place = copy;
	return 0;
}

static int set_path(void *place, const char *value)
{
	return *value == '/' ? set_text(place, value) : -EINVAL;
}

static int set_count(void *place, const char *value)
{
	uint64_t count;

	return text_to_u64(value, INT64_MAX, &count) && count > 0 ? set_text(place, value)
								  : -EINVAL;
}

static int set_partition_number(void *place, const char *value)
{
	uint64_t number;

	return text_to_u64(value, UINT32_MAX, &number) && number > 0 ? set_text(place, value)
								     : -EINVAL;
}

static int set_guid(void *place, const char *value)
{
	struct guid guid;

	return guid_from_text(value, &guid) ? set_text(place, value) : -EINVAL;
}

static int set_bool(void *place, const char *value)
{
	static const char *const yes[] = { "yes", "true", "on", "1" };
	static const char *const no[] = { "no", "false", "off", "0" };

	for (size_t i = 0; i < 4; i++) {
		if (strcmp(value, yes[i]) == 0 || strcmp(value, no[i]) == 0) {
			*(bool *)place = strcmp(value, yes[i]) == 0;
			return 0;
		}
	}
	return -EINVAL;
}

static int set_seconds(void *place, const char *value)
{
	uint64_t seconds;

	if (!text_to_u64(value, TIMEOUT_MAX, &seconds) || seconds == 0)
		return -EINVAL;
	*(unsigned *)place = (unsigned)seconds;
	return 0;
}

static int set_activation(void *place, const char *value)
{
	return bistable_activation_from_name(value, place) ? 0 : -EINVAL;
}

static int add_header(void *place, const char *value)
{
	return strchr(value, ':') ? text_list_add(place, NULL, "%s", value) : -EINVAL;
}

static const char *const activation_names[] = {
	[BISTABLE_ACTIVATE_DEFAULT] = "default",
	[BISTABLE_ACTIVATE_NONE] = "none",
	[BISTABLE_ACTIVATE_REBOOT] = "reboot",
	[BISTABLE_ACTIVATE_KEXEC] = "kexec",
	[BISTABLE_ACTIVATE_KEXEC_ONLY] = "kexec-only",
};

const char *bistable_activation_name(enum bistable_activation activation)
{
	return activation_names[activation];
}

bool bistable_activation_from_name(const char *name, enum bistable_activation *ret)
{
	for (int i = BISTABLE_ACTIVATE_NONE; i <= BISTABLE_ACTIVATE_KEXEC_ONLY; i++) {
		if (strcmp(name, activation_names[i]) == 0) {
			*ret = (enum bistable_activation)i;
			return true;
		}
	}
	return false;
}

static const struct key {
	const char *section, *name;
	int (*set)(void *place, const char *value); /* 0, -EINVAL or -ENOMEM */
	size_t offset;
	const char *wants;
} keys[] = {
#define CONFIG(field) offsetof(struct draft, config.field)
#define DRAFT(field)  offsetof(struct draft, field)
	{ "system", "compatible", set_text, CONFIG(compatible), "text" },
	{ "system", "keyring", set_path, CONFIG(keyring), "an absolute path" },
	{ "system", "crl", set_path, CONFIG(crl), "an absolute path" },
	{ "system", "check-purpose", set_bool, CONFIG(check_purpose), "yes or no" },
	{ "system", "allow-unsigned", set_bool, CONFIG(allow_unsigned), "yes or no" },
	{ "system", "allow-downgrade", set_bool, CONFIG(allow_downgrade), "yes or no" },
	{ "system", "state-dir", set_path, CONFIG(state_dir), "an absolute path" },
	{ "slots", "cmdline-match", set_text, CONFIG(cmdline_match), "text with %s" },
	{ "slots", "placeholder", set_text, CONFIG(placeholder), "text" },
	{ "slots", "bound", set_text, DRAFT(bound), "text with %s" },
	{ "slots", "boot-file", set_text, DRAFT(boot_file), "a path with %s or %l" },
	{ "slots", "description", set_text, DRAFT(description), "text with %s" },
	{ "partition.system", "device", set_text, DRAFT(system_device), "a device with %s" },
	{ "esp", "mount", set_path, CONFIG(esp_mount), "an absolute path" },
	{ "esp", "remount", set_bool, CONFIG(esp_remount), "yes or no" },
	{ "esp", "partition-number", set_partition_number, DRAFT(partition_number), "a number" },
	{ "esp", "start", set_count, DRAFT(start), "a number of logical blocks" },
	{ "esp", "size", set_count, DRAFT(size), "a number of logical blocks" },
	{ "esp", "partuuid", set_guid, DRAFT(partuuid), "a GUID" },
	{ "boot", "backend", set_text, DRAFT(backend), "firmware" },
	{ "boot", "removable-path", set_bool, CONFIG(removable_path), "yes or no" },
	{ "activate", "default", set_activation, CONFIG(activation),
		"none, reboot, kexec or kexec-only" },
	{ "activate", "kexec", set_bool, CONFIG(kexec), "yes or no" },
	{ "download", "connect-timeout", set_seconds, CONFIG(connect_timeout), "seconds" },
	{ "download", "stall-timeout", set_seconds, CONFIG(stall_timeout), "seconds" },
	{ "download", "total-timeout", set_seconds, CONFIG(total_timeout), "seconds" },
	{ "download", "ca-file", set_text, CONFIG(ca_file), "a path" },
	{ "download", "client-cert", set_text, CONFIG(client_cert), "a path" },
	{ "download", "client-key", set_text, CONFIG(client_key), "a path" },
	{ "download", "header", add_header, CONFIG(headers), "'Name: value'" },
#undef CONFIG
#undef DRAFT
};

#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))
_Static_assert(KEY_COUNT <= KEYS_MAX, "room for all keys");

static size_t find_key(const char *section, const char *name)
{
	size_t i = 0;

	while (i < KEY_COUNT
		&& (strcmp(keys[i].section, section) != 0 || strcmp(keys[i].name, name) != 0))
		i++;
	return i;
}

/* Puts the place before an error that shows only when all is read. Returns `r`. */
static int blame(const struct draft *draft, const char *section, const char *name, int r,
	struct error *error)
{
	const char *where = draft->where[find_key(section, name)];

	if (r == -EINVAL && where)
		error_prefix(error, "%s", where);
	return r;
}

static int note_place(struct draft *draft, size_t key, struct error *error)
{
	free(draft->where[key]);
	draft->where[key] = text_format("%s:%zu", draft->path, draft->line);
	draft->seen[key] = true;
	return draft->where[key] ? 0 : error_memory(error);
}

static int handle(void *context, const char *section, const char *name, const char *value,
	struct error *error)
{
	struct draft *draft = context;
	const size_t i = find_key(section, name);
	const struct key *key = &keys[i];
	int r;

	if (i == KEY_COUNT)
		return error_set(error, ERROR_USAGE, EINVAL, "unknown key '%s' in section [%s]",
			name, section);
	/* A header may come many times. Of any other key one line would silently be lost. */
	if (draft->seen[i] && key->set != add_header)
		return error_set(error, ERROR_USAGE, EINVAL,
			"'%s' in [%s] comes twice, first at %s; remove one", name, section,
			draft->where[i]);
	r = key->set((char *)draft + key->offset, value);
	/* A header may hold a secret: its value is not shown. */
	if (r == -EINVAL && key->set == add_header)
		return error_set(error, ERROR_USAGE, EINVAL, "'%s' in [%s] wants %s", name, section,
			key->wants);
	if (r == -EINVAL)
		return error_set(error, ERROR_USAGE, EINVAL, "'%s' in [%s] wants %s, not '%s'",
			name, section, key->wants, value);
	return r < 0 ? error_memory(error) : note_place(draft, i, error);
}

static int read_file(struct machine *machine, const char *path, bool required, struct draft *draft,
	struct error *error)
{
	AUTO_FREE char *text = NULL;
	struct error why = { 0 };
	int r;

	r = machine->ops->read_text(machine, path, &text, &why);
	if (r == -ENOENT && !required)
		return 0;
	if (r < 0)
		return error_set(error, ERROR_USAGE, -r, "configuration %s cannot be read: %s",
			path, why.text);
	draft->path = path;
	memset(draft->seen, 0, sizeof(draft->seen));
	r = ini_parse(text, handle, draft, &draft->line, error);
	if (r < 0)
		error_prefix(error, "%s:%zu", path, draft->line);
	draft->path = NULL;
	return r;
}

static int list_drop_ins(
	struct machine *machine, const char *folder, struct text_list *names, struct error *error)
{
	struct error why = { 0 };
	int r;

	r = machine->ops->list(machine, folder, names, &why);
	if (r < 0 && r != -ENOENT)
		return error_set(error, ERROR_USAGE, -r, "configuration %s cannot be listed: %s",
			folder, why.text);
	return 0;
}

/* In the order of their names, wherever they lie; /etc hides an equal name. */
static int read_drop_ins(struct machine *machine, struct draft *draft, struct error *error)
{
	static const char *const folders[] = { "/etc/bistable/bistable.conf.d",
		"/usr/lib/bistable/bistable.conf.d" };
	AUTO_TEXT_LIST struct text_list local = { 0 }, all = { 0 };
	int r;

	r = list_drop_ins(machine, folders[0], &local, error);
	if (r == 0)
		r = list_drop_ins(machine, folders[1], &all, error);
	for (size_t i = 0; r == 0 && i < local.count; i++)
		if (!text_list_contains(&all, local.items[i]))
			r = text_list_add(&all, error, "%s", local.items[i]);
	text_list_sort(&all);
	for (size_t i = 0; r == 0 && i < all.count; i++) {
		const char *folder = folders[text_list_contains(&local, all.items[i]) ? 0 : 1];
		AUTO_FREE char *path = text_format("%s/%s", folder, all.items[i]);

		if (!path)
			r = error_memory(error);
		else if (text_ends_with(path, ".conf"))
			r = read_file(machine, path, true, draft, error);
	}
	return r;
}

static int expand_pair(const struct draft *draft, const char *section, const char *key,
	const char *pattern, char *ret[SLOT_COUNT], struct error *error)
{
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		ret[slot] = slot_expand(pattern, slot);
		if (!ret[slot])
			return error_memory(error);
	}
	if (strcmp(ret[SLOT_A], ret[SLOT_B]) == 0)
		return blame(draft, section, key,
			error_set(error, ERROR_USAGE, EINVAL,
				"%s = %s is the same for both slots: it needs %%s or %%l for the "
				"slot's letter",
				key, pattern),
			error);
	return 0;
}

/* "/EFI/x/boot-a.efi" -> "/EFI/x/boot-a.state" */
static char *path_beside(const char *boot_file, const char *suffix)
{
	const char *dot = strrchr(boot_file, '.'), *slash = strrchr(boot_file, '/');
	int length = (int)(dot && dot > slash ? dot - boot_file : (long)strlen(boot_file));

	return text_format("%.*s%s", length, boot_file, suffix);
}

static int finish_boot_files(struct config *config, struct error *error)
{
	const char *slash[SLOT_COUNT];

	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		const char *path = config->boot_file[slot];

		slash[slot] = strrchr(path, '/');
		if (path[0] != '/' || slash[slot] == path || strstr(path, "/../"))
			return error_set(error, ERROR_USAGE, EINVAL,
				"boot-file = %s: it must be a path in a folder of the ESP, such "
				"as /EFI/metropolis/boot-%%l.efi",
				path);
		config->state_file[slot] = path_beside(path, ".state");
		config->receipt_file[slot] = path_beside(path, ".receipt");
		if (!config->state_file[slot] || !config->receipt_file[slot])
			return error_memory(error);
	}
	if (strcasecmp(config->state_file[SLOT_A], config->state_file[SLOT_B]) == 0
		|| strcasecmp(config->state_file[SLOT_A], config->boot_file[SLOT_A]) == 0
		|| strcasecmp(config->receipt_file[SLOT_A], config->boot_file[SLOT_A]) == 0)
		return error_set(error, ERROR_USAGE, EINVAL,
			"boot-file: state records and receipts lie beside %s and %s with the "
			"suffixes .state and .receipt, and that names one file twice; put the "
			"slot's letter before the last dot, as in boot-%%l.efi",
			config->boot_file[SLOT_A], config->boot_file[SLOT_B]);
	if (slash[0] - config->boot_file[0] != slash[1] - config->boot_file[1]
		|| strncmp(config->boot_file[0], config->boot_file[1],
			(size_t)(slash[0] - config->boot_file[0])))
		return error_set(error, ERROR_USAGE, EINVAL,
			"boot-file: both slots' files must lie in one folder, not %s and %s",
			config->boot_file[0], config->boot_file[1]);
	config->folder = strndup(config->boot_file[0], (size_t)(slash[0] - config->boot_file[0]));
	return config->folder ? 0 : error_memory(error);
}

static int finish_location(struct draft *draft, struct error *error)
{
	struct esp_location *location = &draft->config.esp_location;
	uint64_t number;

	if (!draft->partition_number && !draft->start && !draft->size && !draft->partuuid)
		return 0;
	if (!draft->partition_number || !draft->start || !draft->size || !draft->partuuid)
		return error_set(error, ERROR_USAGE, EINVAL,
			"[esp] partition-number, start, size and partuuid go together: set all "
			"or none");
	/* Each of them was read before. */
	if (!text_to_u64(draft->partition_number, UINT32_MAX, &number)
		|| !text_to_u64(draft->start, UINT64_MAX, &location->start)
		|| !text_to_u64(draft->size, UINT64_MAX, &location->size)
		|| !guid_from_text(draft->partuuid, &location->partuuid))
		return error_set(error, ERROR_USAGE, EINVAL, "[esp]: invalid location");
	location->partition_number = (uint32_t)number;
	draft->config.has_esp_location = true;
	return 0;
}

static int check_bound(const struct draft *draft, struct error *error)
{
	const struct config *config = &draft->config;
	const char *key = draft->where[find_key("slots", "bound")] ? "bound" : "placeholder";

	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		if (strlen(config->bound[slot]) != strlen(config->placeholder))
			return blame(draft, "slots", key,
				error_set(error, ERROR_USAGE, EINVAL,
					"bound = %s and placeholder = %s must be of the same "
					"length: binding replaces in place",
					config->bound[slot], config->placeholder),
				error);
	return 0;
}

static int finish(struct draft *draft, struct error *error)
{
	struct config *config = &draft->config;
	int r;

	if (strcmp(draft->backend, "firmware") != 0)
		return blame(draft, "boot", "backend",
			error_set(error, ERROR_USAGE, EINVAL,
				"[boot] backend = %s: this version knows 'firmware' only",
				draft->backend),
			error);
	if (!strstr(config->cmdline_match, "%s"))
		return blame(draft, "slots", "cmdline-match",
			error_set(error, ERROR_USAGE, EINVAL,
				"cmdline-match = %s: it needs %%s for the slot's letter",
				config->cmdline_match),
			error);
	r = expand_pair(draft, "slots", "bound", draft->bound, config->bound, error);
	if (r == 0)
		r = expand_pair(
			draft, "slots", "boot-file", draft->boot_file, config->boot_file, error);
	if (r == 0)
		r = expand_pair(draft, "slots", "description", draft->description,
			config->description, error);
	if (r == 0)
		r = expand_pair(draft, "partition.system", "device", draft->system_device,
			config->system_device, error);
	if (r == 0)
		r = blame(draft, "slots", "boot-file", finish_boot_files(config, error), error);
	if (r == 0)
		r = finish_location(draft, error);
	return r < 0 ? r : check_bound(draft, error);
}

static int set_defaults(struct draft *draft)
{
	struct config *config = &draft->config;

	config->esp_remount = true;
	config->removable_path = true;
	config->activation = BISTABLE_ACTIVATE_REBOOT;
	config->kexec = true;
	config->connect_timeout = 10;
	config->stall_timeout = 30;
	config->total_timeout = SOURCE_TOTAL_TIMEOUT;
	if (set_text(&config->keyring, "/etc/bistable/keyring.pem") < 0
		|| set_text(&config->state_dir, "/var/lib/bistable") < 0
		|| set_text(&config->cmdline_match, "PARTLABEL=METROPOLIS-SYSTEM-%s") < 0
		|| set_text(&config->placeholder, "METROPOLIS-SYSTEM-X") < 0
		|| set_text(&draft->bound, "METROPOLIS-SYSTEM-%s") < 0
		|| set_text(&draft->boot_file, "/EFI/metropolis/boot-%l.efi") < 0
		|| set_text(&draft->description, "Metropolis Slot %s") < 0
		|| set_text(&draft->system_device, "PARTLABEL=METROPOLIS-SYSTEM-%s") < 0
		|| set_text(&draft->backend, "firmware") < 0)
		return -ENOMEM;
	return 0;
}

static void draft_done(struct draft *draft)
{
	config_done(&draft->config);
	for (size_t i = 0; i < KEYS_MAX; i++)
		free(draft->where[i]);
	free(draft->bound);
	free(draft->boot_file);
	free(draft->description);
	free(draft->system_device);
	free(draft->partition_number);
	free(draft->start);
	free(draft->size);
	free(draft->partuuid);
	free(draft->backend);
}

int config_load(struct machine *machine, const char *file, struct config *ret, struct error *error)
{
	CLEANUP(draft_done) struct draft draft = { 0 };
	int r;

	if (set_defaults(&draft) < 0)
		return error_memory(error);
	if (file) {
		r = read_file(machine, file, true, &draft, error);
	} else {
		r = read_file(machine, "/usr/lib/bistable/bistable.conf", false, &draft, error);
		if (r == 0)
			r = read_file(machine, "/etc/bistable/bistable.conf", false, &draft, error);
		if (r == 0)
			r = read_drop_ins(machine, &draft, error);
	}
	if (r == 0)
		r = finish(&draft, error);
	if (r < 0)
		return r;
	*ret = draft.config;
	draft.config = (struct config){ 0 };
	return 0;
}

void config_done(struct config *config)
{
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		free(config->bound[slot]);
		free(config->boot_file[slot]);
		free(config->state_file[slot]);
		free(config->receipt_file[slot]);
		free(config->description[slot]);
		free(config->system_device[slot]);
	}
	free(config->compatible);
	free(config->keyring);
	free(config->crl);
	free(config->state_dir);
	free(config->cmdline_match);
	free(config->placeholder);
	free(config->folder);
	free(config->esp_mount);
	free(config->ca_file);
	free(config->client_cert);
	free(config->client_key);
	text_list_done(&config->headers);
	*config = (struct config){ 0 };
}
