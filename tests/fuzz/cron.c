/* Schedules as people write them; what is accepted has a next time after any time, or none. */
#include "tests/fuzz/fuzz.h"
#include "sdk/base/cron.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autofree char *text = g_strndup((const char *)data, size);
	g_autoptr(Cron) cron = NULL;
	if (cron_parse(text, &cron, NULL) < 0)
		return 0;
	int64_t after = 1700000000, next = cron_next(cron, after);
	if (next <= after || (next != CRON_NEVER && next % 60 != 0))
		abort();
	return 0;
}
