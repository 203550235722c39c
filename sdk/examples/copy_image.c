/*
 * Copies an image from one server and project to another, through this program, with progress:
 *   copy_image FROM-SOCKET FROM-PROJECT ALIAS TO-SOCKET TO-PROJECT
 */
#include <incus/operation.h>
#include <incus/v1/calls.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void show(uint64_t done, uint64_t total)
{
	static int last = -1;
	int percent = total ? (int)(done * 100 / total) : 100;
	if (percent > last)
		fprintf(stderr, "\rCopying: %d%%", last = percent);
}

/* Everything that comes out of `from` goes into `to`. */
static int relay(incus_stream *from, incus_stream *to, uint64_t total, incus_error **err)
{
	incus_image_file *piece = NULL;
	uint64_t done = 0;
	int got;
	while ((got = incus_export_image_recv(from, -1, &piece, err)) > 0) {
		incus_create_image_request out = INCUS_CREATE_IMAGE_REQUEST_INIT;
		out.data = piece->data;
		out.part = piece->part;
		out.part_filename = piece->part_filename;
		out.filename = piece->part_filename;
		int sent = incus_create_image_send(to, &out, err);
		done += piece->data.len;
		incus_image_file_free(piece);
		if (sent < 0)
			return -1;
		show(done, total);
	}
	return got;
}

static int copy(
    incus_client *from, incus_client *to, const char *fingerprint, uint64_t size, incus_error **err)
{
	incus_export_image_request export_request = INCUS_EXPORT_IMAGE_REQUEST_INIT;
	incus_stream *source = NULL, *target = NULL;
	incus_operation *operation = NULL;
	export_request.fingerprint = (char *)fingerprint;
	int result = -1;
	if (incus_export_image(from, &export_request, &source, err) == 0 &&
	    incus_create_image(to, NULL, &target, err) == 0)
		result = relay(source, target, size, err);
	/* When the target refused, its own words say more than the failed send. */
	if (target && (result == 0 || incus_error_is(err ? *err : NULL, "CANCELLED"))) {
		if (err)
			incus_error_free(*err), *err = NULL;
		result = incus_create_image_finish(target, &operation, err);
	}
	incus_stream_free(source);
	incus_stream_free(target);
	if (result == 0)
		result = incus_operation_wait(to, operation, NULL, NULL, NULL, err);
	incus_operation_free(operation);
	return result;
}

static int copy_alias(incus_client *from, incus_client *to, char *name, incus_error **err)
{
	incus_image_aliases_entry *alias = NULL;
	incus_image *image = NULL;
	incus_get_image_alias_request alias_request = INCUS_GET_IMAGE_ALIAS_REQUEST_INIT;
	incus_get_image_request image_request = INCUS_GET_IMAGE_REQUEST_INIT;
	alias_request.name = name;
	if (incus_get_image_alias_with(from, &alias_request, &alias, err) < 0)
		return -1;
	image_request.fingerprint = alias->target;
	int result = incus_get_image_with(from, &image_request, &image, err);
	if (result == 0)
		result = copy(from, to, image->fingerprint, image->size, err);
	if (result == 0)
		printf("\n%s\n", image->fingerprint);
	incus_image_free(image);
	incus_image_aliases_entry_free(alias);
	return result;
}

int main(int argc, char **argv)
{
	incus_client *from = NULL, *to = NULL;
	incus_error *error = NULL;
	if (argc != 6) {
		fprintf(stderr, "Usage: %s FROM-SOCKET FROM-PROJECT ALIAS TO-SOCKET TO-PROJECT\n",
		    argv[0]);
		return 2;
	}
	int result = incus_connect_unix(argv[1], &from, &error);
	if (result == 0)
		result = incus_connect_unix(argv[4], &to, &error);
	if (result == 0) {
		incus_client_set_project(from, argv[2]);
		incus_client_set_project(to, argv[5]);
		result = copy_alias(from, to, argv[3], &error);
	}
	if (result < 0)
		fprintf(stderr, "\nCannot copy: %s (%s)\n", error->message, error->name);
	incus_error_free(error);
	incus_client_free(from);
	incus_client_free(to);
	return result < 0;
}
