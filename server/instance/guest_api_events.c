/* What changes of an instance, told to those who listen inside. */
#include "server/instance/guest_api_private.h"
#include "sdk/base/json_text.h"
#include "server/rpc/method.h"
#include "server/rpc/websocket.h"
#include "incus/v1/common.pb-c.h"
#include "incus/v1/instance.pb-c.h"
#include <string.h>

enum { LOOK_MS = 250 }; /* how soon a listener that went is noticed */

static const char *const known_types[] = { "config", "device", NULL };

static char *address_of(const Instance *i)
{
	return g_strdup_printf("%s/%s", i->project, i->name);
}

/* ---- telling ---- */

static void tell(Instance *i, const char *type, const char *metadata)
{
	g_autofree char *address = address_of(i);
	event_send(guest_api_hub(i->daemon), type, address, metadata);
}

static void tell_key(Instance *i, const char *key, const char *was, const char *is)
{
	if (g_strcmp0(was, is) == 0 ||
	    (!g_str_has_prefix(key, "user.") && !g_str_has_prefix(key, "cloud-init.")))
		return;
	g_autofree char *metadata = json_text_object(
	    "key", key, "old_value", was ? was : "", "value", is ? is : "", NULL);
	tell(i, "config", metadata);
}

static void tell_device(Instance *i, const char *name, const char *action, const Config *device)
{
	g_autoptr(GString) json = g_string_new("{\"action\":");
	json_text_append(json, action);
	g_string_append(json, ",\"name\":");
	json_text_append(json, name);
	g_string_append(json, ",\"config\":");
	guest_api_add_config(json, device);
	g_string_append_c(json, '}');
	tell(i, "device", json->str);
}

static void tell_devices(Instance *i, const Devices *before, const Devices *now)
{
	GHashTableIter iter;
	void *name, *device;
	g_hash_table_iter_init(&iter, (GHashTable *)before);
	while (g_hash_table_iter_next(&iter, &name, &device))
		if (!devices_get(now, name))
			tell_device(i, name, "removed", device);
	g_hash_table_iter_init(&iter, (GHashTable *)now);
	while (g_hash_table_iter_next(&iter, &name, &device)) {
		const Config *old = devices_get(before, name);
		if (!old || !config_equal(old, device))
			tell_device(i, name, old ? "updated" : "added", device);
	}
}

void guest_api_tell_change(Instance *i, const Config *old_config, const Devices *old_devices)
{
	g_autoptr(Config) config = instance_expanded_config(i);
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	GHashTableIter iter;
	void *key, *value;
	if (!instance_running(i) ||
	    (!event_hub_wants(guest_api_hub(i->daemon), "config") &&
		!event_hub_wants(guest_api_hub(i->daemon), "device")))
		return;
	g_hash_table_iter_init(&iter, (GHashTable *)old_config);
	while (g_hash_table_iter_next(&iter, &key, &value))
		tell_key(i, key, value, config_get(config, key));
	g_hash_table_iter_init(&iter, config);
	while (g_hash_table_iter_next(&iter, &key, &value))
		if (!config_get(old_config, key))
			tell_key(i, key, NULL, value);
	tell_devices(i, old_devices, devices);
}

/* ---- listening ---- */

/* {"timestamp":..., "type":..., "metadata":{...}}; g_free. */
static char *event_text(const Event *event)
{
	g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(event->time_us / G_USEC_PER_SEC);
	g_autofree char *moment = g_date_time_format(time, "%Y-%m-%dT%H:%M:%S");
	return g_strdup_printf("{\"timestamp\":\"%s.%06dZ\",\"type\":\"%s\",\"metadata\":%s}",
	    moment, (int)(event->time_us % G_USEC_PER_SEC), event->type, event->metadata_json);
}

typedef int (*SendText)(void *data, const char *text, Error **err);

static char **wanted_types(const Exchange *ex)
{
	static const char name[] = "type=";
	const char *value = ex->head.query + strlen(name);
	g_autofree char *text = g_str_has_prefix(ex->head.query, name) ?
	    http_percent_decode(value, strcspn(value, "&"), TRUE) :
	    NULL;
	return text && *text ? g_strsplit(text, ",", 8) : g_strdupv((char **)known_types);
}

static int listen_for(Exchange *ex, Instance *i, SendText send, void *data, Error **err)
{
	g_autofree char *address = address_of(i);
	g_auto(GStrv) types = wanted_types(ex);
	EventListener *listener = event_listen(
	    guest_api_hub(ex->daemon), (const char *const *)types, address);
	int result = send(data, NULL, err); /* from now on nothing is missed */
	while (result == 0 && !request_cancelled(&ex->rq) && instance_running(i)) {
		g_autoptr(Event) event = NULL;
		int got = event_next(listener, LOOK_MS, &event, err);
		if (got < 0)
			result = -1;
		if (got != 1)
			continue;
		g_autofree char *text = event_text(event);
		result = send(data, text, err);
	}
	event_listener_free(listener);
	return result;
}

static int send_frame(void *data, const char *text, Error **err)
{
	Pb__Frame frame = PB__FRAME__INIT;
	if (!text)
		return stream_open(data, err);
	frame.text = TRUE;
	frame.data = (ProtobufCBinaryData){ strlen(text), (uint8_t *)text };
	return stream_send(data, &frame, err);
}

static int send_line(void *data, const char *text, Error **err)
{
	if (!text)
		return exchange_begin(data, 200, "application/json", -1, err);
	g_autofree char *line = g_strconcat(text, "\n", NULL);
	return exchange_write(data, line, strlen(line), err);
}

static int serve_frames(Request *rq, const void *in, Stream *stream, Error **err)
{
	const Pb__GetInstanceRequest *which = in;
	g_autoptr(Instance) i = NULL;
	if (instance_get(rq->daemon, which->project, which->name, &i, err) < 0)
		return -1;
	return listen_for(rq->door, i, send_frame, stream, err);
}

int guest_api_events(GuestRequest *rq, Error **err)
{
	static const SchemaMethod schema = { .name = "GetGuestEvents",
		.kind = METHOD_BIDI,
		.input = &pb__frame__descriptor,
		.output = &pb__frame__descriptor,
		.envelope = ENVELOPE_WEBSOCKET };
	static const Method method = { .schema = &schema, .stream = serve_frames };
	Pb__GetInstanceRequest which = PB__GET_INSTANCE_REQUEST__INIT;
	which.project = (char *)rq->instance->project;
	which.name = (char *)rq->instance->name;
	if (rq->ex->head.upgrade)
		return websocket_serve(rq->ex, &method, &which.base, err);
	int result = listen_for(rq->ex, rq->instance, send_line, rq->ex, err);
	return result < 0 ? -1 : exchange_end(rq->ex, err);
}
