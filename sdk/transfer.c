/* Whole files over streams: downloads into a descriptor, uploads from one, and one into the other.
 */
#include <incus/transfer.h>
#include <incus/call.h>
#include <incus/operation.h>
#include "sdk/client.h"
#include "sdk/image_copy.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Meter {
	const incus_transfer *transfer; /* NULL: nobody asks */
	uint64_t done, total;
} Meter;

static int meter_add(Meter *meter, size_t bytes, incus_error **err)
{
	const incus_transfer *t = meter->transfer;
	meter->done += bytes;
	return t && t->progress && t->progress(meter->done, meter->total, t->data) ?
	    sdk_error(err, ERROR_CANCELLED, "The transfer was cancelled") :
	    0;
}

/* Every message of files has its bytes in a field of this name. */
static ProtobufCBinaryData *data_of(void *message)
{
	return message_field(message, "data", PROTOBUF_C_TYPE_BYTES);
}

static int write_all(int fd, const ProtobufCBinaryData *data, incus_error **err)
{
	for (size_t done = 0; done < data->len;) {
		ssize_t n = write(fd, data->data + done, data->len - done);
		if (n < 0 && errno != EINTR)
			return sdk_error_errno(
			    err, ERROR_INTERNAL, errno, "Cannot write what was received");
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* ---- downloads ---- */

static int download(incus_client *client, const char *method, const void *request, int fd,
    const incus_transfer *transfer, incus_error **err)
{
	incus_download *from = NULL;
	Meter meter = { transfer, 0, 0 };
	void *piece;
	int got;
	if (incus_download_open(client, incus_method(method), request, &from, err) < 0)
		return -1;
	while ((got = incus_download_recv(from, &piece, err)) > 0) {
		const ProtobufCBinaryData *data = data_of(piece);
		int result = write_all(fd, data, err);
		if (result == 0)
			result = meter_add(&meter, data->len, err);
		incus_message_free(piece);
		if (result < 0) {
			got = -1;
			break;
		}
	}
	incus_download_free(from);
	return got;
}

int incus_get_instance_backup_file(incus_client *client, const char *instance, const char *backup,
    int fd, const incus_transfer *transfer, incus_error **err)
{
	Pb__ExportInstanceBackupRequest in = PB__EXPORT_INSTANCE_BACKUP_REQUEST__INIT;
	in.instance = (char *)instance;
	in.name = (char *)backup;
	return download(client, "ExportInstanceBackup", &in, fd, transfer, err);
}

int incus_get_storage_pool_volume_backup_file(incus_client *client, const char *pool,
    const char *volume, const char *backup, int fd, const incus_transfer *transfer,
    incus_error **err)
{
	Pb__ExportStoragePoolVolumeBackupRequest in =
	    PB__EXPORT_STORAGE_POOL_VOLUME_BACKUP_REQUEST__INIT;
	in.pool = (char *)pool;
	in.type = (char *)"custom";
	in.volume = (char *)volume;
	in.name = (char *)backup;
	return download(client, "ExportStoragePoolVolumeBackup", &in, fd, transfer, err);
}

/* ---- uploads ---- */

/* Follows the operation that a method replied with (taken). *ret (may be NULL) is its last state.
 */
static int follow(incus_client *client, void *reply, Pb__Operation **ret, incus_error **err)
{
	int result = incus_operation_wait(client, reply, NULL, NULL, ret, err);
	incus_message_free(reply);
	return result;
}

static int restore(incus_client *client, const char *method, const void *first, int fd,
    const incus_transfer *transfer, incus_error **err)
{
	const incus_upload_file file = { fd, NULL, NULL };
	void *reply;
	return incus_upload(client, incus_method(method), first, &file, 1, transfer, &reply, err) <
		0 ?
	    -1 :
	    follow(client, reply, NULL, err);
}

int incus_create_instance_from_backup(incus_client *client, const Pb__ImportInstanceRequest *first,
    int fd, const incus_transfer *transfer, incus_error **err)
{
	return restore(client, "ImportInstance", first, fd, transfer, err);
}

int incus_create_storage_pool_volume_from_backup(incus_client *client,
    const Pb__ImportStoragePoolVolumeRequest *first, int fd, const incus_transfer *transfer,
    incus_error **err)
{
	return restore(client, "ImportStoragePoolVolume", first, fd, transfer, err);
}

int incus_create_storage_pool_volume_from_iso(incus_client *client,
    const Pb__ImportStoragePoolVolumeRequest *first, int fd, const incus_transfer *transfer,
    incus_error **err)
{
	Pb__ImportStoragePoolVolumeRequest in = *first;
	in.file_type = (char *)"iso";
	return incus_create_storage_pool_volume_from_backup(client, &in, fd, transfer, err);
}

/* ---- images ---- */

/* Where the next bytes of an image go. *ret_split: its second part has begun. */
static int target_of(
    const Pb__ImageFile *piece, int fd, int rootfs_fd, gboolean *ret_split, incus_error **err)
{
	if (g_str_has_prefix(piece->part, "rootfs"))
		*ret_split = TRUE;
	if (!*ret_split)
		return fd;
	return rootfs_fd >= 0 ?
	    rootfs_fd :
	    sdk_error(err, ERROR_INVALID, "The image is in two files, and only one is wanted");
}

int incus_get_image_file(incus_client *client, const char *fingerprint, int fd, int rootfs_fd,
    bool *ret_split, const incus_transfer *transfer, incus_error **err)
{
	Pb__ExportImageRequest in = PB__EXPORT_IMAGE_REQUEST__INIT;
	incus_download *from = NULL;
	Meter meter = { transfer, 0, 0 };
	gboolean split = FALSE;
	void *message;
	int got;
	in.fingerprint = (char *)fingerprint;
	if (incus_download_open(client, incus_method("ExportImage"), &in, &from, err) < 0)
		return -1;
	while ((got = incus_download_recv(from, &message, err)) > 0) {
		const Pb__ImageFile *piece = message;
		meter.total += g_ascii_strtoull(piece->size, NULL, 10);
		int target = target_of(piece, fd, rootfs_fd, &split, err);
		if (target < 0 || write_all(target, &piece->data, err) < 0 ||
		    meter_add(&meter, piece->data.len, err) < 0)
			got = -1;
		incus_message_free(message);
		if (got < 0)
			break;
	}
	incus_download_free(from);
	if (ret_split)
		*ret_split = split;
	return got;
}

/* Takes the reply. */
static int follow_image(
    incus_client *client, void *reply, char **ret_fingerprint, incus_error **err)
{
	Pb__Operation *last = NULL;
	int result = follow(client, reply, &last, err);
	if (result == 0 && ret_fingerprint)
		*ret_fingerprint = incus_operation_metadata(last, "fingerprint");
	incus_message_free(last);
	return result;
}

int incus_create_image_from_file(incus_client *client, const Pb__CreateImageRequest *first, int fd,
    int rootfs_fd, char **ret_fingerprint, const incus_transfer *transfer, incus_error **err)
{
	gboolean split = rootfs_fd >= 0;
	const incus_upload_file files[] = { { fd, split ? "metadata" : NULL, NULL },
		{ rootfs_fd, "rootfs", NULL } };
	void *reply;
	return incus_upload(client, incus_method("CreateImage"), first, files, split ? 2 : 1,
		   transfer, &reply, err) < 0 ?
	    -1 :
	    follow_image(client, reply, ret_fingerprint, err);
}

/* ---- from one server to another ---- */

/* Adds "key=value", escaped, after what is there. */
static void add_query(GString *text, const char *key, const char *value)
{
	g_string_append(text, text->len ? "&" : "");
	g_string_append_uri_escaped(text, key, NULL, FALSE);
	g_string_append_c(text, '=');
	g_string_append_uri_escaped(text, value, NULL, FALSE);
}

/* Every message of the export becomes one of the upload. 0 also when the target takes no more. */
static int carry(ImageCopy *copy, incus_download *from, incus_stream *to,
    Pb__CreateImageRequest *out, incus_error **err)
{
	static const Pb__CreateImageRequest empty = PB__CREATE_IMAGE_REQUEST__INIT;
	Meter meter = { &copy->options->transfer, 0, (uint64_t)copy->image->size };
	void *message;
	int got;
	while ((got = incus_download_recv(from, &message, err)) > 0) {
		const Pb__ImageFile *piece = message;
		out->data = piece->data;
		out->part = piece->part;
		out->part_filename = piece->part_filename;
		gboolean taken = incus_stream_send(to, out, NULL) == 0; /* else the reply says why */
		if (meter_add(&meter, piece->data.len, err) < 0)
			got = -1;
		incus_message_free(message);
		*out = empty;
		if (got < 0 || !taken)
			return got < 0 ? -1 : 0;
	}
	return got;
}

static int copy_data(ImageCopy *copy, incus_error **err)
{
	Pb__ExportImageRequest export = PB__EXPORT_IMAGE_REQUEST__INIT;
	Pb__CreateImageRequest out = PB__CREATE_IMAGE_REQUEST__INIT;
	g_autoptr(GString) properties = g_string_new(NULL), profiles = g_string_new(NULL);
	const char *const *profile = copy->options->profiles;
	incus_download *from = NULL;
	incus_stream *to = NULL;
	for (size_t i = 0; i < copy->image->n_properties; i++)
		add_query(
		    properties, copy->image->properties[i]->key, copy->image->properties[i]->value);
	for (; profile && *profile; profile++)
		add_query(profiles, "profile", *profile);
	export.fingerprint = out.fingerprint = copy->image->fingerprint;
	out.project = (char *)(copy->options->project ? copy->options->project : "");
	out.public_ = (char *)(copy->options->is_public ? "1" : "");
	out.filename = copy->image->filename;
	out.properties = properties->str;
	out.profiles = profiles->str;
	int result = incus_download_open(
	    copy->from, incus_method("ExportImage"), &export, &from, err);
	if (result == 0)
		result = incus_stream_open(copy->to, incus_method("CreateImage"), NULL, &to, err);
	if (result == 0)
		result = carry(copy, from, to, &out, err);
	void *reply = NULL;
	if (result == 0)
		result = incus_stream_finish(to, &reply, err);
	if (result == 0)
		result = follow_image(copy->to, reply, NULL, err);
	incus_download_free(from);
	incus_stream_free(to);
	return result;
}

static int make_alias(ImageCopy *copy, const char *name, const char *description, incus_error **err)
{
	Pb__CreateImageAliasRequest in = PB__CREATE_IMAGE_ALIAS_REQUEST__INIT;
	Pb__ImageAliasesPost alias = PB__IMAGE_ALIASES_POST__INIT;
	in.project = (char *)(copy->options->project ? copy->options->project : "");
	in.alias = &alias;
	alias.name = (char *)name;
	alias.description = (char *)description;
	alias.target = copy->image->fingerprint;
	return incus_call_unary(copy->to, incus_method("CreateImageAlias"), &in, NULL, err);
}

static int make_aliases(ImageCopy *copy, incus_error **err)
{
	size_t n;
	Pb__ImageAlias **aliases = image_copy_aliases(copy, &n);
	for (size_t i = 0; i < n; i++)
		if (make_alias(copy, aliases[i]->name, aliases[i]->description, err) < 0)
			return -1;
	return 0;
}

/* With it go the aliases that were made. */
static void remove_copy(ImageCopy *copy)
{
	Pb__DeleteImageRequest in = PB__DELETE_IMAGE_REQUEST__INIT;
	void *operation = NULL;
	in.fingerprint = copy->image->fingerprint;
	in.project = (char *)(copy->options->project ? copy->options->project : "");
	if (incus_call_unary(copy->to, incus_method("DeleteImage"), &in, &operation, NULL) == 0)
		incus_operation_wait(copy->to, operation, NULL, NULL, NULL, NULL);
	incus_message_free(operation);
}

int image_relay(ImageCopy *copy, incus_error **err)
{
	if (copy_data(copy, err) < 0)
		return -1;
	if (make_aliases(copy, err) == 0)
		return 0;
	remove_copy(copy);
	return -1;
}
