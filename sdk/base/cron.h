#pragma once
/*
 * Schedules as cron writes them: "MINUTE HOUR DAY MONTH WEEKDAY" with numbers, ranges, steps and
 * lists, or
 * @hourly, @daily, @midnight, @weekly, @monthly, @annually, @yearly, @startup, @never; several with
 * commas between. Only when something is due, not doing it.
 */
#include "sdk/base/error.h"
#include <stdint.h>

typedef struct Cron Cron;

#define CRON_NEVER INT64_MAX

/* "" is never. ERROR_INVALID. */
int cron_parse(const char *text, Cron **ret_cron, Error **err);
void cron_free(Cron *cron);
/* Whether @startup is among them. */
gboolean cron_at_startup(const Cron *cron);
/* The first time after `after` (seconds since 1970), by the local clock; CRON_NEVER when there is
 * none. */
int64_t cron_next(const Cron *cron, int64_t after);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Cron, cron_free)
