#include "server/guest/state.h"
#include "server/guest/call.h"
#include "google/protobuf/empty.pb-c.h"
#include <arpa/inet.h>
#include <math.h>
#include <net/if.h>
#include <string.h>

enum {
	NETWORKS_MAX = 256,
	ADDRESSES_MAX = 256, /* of one */
	SAMPLES_MAX = 4096,
	LABELS_MAX = 4,
	VALUE_MAX = 256, /* bytes of a label's value */
};

/* --- asking --- */

/* Which of the guests are asked at all: those are *ret_calls, with their links. */
static size_t prepare(GuestQuestion *questions, size_t n, CallEntry *calls, GuestLink **links)
{
	static const Google__Protobuf__Empty in = GOOGLE__PROTOBUF__EMPTY__INIT;
	size_t asked = 0;
	for (size_t i = 0; i < n; i++) {
		if (guest_link(questions[i].guest, &links[i], &questions[i].error) < 0 ||
		    guest_link_patience(links[i], &questions[i].error) < 0)
			continue;
		guest_busy(links[i], TRUE);
		calls[asked++] = (CallEntry){ .client = links[i]->client, .in = &in };
	}
	return asked;
}

static void take(GuestQuestion *question, GuestLink *link, CallEntry *call)
{
	guest_busy(link, FALSE);
	question->answer = call->reply;
	if (call->reply)
		return;
	guest_fail(call->error, &question->error);
	if (question->error->kind == ERROR_TIMEOUT)
		guest_link_late(link);
}

static void ask(GuestQuestion *questions, size_t n, int method, int timeout_ms)
{
	g_autofree CallEntry *calls = g_new0(CallEntry, n);
	g_autofree GuestLink **links = g_new0(GuestLink *, n);
	size_t asked = prepare(questions, n, calls, links), at = 0;
	if (asked > 0)
		call_unary_all(calls, asked, &schema_agent_methods[method], timeout_ms);
	for (size_t i = 0; i < n; i++) {
		if (!questions[i].error)
			take(&questions[i], links[i], &calls[at++]);
		guest_link_unref(links[i]);
	}
}

void guest_ask_states(GuestQuestion *questions, size_t n, int timeout_ms)
{
	ask(questions, n, AGENT_GET_STATE, timeout_ms);
}

void guest_ask_metrics(GuestQuestion *questions, size_t n, int timeout_ms)
{
	ask(questions, n, AGENT_GET_METRICS, timeout_ms);
}

void guest_question_clear(GuestQuestion *question)
{
	incus_message_free(question->answer);
	question->answer = NULL;
	g_clear_pointer(&question->error, error_free);
}

/* --- networks --- */

/* Of the words that Incus shows, the one that the guest means; else the last. */
static char *word(const char *text, const char *const *words)
{
	while (words[1] && strcmp(*words, text) != 0)
		words++;
	return (char *)*words;
}

static gboolean plain(const char *text, size_t max, const char *allowed)
{
	size_t n = strlen(text);
	for (const char *c = text; *c; c++)
		if (!g_ascii_isalnum(*c) && !strchr(allowed, *c))
			return FALSE;
	return n <= max;
}

/* NULL for what is none. */
static Pb__InstanceStateNetworkAddress *copy_address(
    const Pb__InstanceStateNetworkAddress *in, Arena *arena)
{
	static const char *const scopes[] = { "global", "link", "local", "global", NULL };
	uint8_t bytes[16];
	gboolean v4 = strcmp(in->family, "inet") == 0;
	guint64 prefix;
	if ((!v4 && strcmp(in->family, "inet6") != 0) ||
	    inet_pton(v4 ? AF_INET : AF_INET6, in->address, bytes) != 1 ||
	    !g_ascii_string_to_unsigned(in->netmask, 10, 0, v4 ? 32 : 128, &prefix, NULL))
		return NULL;
	Pb__InstanceStateNetworkAddress *out = arena_message(
	    arena, Pb__InstanceStateNetworkAddress, pb__instance_state_network_address);
	out->family = (char *)(v4 ? "inet" : "inet6");
	out->address = arena_strdup(arena, in->address);
	out->netmask = arena_printf(arena, "%u", (unsigned)prefix);
	out->scope = word(in->scope, scopes);
	return out;
}

static Pb__InstanceStateNetworkCounters *copy_counters(
    const Pb__InstanceStateNetworkCounters *in, Arena *arena)
{
	Pb__InstanceStateNetworkCounters *out = arena_message(
	    arena, Pb__InstanceStateNetworkCounters, pb__instance_state_network_counters);
	if (!in)
		return out;
	out->bytes_received = in->bytes_received;
	out->bytes_sent = in->bytes_sent;
	out->packets_received = in->packets_received;
	out->packets_sent = in->packets_sent;
	out->errors_received = in->errors_received;
	out->errors_sent = in->errors_sent;
	out->packets_dropped_inbound = in->packets_dropped_inbound;
	out->packets_dropped_outbound = in->packets_dropped_outbound;
	return out;
}

