/* The requests of the guest API, one row each. */
#include "server/instance/guest_api_private.h"
#include "sdk/base/json_text.h"
#include "server/image/image.h"
#include "server/rpc/rest.h"
#include <jansson.h>
#include <string.h>

enum { BODY_MAX = 64 * 1024 };

static int reply_json(GuestRequest *rq, const GString *json, Error **err)
{
	return exchange_reply(rq->ex, 200, "application/json", json->str, json->len, err);
}

static int reply_text(GuestRequest *rq, const char *text, Error **err)
{
	return exchange_reply(rq->ex, 200, "application/octet-stream", text, strlen(text), err);
}

static int get_root(GuestRequest *rq, Error **err)
{
	g_autoptr(GString) json = g_string_new("[\"/1.0\"]\n");
	return reply_json(rq, json, err);
}

static int get_server(GuestRequest *rq, Error **err)
{
	g_autofree char *text = json_text_object("api_version", "1.0", "location", "none",
	    "instance_type", instance_type_name(rq->instance->type), "state",
	    guest_api_is_ready(rq->instance) ? "Ready" : "Started", NULL);
	g_autoptr(GString) json = g_string_new(text);
	return reply_json(rq, json, err);
}

/* {"state": "Ready"}; FALSE: not so. */
static gboolean wants_ready(const char *body, size_t length, gboolean *ret_ready)
{
	json_t *root = json_loadb(body, length, 0, NULL);
	const char *state = json_string_value(json_object_get(root, "state"));
	gboolean known = g_strcmp0(state, "Ready") == 0 || g_strcmp0(state, "Started") == 0;
	*ret_ready = known && strcmp(state, "Ready") == 0;
	json_decref(root);
	return known;
}

static int set_state(GuestRequest *rq, Error **err)
{
	char *body;
	size_t length;
	gboolean ready;
	Instance *i = rq->instance;
	if (exchange_read_all(rq->ex, BODY_MAX, &body, &length, err) < 0)
		return -1;
	if (!wants_ready(body, length, &ready))
		return error_set(err, ERROR_INVALID, "Invalid state");
	/* Said again it is no news: a guest may say it for ever. */
	if (ready != guest_api_is_ready(i)) {
		if (instance_volatile_set(i, "last_state.ready", ready ? "true" : "false", err) < 0)
			return -1;
		if (ready)
			instance_event(i, "instance-ready", NULL, NULL);
	}
	return exchange_reply(rq->ex, 200, "text/plain", "", 0, err);
}

static gboolean is_shown(const char *key)
{
	return g_str_has_prefix(key, "user.") || g_str_has_prefix(key, "cloud-init.");
}

static int list_config(GuestRequest *rq, Error **err)
{
	guint n;
	g_autoptr(Config) config = instance_expanded_config(rq->instance);
	g_autofree const char **keys = config_sorted_keys(config, &n);
	g_autoptr(GString) json = g_string_new("[");
	for (guint k = 0; k < n; k++) {
		g_autofree char *url = g_strconcat("/1.0/config/", keys[k], NULL);
		if (!is_shown(keys[k]))
			continue;
		g_string_append(json, json->len > 1 ? "," : "");
		json_text_append(json, url);
	}
	g_string_append(json, "]\n");
	return reply_json(rq, json, err);
}

static int get_config(GuestRequest *rq, Error **err)
{
	if (!is_shown(rq->rest))
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	g_autofree char *value = instance_expanded_get(rq->instance, rq->rest);
	return value ? reply_text(rq, value, err) : error_set(err, ERROR_NOT_FOUND, "not found");
}

void guest_api_add_config(GString *json, const Config *config)
{
	guint n;
	g_autofree const char **keys = config_sorted_keys(config, &n);
	g_string_append_c(json, '{');
	for (guint k = 0; k < n; k++) {
		g_string_append(json, k ? "," : "");
		json_text_append(json, keys[k]);
		g_string_append_c(json, ':');
		json_text_append(json, config_get(config, keys[k]));
	}
	g_string_append_c(json, '}');
}

static void add_device(Instance *i, const char *name, const Config *device, GString *json)
{
	g_autoptr(Config) shown = config_copy(device);
	if (g_strcmp0(config_get(device, "type"), "nic") == 0 && !config_get(device, "hwaddr")) {
		g_autofree char *key = g_strconcat(name, ".hwaddr", NULL);
		g_autofree char *hwaddr = instance_volatile_get(i, key);
		config_set(shown, "hwaddr", hwaddr);
	}
	json_text_append(json, name);
	g_string_append_c(json, ':');
	guest_api_add_config(json, shown);
}

