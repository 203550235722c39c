#include "server/instance/inside.h"
#include "server/guest/state.h"
#include "server/instance/driver.h"

struct Insides {
	GArray *questions;     /* GuestQuestion */
	GHashTable *instances; /* Instance -> its number + 1 */
};

static gboolean may_ask(Instance *i)
{
	g_autoptr(Config) config = instance_expanded_config(i);
	return !config_false(config, "security.agent.metrics");
}

static void add_question(Insides *insides, Instance *i)
{
	GuestQuestion question = { 0 };
	g_autoptr(Runtime) r = instance_runtime(i);
	if (!r || !r->guest || instance_driver(i)->frozen(r) || !may_ask(i))
		return;
	question.guest = guest_ref(r->guest);
	g_array_append_val(insides->questions, question);
	g_hash_table_insert(insides->instances, i, GUINT_TO_POINTER(insides->questions->len));
}

static void clear_question(void *data)
{
	GuestQuestion *question = data;
	guest_question_clear(question);
	guest_unref(question->guest);
}

Insides *insides_ask(const GPtrArray *instances, InsideKind kind)
{
	Insides *insides = g_new0(Insides, 1);
	insides->questions = g_array_new(FALSE, TRUE, sizeof(GuestQuestion));
	g_array_set_clear_func(insides->questions, clear_question);
	insides->instances = g_hash_table_new(NULL, NULL);
	for (guint n = 0; n < instances->len; n++)
		add_question(insides, instances->pdata[n]);
	GuestQuestion *questions = (GuestQuestion *)(void *)insides->questions->data;
	guint n = insides->questions->len;
	if (n > 0 && kind == INSIDE_METRICS)
		guest_ask_metrics(questions, n, GUEST_STATE_WHOLE_MS);
	else if (n > 0)
		guest_ask_states(
		    questions, n, kind == INSIDE_ROW ? GUEST_STATE_ROW_MS : GUEST_STATE_WHOLE_MS);
	return insides;
}

const void *insides_answer(const Insides *insides, const Instance *i)
{
	guint number = insides ? GPOINTER_TO_UINT(g_hash_table_lookup(insides->instances, i)) : 0;
	return number ? g_array_index(insides->questions, GuestQuestion, number - 1).answer : NULL;
}

void insides_free(Insides *insides)
{
	if (!insides)
		return;
	g_array_unref(insides->questions);
	g_hash_table_unref(insides->instances);
	g_free(insides);
}
