/* What is to be made of what, from arguments and questions. */
#include "migrate/host/host.h"
#include "sdk/base/names.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	NAME = 1,
	TYPE,
	SOURCE,
	MOUNT,
	POOL,
	PROJECT,
	PROFILE,
	CONFIG,
	NETWORK,
	TOKEN,
	URL,
	CERTIFICATE,
	KEY,
	FINGERPRINT
};

static const struct {
	int id;
	const char *name, *value, *help;
} rows[] = {
	{ NAME, "name", "NAME", "Name of the new instance." },
	{ TYPE, "type", "TYPE",
	    "\"container\" (of a tree of files) or \"virtual-machine\" (of a disk)." },
	{ SOURCE, "source", "PATH",
	    "Root of the tree (\"/\": this system), or the disk: a raw or qcow2 image or a block device." },
	{ MOUNT, "mount", "PATH",
	    "A file system mounted below the tree that belongs to it; may be given again." },
	{ POOL, "storage", "POOL", "Storage pool; else that of the profiles." },
	{ PROJECT, "project", "PROJECT", "Project; else \"default\"." },
	{ PROFILE, "profile", "PROFILE", "Profile; may be given again. Else \"default\"." },
	{ CONFIG, "config", "KEY=VALUE", "A configuration key; may be given again." },
	{ NETWORK, "network", "NETWORK",
	    "Network of its first card, eth0; else those of the profiles." },
	{ TOKEN, "token", "TOKEN",
	    "Of another server: what \"incus config trust add\" printed there." },
	{ URL, "url", "URL", "Of another server that trusts this certificate:" },
	{ CERTIFICATE, "certificate", "FILE", "client certificate (PEM)," },
	{ KEY, "key", "FILE", "its key (PEM)," },
	{ FINGERPRINT, "fingerprint", "HEX", "and the fingerprint of the server's certificate." },
	{ 'y', "yes", NULL, "Ask nothing." },
	{ 'q', "quiet", NULL, "Do not show how far it is." },
	{ 'h', "help", NULL, "Print this." },
};

static void print_help(void)
{
	puts(
	    "Usage: incus-migrate [options]\n\n"
	    "Makes an instance on an Incus server of this system, of another tree of files or of a "
	    "disk.\nAsks for what the options leave open. Where standard input is no terminal it may "
	    "have YAML\nwith config, devices, profiles and description, as for \"incus launch\".\n");
	for (gsize n = 0; n < G_N_ELEMENTS(rows); n++) {
		g_autofree char *left = g_strdup_printf(
		    "--%s %s", rows[n].name, rows[n].value ? rows[n].value : "");
		printf("  %-24s %s\n", left, rows[n].help);
	}
}

static void set(char **field, const char *value)
{
	g_free(*field);
	*field = g_strdup(value);
}

static int set_type(Migration *m, const char *value, Error **err)
{
	m->machine = strcmp(value, "virtual-machine") == 0;
	return m->machine || strcmp(value, "container") == 0 ?
	    0 :
	    error_set(err, ERROR_INVALID,
		"The type is \"container\" or \"virtual-machine\", not \"%s\"", value);
}

static int add_config(Migration *m, const char *pair, Error **err)
{
	if (!strchr(pair, '=') || *pair == '=')
		return error_set(err, ERROR_INVALID, "\"%s\" is no KEY=VALUE", pair);
	g_ptr_array_add(m->config, g_strdup(pair));
	return 0;
}

