/* Copies and moves of custom volumes between two servers. */
#include "sdk/migration.h"
#include <incus/call.h>
#include <incus/operation.h>
#include "sdk/client.h"
#include "incus/v1/snapshot.pb-c.h"
#include "incus/v1/storage.pb-c.h"
#include <string.h>

/* Copy.data */
typedef struct Subject {
	const char *pool;     /* of the source */
	char *name;	      /* likewise */
	const char *snapshot; /* within `name`'s buffer; NULL: the volume */
	const char *to_pool, *to_name;
	const incus_volume_copy *options;
	Pb__StorageVolume *volume; /* as the source is */
} Subject;

static int send_snapshot(
    Copy *copy, const CopyMeeting *meeting, Pb__Operation **ret, incus_error **err)
{
	const Subject *subject = copy->data;
	Pb__RenameStoragePoolVolumeSnapshotRequest in =
	    PB__RENAME_STORAGE_POOL_VOLUME_SNAPSHOT_REQUEST__INIT;
	Pb__StorageVolumeSnapshotPost post = PB__STORAGE_VOLUME_SNAPSHOT_POST__INIT;
	void *reply;
	in.pool = (char *)subject->pool;
	in.type = (char *)"custom";
	in.volume = subject->name;
	in.name = (char *)subject->snapshot;
	in.snapshot = &post;
	post.name = in.name;
	post.migration = TRUE;
	post.target = migration_target(copy, meeting);
	if (incus_call_unary(copy->from, incus_method("RenameStoragePoolVolumeSnapshot"), &in,
		&reply, err) < 0)
		return -1;
	*ret = reply;
	return 0;
}

static int send_volume(
    Copy *copy, const CopyMeeting *meeting, Pb__Operation **ret, incus_error **err)
{
	const Subject *subject = copy->data;
	Pb__RenameStoragePoolVolumeRequest in = PB__RENAME_STORAGE_POOL_VOLUME_REQUEST__INIT;
	Pb__StorageVolumePost post = PB__STORAGE_VOLUME_POST__INIT;
	void *reply;
	in.pool = (char *)subject->pool;
	in.type = (char *)"custom";
	in.name = subject->name;
	in.volume = &post;
	post.name = subject->name;
	post.migration = TRUE;
	post.volume_only = subject->options->volume_only;
	post.target = migration_target(copy, meeting);
	if (incus_call_unary(
		copy->from, incus_method("RenameStoragePoolVolume"), &in, &reply, err) < 0)
		return -1;
	*ret = reply;
	return 0;
}

static int send_call(
    Copy *copy, const CopyMeeting *meeting, Pb__Operation **ret, incus_error **err)
{
	const Subject *subject = copy->data;
	return (subject->snapshot ? send_snapshot : send_volume)(copy, meeting, ret, err);
}

static int receive_call(
    Copy *copy, const CopyMeeting *meeting, Pb__Operation **ret, incus_error **err)
{
	const Subject *subject = copy->data;
	Pb__CreateStoragePoolVolumeRequest in = PB__CREATE_STORAGE_POOL_VOLUME_REQUEST__INIT;
	Pb__StorageVolumesPost post = PB__STORAGE_VOLUMES_POST__INIT;
	Pb__StorageVolumeSource source = PB__STORAGE_VOLUME_SOURCE__INIT;
	void *reply;
	in.project = (char *)(subject->options->project ? subject->options->project : "");
	in.pool = (char *)subject->to_pool;
	in.volume = &post;
	post.name = (char *)subject->to_name;
	post.type = (char *)"custom";
	post.content_type = subject->volume->content_type;
	post.description = subject->volume->description;
	post.n_config = subject->volume->n_config;
	post.config = (Pb__StorageVolumesPost__ConfigEntry **)(void *)subject->volume->config;
	post.source = &source;
	source.type = (char *)"migration";
	source.mode = (char *)meeting->mode;
	source.volume_only = subject->options->volume_only || subject->snapshot;
	source.refresh = subject->options->refresh;
	if (meeting->operation) {
		source.operation = (char *)meeting->operation;
		source.certificate = (char *)meeting->certificate;
		config_to_map(meeting->secrets, copy->arena,
		    &pb__storage_volume_source__secrets_entry__descriptor, &source.n_secrets,
		    &source.secrets);
	}
	if (incus_call_unary(
		copy->to, incus_method("CreateStoragePoolVolume"), &in, &reply, err) < 0)
		return -1;
	*ret = reply;
	return 0;
}

static int read_source(Copy *copy, Subject *subject, incus_error **err)
{
	void *reply;
	Pb__GetStoragePoolVolumeRequest in = PB__GET_STORAGE_POOL_VOLUME_REQUEST__INIT;
	in.pool = (char *)subject->pool;
	in.type = (char *)"custom";
	in.name = subject->name;
	if (incus_call_unary(copy->from, incus_method("GetStoragePoolVolume"), &in, &reply, err) <
	    0)
		return -1;
	subject->volume = reply;
	return 0;
}

int incus_copy_storage_pool_volume(incus_client *from, const char *pool, const char *name,
    incus_client *to, const incus_volume_copy *options, incus_error **err)
{
	static const incus_volume_copy plain = { 0 };
	g_autofree char *own = g_strdup(name);
	char *slash = strchr(own, '/');
	if (!options)
		options = &plain;
	if (slash)
		*slash = '\0';
	Subject subject = { .pool = pool,
		.name = own,
		.snapshot = slash ? slash + 1 : NULL,
		.to_pool = options->pool ? options->pool : pool,
		.to_name = options->name ? options->name : own,
		.options = options };
	Copy copy = { .from = from,
		.to = to,
		.mode = options->mode,
		.progress = options->progress,
		.progress_data = options->data,
		.send = send_call,
		.receive = receive_call,
		.data = &subject,
		.arena = arena_new() };
	int result = read_source(&copy, &subject, err) < 0 ? -1 : copy_run(&copy, err);
	incus_message_free(subject.volume);
	arena_free(copy.arena);
	return result;
}

int incus_migrate_storage_pool_volume(incus_client *from, const char *pool, const char *name,
    incus_client *to, const incus_volume_copy *options, incus_error **err)
{
	void *reply;
	Pb__DeleteStoragePoolVolumeRequest in = PB__DELETE_STORAGE_POOL_VOLUME_REQUEST__INIT;
	if (strchr(name, '/'))
		return sdk_error(err, ERROR_INVALID, "A snapshot cannot be moved");
	in.pool = (char *)pool;
	in.type = (char *)"custom";
	in.name = (char *)name;
	if (incus_copy_storage_pool_volume(from, pool, name, to, options, err) < 0 ||
	    incus_call_unary(from, incus_method("DeleteStoragePoolVolume"), &in, &reply, err) < 0)
		return -1;
	incus_message_free(reply);
	return 0;
}
