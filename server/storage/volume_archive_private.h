#pragma once
/* Between the parts of volume_archive: trees and disks in, trees and disks out, streams. */
#include "server/storage/unpack.h"
#include "server/storage/volume_archive.h"

UnpackOptions archive_unpack_options(const VolumeArchive *archive);

int archive_pack_streams(const VolumeArchive *archive, Pack *sink, Error **err);
/* The volume is then as after volume_begin(); nothing is left on failure. */
int archive_unpack_streams(const VolumeArchive *archive, int fd, const Config *config, Error **err);
