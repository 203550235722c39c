/* Handlers of ProfileService. */
#include "incus/v1/handlers.h"
#include "sdk/base/json_text.h"
#include "server/daemon.h"
#include "server/device/device.h"
#include "server/event/event.h"
#include "server/instance/instance.h"
#include "server/key/key.h"
#include "server/profile/profile.h"
#include "server/project/project.h"

#include <string.h>

/* One change of a profile at a time: what was checked must be what is stored. */
static GMutex change_lock;

static void fill(Arena *arena, const Profile *profile, Pb__Profile *out)
{
	out->name = arena_strdup(arena, profile->name);
	out->description = arena_strdup(arena, profile->description);
	config_to_map(profile->config, arena, &pb__profile__config_entry__descriptor,
	    &out->n_config, &out->config);
	devices_to_map(profile->devices, arena, &pb__profile__devices_entry__descriptor,
	    &out->n_devices, &out->devices);
	out->n_used_by = profile->used_by ? g_strv_length(profile->used_by) : 0;
	out->used_by = arena_alloc(arena, (out->n_used_by + 1) * sizeof(char *));
	for (size_t i = 0; i < out->n_used_by; i++)
		out->used_by[i] = arena_strdup(arena, profile->used_by[i]);
}

int api_get_profiles(
    Request *rq, const Pb__GetProfilesRequest *in, Pb__GetProfilesResponse *out, Error **err)
{
	g_autoptr(GPtrArray) profiles = NULL;
	if (profile_list(rq->daemon, rq->project, TRUE, &profiles, err) < 0)
		return -1;
	out->items = arena_alloc(rq->arena, (profiles->len + 1) * sizeof(*out->items));
	for (guint i = 0; i < profiles->len; i++) {
		out->items[i] = arena_message(rq->arena, Pb__Profile, pb__profile);
		fill(rq->arena, g_ptr_array_index(profiles, i), out->items[i]);
	}
	out->n_items = profiles->len;
	return 0;
}

int api_get_profile(Request *rq, const Pb__GetProfileRequest *in, Pb__Profile *out, Error **err)
{
	g_autoptr(Profile) profile = NULL;
	if (profile_get(rq->daemon, rq->project, in->name, TRUE, &profile, err) < 0)
		return -1;
	fill(rq->arena, profile, out);
	return 0;
}

/* Sends profile-ACTION for a profile of the project that holds it. */
static void tell(Request *rq, const char *action, const char *name, const char *context)
{
	g_autofree char *project = NULL;
	g_autofree char *escaped = g_uri_escape_string(name, NULL, FALSE);
	g_autofree char *source = g_strconcat("/1.0/profiles/", escaped, NULL);
	if (project_effective(rq->daemon, rq->project, PROJECT_PROFILES, &project, NULL) == 0)
		event_lifecycle(rq->daemon->events, project, action, source, context, rq->caller);
}

/* What any profile must be, before it is stored. */
static int check(Request *rq, const Profile *profile, Error **err)
{
	if (key_check_instance(NULL, profile->config, FALSE, err) < 0 ||
	    device_validate_all(NULL, profile->devices, err) < 0)
		return -1;
	g_autofree char *project = NULL;
	if (project_effective(rq->daemon, rq->project, PROJECT_PROFILES, &project, err) < 0)
		return -1;
	return project_allow_profile(
	    rq->daemon, project, profile->name, profile->config, profile->devices, err);
}

int api_create_profile(
    Request *rq, const Pb__CreateProfileRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	const Pb__ProfilesPost *body = in->profile;
	if (!body || !*body->name)
		return error_set(err, ERROR_INVALID, "No name provided");
	g_autoptr(Profile) profile = g_new0(Profile, 1);
	profile->name = g_strdup(body->name);
	profile->description = g_strdup(body->description);
	profile->config = config_from_map(body->n_config, body->config);
	profile->devices = devices_from_map(body->n_devices, body->devices);
	if (check(rq, profile, err) < 0 ||
	    profile_create(rq->daemon, rq->project, profile, err) < 0)
		return -1;
	tell(rq, "profile-created", profile->name, NULL);
	return 0;
}

