#include "server/rpc/route.h"
#include <string.h>

typedef struct Node {
	GHashTable *children;     /* literal segment -> Node */
	struct Node *any;         /* "{param}" */
	gboolean known;           /* a path ends here */
	GPtrArray *rows;          /* const Method * whose route ends here */
} Node;

static Node *root;

/* Paths that Incus 0.1 has and the schema does not (yet): known, but nothing answers to any verb.
 */
static const char *const absent[] = {
	"/1.0/cluster",
	"/1.0/cluster/certificate",
	"/1.0/cluster/groups",
	"/1.0/cluster/groups/{}",
	"/1.0/cluster/members",
	"/1.0/cluster/members/{}",
	"/1.0/cluster/members/{}/state",
	"/1.0/instances/{}/rebuild",
	"/1.0/instances/{}/snapshots",
	"/1.0/instances/{}/snapshots/{}",
	"/1.0/network-acls",
	"/1.0/network-acls/{}",
	"/1.0/network-acls/{}/log",
	"/1.0/network-allocations",
	"/1.0/network-zones",
	"/1.0/network-zones/{}",
	"/1.0/network-zones/{}/records",
	"/1.0/network-zones/{}/records/{}",
	"/1.0/networks/{}/forwards",
	"/1.0/networks/{}/forwards/{}",
	"/1.0/networks/{}/load-balancers",
	"/1.0/networks/{}/load-balancers/{}",
	"/1.0/networks/{}/peers",
	"/1.0/networks/{}/peers/{}",
	"/1.0/storage-pools/{}/volumes/{}/{}/backups",
	"/1.0/storage-pools/{}/volumes/{}/{}/backups/{}",
	"/1.0/storage-pools/{}/volumes/{}/{}/backups/{}/export",
	"/1.0/storage-pools/{}/volumes/{}/{}/snapshots",
	"/1.0/storage-pools/{}/volumes/{}/{}/snapshots/{}",
	"/1.0/storage-pools/{}/volumes/{}/{}/state",
	"/1.0/warnings",
	"/1.0/warnings/{}",
	"/internal/cluster/accept",
	"/internal/cluster/assign",
	"/internal/cluster/handover",
	"/internal/cluster/heal/{}",
	"/internal/cluster/raft-node/{}",
	"/internal/cluster/rebalance",
	"/internal/containers/{}/onstart",
	"/internal/containers/{}/onstop",
	"/internal/containers/{}/onstopns",
	"/internal/gc",
	"/internal/image-optimize",
	"/internal/raft-snapshot",
	"/internal/recover/import",
	"/internal/recover/validate",
	"/internal/testing/bgp",
	"/internal/testing/image-refresh",
	"/internal/testing/warnings",
};

static Node *node_child(Node *node, const char *segment, size_t length)
{
	if (*segment == '{') {
		if (!node->any)
			node->any = g_new0(Node, 1);
		return node->any;
	}
	g_autofree char *key = g_strndup(segment, length);
	if (!node->children)
		node->children = g_hash_table_new(g_str_hash, g_str_equal);
	Node *child = g_hash_table_lookup(node->children, key);
	if (!child) {
		child = g_new0(Node, 1);
		g_hash_table_insert(node->children, g_steal_pointer(&key), child);
	}
	return child;
}

static Node *node_for(const char *path)
{
	Node *node = root;
	const char *segment = path + 1;
	while (*segment) {
		size_t length = strcspn(segment, "/");
		node = node_child(node, segment, length);
		segment += length;
		if (*segment == '/')
			segment++;
	}
	node->known = TRUE;
	return node;
}

static gpointer build(gpointer data)
{
	root = g_new0(Node, 1);
	for (size_t i = 0; i < G_N_ELEMENTS(absent); i++)
		node_for(absent[i]);
	for (unsigned i = 0; i < schema_n_methods; i++) {
		const char *path = schema_methods[i].http_path;
		if (!path)
			continue;
		Node *node = node_for(path);
		if (!node->rows)
			node->rows = g_ptr_array_new();
		g_ptr_array_add(node->rows, (gpointer)&methods[i]);
	}
	return root;
}

void route_start(void)
{
	static GOnce once = G_ONCE_INIT;
	g_once(&once, build, NULL);
}

/* Depth first, literal segments before parameters: "/1.0/images/aliases" is not an image. */
static const Node *find(const Node *node, const char *path, RouteMatch *match)
{
	if (!*path)
		return node->known ? node : NULL;
	size_t length = strcspn(path, "/");
	const char *rest = path + length;
	if (*rest == '/' && !*++rest)
		return NULL; /* a slash at the end is another path */
	if (node->children) {
		char key[64];
		if (length < sizeof(key)) {
			memcpy(key, path, length);
			key[length] = 0;
			const Node *child = g_hash_table_lookup(node->children, key);
			const Node *found = child ? find(child, rest, match) : NULL;
			if (found)
				return found;
		}
	}
	if (!node->any || !length || match->n_params == ROUTE_PARAMS_MAX)
		return NULL;
	unsigned index = match->n_params++;
	match->values[index] = path;
	match->lengths[index] = length;
	const Node *found = find(node->any, rest, match);
	if (!found)
		match->n_params = index;
	return found;
}

/* Parameter names are those of the method's own template: "{name}" here may be "{pool}" there. */
static void name_params(RouteMatch *match)
{
	unsigned i = 0;
	for (const char *p = strchr(match->method->schema->http_path, '{');
	     p && i < match->n_params; p = strchr(p + 1, '{'))
		match->names[i++] = p + 1;
}

/* A method for one kind of body goes before the one that takes the rest. */
static gboolean takes_body(const Node *node, const Method *method, const char *content_type)
{
	const char *own = method->schema->content_type;
	if (own)
		return content_type && g_str_has_prefix(content_type, own);
	for (guint i = 0; content_type && i < node->rows->len; i++) {
		const Method *other = node->rows->pdata[i];
		if (other->schema->content_type &&
		    strcmp(other->schema->http_verb, method->schema->http_verb) == 0 &&
		    g_str_has_prefix(content_type, other->schema->content_type))
			return FALSE;
	}
	return TRUE;
}

RouteResult route_find(
    const char *verb, const char *path, const char *content_type, RouteMatch *match)
{
	match->n_params = 0;
	match->method = NULL;
	if (*path != '/')
		return ROUTE_NO_PATH;
	const Node *node = find(root, path + 1, match);
	if (!node)
		return ROUTE_NO_PATH;
	gboolean head = !strcmp(verb, "HEAD");
	for (guint i = 0; node->rows && i < node->rows->len; i++) {
		const Method *method = node->rows->pdata[i];
		if (!strcmp(method->schema->http_verb, head ? "GET" : verb) &&
		    (!head || method->schema->envelope == ENVELOPE_RAW) &&
		    takes_body(node, method, content_type)) {
			match->method = method;
			name_params(match);
			return ROUTE_FOUND;
		}
	}
	return ROUTE_NO_VERB;
}
