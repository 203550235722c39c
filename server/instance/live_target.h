#pragma once
/* The receiving side of a live move; what it says is migration.proto's. */
#include "server/instance/live_private.h"
#include "server/instance/migration_target.h"

/* The offer's: whether it can be taken here. */
int live_target_check(Daemon *d, InstanceType type, const Pb__MigrationLive *live, Error **err);
/* The same of the instance that is made for it, before anything comes. */
int live_target_fits(Instance *i, Error **err);
/* Of one that can: whether the last of its volume can be asked for ahead. */
gboolean live_target_ahead(InstanceType type, const Pb__MigrationLive *live);
/* Of one that can: whether it comes while it runs. */
gboolean live_target_carries(Daemon *d, InstanceType type, const Pb__MigrationLive *live);
/* What a new instance's configuration is before it is there: without what is true of the running
 * source alone, and with the journal of one that arrives. A new object. */
Config *live_target_config(const Config *config, const char *id);
/* The instance is made of the volume as it was while it ran: takes the rest, and starts it. Under
 * `change`. `renew` brings the root volume up to date; or, where the source can be asked ahead, in
 * these rounds. */
typedef enum LiveRound {
	LIVE_ROUND_WHOLE,
	LIVE_ROUND_ASK,	 /* for the last one */
	LIVE_ROUND_TAKE, /* that */
} LiveRound;
typedef struct LiveArrival {
	MigrationTarget *target;
	int (*renew)(MigrationTarget *target, Instance *i, LiveRound round, Error **err);
	const char *id;
	gboolean stays;
} LiveArrival;
int live_target_receive(const LiveArrival *arrival, Instance *i, Error **err);
