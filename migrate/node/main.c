/*
 * lxd-to-incus-node DIR ID ADDRESS: reads LXD's database. DIR holds a copy of LXD's
 * database/global; a Dqlite node with the id and address that LXD gave to its own reads it, and
 * the database as it stands after the last entry is written to db.bin and db.bin-wal in DIR. A
 * program of its own, because the library ends its process on data that it did not expect.
 */
#include "migrate/node/client.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	dqlite_node *node;
	if (argc != 4)
		client_die("Usage: lxd-to-incus-node DIR ID ADDRESS");
	int directory = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		client_die("Cannot open \"%s\": %s", argv[1], strerror(errno));
	int fd = client_open(
	    argv[1], strtoull(argv[2], NULL, 10), argv[3], CLIENT_NO_SNAPSHOTS, &node);
	client_dump(fd, directory);
	client_close(fd, node);
	return 0;
}
