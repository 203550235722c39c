#pragma once
/* Copies between pools, and with snapshots, of one driver that has streams of its own. */
#include "server/storage/volume_copy.h"

/* Makes copy->to, not mounted, with copy->snapshots in PLACE_UNFINISHED; on failure nothing is left.
 * ERROR_UNSUPPORTED where trees must be copied: other drivers, other kinds of volumes. `config` is
 * the new volume's. */
int volume_relay(const VolumeCopy *copy, const Config *config, Error **err);