static Pb__InstanceStateNetwork *copy_network(const Pb__InstanceStateNetwork *in, Arena *arena)
{
	static const char *const states[] = { "up", "down", NULL };
	static const char *const types[] = { "broadcast", "loopback", "point-to-point", "unknown",
		NULL };
	Pb__InstanceStateNetwork *out = arena_message(
	    arena, Pb__InstanceStateNetwork, pb__instance_state_network);
	size_t n = MIN(in->n_addresses, ADDRESSES_MAX);
	out->addresses = arena_alloc(arena, (n + 1) * sizeof(void *));
	for (size_t i = 0; i < n; i++) {
		Pb__InstanceStateNetworkAddress *address = copy_address(in->addresses[i], arena);
		if (address)
			out->addresses[out->n_addresses++] = address;
	}
	out->counters = copy_counters(in->counters, arena);
	out->hwaddr = arena_strdup(arena, plain(in->hwaddr, 64, ":") ? in->hwaddr : "");
	out->host_name = (char *)"";
	out->mtu = CLAMP(in->mtu, 0, G_MAXINT32);
	out->state = word(in->state, states);
	out->type = word(in->type, types);
	return out;
}

static void copy_networks(const Pb__InstanceState *in, Arena *arena, Pb__InstanceState *out)
{
	size_t n = MIN(in->n_network, NETWORKS_MAX);
	out->network = arena_alloc(arena, (n + 1) * sizeof(void *));
	out->n_network = 0;
	for (size_t i = 0; i < n; i++) {
		const Pb__InstanceState__NetworkEntry *from = in->network[i];
		if (!*from->key || !from->value || !plain(from->key, IFNAMSIZ - 1, ".-_@:"))
			continue;
		Pb__InstanceState__NetworkEntry *entry = arena_message(
		    arena, Pb__InstanceState__NetworkEntry, pb__instance_state__network_entry);
		entry->key = arena_strdup(arena, from->key);
		entry->value = copy_network(from->value, arena);
		out->network[out->n_network++] = entry;
	}
}

/* --- the rest --- */

static void copy_memory(const Pb__InstanceStateMemory *in, Arena *arena, Pb__InstanceState *out)
{
	if (!in)
		return;
	if (!out->memory)
		out->memory = arena_message(
		    arena, Pb__InstanceStateMemory, pb__instance_state_memory);
	out->memory->usage = MAX(0, in->usage);
	out->memory->total = MAX(0, in->total);
	out->memory->swap_usage = MAX(0, in->swap_usage);
}

static Pb__InstanceStateDisk *find_root(const Pb__InstanceState *state)
{
	for (size_t i = 0; i < state->n_disk; i++)
		if (strcmp(state->disk[i]->key, "root") == 0)
			return state->disk[i]->value;
	return NULL;
}

/* The host knows the size of the disk; how much of it is full, the guest. */
static void copy_disk(const Pb__InstanceState *in, Arena *arena, Pb__InstanceState *out)
{
	const Pb__InstanceStateDisk *from = find_root(in);
	Pb__InstanceStateDisk *to = find_root(out);
	if (!from)
		return;
	if (!to) {
		Pb__InstanceState__DiskEntry *entry = arena_message(
		    arena, Pb__InstanceState__DiskEntry, pb__instance_state__disk_entry);
		entry->key = (char *)"root";
		entry->value = to = arena_message(
		    arena, Pb__InstanceStateDisk, pb__instance_state_disk);
		Pb__InstanceState__DiskEntry **disks = arena_alloc(
		    arena, (out->n_disk + 1) * sizeof(void *));
		if (out->n_disk)
			memcpy(disks, out->disk, out->n_disk * sizeof(void *));
		disks[out->n_disk++] = entry;
		out->disk = disks;
		to->total = MAX(0, from->total);
	}
	to->usage = MAX(0, from->usage);
}

void guest_state_take(const Pb__InstanceState *answer, Arena *arena, Pb__InstanceState *out)
{
	out->processes = MAX(-1, answer->processes);
	if (answer->cpu) {
		out->cpu = arena_message(arena, Pb__InstanceStateCPU, pb__instance_state_cpu);
		out->cpu->usage = MAX(-1, answer->cpu->usage);
	}
	copy_memory(answer->memory, arena, out);
	copy_disk(answer, arena, out);
	copy_networks(answer, arena, out);
}

/* --- metrics --- */

static gboolean good_label(const Pb__AgentLabel *label)
{
	static const char *const names[] = { "cpu", "mode", "device", "fstype", "mountpoint",
		NULL };
	return g_strv_contains(names, label->name) && strlen(label->value) <= VALUE_MAX;
}

static void take_sample(const Pb__AgentSample *sample, const char *labels, Metrics *metrics)
{
	g_autoptr(GString) text = g_string_new(NULL);
	Metric metric = metric_by_name(sample->metric);
	if (metric == METRIC_COUNT || metric == METRIC_UPTIME || metric == METRIC_WARNINGS ||
	    metric == METRIC_OPERATIONS || !isfinite(sample->value) ||
	    sample->n_labels > LABELS_MAX)
		return;
	for (size_t i = 0; i < sample->n_labels; i++) {
		if (!good_label(sample->labels[i]))
			return;
		g_autofree char *value = guest_text(sample->labels[i]->value);
		metrics_label(text, sample->labels[i]->name, value);
	}
	if (labels && *labels)
		g_string_append_printf(text, "%s%s", text->len ? "," : "", labels);
	metrics_add(metrics, metric, text->str, sample->value);
}

void guest_metrics_take(const Pb__AgentMetrics *answer, const char *labels, Metrics *metrics)
{
	for (size_t i = 0; i < MIN(answer->n_samples, SAMPLES_MAX); i++)
		take_sample(answer->samples[i], labels, metrics);
}
