#pragma once
/*
 * Whole files in one call: images and backups between a server and an open file, and images between
 * two servers. Each call returns when all is done.
 */
#include <incus/call.h>
#include <incus/client.h>
#include <incus/migration.h>
#include "incus/v1/backup.pb-c.h"
#include "incus/v1/image.pb-c.h"
#include "incus/v1/storage.pb-c.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes so far and in all (0: not known); a result other than 0 ends the call with "CANCELLED". */
typedef int (*incus_transfer_progress)(uint64_t done, uint64_t total, void *data);

/* Who is told how far it is. NULL stands for nobody. */
typedef struct incus_transfer {
	incus_transfer_progress progress;
	void *data;
} incus_transfer;

/* One of the methods that send a file (ExportInstanceBackup, ExportStoragePoolVolumeBackup,
 * ExportImage), message by message. When the connection is lost the client connects again, for up
 * to a quarter of a minute each time, and the file goes on where it was. */
typedef struct incus_download incus_download;
int incus_download_open(incus_client *client, const struct SchemaMethod *method,
    const void *request, incus_download **ret, incus_error **err);
/* As incus_stream_recv(), without a limit in time. */
int incus_download_recv(incus_download *download, void **ret, incus_error **err);
/* NULL is allowed. */
void incus_download_free(incus_download *download);

/* What is sent of one file: from where its descriptor stands. */
typedef struct incus_upload_file {
	int fd;
	const char *part; /* CreateImage, of two: "metadata", "rootfs" or "rootfs.img"; NULL */
	const char *part_filename; /* its name then; NULL */
} incus_upload_file;
/* One of the methods that take files (ImportInstance, ImportStoragePoolVolume, CreateImage).
 * `first` has the fields of the first message, beside the data; NULL: none. When the connection is
 * lost the client connects again, as for downloads, and the rest is sent, where the files are no
 * pipes. *ret_reply (incus_message_free()) is the method's. */
int incus_upload(incus_client *client, const struct SchemaMethod *method, const void *first,
    const incus_upload_file *files, size_t n_files, const incus_transfer *transfer,
    void **ret_reply, incus_error **err);

/* Writes an image (by fingerprint) into fd. The root file system of a split image goes to rootfs_fd;
 * -1: a split image is refused ("INVALID"). *ret_split (may be NULL) tells which it was. */
int incus_get_image_file(incus_client *client, const char *fingerprint, int fd, int rootfs_fd,
    bool *ret_split, const incus_transfer *transfer, incus_error **err);
/* Makes an image of the rest of fd, and of rootfs_fd (-1: a unified image). `first` (may be NULL)
 * has the project, properties, profiles and so on. *ret_fingerprint (may be NULL) is freed with
 * free(). One that is there already is a failure. */
int incus_create_image_from_file(incus_client *client, const Pb__CreateImageRequest *first, int fd,
    int rootfs_fd, char **ret_fingerprint, const incus_transfer *transfer, incus_error **err);

/* How an image is copied, and what the copy gets. All zeros: the target fetches it, and it gets
 * nothing but its properties. */
typedef struct incus_image_copy {
	incus_copy_mode mode;
	const char *project;	    /* of the copy; NULL: that of the target's client */
	const char *const *aliases; /* to make, NULL-terminated; NULL: none */
	bool copy_aliases;	    /* those of the source too */
	const char *const *profiles; /* of instances made from it; NULL: "default" */
	bool is_public;		    /* anybody may see and export it */
	bool auto_update;	    /* keep it up to date with its source: the target fetches it */
	incus_transfer transfer;    /* of a relay */
	incus_operation_progress progress; /* of the others */
	void *data;
} incus_image_copy;

/* Copies an image (alias, fingerprint or an unambiguous start of one) of the server `from` to `to`.
 * NULL options are all zeros. When it fails, `to` is as it was. */
int incus_copy_image(incus_client *from, const char *image, incus_client *to,
    const incus_image_copy *options, char **ret_fingerprint, incus_error **err);

/* Writes a backup's archive into fd. */
int incus_get_instance_backup_file(incus_client *client, const char *instance, const char *backup,
    int fd, const incus_transfer *transfer, incus_error **err);
int incus_get_storage_pool_volume_backup_file(incus_client *client, const char *pool,
    const char *volume, const char *backup, int fd, const incus_transfer *transfer,
    incus_error **err);
/* Restores the backup that the rest of fd is. `first` has name, pool and project; it may be NULL
 * for an instance, a volume needs its pool. */
int incus_create_instance_from_backup(incus_client *client, const Pb__ImportInstanceRequest *first,
    int fd, const incus_transfer *transfer, incus_error **err);
int incus_create_storage_pool_volume_from_backup(incus_client *client,
    const Pb__ImportStoragePoolVolumeRequest *first, int fd, const incus_transfer *transfer,
    incus_error **err);
/* Makes a volume of content type "iso" of the rest of fd; `first` has pool and name. */
int incus_create_storage_pool_volume_from_iso(incus_client *client,
    const Pb__ImportStoragePoolVolumeRequest *first, int fd, const incus_transfer *transfer,
    incus_error **err);

#ifdef __cplusplus
}
#endif