static int take(Migration *m, int id, const char *value, gboolean *ret_typed, Error **err)
{
	switch (id) {
	case NAME:
		set(&m->name, value);
		return 0;
	case TYPE:
		*ret_typed = TRUE;
		return set_type(m, value, err);
	case SOURCE:
		g_free(m->source);
		m->source = g_canonicalize_filename(value, NULL);
		return 0;
	case MOUNT:
		g_ptr_array_add(m->mounts, g_canonicalize_filename(value, NULL));
		return 0;
	case POOL:
		set(&m->pool, value);
		return 0;
	case PROJECT:
		set(&m->project, value);
		return 0;
	case PROFILE:
		g_ptr_array_add(m->profiles, g_strdup(value));
		return 0;
	case CONFIG:
		return add_config(m, value, err);
	case NETWORK:
		json_object_set_new(m->devices, "eth0",
		    json_pack("{s:s, s:s, s:s}", "type", "nic", "network", value, "name", "eth0"));
		return 0;
	case TOKEN:
		set(&m->token, value);
		return 0;
	case URL:
		set(&m->url, value);
		return 0;
	case CERTIFICATE:
		set(&m->certificate, value);
		return 0;
	case KEY:
		set(&m->key, value);
		return 0;
	case FINGERPRINT:
		set(&m->fingerprint, value);
		return 0;
	case 'y':
		m->yes = TRUE;
		return 0;
	case 'q':
		m->quiet = TRUE;
		return 0;
	default:
		return error_set(err, ERROR_INVALID, "See \"incus-migrate --help\"");
	}
}

/* ---- questions ---- */

/* A line (g_free); NULL at the end of input. */
static char *ask(const char *question, const char *fallback)
{
	char line[4096];
	printf(fallback ? "%s [%s]: " : "%s: ", question, fallback);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return NULL;
	g_strstrip(line);
	return g_strdup(*line || !fallback ? line : fallback);
}

static int need(const Migration *m, const char *option, Error **err)
{
	return m->yes || !isatty(STDIN_FILENO) ?
	    error_set(err, ERROR_INVALID, "\"--%s\" is missing", option) :
	    0;
}

static int ask_missing(Migration *m, gboolean typed, Error **err)
{
	if (!typed) {
		if (need(m, "type", err) < 0)
			return -1;
		g_autofree char *type = ask(
		    "Type of the instance (container, virtual-machine)", "container");
		if (!type || set_type(m, type, err) < 0)
			return error_prefix(err, "No type");
	}
	if (!m->name) {
		if (need(m, "name", err) < 0)
			return -1;
		m->name = ask("Name of the instance", NULL);
	}
	if (!m->source) {
		if (need(m, "source", err) < 0)
			return -1;
		g_autofree char *path = ask(
		    m->machine ? "Path of the disk" : "Root of the tree", m->machine ? NULL : "/");
		m->source = path ? g_canonicalize_filename(path, NULL) : NULL;
	}
	if (!m->name || !m->source)
		return error_set(err, ERROR_INVALID, "No answer was given");
	return name_check_instance(m->name, err);
}

static int confirm(const Migration *m, Error **err)
{
	if (m->yes || !isatty(STDIN_FILENO))
		return 0;
	printf("\nA %s \"%s\" will be made of \"%s\" on %s.\n",
	    m->machine ? "virtual machine" : "container", m->name, m->source,
	    m->url	 ? m->url :
		m->token ? "the server of the token" :
			   "this machine's server");
	g_autofree char *answer = ask("Go on? (yes, no)", "yes");
	return answer && g_ascii_strncasecmp(answer, "y", 1) == 0 ?
	    0 :
	    error_set(err, ERROR_CANCELLED, "Nothing was done");
}

int options_read(Migration *m, int argc, char **argv, Error **err)
{
	struct option options[G_N_ELEMENTS(rows) + 1] = { 0 };
	gboolean typed = FALSE;
	int id;
	for (gsize n = 0; n < G_N_ELEMENTS(rows); n++)
		options[n] = (struct option){ rows[n].name,
			rows[n].value ? required_argument : no_argument, NULL, rows[n].id };
	while ((id = getopt_long(argc, argv, "yqh", options, NULL)) != -1) {
		if (id == 'h') {
			print_help();
			return 1;
		}
		if (take(m, id, optarg, &typed, err) < 0)
			return -1;
	}
	if (optind < argc)
		return error_set(err, ERROR_INVALID, "\"%s\" is not understood", argv[optind]);
	if (settings_read(m, err) < 0 || ask_missing(m, typed, err) < 0)
		return -1;
	if (!m->profiles->len)
		g_ptr_array_add(m->profiles, g_strdup("default"));
	return confirm(m, err);
}
