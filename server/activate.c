#include "server/activate.h"
#include "server/db/db.h"

/* A key of instance `i`: its own value, else that of the last of its profiles that has one. */
#define INSTANCE_KEY(key)                                                                        \
	"COALESCE((SELECT c.value FROM instances_config AS c"                                     \
	" WHERE c.instance_id = i.id AND c.key = '" key "'),"                                     \
	" (SELECT c.value FROM instances_profiles AS p JOIN profiles_config AS c"                 \
	" ON c.profile_id = p.profile_id WHERE p.instance_id = i.id AND c.key = '" key "'"        \
	" ORDER BY p.apply_order DESC LIMIT 1), '')"
#define IS_TRUE(value) "LOWER(" value ") IN ('true', '1', 'yes', 'on')"

typedef struct Reason {
	gboolean local; /* which database knows */
	const char *query; /* gives rows when it holds */
	const char *text;
} Reason;

static const Reason reasons[] = {
	{ TRUE, "SELECT 1 FROM config WHERE key = 'core.https_address' AND value != ''",
	    "Daemon has core.https_address set, activating..." },
	{ FALSE,
	    "SELECT 1 FROM instances AS i WHERE " IS_TRUE(INSTANCE_KEY("boot.autostart")) " OR ("
	    INSTANCE_KEY("boot.autostart") " = '' AND " INSTANCE_KEY("volatile.last_state.power") " = 'RUNNING')",
	    "Daemon has auto-started instances, activating..." },
	{ FALSE, "SELECT 1 FROM instances AS i WHERE " INSTANCE_KEY("snapshots.schedule") " != ''",
	    "Daemon has scheduled instance snapshots, activating..." },
	{ FALSE,
	    "SELECT 1 FROM storage_volumes AS v JOIN storage_volumes_config AS c"
	    " ON c.storage_volume_id = v.id WHERE c.key = 'snapshots.schedule' AND c.value != ''",
	    "Daemon has scheduled volume snapshots, activating..." },
};

static int holds(Tx *tx, void *data, Error **err)
{
	const Reason **reason = data;
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err, (*reason)->query, "") < 0)
		return -1;
	int found = rows_next(rows, err);
	if (found == 0)
		*reason = NULL;
	return found < 0 ? -1 : 0;
}

int activate_reason(const char *directory, const char **ret_reason, Error **err)
{
	Db *db = NULL;
	int result = 0;
	*ret_reason = NULL;
	if (db_open_existing(directory, &db, err) < 0)
		return -1;
	for (gsize i = 0; db && i < G_N_ELEMENTS(reasons) && !*ret_reason && result == 0; i++) {
		const Reason *reason = &reasons[i];
		result = reason->local ? db_local_read(db, holds, &reason, err) : db_read(db, holds, &reason, err);
		if (result == 0 && reason)
			*ret_reason = reason->text;
	}
	db_close(db);
	return result;
}
