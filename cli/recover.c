/*
 * incus admin recover: what is on disk and the database has lost gets its rows back.
 */
#include "cli/ask.h"
#include "cli/server.h"
#include "sdk/base/names.h"
#include <stdio.h>
#include <string.h>

typedef struct Recover {
	Server *server;
	json_t *known;	 /* pools as the server has them */
	json_t *unknown; /* pools as the user has described them */
} Recover;

static const char *source_of(const json_t *pool)
{
	return json_get_text(json_object_get(pool, "config"), "source");
}

static void print_pool(const char *before, const json_t *pool)
{
	printf(" - %s%s (backend=\"%s\", source=\"%s\")\n", before, json_get_text(pool, "name"),
	    json_get_text(pool, "driver"), source_of(pool));
}

/* ---- questions ---- */

static int check_given(const char *text, Error **err)
{
	return *text ? 0 : error_set(err, ERROR_INVALID, "A value is needed");
}

static int check_property(const char *text, Error **err)
{
	return !*text || strchr(text, '=') ?
	    0 :
	    error_set(err, ERROR_INVALID, "Config option should be in the format KEY=VALUE");
}

static char *ask_driver(const Recover *recover, Error **err)
{
	json_t *facts = server_call(recover->server, "GetServer", NULL, err), *driver;
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	size_t n;
	if (!facts)
		return NULL;
	json_array_foreach (
	    json_object_get(json_object_get(facts, "environment"), "storage_supported_drivers"), n,
	    driver)
		g_ptr_array_add(names, (void *)json_get_text(driver, "Name"));
	g_ptr_array_add(names, NULL);
	g_autofree char *list = g_strjoinv(", ", (char **)names->pdata);
	g_autofree char *question = g_strdup_printf("Name of the storage backend (%s)", list);
	for (;;) {
		g_autofree char *answer = ask(question, NULL, err);
		if (!answer || g_strv_contains((const char *const *)names->pdata, answer))
			return g_steal_pointer(&answer);
		printf("Invalid input: Invalid value \"%s\" (not one of %s)\n\n", answer, list);
	}
}

static int ask_properties(json_t *config, Error **err)
{
	for (;;) {
		g_autofree char *line = ask_checked(
		    "Additional storage pool configuration property (KEY=VALUE, empty when done)",
		    NULL, check_property, err);
		if (!line)
			return -1;
		if (!*line)
			return 0;
		char *equals = strchr(line, '=');
		*equals = '\0';
		json_object_set_new(config, line, json_string(equals + 1));
	}
}

static int ask_pool(Recover *recover, Error **err)
{
	g_autofree char *name = ask_checked("Name of the storage pool", NULL, name_check_pool, err);
	g_autofree char *driver = name ? ask_driver(recover, err) : NULL;
	g_autofree char *source = driver ?
	    ask_checked(
		"Source of the storage pool (block device, volume group, dataset, path, ... as applicable)",
		NULL, check_given, err) :
	    NULL;
	if (!source)
		return -1;
	json_t *pool = json_pack(
	    "{s:s, s:s, s:{s:s}}", "name", name, "driver", driver, "config", "source", source);
	json_array_append_new(recover->unknown, pool);
	return ask_properties(json_object_get(pool, "config"), err);
}

static int ask_pools(Recover *recover, Error **err)
{
	json_t *pool;
	size_t n;
	if (json_array_size(recover->known))
		printf("This server currently has the following storage pools:\n");
	json_array_foreach (recover->known, n, pool)
		print_pool("", pool);
	for (;;) {
		int more = ask_yes("Would you like to recover another storage pool?", false, err);
		if (more <= 0)
			return more;
		if (ask_pool(recover, err) < 0)
			return -1;
	}
}

/* ---- what the server finds ---- */

static void print_found(const Recover *recover, const json_t *volumes)
{
	json_t *one;
	size_t n;
	if (json_array_size(recover->unknown))
		printf("The following unknown storage pools have been found:\n");
	json_array_foreach (recover->unknown, n, one)
		printf(" - Storage pool \"%s\" of type \"%s\"\n", json_get_text(one, "name"),
		    json_get_text(one, "driver"));
	if (json_array_size(volumes))
		printf("The following unknown volumes have been found:\n");
	json_array_foreach ((json_t *)volumes, n, one) {
		g_autofree char *type = g_strdup(json_get_text(one, "type"));
		*type = g_ascii_toupper(*type);
		printf(" - %s \"%s\" on pool \"%s\" in project \"%s\" (includes %" G_GINT64_FORMAT
		       " snapshots)\n",
		    type, json_get_text(one, "name"), json_get_text(one, "pool"),
		    json_get_text(one, "project"), json_get_int(one, "snapshotCount"));
	}
}

static json_t *request(const Recover *recover)
{
	return json_pack("{s:{s:O}}", "recovery", "pools", recover->unknown);
}

/* 1: there is something to do; 0: there is not; -1. Asks again until nothing is missing. */
static int find(const Recover *recover, Error **err)
{
	for (;;) {
		json_t *found = server_call(
			   recover->server, "ValidateRecovery", request(recover), err),
		       *text;
		size_t n;
		if (!found)
			return -1;
		const json_t *volumes = json_object_get(found, "UnknownVolumes"),
			     *missing = json_object_get(found, "DependencyErrors");
		if (json_array_size(volumes) + json_array_size(recover->unknown) == 0) {
			printf("No unknown storage pools or volumes found. Nothing to do.\n");
			return 0;
		}
		print_found(recover, volumes);
		if (json_array_size(missing) == 0)
			return 1;
		printf("You are currently missing the following:\n");
		json_array_foreach ((json_t *)missing, n, text)
			printf(" - %s\n", json_string_value(text));
		g_autofree char *enter = ask(
		    "Please create those missing entries and then hit ENTER", NULL, err);
		if (!enter)
			return -1;
	}
}

static int scan_and_import(const Recover *recover, Error **err)
{
	json_t *pool;
	size_t n;
	printf("The recovery process will be scanning the following storage pools:\n");
	json_array_foreach (recover->known, n, pool)
		print_pool("EXISTING: ", pool);
	json_array_foreach (recover->unknown, n, pool)
		print_pool("NEW: ", pool);
	int yes = ask_yes("Would you like to continue with scanning for lost volumes?", true, err);
	if (yes <= 0)
		return yes;
	printf("Scanning for unknown volumes...\n");
	int found = find(recover, err);
	if (found <= 0)
		return found;
	yes = ask_yes("Would you like those to be recovered?", false, err);
	if (yes <= 0)
		return yes;
	printf("Starting recovery...\n");
	return server_call(recover->server, "ImportRecovery", request(recover), err) ? 0 : -1;
}

static int recover_run(Cli *cli, Error **err)
{
	Recover recover = { .server = server_get(cli, "local", err) };
	if (!recover.server ||
	    !(recover.known = server_list(recover.server, "GetStoragePools", NULL, err)))
		return -1;
	recover.unknown = server_keep(cli, json_array());
	return ask_pools(&recover, err) < 0 ? -1 : scan_and_import(&recover, err);
}

const Command recover_commands[] = {
	{ .path = "admin recover",
	    .max_args = 0,
	    .summary = "Bring back instances and volumes that the database has lost",
	    .help =
		"Looks in the storage pools, known ones and those that you describe, for instances and custom\n"
		"volumes without an entry in the database, and makes the entries anew from what is there and\n"
		"from each instance's backup.yaml. Projects, profiles and networks that they use must exist.",
	    .run = recover_run },
	{ 0 },
};
