/*
 * incus storage bucket: buckets of storage pools and the keys that open them.
 */
#include "cli/noun.h"
#include "cli/output.h"

static const Noun bucket_noun = {
	.title = "Storage bucket",
	.method = "StoragePoolBucket",
	.body = "bucket",
	.edit_help = "# The storage bucket as YAML. Lines that begin with # are left out.\n"
		     "#\n"
		     "# config:\n"
		     "#   size: 10GiB\n"
		     "# description: An example\n"
		     "#\n"
		     "# Only config and description can be changed.\n",
};

static const Noun key_noun = {
	.title = "Storage bucket key",
	.method = "StoragePoolBucketKey",
	.body = "key",
	.edit_help = "# The key as YAML. Lines that begin with # are left out.\n"
		     "#\n"
		     "# access-key: 33UgkaIBLBIxb7O1\n"
		     "# description: An example\n"
		     "# role: read-only\n"
		     "# secret-key: kDQD6AOgwHgaQI1UIJBJpPaiLgZuJbq0\n"
		     "#\n"
		     "# The name cannot be changed.\n",
};

/* "[<remote>:]<pool> <bucket>": the first two arguments. */
static int parse_bucket(Cli *cli, Object *ret, Error **err)
{
	Target pool;
	if (target_parse(cli, cli->args[0], &pool, err) < 0)
		return -1;
	if (!*pool.name)
		return error_set(err, ERROR_INVALID, "Missing pool name");
	*ret = object_make(pool.server, &bucket_noun, cli->n_args > 1 ? cli->args[1] : "");
	json_object_set_new(ret->key, "pool", json_string(pool.name));
	return cli->n_args > 1 && !*ret->name ?
	    error_set(err, ERROR_INVALID, "Missing bucket name") :
	    0;
}

/* And the key as the third. */
static int parse_key(Cli *cli, Object *ret, Error **err)
{
	Object bucket;
	if (parse_bucket(cli, &bucket, err) < 0)
		return -1;
	*ret = object_make(bucket.server, &key_noun, cli->n_args > 2 ? cli->args[2] : "");
	json_object_set(ret->key, "pool", json_object_get(bucket.key, "pool"));
	json_object_set_new(ret->key, "bucket", json_string(bucket.name));
	return cli->n_args > 2 && !*ret->name ? error_set(err, ERROR_INVALID, "Missing key name") :
						0;
}

