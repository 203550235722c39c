/* incus-migrate: see host.h. */
#include <incus/transfer.h>
#include "migrate/host/host.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct Sending {
	const Migration *m;
	int fd;
	gint progress; /* atomic: mebibytes */
	gint failed;   /* atomic: the archive is not whole, so what was sent must not be used */
	Error *err;
} Sending;

/* An archive that ends early could pass for a whole one. So on failure one byte more is written:
 * with it the server's side of the call is ended instead. */
static gpointer send_archive(gpointer data)
{
	Sending *sending = data;
	if (archive_send(sending->m, sending->fd, &sending->progress, &sending->err) < 0) {
		g_atomic_int_set(&sending->failed, 1);
		if (write(sending->fd, "", 1) < 0)
			g_debug("The server has ended the call already");
	}
	close(sending->fd);
	return NULL;
}

static int show(uint64_t done, uint64_t total, void *data)
{
	Sending *sending = data;
	if (!sending->m->quiet && isatty(STDOUT_FILENO)) {
		printf("\rSent: %d MiB", g_atomic_int_get(&sending->progress));
		fflush(stdout);
	}
	return g_atomic_int_get(&sending->failed);
}

static int send(incus_client *client, const Migration *m, Error **err)
{
	Pb__ImportInstanceRequest first = PB__IMPORT_INSTANCE_REQUEST__INIT;
	incus_error *error = NULL;
	int ends[2];
	first.name = m->name;
	first.pool = m->pool ? m->pool : (char *)"";
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a pipe");
	Sending sending = { .m = m, .fd = ends[1] };
	const incus_transfer transfer = { show, &sending };
	GThread *thread = g_thread_new("archive", send_archive, &sending);
	int result = incus_create_instance_from_backup(client, &first, ends[0], &transfer, &error);
	close(ends[0]); /* the writer ends, if it has not */
	g_thread_join(thread);
	if (!m->quiet && isatty(STDOUT_FILENO))
		putchar('\n');
	/* The reason is what the server says, unless it was us. */
	if (sending.err && (result == 0 || incus_error_is(error, "CANCELLED")))
		result = error_propagate(err, g_steal_pointer(&sending.err));
	else if (result < 0)
		error_set(err, error_kind_from_name(error->name), "%s", error->message);
	incus_error_free(error);
	error_free(sending.err);
	return result;
}

static int migrate(Migration *m, Error **err)
{
	incus_client *client = NULL;
	if (archive_check(m, err) < 0 || server_connect(m, &client, err) < 0) {
		incus_client_free(client);
		return -1;
	}
	int result = send(client, m, err);
	server_forget(client, m->own_fingerprint);
	incus_client_free(client);
	return result;
}

static void clear(Migration *m)
{
	char *const texts[] = { m->name, m->source, m->pool, m->project, m->description, m->url,
		m->token, m->certificate, m->key, m->fingerprint };
	for (gsize n = 0; n < G_N_ELEMENTS(texts); n++)
		g_free(texts[n]);
	g_ptr_array_unref(m->profiles);
	g_ptr_array_unref(m->config);
	g_ptr_array_unref(m->mounts);
	json_decref(m->devices);
}

int main(int argc, char **argv)
{
	g_autoptr(Error) err = NULL;
	Migration m = { .profiles = g_ptr_array_new_with_free_func(g_free),
		.config = g_ptr_array_new_with_free_func(g_free),
		.mounts = g_ptr_array_new_with_free_func(g_free),
		.devices = json_object() };
	signal(SIGPIPE, SIG_IGN);
	int result = options_read(&m, argc, argv, &err);
	if (result == 0)
		result = migrate(&m, &err);
	if (result < 0)
		fprintf(stderr, "Error: %s\n", err->message);
	else if (result == 0 && !m.quiet)
		printf("Instance \"%s\" was made. Start it with: incus start %s\n", m.name, m.name);
	clear(&m);
	return result < 0;
}
