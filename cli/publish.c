/*
 * incus publish: instances and snapshots as images.
 */
#include "cli/image_commands.h"
#include "cli/instance.h"
#include <stdio.h>
#include <string.h>

typedef struct Publish {
	Cli *cli;
	Object instance;
	const char *snapshot; /* NULL: the instance */
	Server *target;       /* that gets the image */
	json_t *properties, *aliases, *taken; /* taken: aliases that others have (--reuse) */
	bool running, ephemeral;
} Publish;

/* ---- arguments ---- */

static int parse_source(Publish *p, Error **err)
{
	Cli *cli = p->cli;
	if (object_parse_named(cli, &instance_noun, cli->args[0], &p->instance, err) < 0)
		return -1;
	const char *slash = strchr(p->instance.name, '/');
	if (slash) {
		p->snapshot = slash + 1;
		const char *name = arena_strndup(
		    cli->arena, p->instance.name, (size_t)(slash - p->instance.name));
		p->instance = object_make(p->instance.server, &instance_noun, name);
	}
	return 0;
}

static int parse(Publish *p, Error **err)
{
	Cli *cli = p->cli;
	int first = 1;
	if (parse_source(p, err) < 0)
		return -1;
	p->target = p->instance.server;
	if (cli->n_args > 1 && g_str_has_suffix(cli->args[1], ":") && !strchr(cli->args[1], '=')) {
		p->target = server_of_argument(cli, 1, err);
		first = 2;
	}
	if (!p->target)
		return -1;
	if (p->target->remote != p->instance.server->remote)
		return error_set(err, ERROR_INVALID,
		    "The image is made where the instance is: leave the second remote out, then use \"incus image copy\"");
	p->properties = server_keep(cli, json_object());
	return read_pairs(cli, first, false, p->properties, err);
}

/* ---- aliases ---- */

/* With --reuse, names that others have are not asked for but moved afterwards. */
static void sort_aliases(Publish *p)
{
	unsigned n;
	const char *const *given = flag_list(p->cli, "alias", &n);
	p->aliases = server_keep(p->cli, json_array());
	p->taken = server_keep(p->cli, json_array());
	for (unsigned i = 0; i < n; i++) {
		g_autoptr(Error) missing = NULL;
		json_t *now = flag_bool(p->cli, "reuse") ?
		    server_call(p->target, "GetImageAlias", json_pack("{s:s}", "name", given[i]),
			&missing) :
		    NULL;
		if (now)
			json_array_append(p->taken, now);
		else if (!find_item(p->aliases, "name", given[i]))
			json_array_append_new(p->aliases, json_pack("{s:s}", "name", given[i]));
	}
}

/* The image that lost its last name goes. */
static int drop_nameless(Publish *p, const char *fingerprint, Error **err)
{
	json_t *image = server_call(
	    p->target, "GetImage", json_pack("{s:s}", "fingerprint", fingerprint), NULL);
	if (!image || json_array_size(json_object_get(image, "aliases")) > 0)
		return 0;
	return server_do(p->target, "DeleteImage", json_pack("{s:s}", "fingerprint", fingerprint),
		   NULL, err) ?
	    0 :
	    -1;
}

static int move_aliases(Publish *p, const char *fingerprint, Error **err)
{
	json_t *alias;
	size_t i;
	json_array_foreach (p->taken, i, alias) {
		json_t *request = json_pack("{s:s, s:{s:s, s:s}}", "name",
		    json_get_text(alias, "name"), "alias", "target", fingerprint, "description",
		    json_get_text(alias, "description"));
		if (!server_do(p->target, "UpdateImageAlias", request, NULL, err))
			return -1;
	}
	json_array_foreach (p->taken, i, alias)
		if (strcmp(json_get_text(alias, "target"), fingerprint) != 0 &&
		    drop_nameless(p, json_get_text(alias, "target"), err) < 0)
			return -1;
	return 0;
}

/* ---- a running instance ---- */

static int set_ephemeral(Publish *p, bool ephemeral, Error **err)
{
	json_t *data = object_get(&p->instance, err);
	if (!data)
		return -1;
	json_object_set_new(data, "ephemeral", json_boolean(ephemeral));
	return object_put(&p->instance, data, err);
}

