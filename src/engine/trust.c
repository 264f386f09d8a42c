/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/trust.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/report.h"
#include "bistable/bistable.h"
#include "engine/context.h"
#include "engine/records.h"
#include "format/manifest.h"
#include "format/pe.h"
#include "format/version.h"
#include "machine/machine.h"

void trust_done(struct trust *trust)
{
	cms_signer_done(&trust->signer);
	*trust = (struct trust){ 0 };
}

int trust_unsigned(
	struct context *context, const struct trust_settings *settings, struct error *error)
{
	if (context->config.allow_unsigned || settings->allow_unsigned)
		return 0;
	return error_set(error, ERROR_REFUSED, EPERM,
		"the bundle carries no signature: sign it ('bistable bundle sign'), or allow that "
		"with --allow-unsigned, or allow-unsigned = yes in [system] of the configuration");
}

int64_t trust_earliest(const struct record *running)
{
	int64_t created = running && running->readable ? running->state.created : 0;

	return created > BISTABLE_EXISTS_SINCE ? created : BISTABLE_EXISTS_SINCE;
}

/* Server certificates are judged by the clock alone: that may be why a download fails. */
static void warn_of_clock(const struct context *context, const struct cms_policy *policy)
{
	char now[21] = "?", earliest[21] = "?";

	if (policy->now >= policy->earliest)
		return;
	manifest_time_format(policy->now, now);
	manifest_time_format(policy->earliest, earliest);
	report_warning(&context->observer.report,
		"The clock says %s, which is wrong; certificates are judged as of %s. Set the "
		"clock, or look after its battery",
		now, earliest);
}

static struct cms_policy make_policy(struct context *context, const struct trust_settings *settings)
{
	struct cms_policy policy = {
		.check_purpose = context->config.check_purpose,
		.now = context->machine->ops->now(context->machine),
		.earliest = trust_earliest(settings->running),
	};

	/* The clock may have been wrong then, too, but the bundle had been made. */
	if (settings->taken && settings->taken->state.installed > 0) {
		policy.now = settings->taken->state.installed;
		policy.earliest = settings->taken->state.created;
	}
	return policy;
}

static int read_pem(
	struct context *context, const char *path, struct buffer *out, struct error *error)
{
	struct error why = { 0 };
	int r;

	r = context->machine->ops->file_read(context->machine, path, KEYRING_SIZE_MAX, out, &why);
	if (r < 0 && r != -ENOENT)
		return error_set(error, ERROR_USAGE, -r, "%s", why.text);
	return r;
}

static int add_crls(struct context *context, struct keyring *keyring, struct error *error)
{
	const char *path = context->config.crl;
	AUTO_BUFFER struct buffer pem = { 0 };
	int r;

	r = read_pem(context, path, &pem, error);
	if (r == -ENOENT)
		return error_set(error, ERROR_USAGE, ENOENT, "there is no crl '%s'", path);
	if (r < 0)
		return r;
	r = keyring_add_crls(keyring, span_of(&pem), error);
	if (r < 0)
		error_prefix(error, "crl '%s'", path);
	return r;
}

/* *ret is NULL when there is no keyring. */
static int open_keyring(struct context *context, struct keyring **ret, struct error *error)
{
	const struct config *config = &context->config;
	AUTO_KEYRING struct keyring *keyring = NULL;
	AUTO_BUFFER struct buffer pem = { 0 };
	int r;

	*ret = NULL;
	r = read_pem(context, config->keyring, &pem, error);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = keyring_new(span_of(&pem), &keyring, error);
	if (r < 0)
		error_prefix(error, "keyring '%s'", config->keyring);
	else if (config->crl)
		r = add_crls(context, keyring, error);
	if (r == 0)
		*ret = TAKE(keyring);
	return r;
}

/* Nothing was configured that it could be verified against. */
static int without_keyring(
	struct context *context, const struct trust_settings *settings, struct error *error)
{
	const struct config *config = &context->config;

	if (!config->allow_unsigned && !settings->allow_unsigned)
		return error_set(error, ERROR_REFUSED, ENOKEY,
			"the bundle is signed, but there is no keyring '%s' to verify it against: "
			"put the certificates there that you trust, or name another file "
			"([system] keyring)",
			config->keyring);
	report_warning(&context->observer.report,
		"The bundle's signature is not verified: there is no keyring '%s'",
		config->keyring);
	return 0;
}

int trust_verify(struct context *context, const struct trust_settings *settings,
	struct span manifest, struct span signature, struct trust *ret, struct error *error)
{
	const struct cms_policy policy = make_policy(context, settings);
	AUTO_KEYRING struct keyring *keyring = NULL;
	int r;

	if (signature.size == 0)
		return trust_unsigned(context, settings, error);
	r = open_keyring(context, &keyring, error);
	if (r < 0)
		return r;
	if (!keyring)
		return without_keyring(context, settings, error);
	if (!settings->taken)
		warn_of_clock(context, &policy);
	r = cms_verify(keyring, manifest, signature, &policy, &ret->signer, error);
	ret->verified = r == 0;
	return r;
}

static int check_kind(
	const struct context *context, const struct manifest *manifest, struct error *error)
{
	const char *compatible = context->config.compatible;
	const char *architecture = pe_machine_name(PE_MACHINE_NATIVE);

	if (compatible && strcmp(compatible, manifest->compatible) != 0)
		return error_set(error, ERROR_REFUSED, EPERM,
			"the bundle is for '%s', but this system is '%s' ([system] compatible)",
			manifest->compatible, compatible);
	if (strcmp(architecture, manifest->architecture) != 0)
		return error_set(error, ERROR_REFUSED, EPERM,
			"the bundle is for %s machines, but this one is %s", manifest->architecture,
			architecture);
	return 0;
}

static int check_age(
	const struct record *running, const struct manifest *manifest, struct error *error)
{
	uint64_t epoch = (uint64_t)running->state.epoch;
	const char *version = running->state.version;

	if (manifest->epoch < epoch)
		return error_set(error, ERROR_REFUSED, EPERM,
			"the bundle's epoch is %" PRIu64 ", the running system's is %" PRIu64
			": going back is refused without --allow-downgrade",
			manifest->epoch, epoch);
	if (version && version_compare(manifest->version, version) < 0)
		return error_set(error, ERROR_REFUSED, EPERM,
			"the bundle's version %s is older than %s, which is running: going back "
			"is refused without --allow-downgrade",
			manifest->version, version);
	return 0;
}

static int check_downgrade(struct context *context, const struct trust_settings *settings,
	const struct manifest *manifest, struct error *error)
{
	const struct record *running = settings->running;

	if (context->config.allow_downgrade || settings->allow_downgrade || !running)
		return 0;
	if (running->exists && running->readable && running->state.version)
		return check_age(running, manifest, error);
	report_note(&context->observer.report,
		"The running system's version is not recorded: whether %s is older cannot be told",
		manifest->version);
	return 0;
}

int trust_manifest(struct context *context, const struct trust_settings *settings,
	const struct manifest *manifest, struct error *error)
{
	const struct cms_policy policy = make_policy(context, settings);
	char time[21] = "";
	int r;

	r = check_kind(context, manifest, error);
	if (r == 0)
		r = check_downgrade(context, settings, manifest, error);
	if (r < 0)
		return r;
	if (settings->taken || manifest->not_after == 0
		|| cms_policy_time(&policy) < manifest->not_after)
		return 0;
	manifest_time_format(manifest->not_after, time);
	return error_set(error, ERROR_REFUSED, ETIME,
		"the bundle is not to be installed from %s on: get a newer one (or check the "
		"clock)",
		time);
}
