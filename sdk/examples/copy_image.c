/*
 * Copies an image from one server and project to another, through this program, with progress:
 *   copy_image FROM-SOCKET FROM-PROJECT ALIAS TO-SOCKET TO-PROJECT
 */
#include <incus/transfer.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int show(uint64_t done, uint64_t total, void *data)
{
	int *last = data, percent = total ? (int)(done * 100 / total) : 100;
	if (percent > *last)
		fprintf(stderr, "\rCopying: %d%%", *last = percent);
	return 0;
}

static int copy(incus_client *from, incus_client *to, const char *alias, incus_error **err)
{
	int last = -1;
	char *fingerprint = NULL;
	incus_image_copy options = { .mode = INCUS_COPY_RELAY, .transfer = { show, &last } };
	if (incus_copy_image(from, alias, to, &options, &fingerprint, err) < 0)
		return -1;
	printf("\n%s\n", fingerprint);
	free(fingerprint);
	return 0;
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
		result = copy(from, to, argv[3], &error);
	}
	if (result < 0)
		fprintf(stderr, "\nCannot copy: %s (%s)\n", error->message, error->name);
	incus_error_free(error);
	incus_client_free(from);
	incus_client_free(to);
	return result < 0;
}