static int list_devices(GuestRequest *rq, Error **err)
{
	guint n;
	g_autoptr(GHashTable) devices = instance_expanded_devices(rq->instance);
	g_autofree const char **names = device_sorted(devices, &n);
	g_autoptr(GString) json = g_string_new("{");
	for (guint k = 0; k < n; k++) {
		g_string_append(json, k ? "," : "");
		add_device(rq->instance, names[k], devices_get(devices, names[k]), json);
	}
	g_string_append(json, "}\n");
	return reply_json(rq, json, err);
}

/* What cloud-init reads first. */
static int get_meta_data(GuestRequest *rq, Error **err)
{
	g_autofree char *id = instance_volatile_get(rq->instance, "cloud-init.instance-id");
	g_autofree char *more = instance_expanded_get(rq->instance, "user.meta-data");
	g_autofree char *text = g_strdup_printf(
	    "#cloud-config\ninstance-id: %s\nlocal-hostname: %s\n%s", id ? id : rq->instance->name,
	    rq->instance->name, more ? more : "");
	return reply_text(rq, text, err);
}

/* An image that anybody may have, or that the server only keeps for its instances. The REST door
 * sends it, asked for by us: the guest chooses nothing but the fingerprint. */
static int export_image(GuestRequest *rq, Error **err)
{
	Arena *arena = rq->ex->rq.arena;
	Pb__Image *image;
	g_autoptr(Config) config = instance_expanded_config(rq->instance);
	g_auto(GStrv) words = g_strsplit(rq->rest, "/", 3);
	if (g_strv_length(words) != 2 || strcmp(words[1], "export") != 0)
		return error_set(err, ERROR_NOT_FOUND, "not found");
	if (!config_true(config, "security.guestapi.images"))
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	if (image_get(rq->ex->daemon, rq->instance->project, words[0], FALSE, arena, &image, err) <
	    0)
		return -1;
	if (!image->public_ && !image->cached)
		return error_set(err, ERROR_NOT_FOUND, "not found");
	g_autofree char *project = http_percent_encode(rq->instance->project);
	rq->ex->head.path = arena_printf(arena, "/1.0/images/%s/export", image->fingerprint);
	rq->ex->head.query = arena_printf(arena, "project=%s", project);
	rest_answer_as_admin(rq->ex);
	return 0;
}

/* ---- the table ---- */

static const struct {
	const char *verb, *path; /* "*" at the end: anything */
	int (*answer)(GuestRequest *rq, Error **err);
	gboolean always; /* whatever security.guestapi says */
} rows[] = {
	{ "GET", "/", get_root, TRUE },
	{ "GET", "/1.0", get_server, TRUE },
	{ "PATCH", "/1.0", set_state, FALSE },
	{ "GET", "/1.0/config", list_config, FALSE },
	{ "GET", "/1.0/config/*", get_config, FALSE },
	{ "GET", "/1.0/devices", list_devices, FALSE },
	{ "GET", "/1.0/events", guest_api_events, FALSE },
	{ "GET", "/1.0/images/*", export_image, FALSE },
	{ "GET", "/1.0/meta-data", get_meta_data, FALSE },
};

static gboolean fits(const char *pattern, const char *path, const char **ret_rest)
{
	size_t length = strlen(pattern) - 1;
	if (pattern[length] != '*')
		return strcmp(pattern, path) == 0;
	*ret_rest = path + length;
	return strncmp(pattern, path, length) == 0 && **ret_rest;
}

static int answer(GuestRequest *rq, const char *path, Error **err)
{
	g_autoptr(Config) config = instance_expanded_config(rq->instance);
	const char *verb = rq->ex->head_only ? "GET" : rq->ex->head.method;
	gboolean known = FALSE;
	for (gsize n = 0; n < G_N_ELEMENTS(rows); n++) {
		if (!fits(rows[n].path, path, &rq->rest))
			continue;
		known = TRUE;
		if (strcmp(rows[n].verb, verb) != 0)
			continue;
		if (!rows[n].always && config_false(config, "security.guestapi"))
			return error_set(err, ERROR_FORBIDDEN, "not authorized");
		return rows[n].answer(rq, err);
	}
	return known ? error_set(err, ERROR_METHOD, "method not allowed") :
		       error_set(err, ERROR_NOT_FOUND, "not found");
}

static void refuse(Exchange *ex, int status, const char *why)
{
	g_autofree char *text = g_strconcat(why, "\n", NULL);
	if (!ex->begun)
		exchange_reply(ex, status, "text/plain; charset=utf-8", text, strlen(text), NULL);
	else
		ex->keep_alive = FALSE;
}

void guest_api_answer(GuestRequest *rq)
{
	g_autoptr(Error) err = NULL;
	const char *raw = rq->ex->head.path;
	g_autofree char *path = http_percent_decode(raw, strlen(raw), FALSE);
	if (!rq->instance)
		refuse(rq->ex, 401, "Access denied for non-root user");
	else if (!path)
		refuse(rq->ex, 400, "Bad Request");
	else if (answer(rq, path, &err) < 0)
		refuse(rq->ex, error_row(err->kind)->http_status, err->message);
}
