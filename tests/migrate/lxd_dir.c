/*
 * lxd_dir DIR [N]: makes a database like LXD's in the empty folder DIR (database/global): a Dqlite
 * node runs what standard input has, a statement a line. With N it makes a snapshot every N
 * entries.
 */
#include "migrate/node/client.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	dqlite_node *node;
	char *line = NULL;
	size_t size = 0;
	if (argc < 2)
		client_die("Usage: lxd_dir DIR [N]");
	unsigned snapshots = argc > 2 ? (unsigned)atoi(argv[2]) : CLIENT_NO_SNAPSHOTS;
	int fd = client_open(argv[1], 1, "1", snapshots, &node);
	for (ssize_t n; (n = getline(&line, &size, stdin)) > 0;) {
		line[strcspn(line, "\n")] = 0;
		if (*line)
			client_exec(fd, line);
	}
	free(line);
	client_close(fd, node);
	return 0;
}
