#pragma once
/*
 * Where the server keeps its own files: INCUS_DIR/backups and INCUS_DIR/images. Each is a folder,
 * or, with `storage.backups_volume` and `storage.images_volume`, a link to a custom volume of
 * project "default", which stays mounted and is the server's alone.
 *
 * A change makes the other side at FOLDER.moving, copies everything there, and exchanges the two
 * names; what is then at FOLDER.moving goes when the setting is stored. So at start the side that
 * is not what the setting says is cleared, whenever the server died.
 */
#include "sdk/base/error.h"
#include "server/daemon.h"

typedef struct Stores Stores;
typedef enum Store { STORE_BACKUPS, STORE_IMAGES, STORE_COUNT } Store;

/* After the pools, before who keeps files there. A volume that cannot be mounted makes its store
 * unavailable; the server starts. */
int store_start(Daemon *d, Error **err);
void store_stop(Daemon *d);

/* Who creates, renames or removes files holds the store meanwhile, so that it does not move away.
 * Reading needs no hold. May be nested. ERROR_UNAVAILABLE while its volume is not mounted. */
int store_hold(Daemon *d, Store store, Error **err);
void store_release(Daemon *d, Store store);
/* A file in it without a name, of which nothing stays whatever happens. The fd, or -1. */
int store_temporary(Daemon *d, Store store, Error **err);

/* Whether this custom volume is one of them; `project` is the volume's. */
gboolean store_on_volume(Daemon *d, const char *pool, const char *project, const char *volume);
/* ERROR_INVALID when it is: it is not for users. */
int store_check_volume(
    Daemon *d, const char *pool, const char *project, const char *volume, Error **err);
