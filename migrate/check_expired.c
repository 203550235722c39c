/* What has expired goes at the daemon's first start, as it would at LXD's. */
#include "migrate/check.h"
#include <time.h>

enum { NAMED = 5 };

static const struct {
	const char *what, *sql; /* name, when it expires */
	int since;		/* schema that brought the table */
} kinds[] = {
	{ "instance snapshots",
	    "SELECT j.name || '/' || i.name || '/' || s.name, s.expiry_date FROM instances_snapshots s"
	    " JOIN instances i ON i.id = s.instance_id JOIN projects j ON j.id = i.project_id ORDER BY 1",
	    0 },
	{ "volume snapshots",
	    "SELECT p.name || '/' || v.name || '/' || s.name, s.expiry_date FROM storage_volumes_snapshots s"
	    " JOIN storage_volumes v ON v.id = s.storage_volume_id AND v.type = 2"
	    " JOIN storage_pools p ON p.id = v.storage_pool_id ORDER BY 1",
	    0 },
	{ "instance backups",
	    "SELECT j.name || '/' || b.name, b.expiry_date FROM instances_backups b"
	    " JOIN instances i ON i.id = b.instance_id JOIN projects j ON j.id = i.project_id ORDER BY 1",
	    0 },
	{ "volume backups",
	    "SELECT p.name || '/' || b.name, b.expiry_date FROM storage_volumes_backups b"
	    " JOIN storage_volumes v ON v.id = b.storage_volume_id"
	    " JOIN storage_pools p ON p.id = v.storage_pool_id ORDER BY 1",
	    39 },
};

typedef struct Expired {
	guint n;
	GString *names; /* of the first ones */
} Expired;

gboolean check_is_expired(Rows *row, int column)
{
	/* None has no date, or Go's first one. */
	int64_t end = rows_null(row, column) ? 0 : rows_moment(row, column).seconds;
	return end > 0 && end <= time(NULL);
}

static int take_row(Rows *row, void *data, Error **err)
{
	Expired *expired = data;
	if (!check_is_expired(row, 1))
		return 0;
	if (expired->n++ < NAMED)
		g_string_append_printf(
		    expired->names, "%s%s", expired->names->len ? ", " : "", rows_text(row, 0));
	else if (expired->n == NAMED + 1)
		g_string_append(expired->names, ", ...");
	return 0;
}

int check_expired(Migration *m, Error **err)
{
	int result = 0;
	for (size_t i = 0; i < G_N_ELEMENTS(kinds) && result == 0; i++) {
		if (m->lxd->schema < kinds[i].since)
			continue;
		Expired expired = { .names = g_string_new(NULL) };
		result = lxd_database_each(m->lxd, kinds[i].sql, take_row, &expired, err);
		if (result == 0 && expired.n)
			findings_add(m->findings, FINDING_NOTE, "expiry", kinds[i].what,
			    "%u have expired and are removed when Incus starts, as LXD does: %s",
			    expired.n, expired.names->str);
		g_string_free(expired.names, TRUE);
	}
	return result;
}
