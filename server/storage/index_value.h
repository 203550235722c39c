#pragma once
/*
 * Values out of a backup's index, which is a stranger's YAML: every scalar is text, every key and
 * name is looked at. Errors are ERROR_INVALID and name the key.
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"
#include "sdk/base/moment.h"
#include <jansson.h>
#include <stdint.h>

/* "Backup index: \"KEY\" is not as it should be". */
int index_wrong(Error **err, const char *key);
/* What is not there is "". */
int index_text(const json_t *object, const char *key, char **ret, Error **err);
int index_bool(const json_t *object, const char *key, gboolean *ret, Error **err);
/* Years before 1970 are how "never" and "unknown" are written: 0. */
int index_moment(const json_t *object, const char *key, Moment *ret, Error **err);
int index_time(const json_t *object, const char *key, int64_t *ret, Error **err);
int index_config(const json_t *object, const char *key, Config **ret, Error **err);
