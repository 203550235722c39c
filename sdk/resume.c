#include "sdk/resume.h"
#include <string.h>

/* Before each try: a server that starts again is back by then. */
static const guint pauses_ms[] = { 50, 250, 1000, 2000, 4000, 8000 };

void resume_begin(Resume *resume, incus_client *client)
{
	*resume = (Resume){ .client = client, .losses = client_losses(client) };
}

static int give_up(const Resume *resume, incus_error *why, incus_error **err)
{
	sdk_error(err, ERROR_UNAVAILABLE,
	    "%s, and could not be made again in %u tries: the transfer was cut after %" G_GUINT64_FORMAT
	    " bytes",
	    why->message, resume->tries, (guint64)resume->done);
	incus_error_free(why);
	return -1;
}

int resume_again(Resume *resume, uint64_t done, incus_error **err)
{
	incus_error *why = *err;
	if (!incus_error_is(why, "UNAVAILABLE") || !(resume->client->socket || resume->client->tls))
		return -1;
	*err = NULL;
	if (done > resume->done)
		resume->tries = 0;
	resume->done = done;
	while (resume->tries < G_N_ELEMENTS(pauses_ms)) {
		incus_error *problem = NULL;
		g_usleep(pauses_ms[resume->tries++] * (gulong)1000);
		if (client_reconnect(resume->client, resume->losses, &problem) == 0) {
			resume->losses = client_losses(resume->client);
			incus_error_free(why);
			return 0;
		}
		gboolean later = incus_error_is(problem, "UNAVAILABLE");
		if (!later) {
			incus_error_free(why);
			*err = problem;
			return -1;
		}
		incus_error_free(problem);
	}
	return give_up(resume, why, err);
}
