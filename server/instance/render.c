/* Instances as the API shows them. */
#include "sdk/base/moment_message.h"
#include "server/image/metadata.h"
#include "server/instance/private.h"
#include "server/instance/state.h"
#include <string.h>

static const struct {
	const char *field;
	RenderParts part;
} parts_of[] = {
	{ "config", RENDER_CONFIG },
	{ "devices", RENDER_DEVICES },
	{ "expanded_config", RENDER_EXPANDED_CONFIG },
	{ "expanded_devices", RENDER_EXPANDED_DEVICES },
	{ "profiles", RENDER_PROFILES },
	{ "state", RENDER_STATE },
};

RenderParts render_parts(char *const *fields, size_t n)
{
	unsigned parts = 0;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < G_N_ELEMENTS(parts_of); k++)
			if (strcmp(fields[i], parts_of[k].field) == 0)
				parts |= parts_of[k].part;
	return n ? (RenderParts)parts : RENDER_ALL;
}

/* i->lock held. */
static void render_maps(const Instance *i, RenderParts parts, Arena *arena, Pb__Instance *out)
{
	if (parts & RENDER_CONFIG)
		config_to_map(i->config, arena, &pb__instance__config_entry__descriptor,
		    &out->n_config, &out->config);
	if (parts & RENDER_DEVICES)
		devices_to_map(i->devices, arena, &pb__instance__devices_entry__descriptor,
		    &out->n_devices, &out->devices);
	if (parts & RENDER_EXPANDED_CONFIG)
		config_to_map(i->expanded, arena, &pb__instance__expanded_config_entry__descriptor,
		    &out->n_expanded_config, &out->expanded_config);
	if (parts & RENDER_EXPANDED_DEVICES)
		devices_to_map(i->expanded_devices, arena,
		    &pb__instance__expanded_devices_entry__descriptor, &out->n_expanded_devices,
		    &out->expanded_devices);
	if (!(parts & RENDER_PROFILES))
		return;
	out->n_profiles = g_strv_length(i->profiles);
	out->profiles = arena_alloc(arena, (out->n_profiles + 1) * sizeof(char *));
	for (size_t n = 0; n < out->n_profiles; n++)
		out->profiles[n] = arena_strdup(arena, i->profiles[n]);
}

void instance_render(Instance *i, RenderParts parts, Arena *arena, Pb__Instance *out)
{
	InstanceStatus status = instance_status_shown(i);
	g_mutex_lock(&i->lock);
	render_maps(i, parts, arena, out);
	out->architecture = (char *)image_architecture_name((int)i->architecture);
	out->ephemeral = i->ephemeral;
	out->stateful = i->stateful;
	out->description = arena_strdup(arena, i->description);
	out->created_at = seconds_to_message(i->created, arena);
	/* Never used is 1970 here, and not the year 1 that absent times are. */
	out->last_used_at = arena_message(
	    arena, Google__Protobuf__Timestamp, google__protobuf__timestamp);
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

void instance_render_row(
    Instance *i, RenderParts parts, const Insides *insides, Arena *arena, Pb__Instance *out)
{
	instance_render(i, parts, arena, out);
	if (!(parts & RENDER_STATE))
		return;
	out->state = arena_message(arena, Pb__InstanceState, pb__instance_state);
	instance_state(i, STATE_ROW, insides, arena, out->state);
}

void instance_render_full(Instance *i, Arena *arena, Pb__Instance *out)
{
	instance_render(i, RENDER_ALL, arena, out);
	out->state = arena_message(arena, Pb__InstanceState, pb__instance_state);
	instance_state_whole(i, arena, out->state);
}
