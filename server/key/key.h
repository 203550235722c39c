#pragma once
/*
 * Configuration keys. One row says all that is known about a key: scope, name or pattern, type,
 * default, when it applies, its own check and its help text. Validation, the reference
 * (GET /1.0/metadata/configuration) and live changes all read the same rows.
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"

typedef enum KeyScope {
	KEY_SERVER,
	KEY_INSTANCE,        /* profiles too; volatile.* only for instances */
	KEY_PROJECT,
	KEY_POOL,            /* with the driver's name as kind */
	KEY_VOLUME,          /* with the driver's name as kind */
	KEY_BUCKET,
	KEY_NETWORK,         /* with the network's type as kind */
	KEY_DEVICE,          /* with "disk", "nic-bridged", "none", ... as kind */
	KEY_ACL, KEY_FORWARD, KEY_LOAD_BALANCER, KEY_PEER, KEY_ZONE, KEY_ZONE_RECORD,
	KEY_MEMBER,
	KEY_SCOPES
} KeyScope;

typedef enum KeyType { KEY_STRING, KEY_BOOL, KEY_INT, KEY_BLOB, KEY_SIZE, KEY_BITRATE } KeyType;

/* What a key applies to and how it changes. */
typedef enum KeyFlags {
	KEY_LIVE = 1 << 0,        /* takes effect on a running instance or server at once */
	KEY_CONTAINER = 1 << 1,   /* containers only */
	KEY_MACHINE = 1 << 2,     /* virtual machines only */
	KEY_LOCAL = 1 << 3,       /* server: of one member; pools, networks: value per member */
	KEY_SECRET = 1 << 4,      /* never logged, shown only to administrators */
	KEY_REQUIRED = 1 << 5,
	KEY_TEXT = 1 << 6,        /* line breaks are part of the value (scripts, cloud-init, raw.*) */
	KEY_HIDDEN = 1 << 7,      /* accepted, not in the reference */
	KEY_VOLATILE = 1 << 8,    /* set by the daemon: not for profiles */
} KeyFlags;

typedef struct Key {
	const char *name;         /* "limits.cpu", "user.*", "volatile.<name>.hwaddr" */
	const char *kinds;        /* comma list of kinds within the scope; NULL: all of them */
	KeyType type;
	unsigned flags;
	const char *initial;      /* default as the reference shows it; NULL: none */
	const char *choices;      /* "a,b,c": the only values; NULL: any */
	int64_t minimum, maximum; /* of KEY_INT; both 0: no bounds */
	int (*check)(const char *value, Error **err); /* more than the type says; may be NULL */
	const char *help;         /* one sentence */
} Key;

/* A key that LXD or older releases had. */
typedef struct KeyRemoved {
	KeyScope scope;
	const char *name;    /* ends with '.': all that begin so */
	const char *instead; /* for people */
	const char *renamed; /* the key that has its meaning now; NULL: none */
} KeyRemoved;
/* NULL: it is not one of them (which does not say that it is known). */
const KeyRemoved *key_removed(KeyScope scope, const char *name);

/* Rows of a scope, ended by a row without name. */
const Key *key_table(KeyScope scope);
/* NULL when there is none. kind NULL: any. Exact names win over patterns. */
const Key *key_find(KeyScope scope, const char *kind, const char *name);
/* One value. ERROR_INVALID "Unknown configuration key: X", or the name of a removed feature and what
 * to use instead, or what is wrong with the value. An empty value (= unset) is always right. */
int key_check(KeyScope scope, const char *kind, const char *name, const char *value, Error **err);
/* Every key of config. */
int key_check_all(KeyScope scope, const char *kind, const Config *config, Error **err);
/* Instances: kind "container" or "virtual-machine", NULL for profiles, where volatile.* is
 * refused. Also what keys demand of each other. `expanded` FALSE: a profile or local part alone,
 * where such demands are not looked at. */
int key_check_instance(const char *type, const Config *config, gboolean expanded, Error **err);
/* The value, else the row's default, else NULL. */
const char *key_value(KeyScope scope, const char *kind, const Config *config, const char *name);
gboolean key_bool(KeyScope scope, const char *kind, const Config *config, const char *name);
/* JSON of GET /1.0/metadata/configuration; made once, never freed. */
const char *key_reference_json(void);
