#include "server/storage/rsync.h"
#include "sdk/base/spawn.h"
#include "server/helper/client.h"
#include "server/helper/confine.h"

enum { STATUS_VANISHED = 24 };

static void add(GPtrArray *argv, const char *word)
{
	g_ptr_array_add(argv, (char *)word);
}

static int run(const char *access, const char *directory, GPtrArray *words, Spawn *spawn,
    const RsyncOptions *options, Error **err)
{
	g_autofree char *program = g_find_program_in_path("rsync");
	g_autofree char *helper = spawner_program();
	g_autoptr(GPtrArray) argv = g_ptr_array_new();
	int status = 0;
	if (!program)
		return error_set(err, ERROR_UNSUPPORTED,
		    "Copies to and from Incus need the program \"rsync\", which is not installed");
	const char *const before[] = { helper, "--confined", access, directory, program };
	for (size_t n = 0; n < G_N_ELEMENTS(before); n++)
		add(argv, before[n]);
	g_ptr_array_extend(argv, words, NULL, NULL);
	g_ptr_array_add(argv, NULL);
	spawn->argv = (const char *const *)argv->pdata;
	spawn->cancelled = options->cancelled;
	spawn->cancel_data = options->data;
	if (!options->vanishing)
		return spawn_run(spawn, NULL, NULL, err);
	if (spawn_status(spawn, NULL, &status, err) < 0)
		return -1;
	return status == 0 || status == STATUS_VANISHED ?
	    0 :
	    error_set(err, ERROR_INTERNAL, "rsync failed with status %d", status);
}

static void add_common(GPtrArray *argv, const RsyncOptions *options)
{
	add(argv, "--numeric-ids");
	add(argv, "--devices");
	add(argv, "--partial");
	add(argv, "--sparse");
	if (options->xattrs) {
		add(argv, "--xattrs");
		/* What only the host's own root may see or set. */
		add(argv, "--filter=+x security.capability");
		add(argv, "--filter=-x security.*");
		add(argv, "--filter=-x trusted.*");
	}
	if (options->delete)
		add(argv, "--delete");
	if (options->compress) {
		add(argv, "--compress");
		add(argv, "--compress-level=2");
	}
}

int rsync_send(const char *directory, int socket, const RsyncOptions *options, Error **err)
{
	g_autoptr(GPtrArray) argv = g_ptr_array_new();
	Spawn spawn = { .fds = &socket, .n_fds = 1 };
	add(argv, "-ar");
	add_common(argv, options);
	add(argv, "-e");
	add(argv, CONFINE_SELF " --wire");
	add(argv, CONFINE_PLACE "/");
	add(argv, "peer:/"); /* any other machine: the path is what its rsync was told */
	return run("ro", directory, argv, &spawn, options, err);
}

int rsync_receive(const char *directory, int socket, const RsyncOptions *options, Error **err)
{
	g_autoptr(GPtrArray) argv = g_ptr_array_new();
	Spawn spawn = { .stdin_fd = socket, .stdout_fd = socket };
	add(argv, "--server");
	add(argv, "-vlogDtpre.iLsfx"); /* -ar as a client would tell its server */
	add_common(argv, options);
	add(argv, "--modify-window=-1"); /* times to the nanosecond */
	add(argv, ".");
	add(argv, CONFINE_PLACE "/");
	return run("rw", directory, argv, &spawn, options, err);
}
