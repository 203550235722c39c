/* sdk/base/streams.h for programs: the same calls with the SDK's errors, and downloads into files.
 */
#include <incus/simplestreams.h>
#include "sdk/client.h"
#include "sdk/base/file.h"
#include "sdk/base/streams.h"
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

struct incus_streams {
	Streams *inner;
};

int incus_streams_open(const char *url, incus_streams **ret, incus_error **err)
{
	return incus_streams_open_pinned(url, NULL, ret, err);
}

int incus_streams_open_pinned(
    const char *url, const char *certificate, incus_streams **ret, incus_error **err)
{
	Fetch server = {.url = url, .certificate = certificate};
	Streams *inner = NULL;
	Error *error = NULL;
	if (streams_open(&server, &inner, &error) < 0)
		return sdk_error_take(err, error);
	incus_streams *streams = g_new0(incus_streams, 1);
	streams->inner = inner;
	*ret = streams;
	return 0;
}

void incus_streams_free(incus_streams *streams)
{
	if (!streams)
		return;
	streams_free(streams->inner);
	g_free(streams);
}

const char *incus_streams_url(const incus_streams *streams)
{
	return streams_url(streams->inner);
}

int incus_streams_images(
    incus_streams *streams, Pb__Image *const **ret, size_t *ret_n, incus_error **err)
{
	Error *error = NULL;
	return streams_images(streams->inner, ret, ret_n, &error) < 0 ? sdk_error_take(err, error)
								      : 0;
}

int incus_streams_image(
    incus_streams *streams, const char *fingerprint, const Pb__Image **ret, incus_error **err)
{
	Error *error = NULL;
	return streams_image(streams->inner, fingerprint, ret, &error) < 0
		   ? sdk_error_take(err, error)
		   : 0;
}

int incus_streams_alias(incus_streams *streams, const char *alias, const char *architecture,
    const char *type, const Pb__Image **ret, incus_error **err)
{
	Error *error = NULL;
	return streams_alias(streams->inner, alias, architecture, type, ret, &error) < 0
		   ? sdk_error_take(err, error)
		   : 0;
}

int incus_streams_files(incus_streams *streams, const char *fingerprint,
    incus_streams_file *ret_metadata, incus_streams_file *ret_rootfs, incus_error **err)
{
	StreamsFile metadata, rootfs;
	Error *error = NULL;
	if (streams_files(streams->inner, fingerprint, &metadata, &rootfs, &error) < 0)
		return sdk_error_take(err, error);
	*ret_metadata = (incus_streams_file){metadata.path, metadata.sha256, metadata.size};
	*ret_rootfs = (incus_streams_file){rootfs.path, rootfs.sha256, rootfs.size};
	return 0;
}

typedef struct Saving {
	const incus_streams_file *file;
	int fd;
	uint64_t done;
	EVP_MD_CTX *hash;
	incus_streams_progress progress;
	void *data;
} Saving;

static int save(const void *bytes, size_t length, void *user, Error **err)
{
	Saving *saving = user;
	EVP_DigestUpdate(saving->hash, bytes, length);
	if (file_write_all(saving->fd, bytes, length) < 0)
		return error_errno(err, ERROR_INTERNAL, errno,
		    "Cannot write what comes from \"%s\"", saving->file->path);
	saving->done += length;
	if (!saving->progress ||
	    saving->progress(saving->done, saving->file->size, saving->data) == 0)
		return 0;
	return error_set(
	    err, ERROR_CANCELLED, "The download of \"%s\" was stopped", saving->file->path);
}

static int check_hash(Saving *saving, Error **err)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned length = 0;
	char hex[65] = "";
	EVP_DigestFinal_ex(saving->hash, digest, &length);
	for (unsigned i = 0; i < 32 && i < length; i++)
		g_snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	if (g_ascii_strcasecmp(hex, saving->file->sha256) != 0)
		return error_set(err, ERROR_INVALID, "\"%s\" has SHA-256 %s and not %s",
		    saving->file->path, hex, saving->file->sha256);
	return 0;
}

int incus_streams_download(incus_streams *streams, const incus_streams_file *file, int fd,
    incus_streams_progress progress, void *data, incus_error **err)
{
	StreamsFile inner = {file->path, file->sha256, file->size};
	Saving saving = {
	    .file = file, .fd = fd, .progress = progress, .data = data, .hash = EVP_MD_CTX_new()};
	Error *error = NULL;
	EVP_DigestInit_ex(saving.hash, EVP_sha256(), NULL);
	int result = streams_download(streams->inner, &inner, save, &saving, &error);
	if (result == 0)
		result = check_hash(&saving, &error);
	EVP_MD_CTX_free(saving.hash);
	return result < 0 ? sdk_error_take(err, error) : 0;
}
