#pragma once
/*
 * Instances that go to another server, or are copied there, while they run. The flow is the same
 * for all kinds (live_source.c, live_target.c; migration.proto says what is said); what the state
 * is and how it is had is a LiveDriver's. For the migration and the files of this folder.
 *
 * Who has it. A move ends in one of two moments that are on disk. At the source: the journal
 * (volatile.migration.journal) says "leaving" and the driver's end() has made the state on disk the
 * only one, so that nothing runs there any more. At the target: a file in INCUS_DIR/migrations, the
 * record, named after the move; only then it runs. Before the first the source goes on whatever
 * happens. The journal says "given" before the target is told that it may run it: until then the
 * source starts it again from its state without asking anybody. Afterwards, who is cut off waits:
 * the source asks the target (live_settle.c), which answers by its record. "arriving" in the journal
 * without a record is what the next start removes; "left" is what nobody starts, until it is
 * deleted. What the other server relies upon is flushed first (db_sync()). Records whose source asks
 * no more are removed after a while (RECORD_DAYS), and by then the source has ceased to believe in
 * an answer that there is none (ANSWER_DAYS). What nobody can decide an administrator does
 * (live_take_back()).
 */
#include "server/instance/live.h"
#include "server/instance/migration_tree.h"
#include "server/instance/private.h"

/* The state of an instance that stands still. */
typedef struct LiveHold LiveHold;

typedef struct LiveDriver {
	const char *name; /* of the state's form, as an offer has it */
	/* Whether such state can be had of and brought to life on this host; *ret_version (g_free)
	 * is that of what does it. */
	int (*available)(Daemon *d, char **ret_version, Error **err);
	/* What keeps this one from going, or (stays) from being copied, before anything moves.
	 * NULL: nothing that is known before. */
	int (*check)(Instance *i, gboolean stays, Error **err);
	/* What keeps one that is to come from starting on this host, before anything of it moves.
	 * NULL: nothing that is known before. */
	int (*fits)(const Config *expanded, Error **err);
	/* It stands still, and nothing is written to its volume any more. On failure it goes on. */
	int (*hold)(Instance *i, Runtime *r, LiveHold **ret_hold, Error **err);
	/* *ret_bytes: of its state, at most; for that, all of it has to be there first. */
	int (*size)(LiveHold *hold, uint64_t *ret_bytes, Error **err);
	/* hold() comes back while the state is still being written, and it is worth while to take
	 * the rest of the volume meanwhile. */
	gboolean ahead;
	/* Data and an end, or whatever receive() understands. */
	int (*send)(LiveHold *hold, MigrationPeer *peer, Operation *op, Error **err);
	/* Now the state on disk is the only one, for good: 0; or it is not, for good: -1. */
	int (*end)(LiveHold *hold, Error **err);
	/* Takes the hold. Ended: waits until nothing runs. Not ended: it goes on as it was. */
	int (*release)(LiveHold *hold, Error **err);
	/* All of it at once while it runs, instead of hold() and send(), where both sides can: it
	 * stands still afterwards, and commands in it see its end. The next are NULL where that
	 * cannot be. The hold's release() leaves it as it is once it has ended; what becomes of it
	 * is settle()'s. */
	gboolean (*carries)(Daemon *d);
	int (*carry)(Instance *i, Runtime *r, MigrationPeer *peer, Operation *op,
	    LiveHold **ret_hold, Error **err);
	/* It stands still, carried, since this or an earlier server. */
	gboolean (*carried)(Instance *i);
	/* It runs over there, and ends here; or it does not, and goes on. */
	int (*settle)(Instance *i, gboolean arrived, Error **err);
	/* Lays the state down so that a start (power_restore_locked()) begins with it. bytes: 0 is
	 * not known. */
	int (*receive)(
	    Instance *i, uint64_t bytes, MigrationPeer *peer, Operation *op, Error **err);
} LiveDriver;
extern const LiveDriver live_driver_criu, live_driver_vm;

/* ---- the journal ---- */

typedef enum LivePhase { LIVE_NONE, LIVE_ARRIVING, LIVE_LEAVING, LIVE_LEFT } LivePhase;
typedef struct LiveJournal {
	LivePhase phase;
	gboolean given; /* the target may have been told to run it */
	int64_t since;	/* seconds since 1970 */
	char *id;
	char **servers;	   /* of the target */
	char *certificate; /* of these */
} LiveJournal;
/* LIVE_NONE when there is none. */
LiveJournal live_journal_read(Instance *i);
void live_journal_clear(LiveJournal *journal);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LiveJournal, live_journal_clear)
char *live_journal_text(const LiveJournal *journal); /* g_free */
/* NULL: there is none any more. */
int live_journal_write(Instance *i, const LiveJournal *journal, Error **err);
/* It stands still and its target is asked whether it runs there. */
gboolean live_stands(Instance *i);
/* Whether the instance may be started, or deleted (or neither, being on its way). */
int live_check_start(Instance *i, Error **err);
int live_check_delete(Instance *i, Error **err);

/* ---- records ---- */

int live_record_make(Daemon *d, const char *id, Error **err);
void live_record_remove(Daemon *d, const char *id);
gboolean live_record_exists(Daemon *d, const char *id);
enum { RECORD_DAYS = 90, ANSWER_DAYS = 60, DAY_S = 86400 };
/* Removes those that are older than RECORD_DAYS. */
void live_records_prune(Daemon *d);

/* ---- after a crash, and a broken stream ---- */

/* At the start, of all instances. */
void live_repair(Daemon *d);
/* Asks the target what became of one that is leaving, for up to that many seconds, and makes it so:
 * LIVE_ARRIVED: it is "left" now; LIVE_NEVER: it runs again; LIVE_UNDECIDED: nobody answered.
 * Under `change`. */
LiveOutcome live_settle_locked(Instance *i, int patience_s, Error **err);

/* It has left, says its journal: what still stands here ends. */
int live_end_standing(Instance *i, Error **err);
/* An instance with this journal is gone: its target need not know of the move any longer. */
void live_deleted(const LiveJournal *journal);
/* One that was not settled is there: it is asked about from now on. */
void live_ask_again(Daemon *d);

/* For those who look where a move's time goes: at debug, a line with the wall clock's milliseconds,
 * by which the lines of both servers fall into one order. */
void live_trace(Instance *i, const char *step);

/* ---- the two sides ---- */

typedef struct LiveSource LiveSource;
/* Of a running instance, locked by the caller until the end. */
int live_source_new(Instance *i, gboolean stays, Operation *op, LiveSource **ret, Error **err);
void live_source_offer(const LiveSource *source, Pb__MigrationOffer *offer, Arena *arena);
/* The volume is about to be read. *ret_since_ns: what has a change time from then on changed since
 * the last time began; 0: this is the first. */
int live_source_begin(LiveSource *source, int64_t *ret_since_ns, Error **err);
/* Its last round is requested, and made ready: it goes once the instance is held. */
int live_source_last(LiveSource *source, MigrationPeer *peer, const MigrationSource *volume,
    const MigrationPart *part, Error **err);
int live_source_step(
    LiveSource *source, MigrationPeer *peer, const Pb__MigrationStep *step, Error **err);
/* Takes it. How it ended: `failure` (owned, replaced) NULL is well. */
int live_source_end(LiveSource *source, Error **failure);
