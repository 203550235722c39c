#pragma once
/*
 * A Dqlite node in this process and the one connection to it, in as much of its wire protocol as
 * reading a database needs. What goes wrong ends the process with a message: it is a helper's.
 */
#include <dqlite.h>
#include <stdint.h>

void client_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* So many entries make no snapshot. */
#define CLIENT_NO_SNAPSHOTS (1U << 30)
/* Starts the node on what `directory` has, makes an empty one of an empty directory, and opens the
 * database. A snapshot is made every so many entries. The connection's fd. */
int client_open(const char *directory, uint64_t id, const char *address, unsigned snapshots,
    dqlite_node **ret_node);
/* Every statement of `sql`; results are dropped. */
void client_exec(int fd, const char *sql);
/* Writes the database as it is now to db.bin and db.bin-wal in the directory. */
void client_dump(int fd, int directory_fd);
void client_close(int fd, dqlite_node *node);
