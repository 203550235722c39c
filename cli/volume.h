#pragma once
/*
 * What the commands of `incus storage volume` share: volumes as arguments name them, and their
 * list.
 */
#include "cli/noun.h"

extern const Noun volume_noun, volume_snapshot_noun;

/* "container/c1" is of type container; without a type it is a custom volume. The rest is returned.
 */
const char *volume_split_type(const char *name, const char **ret_type);
/* "[remote:]pool", the first argument. */
int volume_parse_pool(Cli *cli, Target *ret, Error **err);
/* "[remote:]pool" and "[type/]volume[/snapshot]" of the first two arguments; one or the other noun.
 */
int volume_parse(Cli *cli, Object *ret, Error **err);
/* The same where a snapshot is an argument of its own. */
int volume_parse_whole(Cli *cli, Object *ret, Error **err);
/* `name` among the snapshots of a volume; NULL: all, for requests that list or create. */
Object volume_snapshot_object(const Object *volume, const char *name);
/* Those of a pool that `filter` lets through, as a table in --columns. prefix (may be NULL): names
 * that begin so. */
int volume_print_list(Cli *cli, Server *server, const char *pool, const char *filter,
    const char *prefix, Error **err);

/* The columns of lists. */
#define VOLUME_LIST_FLAGS \
	{ "columns", 'c', FLAG_STRING, "etndcuL", "Columns" }, FLAG_ALL_PROJECTS, FLAG_FORMAT
#define VOLUME_COLUMNS_HELP \
	"Columns:\n" \
	"  c - Content type\n" \
	"  d - Description\n" \
	"  e - Project\n" \
	"  L - Location\n" \
	"  n - Name\n" \
	"  t - Type\n" \
	"  u - Number of users"
