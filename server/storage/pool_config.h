#pragma once
/*
 * What a pool and its volumes may be configured with: the rows of server/key, and what they do not
 * say. Unknown keys and bad values are ERROR_INVALID.
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"

/* Keys of the pool and, as `volume.*`, the defaults of its volumes. */
int pool_config_check(const char *driver, const Config *config, Error **err);
/* Keys of a custom volume. */
int volume_config_check(const char *driver, const Config *config, Error **err);
/* Removes from a foreign volume's configuration what a volume of this driver does not have, and what
 * a daemon noted for itself. */
void volume_config_adopt(const char *driver, Config *config);
/* Each member of a cluster has its own value. */
gboolean pool_config_is_local(const char *driver, const char *key);
/* May not be changed once the pool exists. */
gboolean pool_config_is_fixed(const char *driver, const char *key);
