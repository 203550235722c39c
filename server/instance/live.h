#pragma once
/*
 * Instances that go to another server, or are copied there, while they run: what others than the
 * migration need to know of it. How it works is in live_private.h.
 */
#include "server/instance/instance.h"
#include "server/operation/operation.h"

/* Whether a running instance can go with its state, or (stays) be copied. ERROR_INVALID and
 * ERROR_UNSUPPORTED say why not. */
int live_source_check(Instance *i, gboolean stays, Error **err);
/* A volatile key that tells of the source's server as it is at the moment. */
gboolean live_key_is_local(const char *key);
/* Somebody who knows says where an instance runs that was moved, or was on its way: not on the other
 * server, so that it may be started here (1: it stood here, and goes on); or there, so that it may
 * be deleted here. */
int live_take_back(Instance *i, gboolean arrived, Error **err);
/* At the start: a move that was never heard the end of is asked about again and again. */
int live_tasks_start(Daemon *d, Error **err);

/* What became here of the move with that (valid) UUID. forget: it need not be known any longer. */
typedef enum LiveOutcome { LIVE_ARRIVED, LIVE_UNDECIDED, LIVE_NEVER } LiveOutcome;
LiveOutcome live_outcome(Daemon *d, const char *id, gboolean forget);