#define PARSE(kind)                                                                                \
	Object object;                                                                             \
	if (parse_##kind(cli, &object, err) < 0)                                                   \
		return -1

static int create(Cli *cli, Error **err)
{
	PARSE(bucket);
	json_t *data = server_keep(cli, json_object());
	if (read_pairs(cli, 2, false, json_member(data, "config"), err) < 0)
		return -1;
	return object_create(&object, data, err);
}

static int delete(Cli *cli, Error **err)
{
	PARSE(bucket);
	return object_delete(&object, err);
}

static int edit(Cli *cli, Error **err)
{
	PARSE(bucket);
	return object_edit(&object, err);
}

static int get(Cli *cli, Error **err)
{
	PARSE(bucket);
	return object_print_key(&object, cli->args[2], err);
}

static int set(Cli *cli, Error **err)
{
	PARSE(bucket);
	return object_set(&object, 2, err);
}

static int show(Cli *cli, Error **err)
{
	PARSE(bucket);
	return object_show(&object, err);
}

static int unset(Cli *cli, Error **err)
{
	PARSE(bucket);
	return object_unset(&object, cli->args[2], err);
}

static int list(Cli *cli, Error **err)
{
	static const char *const headers[] = { "NAME", "DESCRIPTION", "LOCATION", NULL };
	if (output_check_format(cli, err) < 0)
		return -1;
	PARSE(bucket);
	json_object_del(object.key, "name");
	json_t *buckets = server_list(
		       object.server, "GetStoragePoolBuckets", json_copy(object.key), err),
	       *bucket;
	if (!buckets)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	size_t i;
	json_array_foreach (buckets, i, bucket)
		table_add(table, json_get_text(bucket, "name"),
		    json_get_text(bucket, "description"), json_get_text(bucket, "location"), NULL);
	table_sort(table);
	return output_list(cli, table, buckets, err);
}

static int key_create(Cli *cli, Error **err)
{
	static const char *const fields[] = { "role", "access-key", "secret-key" };
	PARSE(key);
	json_t *data = server_keep(cli, json_object());
	for (size_t i = 0; i < G_N_ELEMENTS(fields); i++)
		json_object_set_new(data, fields[i], json_string(flag_string(cli, fields[i])));
	return object_create(&object, data, err);
}

static int key_delete(Cli *cli, Error **err)
{
	PARSE(key);
	return object_delete(&object, err);
}

static int key_edit(Cli *cli, Error **err)
{
	PARSE(key);
	return object_edit(&object, err);
}

static int key_show(Cli *cli, Error **err)
{
	PARSE(key);
	return object_show(&object, err);
}

static int key_list(Cli *cli, Error **err)
{
	static const char *const headers[] = { "NAME", "DESCRIPTION", "ROLE", NULL };
	if (output_check_format(cli, err) < 0)
		return -1;
	PARSE(key);
	json_object_del(object.key, "name");
	json_t *keys = server_list(
		       object.server, "GetStoragePoolBucketKeys", json_copy(object.key), err),
	       *key;
	if (!keys)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	size_t i;
	json_array_foreach (keys, i, key)
		table_add(table, json_get_text(key, "name"), json_get_text(key, "description"),
		    json_get_text(key, "role"), NULL);
	table_sort(table);
	return output_list(cli, table, keys, err);
}

static const Flag property_flags[] = { FLAG_TARGET, FLAG_PROPERTY, FLAG_END };
static const Flag target_flags[] = { FLAG_TARGET, FLAG_END };
static const Flag list_flags[] = { FLAG_FORMAT, FLAG_END };
static const Flag key_list_flags[] = { FLAG_FORMAT, FLAG_TARGET, FLAG_END };
static const Flag key_create_flags[] = {
	FLAG_TARGET,
	{ "role", 0, FLAG_STRING, "read-only", "What it may do: admin or read-only" },
	{ "access-key", 0, FLAG_STRING, NULL, "Access key; made up when not given" },
	{ "secret-key", 0, FLAG_STRING, NULL, "Secret key; made up when not given" },
	FLAG_END,
};

#define NOT_YET "No server of this version serves buckets: it refuses what is asked here."

const Command bucket_commands[] = {
	{ .path = "storage bucket", .summary = "Manage storage buckets", .help = NOT_YET },
	{ .path = "storage bucket create",
	    .usage = "[<remote>:]<pool> <bucket> [key=value...]",
	    .min_args = 2,
	    .max_args = -1,
	    .flags = target_flags,
	    .summary = "Create a storage bucket",
	    .help = NOT_YET,
	    .run = create,
	    .complete = "storage" },
	{ .path = "storage bucket delete",
	    .aliases = "rm",
	    .usage = "[<remote>:]<pool> <bucket>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = target_flags,
	    .summary = "Delete a storage bucket",
	    .help = NOT_YET,
	    .run = delete,
	    .complete = "storage" },
	{ .path = "storage bucket edit",
	    .usage = "[<remote>:]<pool> <bucket>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = target_flags,
	    .summary = "Edit a storage bucket as YAML",
	    .help = NOT_YET,
	    .run = edit,
	    .complete = "storage" },
	{ .path = "storage bucket get",
	    .usage = "[<remote>:]<pool> <bucket> <key>",
	    .min_args = 3,
	    .max_args = 3,
	    .flags = property_flags,
	    .summary = "Print one key of a storage bucket",
	    .help = NOT_YET,
	    .run = get,
	    .complete = "storage" },
	{ .path = "storage bucket list",
	    .aliases = "ls",
	    .usage = "[<remote>:]<pool>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = list_flags,
	    .summary = "List the storage buckets of a pool",
	    .help = NOT_YET,
	    .run = list,
	    .complete = "storage" },
	{ .path = "storage bucket set",
	    .usage = "[<remote>:]<pool> <bucket> <key>=<value>...",
	    .min_args = 3,
	    .max_args = -1,
	    .flags = property_flags,
	    .summary = "Set keys of a storage bucket",
	    .help = NOT_YET,
	    .run = set,
	    .complete = "storage" },
	{ .path = "storage bucket show",
	    .usage = "[<remote>:]<pool> <bucket>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = target_flags,
	    .summary = "Show a storage bucket",
	    .help = NOT_YET,
	    .run = show,
	    .complete = "storage" },
	{ .path = "storage bucket unset",
	    .usage = "[<remote>:]<pool> <bucket> <key>",
	    .min_args = 3,
	    .max_args = 3,
	    .flags = property_flags,
	    .summary = "Unset a key of a storage bucket",
	    .help = NOT_YET,
	    .run = unset,
	    .complete = "storage" },
	{ .path = "storage bucket key",
	    .summary = "Manage the keys of storage buckets",
	    .help = NOT_YET },
	{ .path = "storage bucket key create",
	    .usage = "[<remote>:]<pool> <bucket> <key>",
	    .min_args = 3,
	    .max_args = 3,
	    .flags = key_create_flags,
	    .summary = "Create a key of a storage bucket",
	    .help = NOT_YET,
	    .run = key_create,
	    .complete = "storage" },
	{ .path = "storage bucket key delete",
	    .usage = "[<remote>:]<pool> <bucket> <key>",
	    .min_args = 3,
	    .max_args = 3,
	    .flags = target_flags,
	    .summary = "Delete a key of a storage bucket",
	    .help = NOT_YET,
	    .run = key_delete,
	    .complete = "storage" },
	{ .path = "storage bucket key edit",
	    .usage = "[<remote>:]<pool> <bucket> <key>",
	    .min_args = 3,
	    .max_args = 3,
	    .flags = target_flags,
	    .summary = "Edit a key of a storage bucket as YAML",
	    .help = NOT_YET,
	    .run = key_edit,
	    .complete = "storage" },
	{ .path = "storage bucket key list",
	    .aliases = "ls",
	    .usage = "[<remote>:]<pool> <bucket>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = key_list_flags,
	    .summary = "List the keys of a storage bucket",
	    .help = NOT_YET,
	    .run = key_list,
	    .complete = "storage" },
	{ .path = "storage bucket key show",
	    .usage = "[<remote>:]<pool> <bucket> <key>",
	    .min_args = 3,
	    .max_args = 3,
	    .flags = target_flags,
	    .summary = "Show a key of a storage bucket",
	    .help = NOT_YET,
	    .run = key_show,
	    .complete = "storage" },
	{ 0 },
};