/* Under change_lock: ETag, checks, row, then the instances that use it. */
static int store(Request *rq, const Profile *before, const Profile *after, Error **err)
{
	Pb__Profile *object = arena_message(rq->arena, Pb__Profile, pb__profile);
	g_autofree char *project = NULL;
	fill(rq->arena, before, object);
	if (request_check_etag(rq, object, err) < 0 || check(rq, after, err) < 0 ||
	    project_effective(rq->daemon, rq->project, PROJECT_PROFILES, &project, err) < 0 ||
	    instance_profile_check(
		rq->daemon, project, after->name, after->config, after->devices, err) < 0 ||
	    profile_update(rq->daemon, rq->project, after, err) < 0)
		return -1;
	int failed = instance_profile_changed(rq->daemon, project, after->name, err);
	tell(rq, "profile-updated", after->name, NULL);
	return failed;
}

int api_update_profile(
    Request *rq, const Pb__UpdateProfileRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Profile) before = NULL, after = g_new0(Profile, 1);
	const Pb__ProfilePut *body = in->profile;
	if (!body)
		return error_set(err, ERROR_INVALID, "No profile provided");
	after->name = g_strdup(in->name);
	after->description = g_strdup(body->description);
	after->config = config_from_map(body->n_config, body->config);
	after->devices = devices_from_map(body->n_devices, body->devices);
	g_mutex_lock(&change_lock);
	int failed = profile_get(rq->daemon, rq->project, in->name, FALSE, &before, err);
	if (!failed)
		failed = store(rq, before, after, err);
	g_mutex_unlock(&change_lock);
	return failed;
}

/* What `before` becomes: given keys and devices on top, an empty value removes. */
static Profile *patched(const Profile *before, const Pb__PatchProfileRequest *in)
{
	Profile *after = g_new0(Profile, 1);
	const Pb__ProfilePut *body = in->profile;
	after->name = g_strdup(before->name);
	after->description = g_strdup(mask_has(in->update_mask, in->n_update_mask, "description") ?
		body->description :
		before->description);
	after->config = config_copy(before->config);
	after->devices = devices_copy(before->devices);
	for (size_t i = 0; i < body->n_config; i++)
		config_set(after->config, body->config[i]->key, body->config[i]->value);
	g_autoptr(GHashTable) given = devices_from_map(body->n_devices, body->devices);
	GHashTableIter iter;
	void *name, *device;
	g_hash_table_iter_init(&iter, given);
	while (g_hash_table_iter_next(&iter, &name, &device))
		devices_set(after->devices, name, device);
	return after;
}

int api_patch_profile(
    Request *rq, const Pb__PatchProfileRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Profile) before = NULL, after = NULL;
	if (!in->profile)
		return error_set(err, ERROR_INVALID, "No profile provided");
	g_mutex_lock(&change_lock);
	int failed = profile_get(rq->daemon, rq->project, in->name, FALSE, &before, err);
	if (!failed) {
		after = patched(before, in);
		failed = store(rq, before, after, err);
	}
	g_mutex_unlock(&change_lock);
	return failed;
}

int api_rename_profile(
    Request *rq, const Pb__RenameProfileRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	if (!in->profile || !*in->profile->name)
		return error_set(err, ERROR_INVALID, "No name provided");
	g_autofree char *project = NULL;
	if (project_effective(rq->daemon, rq->project, PROJECT_PROFILES, &project, err) < 0)
		return -1;
	g_mutex_lock(&change_lock);
	int failed = profile_rename(rq->daemon, rq->project, in->name, in->profile->name, err);
	if (!failed)
		instance_profile_renamed(rq->daemon, project, in->name, in->profile->name);
	g_mutex_unlock(&change_lock);
	if (failed)
		return -1;
	g_autofree char *context = json_text_object("old_name", in->name, NULL);
	tell(rq, "profile-renamed", in->profile->name, context);
	return 0;
}

int api_delete_profile(
    Request *rq, const Pb__DeleteProfileRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	g_mutex_lock(&change_lock);
	int failed = profile_delete(rq->daemon, rq->project, in->name, err);
	g_mutex_unlock(&change_lock);
	if (!failed)
		tell(rq, "profile-deleted", in->name, NULL);
	return failed;
}
