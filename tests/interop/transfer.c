/* sdk/include/incus/transfer.h by hand: `transfer COMMAND ARGUMENT...`, for sdk.test. "-" is no file. */
#include <incus/transfer.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static incus_client *client;
static incus_error *error;

/* Counts; and ends the transfer when the environment says so. */
static int progress(uint64_t done, uint64_t total, void *data)
{
	*(uint64_t *)data = done;
	return total && done > total ? -1 : getenv("CANCEL") != NULL;
}

static int open_file(const char *path, int flags)
{
	int fd = strcmp(path, "-") == 0 ? -1 : open(path, flags | O_CLOEXEC, 0600);
	if (fd < 0 && strcmp(path, "-") != 0) {
		perror(path);
		exit(2);
	}
	return fd;
}

static int get_image(char **args, const incus_transfer *transfer)
{
	bool split = false;
	int result = incus_get_image_file(client, args[0], open_file(args[1], O_WRONLY | O_CREAT),
	    open_file(args[2], O_WRONLY | O_CREAT), &split, transfer, &error);
	if (result == 0)
		puts(split ? "split" : "unified");
	return result;
}

static int put_image(char **args, const incus_transfer *transfer)
{
	char *fingerprint = NULL;
	Pb__CreateImageRequest first = PB__CREATE_IMAGE_REQUEST__INIT;
	first.properties = (char *)"sent=by%20hand";
	int result = incus_create_image_from_file(client, &first, open_file(args[0], O_RDONLY),
	    open_file(args[1], O_RDONLY), &fingerprint, transfer, &error);
	if (result == 0)
		puts(fingerprint);
	free(fingerprint);
	return result;
}

static int copy_image(char **args, const incus_transfer *transfer)
{
	const char *aliases[] = { args[2], NULL };
	incus_image_copy options = {
		.mode = INCUS_COPY_RELAY,
		.project = args[1],
		.aliases = aliases,
		.copy_aliases = true,
		.is_public = true,
		.transfer = *transfer,
	};
	return incus_copy_image(client, args[0], client, &options, NULL, &error);
}

static int get_backup(char **args, const incus_transfer *transfer)
{
	return incus_get_instance_backup_file(client, args[0], args[1],
	    open_file(args[2], O_WRONLY | O_CREAT), transfer, &error);
}

static int put_backup(char **args, const incus_transfer *transfer)
{
	Pb__ImportInstanceRequest first = PB__IMPORT_INSTANCE_REQUEST__INIT;
	first.name = args[1];
	return incus_create_instance_from_backup(
	    client, &first, open_file(args[0], O_RDONLY), transfer, &error);
}

static int get_volume(char **args, const incus_transfer *transfer)
{
	return incus_get_storage_pool_volume_backup_file(client, args[0], args[1], args[2],
	    open_file(args[3], O_WRONLY | O_CREAT), transfer, &error);
}

static int put_volume(char **args, const incus_transfer *transfer)
{
	Pb__ImportStoragePoolVolumeRequest first = PB__IMPORT_STORAGE_POOL_VOLUME_REQUEST__INIT;
	first.pool = args[1];
	first.name = args[2];
	return (strstr(args[0], ".iso") ? incus_create_storage_pool_volume_from_iso :
					  incus_create_storage_pool_volume_from_backup)(
	    client, &first, open_file(args[0], O_RDONLY), transfer, &error);
}

static const struct {
	const char *name;
	int n_args;
	int (*run)(char **args, const incus_transfer *transfer);
} commands[] = {
	{ "get-image", 3, get_image },
	{ "put-image", 2, put_image },
	{ "copy-image", 3, copy_image },
	{ "get-backup", 3, get_backup },
	{ "put-backup", 2, put_backup },
	{ "get-volume", 4, get_volume },
	{ "put-volume", 3, put_volume },
};

int main(int argc, char **argv)
{
	uint64_t done = 0;
	incus_transfer transfer = { progress, &done };
	int result = 2;
	if (incus_connect_unix(NULL, &client, &error) < 0)
		return 2;
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(*commands); i++)
		if (strcmp(commands[i].name, argv[1]) == 0 && argc == 2 + commands[i].n_args)
			result = commands[i].run(argv + 2, &transfer);
	if (error)
		fprintf(stderr, "Error: %s: %s\n", error->name, error->message);
	if (result == 0 && done == 0)
		fprintf(stderr, "Error: no progress was told\n");
	incus_error_free(error);
	incus_client_free(client);
	return result != 0 || done == 0;
}
