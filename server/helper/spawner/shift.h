#pragma once
/*
 * Moving the owners of a tree from one id map to another, on disk. Ids do not tell whether they
 * were moved already, so it is done in two walks: the first writes down, in a journal, what every
 * inode is to become; once the journal is whole, the second does it. Cut off at any moment, the
 * second can be done again: it sets what is written, whatever it finds.
 */
#include "server/helper/spawner/spawner.h"
#include <sys/stat.h>

enum { SHIFT_RANGES = 1024 };

typedef struct ShiftMap {
	struct {
		char kind; /* 'u' or 'g' */
		uint32_t inside, outside, count;
	} range[SHIFT_RANGES];
	int n; /* 0: ids are the same on either side */
} ShiftMap;

typedef struct ShiftMaps {
	ShiftMap from, to;
} ShiftMaps;

/* Lines as packet.h has them. 0, or -1 when there are too many or one is none. */
int shift_map_read(ShiftMap *map, const char *lines);
/* An id that a map does not have goes through it unchanged. */
uint32_t shift_id(const ShiftMaps *maps, char kind, uint32_t id);

/* What an inode is to have. `values` follow: attributes that hold ids. */
typedef struct ShiftEntry {
	uint64_t inode;
	uint32_t tree; /* devices (of btrfs: subvolumes) are numbered as they are met */
	uint32_t uid, gid, mode;
	uint32_t n_values, size; /* bytes of the values, a multiple of 8 */
} ShiftEntry;

typedef struct ShiftValue {
	uint32_t name, size; /* of its bytes, which follow, filled up to a multiple of 8 */
} ShiftValue;

/* The attributes of what is at `path`, as they are to be; they fill the entry's n_values and size.
 * Their bytes, valid until the next call; NULL with errno. */
const void *shift_values_read(const ShiftMaps *maps, const char *path, ShiftEntry *entry);
int shift_values_write(const char *path, const ShiftEntry *entry);

typedef struct ShiftJournal {
	int fd;
	void *out;          /* FILE *, while it is written */
	char *bytes;        /* of a whole one */
	size_t length, first; /* of the entries */
	const char *label;
	uint64_t *table, n_table, n_entries; /* offsets of entries by inode */
} ShiftJournal;

/* Opens or makes it, once nobody else has it. 0 or -1. */
int shift_journal_open(ShiftJournal *journal, const char *path);
/* 1: it is whole and loaded; 0: it is not, so nothing was changed; -1 with errno. */
int shift_journal_load(ShiftJournal *journal);
/* `label` is the caller's: what the tree will be. */
int shift_journal_begin(ShiftJournal *journal, const char *label);
int shift_journal_add(ShiftJournal *journal, const ShiftEntry *entry, const void *values);
/* Makes it whole and sees to it that it survives. */
int shift_journal_end(ShiftJournal *journal, const char *path);
/* NULL when it is not there. */
const ShiftEntry *shift_journal_find(const ShiftJournal *journal, uint32_t tree, uint64_t inode);