/* With --force: an ephemeral one must not be deleted by the stop. */
static int hold(Publish *p, Error **err)
{
	json_t *data = p->snapshot ? NULL : object_get(&p->instance, err);
	if (!data)
		return p->snapshot ? 0 : -1;
	int64_t status = json_get_int(data, "status_code");
	if (status == 0 || status == 102)
		return 0;
	if (!flag_bool(p->cli, "force"))
		return error_set(err, ERROR_INVALID,
		    "The instance is currently running. Use --force to have it stopped and restarted");
	p->ephemeral = json_is_true(json_object_get(data, "ephemeral"));
	if (p->ephemeral && set_ephemeral(p, false, err) < 0)
		return -1;
	if (instance_change_state(
		&p->instance, "stop", -1, true, false, "Stopping the instance", err) < 0) {
		if (p->ephemeral)
			set_ephemeral(p, true, NULL);
		return -1;
	}
	p->running = true;
	return 0;
}

static int let_go(Publish *p, Error **err)
{
	if (!p->running)
		return 0;
	if (instance_change_state(
		&p->instance, "start", -1, false, false, "Starting the instance", err) < 0)
		return -1;
	return p->ephemeral ? set_ephemeral(p, true, err) : 0;
}

/* ---- the command ---- */

static json_t *publish(Publish *p, Error **err)
{
	Cli *cli = p->cli;
	const char *name = p->snapshot ?
	    arena_printf(cli->arena, "%s/%s", p->instance.name, p->snapshot) :
	    p->instance.name;
	json_t *post = json_pack("{s:{s:s, s:s}, s:b, s:s, s:O, s:O}", "source", "type",
	    p->snapshot ? "snapshot" : "instance", "name", name, "public", flag_bool(cli, "public"),
	    "compression_algorithm", flag_string(cli, "compression"), "properties", p->properties,
	    "aliases", p->aliases);
	if (*flag_string(cli, "expire"))
		json_object_set_new(post, "expires_at", json_string(flag_string(cli, "expire")));
	return image_create(p->target, post, "", "Publishing instance", err);
}

static int run(Cli *cli, Error **err)
{
	Publish p = { .cli = cli };
	if (parse(&p, err) < 0)
		return -1;
	sort_aliases(&p);
	if (hold(&p, err) < 0)
		return -1;
	json_t *done = publish(&p, err);
	/* It is started again whatever became of the image. */
	if (let_go(&p, done ? err : NULL) < 0 || !done)
		return -1;
	const char *fingerprint = json_get_text(json_object_get(done, "metadata"), "fingerprint");
	if (move_aliases(&p, fingerprint, err) < 0)
		return -1;
	if (!cli->quiet)
		printf("Instance published with fingerprint: %s\n", fingerprint);
	return 0;
}

static const Flag flags[] = {
	{ "alias", 0, FLAG_LIST, NULL, "Name for the image; may be given several times" },
	{ "compression", 0, FLAG_STRING, NULL,
	    "Compression: zstd, gzip, xz, bzip2, none (the server's choice)" },
	{ "expire", 0, FLAG_STRING, NULL, "When the image expires (2030-01-02T03:04:05Z)" },
	{ "force", 'f', FLAG_BOOL, NULL, "Stop a running instance, and start it again" },
	{ "public", 0, FLAG_BOOL, NULL, "Anybody may see and export the image" },
	{ "reuse", 0, FLAG_BOOL, NULL,
	    "Take aliases from other images; those left without any are deleted" },
	FLAG_END,
};

const Command publish_commands[] = {
	{ .path = "publish",
	    .usage = "[<remote>:]<instance>[/<snapshot>] [<remote>:] [key=value...]",
	    .min_args = 1,
	    .max_args = -1,
	    .flags = flags,
	    .summary = "Publish instances as images",
	    .help =
		"Makes an image of a stopped instance, or of a snapshot. Keys and values are its properties.",
	    .examples = "incus publish c1 --alias web os=debian\n"
			"incus publish c1/before-upgrade --alias web-old --compression xz",
	    .run = run,
	    .complete = "instance" },
	{ 0 },
};
