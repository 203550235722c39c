/* Instances as the API shows them. */
#include "server/image/metadata.h"
#include "server/instance/private.h"
#include "server/instance/state.h"
#include "google/protobuf/timestamp.pb-c.h"

static Google__Protobuf__Timestamp *timestamp(Arena *arena, int64_t seconds)
{
	if (!seconds)
		return NULL;
	Google__Protobuf__Timestamp *t = arena_message(arena, Google__Protobuf__Timestamp, google__protobuf__timestamp);
	t->seconds = seconds;
	return t;
}

void instance_render(Instance *i, Arena *arena, Pb__Instance *out)
{
	InstanceStatus status = instance_status(i);
	g_mutex_lock(&i->lock);
	out->architecture = (char *)image_architecture_name((int)i->architecture);
	config_to_map(i->config, arena, &pb__instance__config_entry__descriptor, &out->n_config, &out->config);
	devices_to_map(i->devices, arena, &pb__instance__devices_entry__descriptor, &out->n_devices, &out->devices);
	config_to_map(i->expanded, arena, &pb__instance__expanded_config_entry__descriptor, &out->n_expanded_config, &out->expanded_config);
	devices_to_map(i->expanded_devices, arena, &pb__instance__expanded_devices_entry__descriptor, &out->n_expanded_devices,
	    &out->expanded_devices);
	out->n_profiles = g_strv_length(i->profiles);
	out->profiles = arena_alloc(arena, (out->n_profiles + 1) * sizeof(char *));
	for (size_t n = 0; n < out->n_profiles; n++)
		out->profiles[n] = arena_strdup(arena, i->profiles[n]);
	out->ephemeral = i->ephemeral;
	out->stateful = i->stateful;
	out->description = arena_strdup(arena, i->description);
	out->created_at = timestamp(arena, i->created);
	/* Never used is 1970 here, and not the year 1 that absent times are. */
	out->last_used_at = arena_message(arena, Google__Protobuf__Timestamp, google__protobuf__timestamp);
	out->last_used_at->seconds = i->last_used;
	out->name = (char *)i->name;
	out->project = (char *)i->project;
	g_mutex_unlock(&i->lock);
	out->restore = (char *)"";
	out->status = (char *)instance_status_name(status);
	out->status_code = (int32_t)status;
	out->location = (char *)"none";
	out->type = (char *)instance_type_name(i->type);
}

void instance_render_full(Instance *i, Arena *arena, Pb__Instance *out)
{
	instance_render(i, arena, out);
	out->state = arena_message(arena, Pb__InstanceState, pb__instance_state);
	instance_state(i, arena, out->state);
}
