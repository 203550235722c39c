#pragma once
/*
 * The sending side's trees: what the other side has of one is compared, the rest goes as tar. Of a
 * volume that goes while it is in use the last round can be made ready beforehand: both sides have
 * read their trees then, and once nobody writes any more a glance shows what changed since.
 */
#include "server/instance/migration_data.h"
#include "server/instance/migration_source.h"

/* One volume or snapshot. */
typedef struct MigrationPart {
	const Volume *volume;
	const char *name;     /* for the progress */
	const GArray *owners; /* whose ids the files have on disk (IdRange) */
	/* The other side has it from an earlier round, in which what changed from then on may have
	 * gone half; 0: from none. */
	int64_t since_ns;
} MigrationPart;

/* Receives the other side's list, and sends. */
int migration_tree_send(
    MigrationPeer *peer, const MigrationSource *source, const MigrationPart *part, Error **err);

typedef struct MigrationLast MigrationLast;
/* Receives the list, and reads our own tree; since_ns: a moment before that. source and part are
 * used until the end. */
int migration_last_new(MigrationPeer *peer, const MigrationSource *source,
    const MigrationPart *part, int64_t since_ns, MigrationLast **ret, Error **err);
int migration_last_send(MigrationPeer *peer, const MigrationLast *last, Error **err);
void migration_last_free(MigrationLast *last);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigrationLast, migration_last_free)

/* migration_data_send() while nobody writes to it. */
int migration_source_send_still(MigrationPeer *peer, const MigrationSource *source,
    const MigrationPart *part, MigrationWork work, void *data, Error **err);
