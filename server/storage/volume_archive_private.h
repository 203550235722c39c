#pragma once
/* Between the parts of volume_archive: trees and disks in, trees and disks out, streams. */
#include "server/storage/unpack.h"
#include "server/storage/volume_archive.h"

UnpackOptions archive_unpack_options(const VolumeArchive *archive);

/* volume_archive_machine.c: the tree of a virtual machine, with its disk in it. */
/* Its disk, "root.img", becomes the entry that the unpacker is at. Where there is one already (of
 * the snapshot before), only what differs is written. */
int archive_machine_disk(
    const VolumeArchive *archive, Unpacker *unpacker, int tree_fd, Error **err);
/* All of the tree is there: what others would follow is put right. */
int archive_machine_settle(int tree_fd, Error **err);
/* What a driver's stream has made: its disk and variables are files of its own. */
int archive_machine_check(int tree_fd, Error **err);

int archive_pack_streams(const VolumeArchive *archive, Pack *sink, Error **err);
/* The volume is then as after volume_begin(); nothing is left on failure. */
int archive_unpack_streams(const VolumeArchive *archive, int fd, const Config *config, Error **err);
