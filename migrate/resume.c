#include "migrate/resume.h"
#include "migrate/journal.h"
#include "migrate/plan.h"
#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *line, const char *key)
{
	const char *text = json_string_value(json_object_get(line, key));
	return text ? text : "";
}

/* Another --source than the first run's is a mistake, not a wish to undo. */
static int check_source(const Migration *m, const char *first, Error **err)
{
	char *real = m->options->source ? realpath(m->options->source, NULL) : NULL;
	gboolean other = m->options->source && g_strcmp0(real, first) != 0;
	free(real);
	return other ? error_set(err, ERROR_INVALID,
			   "An interrupted migration of \"%s\" to \"%s\" is in the way: finish it "
			   "with --source %s, or undo it with --rollback",
			   first, m->target.directory, first) :
		       0;
}

/* Why it cannot go on; NULL: it can. */
static char *obstacle(const Migration *m, const json_t *begin, const json_t *plan, Error **err)
{
	g_autofree char *state = NULL;
	if (!plan)
		return g_strdup("nothing was moved yet");
	if (strcmp(text_of(begin, "version"), INCUS_VERSION) != 0)
		return g_strdup_printf(
		    "it was begun by version \"%s\" of this program", text_of(begin, "version"));
	if (m->source.running)
		return g_strdup("LXD was started since");
	if (lxd_database_state(m->source.directory, &state, err) < 0)
		return NULL;
	return strcmp(state, text_of(plan, "database")) == 0 ?
	    NULL :
	    g_strdup("LXD's database was changed since");
}

static int load(Migration *m, const json_t *plan, Error **err)
{
	const json_t *proven = journal_find(m->journal, "proven", NULL, NULL);
	const json_t *begin = journal_find(m->journal, "begin", NULL, NULL);
	if (lxd_database_open(m->source.directory, m->work.path, &m->lxd, err) < 0 ||
	    source_learn(&m->source, m->lxd, err) < 0 ||
	    plan_from_json(json_object_get(plan, "plan"), &m->plan, err) < 0)
		return -1;
	m->target.was_running = json_is_true(json_object_get(begin, "incus-running"));
	if (proven)
		m->report = g_strdup(text_of(proven, "report"));
	return 0;
}

int resume_open(Migration *m, char **ret_why, Error **err)
{
	*ret_why = NULL;
	if (journal_open(m->target.directory, &m->journal, err) < 0)
		return -1;
	const json_t *begin = journal_find(m->journal, "begin", NULL, NULL);
	const json_t *plan = journal_find(m->journal, "plan", NULL, NULL);
	if (journal_has(m->journal, "finished"))
		return error_set(err, ERROR_EXISTS,
		    "\"%s\" was migrated already; --rollback undoes it", m->target.directory);
	if (!begin) { /* it died with its first line */
		*ret_why = g_strdup("nothing was done yet");
		return 0;
	}
	if (check_source(m, text_of(begin, "source"), err) < 0 ||
	    source_find(text_of(begin, "named"), &m->source, err) < 0)
		return -1;
	Error *error = NULL;
	*ret_why = obstacle(m, begin, plan, &error);
	if (error)
		return error_propagate(err, error);
	return *ret_why ? 0 : load(m, plan, err);
}
