/* server/operation/schedule.c: jobs run when they are due, one at a time, and rest after a failure.
 */
#include "server/event/event.h"
#include "server/operation/schedule.h"
#include "server/operation/table.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static Daemon daemon_data;
static GMutex lock;
static GCond changed;
static int runs, asked;
static gint64 due_at;	     /* of the job under test */
static gboolean fails, held; /* held: run() waits */

static gint64 due(Daemon *d, gint64 now)
{
	g_mutex_lock(&lock);
	gint64 at = due_at;
	asked++;
	g_cond_broadcast(&changed);
	g_mutex_unlock(&lock);
	return at;
}

static int run(Operation *op, void *data, Error **err)
{
	g_mutex_lock(&lock);
	runs++;
	if (!fails)
		due_at = G_MAXINT64;
	g_cond_broadcast(&changed);
	while (held)
		g_cond_wait(&changed, &lock);
	int result = fails ? error_set(err, ERROR_INTERNAL, "On purpose") : 0;
	g_mutex_unlock(&lock);
	return result;
}

static const ScheduleJob job = {"Testing", due, run};

static int setup(void **state)
{
	runs = asked = 0;
	fails = held = FALSE;
	due_at = G_MAXINT64;
	daemon_data.shutting_down = 0;
	daemon_data.events = event_hub_new();
	daemon_data.operations = operation_table_new();
	return schedule_start(&daemon_data, NULL);
}

static int teardown(void **state)
{
	schedule_stop(&daemon_data);
	operation_table_free(daemon_data.operations);
	event_hub_free(daemon_data.events);
	return 0;
}

/* Until the counter has that value; ten seconds are for ever. */
static void wait_for(const int *counter, int value)
{
	gint64 until = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
	g_mutex_lock(&lock);
	while (*counter < value)
		assert_true(g_cond_wait_until(&changed, &lock, until));
	g_mutex_unlock(&lock);
}

static void set_due(gint64 at)
{
	g_mutex_lock(&lock);
	due_at = at;
	g_mutex_unlock(&lock);
	schedule_changed(&daemon_data);
}

/* The job is asked again, whatever the schedule was doing. */
static void ask_again(void)
{
	g_mutex_lock(&lock);
	int before = asked;
	g_mutex_unlock(&lock);
	schedule_changed(&daemon_data);
	wait_for(&asked, before + 1);
}

static void runs_when_due(void **state)
{
	schedule_add(&daemon_data, &job);
	wait_for(&asked, 1);
	assert_int_equal(runs, 0);
	set_due(0);
	wait_for(&runs, 1);
	set_due(g_get_real_time() + G_USEC_PER_SEC / 20);
	wait_for(&runs, 2);
	ask_again();
	assert_int_equal(runs, 2);
}

static void does_not_overlap(void **state)
{
	held = TRUE;
	schedule_add(&daemon_data, &job);
	set_due(0);
	wait_for(&runs, 1);
	set_due(0);
	set_due(0);
	g_mutex_lock(&lock);
	assert_int_equal(runs, 1);
	held = FALSE;
	g_cond_broadcast(&changed);
	g_mutex_unlock(&lock);
	wait_for(&runs, 2);
}

static void rests_after_a_failure(void **state)
{
	fails = TRUE;
	schedule_add(&daemon_data, &job);
	set_due(0);
	wait_for(&runs, 1);
	operation_table_drain(daemon_data.operations, 10000);
	ask_again();
	ask_again();
	assert_int_equal(runs, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(runs_when_due, setup, teardown),
	    cmocka_unit_test_setup_teardown(does_not_overlap, setup, teardown),
	    cmocka_unit_test_setup_teardown(rests_after_a_failure, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
